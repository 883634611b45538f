//! Which objects a command line means: `TYPE`, `TYPE1,TYPE2`, `TYPE NAME…`, `TYPE/NAME…`, or what manifests name.

use serde_json::Value;
use stead_api::selector::Selector;

use crate::{
    api::Api,
    connection::Connection,
    error::VerbError,
    kinds::{Kind, Kinds},
    manifest::Files,
    write::namespace_of,
};

/// One kind and the names that were asked for; none means all of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) names: Vec<String>,
}

/// What a target's names are looked for in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) target: Target,
    pub(crate) namespace: String,
}

/// What a verb that reads is to show: what `words` say, in the command line's namespace, or what manifests name, each in its own.
/// Names beside a selector are refused.
pub(crate) async fn places(
    words: &[String],
    files: &Files,
    selector: Option<&String>,
    (connection, api, kinds): (&Connection, &Api, &Kinds),
) -> Result<Vec<Place>, VerbError> {
    if files.is_empty() {
        let targets = parse(words, kinds)?;
        if given(selector).is_some() {
            refuse_names(&targets)?;
        }
        return Ok(targets.into_iter().map(|target| Place { target, namespace: api.namespace.clone() }).collect());
    }
    let objects = files.read_chosen(words, selector).await?;
    let place = |object: &Value| {
        let names = vec![stead_api::meta::name(object).to_owned()];
        let target = Target { kind: kinds.of_object(object)?.clone(), names };
        Ok(Place { target, namespace: namespace_of(api, object, connection.namespace.as_deref())? })
    };
    objects.iter().map(place).collect()
}

/// Reads the words after a verb.
pub(crate) fn parse(words: &[String], kinds: &Kinds) -> Result<Vec<Target>, VerbError> {
    let [first, rest @ ..] = words else {
        return Err(VerbError::argument(
            "TYPE",
            "you must specify the type of resource, such as `services` or `pod/NAME`",
        ));
    };
    if words.iter().any(|word| word.contains('/')) {
        let mut targets: Vec<Target> = Vec::new();
        for word in words {
            let (kind, name) = parts(word)?;
            let kind = kinds.find(kind)?;
            match targets.last_mut().filter(|target| target.kind == *kind) {
                Some(target) => target.names.push(name.to_owned()),
                None => targets.push(Target { kind: kind.clone(), names: vec![name.to_owned()] }),
            }
        }
        return Ok(targets);
    }
    let mut targets = Vec::new();
    for word in first.split(',') {
        match kinds.of_category(word).as_slice() {
            [] => targets.push(Target { kind: kinds.find(word)?.clone(), names: rest.to_vec() }),
            many => targets.extend(many.iter().map(|&kind| Target { kind: kind.clone(), names: rest.to_vec() })),
        }
    }
    Ok(targets)
}

/// The kind and the name of `TYPE/NAME`.
fn parts(word: &str) -> Result<(&str, &str), VerbError> {
    let Some((kind, name)) = word.split_once('/') else {
        return Err(VerbError::usage(
            "there is no need to specify a resource type as a separate argument when passing arguments in \
             resource/name form (e.g. 'stead get resource/<resource_name>' instead of 'stead get resource \
             resource/<resource_name>'",
        ));
    };
    if kind.is_empty() || name.is_empty() {
        return Err(VerbError::usage("arguments in resource/name form must have a single resource and name"));
    }
    if name.contains('/') {
        return Err(VerbError::usage("arguments in resource/name form may not have more than one slash"));
    }
    Ok((kind, name))
}

/// The selector that was given; one of nothing chooses nothing, and is as good as none.
pub(crate) fn given(selector: Option<&String>) -> Option<&str> {
    selector.map(|text| text.trim()).filter(|text| !text.is_empty())
}

pub(crate) fn parse_selector(text: &str) -> Result<Selector, VerbError> {
    Selector::parse(text).map_err(|error| VerbError::usage(error.to_string()))
}

/// Refuses names beside what chooses objects without them.
pub(crate) fn refuse_names(targets: &[Target]) -> Result<(), VerbError> {
    match targets.iter().all(|target| target.names.is_empty()) {
        true => Ok(()),
        false => Err(VerbError::usage("name cannot be provided when a selector is specified")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::tests::kinds;

    #[test]
    fn words_name_kinds_and_objects() {
        let check = |words: &str, expect: Option<&[(&str, &[&str])]>| {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let targets = parse(&words, &kinds()).ok();
            let read: Option<Vec<(String, Vec<String>)>> =
                targets.map(|targets| targets.into_iter().map(|one| (one.kind.full_name(), one.names)).collect());
            let expect = expect.map(|expect| {
                let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
                expect.iter().map(|(kind, list)| ((*kind).to_owned(), names(list))).collect()
            });
            assert_eq!(read, expect, "{words:?}");
        };
        check("svc", Some(&[("service", &[])]));
        check("svc a b", Some(&[("service", &["a", "b"])]));
        check("svc,deploy", Some(&[("service", &[]), ("deployment.apps", &[])]));
        check("all", Some(&[("service", &[]), ("deployment.apps", &[])]));
        check("svc/a svc/b deploy/c", Some(&[("service", &["a", "b"]), ("deployment.apps", &["c"])]));
        check("svc/a b", None);
        check("svc/", None);
        check("svc/ deploy/", None);
        check("svc/a/b", None);
        check("a svc/b", None);
        check("routes", None);
        check("", None);
        assert!(parse(&[String::new()], &kinds()).is_err());
    }

    #[test]
    fn nothing_is_no_selector() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(given(Some(&text.to_owned())), expect, "{text:?}");
        check("", None);
        check(" ", None);
        check(" a=b", Some("a=b"));
    }
}

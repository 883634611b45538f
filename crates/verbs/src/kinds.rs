//! Which kinds a server has, from its aggregated discovery, and what people call them.

use serde_json::Value;
use stead_api::legacy::{self, Version};

use crate::{
    api::{Api, escape},
    error::VerbError,
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// One resource of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) subresources: Vec<String>,
    pub(crate) is_namespaced: bool,
}

/// All of them, preferred versions first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds(Vec<Kind>);

impl Kinds {
    pub(crate) async fn read(api: &Api) -> Result<Self, VerbError> {
        let (core, groups) = tokio::try_join!(api.get_as("/api", AGGREGATED), api.get_as("/apis", AGGREGATED))?;
        Ok(Self([&core, &groups].into_iter().flat_map(parse).collect()))
    }

    /// The kind called `word`: plural, singular, short name or kind, alone or with `.group` or `.version.group`.
    pub(crate) fn find(&self, word: &str) -> Result<&Kind, VerbError> {
        let word = word.to_ascii_lowercase();
        self.0
            .iter()
            .find(|kind| !word.is_empty() && kind.is_called(&word))
            .or_else(|| {
                let (name, rest) = word.split_once('.')?;
                self.0.iter().find(|kind| kind.is_called(name) && kind.is_of(rest))
            })
            .ok_or(VerbError::UnknownKind(word))
    }

    /// The kind called `word` at `version`, which is `GROUP/VERSION` or the core group's.
    pub(crate) fn find_in(&self, word: &str, version: &str) -> Result<&Kind, VerbError> {
        let of_it = |kind: &&Kind| kind.api_version() == version && kind.is_called(&word.to_ascii_lowercase());
        let known = self.0.iter().find(of_it);
        let slash = if version.contains('/') { "" } else { "/" };
        known.ok_or_else(|| {
            VerbError::usage(format!("couldn't find resource for \"{slash}{version}, Resource={word}\""))
        })
    }

    /// The kind that an object says it is.
    pub(crate) fn of_object(&self, object: &Value) -> Result<&Kind, VerbError> {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        let known = self.0.iter().find(|one| one.kind == kind && one.api_version() == version);
        known.ok_or_else(|| VerbError::UnknownManifestKind { kind: kind.to_owned(), version: version.to_owned() })
    }

    /// The kind in v1, where `kind` is of an older version of the core group; else `kind` itself.
    pub(crate) fn in_v1<'a>(&'a self, kind: &'a Kind) -> &'a Kind {
        let older = Version::parse(&kind.version).filter(|_| kind.group.is_empty());
        let modern = older.and_then(|version| legacy::find(version, &kind.plural)?.modern);
        let found = modern.and_then(|modern| {
            self.0.iter().find(|one| one.group.is_empty() && one.version == "v1" && one.plural == modern.plural)
        });
        found.unwrap_or(kind)
    }

    /// Each kind at the version that its group prefers.
    pub(crate) fn preferred(&self) -> Vec<&Kind> {
        one_of_each(&self.0.iter().collect::<Vec<_>>())
    }

    /// Those of a category such as `all`; empty where there is no such category.
    pub(crate) fn of_category(&self, category: &str) -> Vec<&Kind> {
        let of_it = self.0.iter().filter(|kind| kind.categories.iter().any(|one| one == category));
        one_of_each(&of_it.collect::<Vec<_>>())
    }
}

/// The first version of each kind.
fn one_of_each<'a>(many: &[&'a Kind]) -> Vec<&'a Kind> {
    let is_first = |(at, kind): &(usize, &&Kind)| {
        !many[..*at].iter().any(|other| (&other.group, &other.plural) == (&kind.group, &kind.plural))
    };
    many.iter().enumerate().filter(is_first).map(|(_, kind)| *kind).collect()
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// What kubectl puts before a name: `service`, `deployment.apps`.
    pub(crate) fn full_name(&self) -> String {
        if self.group.is_empty() { self.singular.clone() } else { format!("{}.{}", self.singular, self.group) }
    }

    /// What kubectl calls many of them: `services`, `deployments.apps`.
    pub(crate) fn full_plural(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The path of the collection; over all namespaces where `namespace` is `None`.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        match namespace.filter(|_| self.is_namespaced) {
            Some(namespace) => {
                format!("{root}/{}/namespaces/{}/{}", self.api_version(), escape(namespace), self.plural)
            }
            None => format!("{root}/{}/{}", self.api_version(), self.plural),
        }
    }

    /// The path of one object, and of nothing else: a name that would make it another path's is refused. Without a name it
    /// were the collection's, where DELETE takes all.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> Result<String, VerbError> {
        Ok(format!("{}/{}", self.collection(Some(namespace)), segment("resource name", name)?))
    }

    /// The object as the server has it.
    pub(crate) async fn read(&self, api: &Api, namespace: &str, name: &str) -> Result<Value, VerbError> {
        api.get(&self.object(namespace, name)?).await
    }

    fn is_called(&self, word: &str) -> bool {
        self.plural == word
            || self.singular == word
            || self.kind.eq_ignore_ascii_case(word)
            || self.short_names.iter().any(|short| short == word)
    }

    /// `rest` is `group` or `version.group`.
    fn is_of(&self, rest: &str) -> bool {
        self.group == rest
            || rest.split_once('.').is_some_and(|(version, group)| self.version == version && self.group == group)
            || (self.group.is_empty() && (rest == self.version || rest == format!("{}.", self.version)))
    }
}

/// `text` as one segment of a path; `what` it is, for errors.
pub(crate) fn segment(what: &str, text: &str) -> Result<String, VerbError> {
    if text.is_empty() {
        return Err(VerbError::usage(format!("{what} may not be empty")));
    }
    let problems = match text {
        "." => vec!["may not be '.'"],
        ".." => vec!["may not be '..'"],
        _ => {
            let marks = [('/', "may not contain '/'"), ('%', "may not contain '%'")];
            marks.into_iter().filter(|(mark, _)| text.contains(*mark)).map(|(_, problem)| problem).collect()
        }
    };
    if problems.is_empty() {
        return Ok(escape(text));
    }
    Err(VerbError::usage(format!("invalid {what} {text:?}: [{}]", problems.join(" "))))
}

fn parse(list: &Value) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for group in items(list, "items") {
        for version in items(group, "versions") {
            for resource in items(version, "resources") {
                kinds.push(Kind {
                    group: group["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                    version: text(version, "version"),
                    plural: text(resource, "resource"),
                    singular: text(resource, "singularResource"),
                    kind: text(&resource["responseKind"], "kind"),
                    short_names: texts(resource, "shortNames"),
                    categories: texts(resource, "categories"),
                    verbs: texts(resource, "verbs"),
                    subresources: items(resource, "subresources").map(|one| text(one, "subresource")).collect(),
                    is_namespaced: resource["scope"] == "Namespaced",
                });
            }
        }
    }
    kinds
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    items(value, key).filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn kinds() -> Kinds {
        let resource = |plural: &str, singular: &str, kind: &str, short: &[&str], scope: &str| {
            json!({"resource": plural, "singularResource": singular, "responseKind": {"kind": kind}, "shortNames": short,
                "scope": scope, "categories": if kind == "Node" { json!([]) } else { json!(["all"]) }, "verbs": ["get", "list"]})
        };
        let core = json!({"items": [{"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [
            resource("services", "service", "Service", &["svc"], "Namespaced"),
            resource("nodes", "node", "Node", &["no"], "Cluster"),
        ]}, {"version": "v1beta1", "resources": [resource("services", "service", "Service", &[], "Namespaced"),
            resource("minions", "minion", "Node", &[], "Cluster"),
        ]}]}]});
        let apps = json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
            resource("deployments", "deployment", "Deployment", &["deploy"], "Namespaced"),
        ]}]}]});
        Kinds([&core, &apps].into_iter().flat_map(parse).collect())
    }

    #[test]
    fn kinds_go_by_every_name_people_use() {
        let kinds = kinds();
        let check = |word: &str, expect: Option<(&str, &str)>| {
            let found = kinds.find(word).ok().map(|kind| (kind.api_version(), kind.plural.clone()));
            assert_eq!(found, expect.map(|(version, plural)| (version.to_owned(), plural.to_owned())), "{word}");
        };
        for word in ["svc", "service", "services", "Service", "services.v1"] {
            check(word, Some(("v1", "services")));
        }
        check("services.v1beta1", Some(("v1beta1", "services")));
        for word in ["deploy", "deployments.apps", "deployment.v1.apps"] {
            check(word, Some(("apps/v1", "deployments")));
        }
        check("deployments.batch", None);
        check("routes", None);
    }

    #[test]
    fn kinds_of_2014_are_found_in_v1() {
        let kinds = kinds();
        let check = |word: &str, expect: (&str, &str)| {
            let kind = kinds.in_v1(kinds.find(word).unwrap());
            assert_eq!((kind.api_version().as_str(), kind.plural.as_str()), expect, "{word}");
        };
        check("minions", ("v1", "nodes"));
        check("services.v1beta1", ("v1", "services"));
        check("svc", ("v1", "services"));
        check("deploy", ("apps/v1", "deployments"));
    }

    #[test]
    fn paths_follow_group_and_scope() {
        let kinds = kinds();
        let check = |word: &str, namespace, expect: &str| {
            assert_eq!(kinds.find(word).unwrap().collection(namespace), expect);
        };
        check("svc", Some("web"), "/api/v1/namespaces/web/services");
        check("svc", None, "/api/v1/services");
        check("no", Some("web"), "/api/v1/nodes");
        check("deploy", Some("web"), "/apis/apps/v1/namespaces/web/deployments");
    }

    #[test]
    fn no_name_leads_to_more_or_other_than_its_object() {
        let kinds = kinds();
        let services = kinds.find("svc").unwrap();
        let check = |name: &str, expect: Result<&str, &str>| {
            let path = services.object("web", name).map_err(|error| error.to_string());
            let path = path.as_ref().map(|path| path.strip_prefix("/api/v1/namespaces/web/services/").unwrap());
            assert_eq!(path, expect.map_err(|error| format!("error: {error}")).as_ref().copied(), "{name:?}");
        };
        check("a-b.c", Ok("a-b.c"));
        check("", Err("resource name may not be empty"));
        check(".", Err(r#"invalid resource name ".": [may not be '.']"#));
        check("..", Err(r#"invalid resource name "..": [may not be '..']"#));
        check("a/b%", Err(r#"invalid resource name "a/b%": [may not contain '/' may not contain '%']"#));
        check("a?dryRun=All", Ok("a%3FdryRun%3DAll"));
        check("a b#\u{e4}", Ok("a%20b%23%C3%A4"));
        assert_eq!(services.collection(Some("a/b?c")), "/api/v1/namespaces/a%2Fb%3Fc/services");
    }
}

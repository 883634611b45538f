//! Words of a command line that name objects first and then changes: `TYPE NAME KEY=VALUE KEY-`.

use std::collections::BTreeMap;

use crate::error::VerbError;

/// What is to become of each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) unset: Vec<String>,
}

/// Parts the words at the first change. `what` is `label`, `annotation` or `image`, for errors.
pub(crate) fn split<'a>(words: &'a [String], what: &str) -> Result<(&'a [String], &'a [String]), VerbError> {
    let is_change = |word: &String| word.contains('=') || word.ends_with('-');
    let first = words.iter().position(is_change).unwrap_or(words.len());
    let (objects, changes) = words.split_at(first);
    match changes.iter().find(|word| !is_change(word)) {
        Some(word) => Err(VerbError::usage(format!("all resources must be specified before {what} changes: {word}"))),
        None => Ok((objects, changes)),
    }
}

/// `KEY=VALUE` sets, `KEY-` unsets; a key in both is refused.
pub(crate) fn parse(changes: &[String], what: &str) -> Result<Changes, VerbError> {
    let mut parsed = Changes::default();
    let mut wrong = Vec::new();
    for change in changes {
        match (change.split_once('='), change.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                parsed.set.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(key)) if !key.is_empty() => parsed.unset.push(key.to_owned()),
            _ => wrong.push(change.as_str()),
        }
    }
    if !wrong.is_empty() {
        return Err(VerbError::usage(format!("invalid {what} format: {}", wrong.join(", "))));
    }
    match parsed.unset.iter().find(|key| parsed.set.contains_key(*key)) {
        Some(_) => Err(VerbError::usage(format!("can not both modify and remove a {what} in the same command"))),
        None => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_before_changes() {
        let check = |words: &str, expect: Option<(usize, &[&str], &[&str])>| {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let read = split(&words, "label").and_then(|(objects, changes)| {
                let changes = parse(changes, "label")?;
                let set: Vec<String> = changes.set.iter().map(|(key, value)| format!("{key}={value}")).collect();
                Ok((objects.len(), set, changes.unset))
            });
            let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
            assert_eq!(read.ok(), expect.map(|(count, set, unset)| (count, owned(set), owned(unset))), "{words:?}");
        };
        check("svc web a=b c- d=", Some((2, &["a=b", "d="], &["c"])));
        check("svc/web a=b=c", Some((1, &["a=b=c"], &[])));
        check("svc web", Some((2, &[], &[])));
        check("svc a=b web", None);
        check("svc web a=b a-", None);
        check("svc web =b", None);
    }
}

//! Fields that are accepted by the schema and that nothing acts on yet: the one list of them, and the walk that finds them.
//!
//! A field whose neglect would mislead its author or be unsafe is refused by name. Any other is stored, and whoever writes it
//! is warned by name. A field that is in no table is honoured, or describes what needs no acting on; a test holds the tables
//! against the schema, so that a new field must be decided about.

use serde_json::Value;

use super::value::{list, map};
use crate::{field::FieldError, resource::Warnings};

mod pod;
mod service;

pub(crate) use pod::POD_SPEC;
pub(crate) use service::SERVICE;

pub(crate) const NODE: &[Unhonoured] = &[
    warn(&["spec", "taints", "*", "effect"], When::Is("NoExecute"), "no new pod comes, but pods that are there stay"),
    warn(&["spec", "configSource"], When::Set, "nodes are configured by their own command"),
];

pub(crate) const SERVICE_ACCOUNT: &[Unhonoured] = &[
    warn(&["secrets"], When::Set, "no token is given to containers"),
    warn(&["imagePullSecrets"], When::Set, "images are loaded, not pulled"),
    warn(&["automountServiceAccountToken"], When::Is("true"), "no token is given to containers"),
];

/// A field that nothing acts on.
#[derive(Debug)]
pub(crate) struct Unhonoured {
    /// Names from the root of the table on; `*` stands for each item of a list.
    path: &'static [&'static str],
    when: When,
    verdict: Verdict,
    /// What to know: what happens instead, or why it is refused.
    reason: &'static str,
}

/// The values that are not honoured. Absent, null and empty values never count.
#[derive(Debug)]
enum When {
    Set,
    /// The field is the text, or the boolean as text.
    Is(&'static str),
    /// The field is another text than these.
    IsNot(&'static [&'static str]),
    /// The field beside it that is named here is not this text.
    Unless(&'static str, &'static str),
    /// The field is a map with other keys than these.
    HasBeyond(&'static [&'static str]),
    /// The field has an entry that the map beside it, named here, does not have: defaults copy that map's entries.
    Beyond(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Refuse,
    Warn,
}

const fn refuse(path: &'static [&'static str], when: When, reason: &'static str) -> Unhonoured {
    Unhonoured { path, when, verdict: Verdict::Refuse, reason }
}

const fn warn(path: &'static [&'static str], when: When, reason: &'static str) -> Unhonoured {
    Unhonoured { path, when, verdict: Verdict::Warn, reason }
}

/// An error for each field of `object` that the table refuses. `root` is where `object` stands, such as `spec`, or empty.
pub(crate) fn refusals(table: &[Unhonoured], object: &Value, root: &str) -> Vec<FieldError> {
    found(table, object, root, Verdict::Refuse)
        .map(|(field, value, rule)| {
            let name = field_name(rule.path);
            let what = match (&rule.when, value.as_str()) {
                (When::Set, _) | (_, None) => name.to_owned(),
                (_, Some(text)) => format!("{name} {text}"),
            };
            let verb = if name.ends_with('s') && matches!(rule.when, When::Set) { "are" } else { "is" };
            FieldError::forbidden(field, format!("{what} {verb} not served by this version of Stead: {}", rule.reason))
        })
        .collect()
}

/// A warning for each field of `new` that the table warns about and that `old` did not have.
pub(crate) fn warnings(table: &[Unhonoured], new: &Value, old: Option<&Value>, root: &str) -> Warnings {
    let all = |object| {
        found(table, object, root, Verdict::Warn)
            .map(|(field, _, rule)| format!("{field}: not acted on by this version of Stead: {}", rule.reason))
            .collect::<Warnings>()
    };
    let known = old.map(all).unwrap_or_default();
    all(new).into_iter().filter(|warning| !known.contains(warning)).collect()
}

fn found<'a>(
    table: &'a [Unhonoured],
    object: &'a Value,
    root: &str,
    verdict: Verdict,
) -> impl Iterator<Item = (String, &'a Value, &'a Unhonoured)> {
    table.iter().filter(move |rule| rule.verdict == verdict).flat_map(move |rule| {
        let mut hits = Vec::new();
        walk(object, &Value::Null, rule.path, root.to_owned(), &mut hits);
        hits.into_iter()
            .filter(|hit| rule.when.holds(hit.value, hit.parent))
            .map(move |hit| (hit.field, hit.value, rule))
    })
}

/// A field that a rule's path leads to.
struct Hit<'a> {
    field: String,
    value: &'a Value,
    parent: &'a Value,
}

fn walk<'a>(value: &'a Value, parent: &'a Value, path: &[&str], field: String, hits: &mut Vec<Hit<'a>>) {
    match path {
        [] => hits.push(Hit { field, value, parent }),
        ["*", rest @ ..] => {
            for (index, item) in list(value, "").iter().enumerate() {
                walk(item, value, rest, format!("{field}[{index}]"), hits);
            }
        }
        [name, rest @ ..] => {
            let Some(child) = map(value, "").and_then(|fields| fields.get(*name)) else { return };
            let field = match field.as_str() {
                "" => (*name).to_owned(),
                _ if name.contains('/') => format!("{field}[{name}]"),
                _ => format!("{field}.{name}"),
            };
            walk(child, value, rest, field, hits);
        }
    }
}

fn field_name(path: &[&'static str]) -> &'static str {
    path.iter().rev().find(|name| **name != "*").copied().unwrap_or_default()
}

impl When {
    fn holds(&self, value: &Value, parent: &Value) -> bool {
        let is_empty = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if is_empty {
            return false;
        }
        let text = match value {
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            _ => value.as_str().unwrap_or_default(),
        };
        match self {
            Self::Set => true,
            Self::Is(unserved) => text == *unserved,
            Self::IsNot(served) => !served.contains(&text),
            Self::Unless(beside, served) => parent[*beside].as_str() != Some(served),
            Self::HasBeyond(served) => {
                map(value, "").into_iter().flatten().any(|(key, _)| !served.contains(&key.as_str()))
            }
            Self::Beyond(beside) => {
                let entries = map(value, "").into_iter().flatten();
                entries.into_iter().any(|(key, entry)| parent[*beside].get(key) != Some(entry))
            }
        }
    }
}

#[cfg(test)]
mod tests;

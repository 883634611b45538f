//! Cells that several kinds print: age, lists of containers, selectors.

use jiff::Timestamp;
use serde_json::Value;

use super::value::{list, pairs, text};
use crate::{selector::parse_label_selector, table};

pub(crate) const NONE: &str = "<none>";
pub(crate) const UNKNOWN: &str = "<unknown>";

pub(crate) fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

/// Time since creation, such as `3m5s`.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    table::object_age(object, now).into()
}

/// Time since `timestamp` (RFC 3339), `<unknown>` when it is absent.
pub(crate) fn since(timestamp: &str, now: Timestamp) -> String {
    table::age(timestamp.parse().ok(), now)
}

/// `text`, or `instead` when it is empty.
pub(crate) fn or<'a>(text: &'a str, instead: &'a str) -> &'a str {
    if text.is_empty() { instead } else { text }
}

/// Names and images of the containers of a pod template, each joined by commas.
pub(crate) fn containers(template: &Value) -> (Value, Value) {
    let join = |key: &str| {
        list(template, "/spec/containers").iter().map(|container| text(container, key)).collect::<Vec<_>>().join(",")
    };
    (join("/name").into(), join("/image").into())
}

/// A map of labels as `a=b,c=d`.
pub(crate) fn pairs_text(object: &Value, pointer: &str) -> String {
    pairs(object, pointer).into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// [`pairs_text`], `<none>` when it is empty.
pub(crate) fn labels(object: &Value, pointer: &str) -> String {
    or(&pairs_text(object, pointer), NONE).to_owned()
}

/// A LabelSelector as a label selector's text, empty when it selects everything.
pub(crate) fn selector(label_selector: &Value) -> String {
    match parse_label_selector(Some(label_selector)) {
        Ok(selector) => selector.map(|selector| selector.to_string()).unwrap_or_default(),
        Err(_) => "<invalid>".to_owned(),
    }
}

/// [`selector`], `<none>` when it selects everything.
pub(crate) fn selector_or_none(label_selector: &Value) -> String {
    or(&selector(label_selector), NONE).to_owned()
}

/// The first three of `items` and how many more there are, `empty` when there are none.
pub(crate) fn first_three(items: &[String], empty: &str) -> String {
    match items.len() {
        _ if items.iter().all(String::is_empty) && items.len() < 2 => empty.to_owned(),
        0..=3 => items.join(","),
        more => format!("{} + {} more...", items[..3].join(","), more - 3),
    }
}

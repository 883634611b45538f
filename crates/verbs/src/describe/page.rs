//! The text of a page: lines with columns that line up within each block, as Go's tabwriter aligns them.

use std::{fmt::Display, io::Write as _};

use serde_json::{Map, Value};
use tabwriter::TabWriter;

const LONGEST_ANNOTATION: usize = 140;
const UNSHOWN_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Blocks of lines; columns line up within a block only.
#[derive(Debug, Default)]
pub(crate) struct Page {
    blocks: Vec<String>,
}

impl Page {
    /// `Title:` and its value.
    pub(super) fn field(&mut self, title: &str, value: impl Display) {
        self.line(0, format_args!("{title}:\t{value}"));
    }

    /// The same, `level` steps in.
    pub(super) fn field_at(&mut self, level: usize, title: &str, value: impl Display) {
        self.line(level, format_args!("{title}:\t{value}"));
    }

    /// The field, when it has a value.
    pub(super) fn maybe(&mut self, title: &str, value: &Value) {
        let text = plain(value);
        if !text.is_empty() {
            self.field(title, text);
        }
    }

    pub(crate) fn line(&mut self, level: usize, text: impl Display) {
        if self.blocks.is_empty() {
            self.blocks.push(String::new());
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push_str(&"  ".repeat(level));
            block.push_str(&format!("{text}\n"));
        }
    }

    /// What comes lines up anew.
    pub(crate) fn block(&mut self) {
        self.blocks.push(String::new());
    }

    /// `Title:` and a pair a line, in order; `<none>` where there is none.
    pub(super) fn labels(&mut self, title: &str, labels: &Value) {
        self.labels_at("", title, labels);
    }

    pub(super) fn labels_at(&mut self, indent: &str, title: &str, labels: &Value) {
        let pairs: Vec<String> = map(labels).map(|(key, value)| format!("{key}={}", plain(value))).collect();
        self.column(&format!("{indent}{title}"), &pairs);
    }

    /// `Title:` and a value a line; `<none>` where there is none.
    pub(super) fn column(&mut self, title: &str, values: &[String]) {
        match values {
            [] => self.line(0, format_args!("{title}:\t<none>")),
            [first, rest @ ..] => {
                self.line(0, format_args!("{title}:\t{first}"));
                for value in rest {
                    self.line(0, format_args!("\t{value}"));
                }
            }
        }
    }

    pub(super) fn annotations(&mut self, title: &str, annotations: &Value) {
        let mut lines = Vec::new();
        for (key, value) in map(annotations).filter(|(key, _)| *key != UNSHOWN_ANNOTATION) {
            let value = plain(value);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 <= LONGEST_ANNOTATION && !value.contains('\n') {
                lines.push(format!("{key}: {value}"));
                continue;
            }
            lines.push(format!("{key}:"));
            lines.extend(value.split('\n').map(|line| format!("  {}", shorten(line, LONGEST_ANNOTATION - 2))));
        }
        self.column(title, &lines);
    }

    /// The lines with a tab between columns.
    pub(super) fn unaligned(&self) -> String {
        self.blocks.concat()
    }

    pub(crate) fn render(&self) -> String {
        let mut out = Vec::new();
        for block in &self.blocks {
            let mut writer = TabWriter::new(&mut out).minwidth(0).padding(2);
            // A vector takes everything.
            let _ = writer.write_all(block.as_bytes());
            let _ = writer.flush();
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Name, namespace (of what has one), labels and annotations: the head of nearly every page.
pub(super) fn head(page: &mut Page, object: &Value) {
    page.field("Name", stead_api::meta::name(object));
    page.maybe("Namespace", &object["metadata"]["namespace"]);
    page.labels("Labels", &object["metadata"]["labels"]);
    page.annotations("Annotations", &object["metadata"]["annotations"]);
}

/// A value as text: strings bare, nothing for null.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `text`, or `<none>` for an empty one.
pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn map(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Members joined by `separator`.
pub(super) fn joined(value: &Value, separator: &str) -> String {
    list(value).map(plain).collect::<Vec<_>>().join(separator)
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn pairs(labels: &Value) -> String {
    let pairs: Vec<String> = map(labels).map(|(key, value)| format!("{key}={}", plain(value))).collect();
    or_none(&pairs.join(",")).to_owned()
}

/// A timestamp as RFC 1123 writes it with a numeric zone, in UTC.
pub(super) fn date(value: &Value) -> String {
    let Some(time) = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) else {
        return "Mon, 01 Jan 0001 00:00:00 +0000".to_owned();
    };
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// `Kind/name` of the controller that an object belongs to.
pub(super) fn controller(object: &Value) -> Option<String> {
    let owner = list(&object["metadata"]["ownerReferences"]).find(|owner| owner["controller"] == true)?;
    Some(format!("{}/{}", plain(&owner["kind"]), plain(&owner["name"])))
}

fn shorten(text: &str, longest: usize) -> String {
    match text.char_indices().find(|(at, _)| *at >= longest) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

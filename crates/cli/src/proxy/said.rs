//! What is said of the settings in one place: on the command line, in the `proxy` section, or in a KubeProxyConfiguration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    table::{ROWS, Row},
    value::{Form, parse_duration},
};

/// Texts by the names of their rows. Each has passed its form's check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub(crate) struct Said(BTreeMap<&'static str, String>);

impl Said {
    /// # Errors
    /// Where `text` cannot be said of the row, in one clause.
    pub(crate) fn say(&mut self, row: &'static Row, text: String) -> Result<(), String> {
        row.form.check(&text)?;
        self.0.insert(row.name, text);
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Row, &str)> {
        ROWS.iter().filter_map(|row| Some((row, self.get(row.name)?)))
    }

    /// What `other` says too is as it says.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Without the rows that are not kept, which are handed back.
    pub(crate) fn split(self, is_kept: impl Fn(&str) -> bool) -> (Self, Self) {
        let (kept, others) = self.0.into_iter().partition(|(name, _)| is_kept(name));
        (Self(kept), Self(others))
    }

    /// Reads a KubeProxyConfiguration without its `apiVersion` and `kind`. What has its type's zero there and no zero as a meaning counts as
    /// not said, as upstream's types cannot tell the two apart.
    ///
    /// # Errors
    /// All that is wrong, each with its path, in one line.
    pub(crate) fn from_configuration(fields: &Map<String, Value>) -> Result<Self, String> {
        let mut said = Self::default();
        let mut problems = Vec::new();
        said.read_fields("", fields, &mut problems);
        if problems.is_empty() { Ok(said) } else { Err(problems.join("; ")) }
    }

    fn read_fields(&mut self, above: &str, fields: &Map<String, Value>, problems: &mut Vec<String>) {
        for (name, value) in fields {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if let Some(row) = ROWS.iter().find(|row| row.field() == Some(&path)) {
                let said = row.form.text_of(value).and_then(|text| match text {
                    Some(text) if !is_zero(row, &text) => self.say(row, text),
                    _ => Ok(()),
                });
                problems.extend(said.err().map(|problem| format!("{path}: {problem}")));
                continue;
            }
            let has_fields = ROWS.iter().filter_map(Row::field).any(|field| field.starts_with(&format!("{path}.")));
            match value {
                Value::Object(fields) if has_fields => self.read_fields(&path, fields, problems),
                Value::Null if has_fields => {}
                _ if has_fields => problems.push(format!("{path}: expected a mapping")),
                _ => problems.push(format!("unknown field \"{path}\"")),
            }
        }
    }
}

/// Whether a KubeProxyConfiguration says nothing by it.
fn is_zero(row: &Row, text: &str) -> bool {
    match row.form {
        _ if text.is_empty() => true,
        // A pointer upstream: zero means to leave the kernel's.
        Form::Duration(_) if row.name.starts_with("conntrack-tcp-timeout") => false,
        Form::Duration(_) => parse_duration(text).is_ok_and(|duration| duration.is_zero()),
        Form::Number => text.parse() == Ok(0.0),
        _ => row.name == "kube-api-burst" && text == "0",
    }
}

impl TryFrom<BTreeMap<String, Value>> for Said {
    type Error = String;

    /// Reads a `proxy` section.
    fn try_from(section: BTreeMap<String, Value>) -> Result<Self, String> {
        let mut said = Self::default();
        for (key, value) in section {
            let row = ROWS.iter().find(|row| row.is_flag() && row.key() == key);
            let row = row.ok_or_else(|| format!("unknown field `{key}`"))?;
            let text = row.form.text_of(&value).map_err(|problem| format!("{key}: {problem}"))?;
            if let Some(text) = text {
                said.say(row, text).map_err(|problem| format!("{key}: {problem}"))?;
            }
        }
        Ok(said)
    }
}

impl From<Said> for BTreeMap<String, Value> {
    fn from(said: Said) -> Self {
        said.iter().map(|(row, text)| (row.key(), row.form.value_of(text))).collect()
    }
}

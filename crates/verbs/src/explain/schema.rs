//! Schemas of an OpenAPI v3 document: references followed, and what kubectl calls their types.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::kinds::Kind;

/// The schemas of a document, by the name that references use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schemas<'a>(Option<&'a Map<String, Value>>);

/// One schema, or a reference to one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    schemas: Schemas<'a>,
    value: &'a Value,
}

impl<'a> Schemas<'a> {
    pub(super) fn of(document: &'a Value) -> Self {
        Self(document["components"]["schemas"].as_object())
    }

    /// The schema of objects of a kind.
    pub(super) fn of_kind(self, kind: &Kind) -> Option<Node<'a>> {
        let is_of = |value: &&Value| {
            let known = value["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
            known.into_iter().any(|one| {
                one["group"] == kind.group.as_str()
                    && one["version"] == kind.version.as_str()
                    && one["kind"] == kind.kind.as_str()
            })
        };
        self.0?.values().find(is_of).map(|value| Node { schemas: self, value })
    }

    fn named(self, reference: &str) -> Option<&'a Value> {
        self.0?.get(name_in(reference))
    }
}

/// What is behind the last slash.
fn name_in(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

impl<'a> Node<'a> {
    fn at(&self, value: &'a Value) -> Self {
        Self { schemas: self.schemas, value }
    }

    fn reference(&self) -> Option<&'a str> {
        self.value.get("$ref")?.as_str()
    }

    /// The schema itself, noting the reference on the way; `None` where that is one of `above` already.
    pub(super) fn resolve_into(&self, above: &mut Vec<&'a str>) -> Option<Self> {
        let Some(reference) = self.reference() else { return Some(*self) };
        if above.contains(&reference) {
            return None;
        }
        above.push(reference);
        Some(self.schemas.named(reference).map_or(*self, |value| self.at(value)))
    }

    pub(super) fn properties(&self) -> BTreeMap<&'a str, Self> {
        let properties = self.value["properties"].as_object().into_iter().flatten();
        properties.map(|(name, value)| (name.as_str(), self.at(value))).collect()
    }

    /// What this is put together from: alternatives, then what a list or map holds.
    pub(super) fn parts(&self) -> Vec<Self> {
        let all = self.value["allOf"].as_array().into_iter().flatten();
        let held = [self.value.get("items"), self.value.get("additionalProperties").filter(|held| !held.is_boolean())];
        all.chain(held.into_iter().flatten()).map(|value| self.at(value)).collect()
    }

    /// The field of that name, also of what a list or map holds.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        self.field_below(name, &mut Vec::new())
    }

    fn field_below(&self, name: &str, above: &mut Vec<&'a str>) -> Option<Self> {
        let node = self.resolve_into(above)?;
        node.properties().remove(name).or_else(|| node.parts().iter().find_map(|part| part.field_below(name, above)))
    }

    pub(super) fn requires(&self, name: &str) -> bool {
        self.value["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name))
    }

    pub(super) fn description(&self) -> Option<&'a str> {
        self.value.get("description")?.as_str().filter(|text| !text.is_empty())
    }

    /// Its own description, and those of what it is put together from.
    pub(super) fn descriptions(&self) -> Vec<&'a str> {
        let (mut all, mut above) = (Vec::new(), Vec::new());
        self.describe_into(&mut all, &mut above);
        all
    }

    fn describe_into(&self, all: &mut Vec<&'a str>, above: &mut Vec<&'a str>) {
        let depth = above.len();
        let Some(node) = self.resolve_into(above) else { return };
        all.extend(node.description());
        for part in node.parts() {
            part.describe_into(all, above);
        }
        above.truncate(depth);
    }

    /// The values that it may have, where they are listed.
    pub(super) fn values(&self) -> Option<Vec<String>> {
        let values = self.value.get("enum")?.as_array().filter(|values| !values.is_empty())?;
        let text = |value: &Value| match value {
            Value::String(text) if !text.is_empty() => text.clone(),
            other => other.to_string(),
        };
        Some(values.iter().map(text).collect())
    }

    /// `string`, `[]ServicePort`, `map[string]string`.
    pub(super) fn type_name(&self) -> String {
        if let Some(items) = self.value.get("items") {
            return format!("[]{}", self.at(items).type_name());
        }
        if let Some(held) = self.value.get("additionalProperties").filter(|held| !held.is_boolean()) {
            return format!("map[string]{}", self.at(held).type_name());
        }
        if let (Some([only]), None) = (self.value["allOf"].as_array().map(Vec::as_slice), self.value.get("properties"))
        {
            return self.at(only).type_name();
        }
        let own = |value: &Value| value["type"].as_str().map(str::to_owned).filter(|name| name != "object");
        match self.reference() {
            Some(reference) => self.schemas.named(reference).and_then(own).unwrap_or_else(|| {
                let name = name_in(reference);
                name.rsplit('.').next().unwrap_or(name).to_owned()
            }),
            None => own(self.value).unwrap_or_else(|| "Object".to_owned()),
        }
    }
}

//! The API of 2014 and 2015, `v1beta1` and `v1beta3`, turned into v1 and back: what both can say is said in both, and what the
//! older cannot say is left out.
//!
//! Pure: objects come in decoded against the types of their version ([`Kind::resource`]), so that unknown fields are reported
//! under the names they were written with. Paths, queries and bodies are the API server's, which has no handlers of its own
//! for these versions; validation is v1's.

use serde_json::{Value, json};

use crate::{
    field::FieldError,
    kinds::{
        self,
        value::{at, remove, set, text},
    },
    resource::Resource,
};

mod binding;
mod carry;
mod endpoints;
mod event;
mod keep;
mod manifest;
mod meta;
mod minion;
mod namespace;
mod pod;
mod reference;
mod replication_controller;
mod resources;
pub(crate) mod schema;
pub mod service;
mod status;
pub mod table;
#[cfg(test)]
mod tests;
mod v1beta3;

pub use resources::RESOURCES;
pub use status::{deleted, status_from_v1};

/// An older version of the core group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1beta1,
    V1beta3,
}

/// A kind at an older version.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub version: Version,
    /// As discovery and OpenAPI show it; its definition is what bodies are decoded against.
    pub resource: &'static Resource,
    /// The same kind in v1; `None` for Binding, which has no collection.
    pub modern: Option<&'static Resource>,
    to_v1: fn(&Value, &mut Vec<FieldError>) -> Value,
    from_v1: fn(&Value) -> Value,
}

impl Version {
    pub const ALL: [Self; 2] = [Self::V1beta1, Self::V1beta3];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1beta1 => "v1beta1",
            Self::V1beta3 => "v1beta3",
        }
    }

    /// As a path names it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }
}

/// The kind with this plural. Plurals were written `replicationControllers` too.
pub fn find(version: Version, plural: &str) -> Option<&'static Kind> {
    let named = |kind: &&Kind| kind.version == version && kind.resource.plural.eq_ignore_ascii_case(plural);
    resources::KINDS.iter().find(named)
}

impl Kind {
    /// The v1 object. What cannot be is said with the older version's field names.
    pub fn to_v1(&self, old: &Value) -> Result<Value, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut new = (self.to_v1)(old, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        set(&mut new, "apiVersion", "v1");
        set(&mut new, "kind", self.modern_kind());
        Ok(new)
    }

    /// What an update by this version makes of the object that is `stored`: what the version cannot say stays as it is.
    pub fn update_to_v1(&self, old: &Value, stored: &Value) -> Result<Value, Vec<FieldError>> {
        let mut said = self.from_v1(stored);
        let new = match (self.version, self.resource.kind) {
            (Version::V1beta1, "Service") => self.to_v1(&service::with_flat_port(old, &said))?,
            _ => self.to_v1(old)?,
        };
        if self.version == Version::V1beta1 {
            remove(&mut said, "metadata");
        }
        let said = self.to_v1(&said)?;
        let stored = if self.resource.kind == "Service" { &service::without_given_port(stored, &new) } else { stored };
        Ok(keep::unsaid(new, stored, &said))
    }

    /// What a patch by this version is applied to: the object as it is shown, without metadata of today, which a patch
    /// changes apart.
    pub fn patchable(&self, stored: &Value, patch: &Value) -> Value {
        let mut shown = self.from_v1(stored);
        if self.version == Version::V1beta1 {
            remove(&mut shown, "metadata");
            service::make_room(&mut shown, patch);
        }
        shown
    }

    /// The object as this version shows it.
    pub fn from_v1(&self, new: &Value) -> Value {
        let mut old = (self.from_v1)(new);
        set(&mut old, "apiVersion", self.version.as_str());
        set(&mut old, "kind", self.resource.kind);
        let link = self.link(text(new, "/metadata/namespace"), text(new, "/metadata/name"));
        match self.version {
            Version::V1beta1 => set(&mut old, "selfLink", link),
            Version::V1beta3 => set(&mut old["metadata"], "selfLink", link),
        }
        old
    }

    /// The list as this version shows it.
    pub fn list_from_v1(&self, list: &Value) -> Value {
        let items = kinds::value::list(list, "/items").iter().map(|item| {
            let mut item = self.from_v1(item);
            remove(&mut item, "kind");
            remove(&mut item, "apiVersion");
            item
        });
        let items = items.collect::<Vec<_>>();
        let mut old = json!({
            "kind": format!("{}List", self.resource.kind), "apiVersion": self.version.as_str(),
            "metadata": at(list, "/metadata"),
        });
        let link = self.link("", "");
        if self.version == Version::V1beta3 {
            set(&mut old["metadata"], "selfLink", link);
            set(&mut old, "items", items);
            return old;
        }
        set(&mut old, "creationTimestamp", Value::Null);
        set(&mut old, "selfLink", link);
        if let Ok(revision) = text(list, "/metadata/resourceVersion").parse::<u64>() {
            set(&mut old, "resourceVersion", revision);
        }
        if self.resource.plural == "minions" {
            set(&mut old, "minions", items.clone());
        }
        set(&mut old, "items", items);
        old
    }

    fn modern_kind(&self) -> &'static str {
        self.modern.map_or(self.resource.kind, |modern| modern.kind)
    }

    fn link(&self, namespace: &str, name: &str) -> String {
        let (version, plural) = (self.version.as_str(), self.resource.plural);
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        match self.version {
            Version::V1beta1 if namespace.is_empty() => format!("/api/{version}/{plural}{name}"),
            Version::V1beta1 => format!("/api/{version}/{plural}{name}?namespace={namespace}"),
            Version::V1beta3 if namespace.is_empty() => format!("/api/{version}/{plural}{name}"),
            Version::V1beta3 => format!("/api/{version}/namespaces/{namespace}/{plural}{name}"),
        }
    }
}

/// The field that v1 selects by, for one that the older version names; `None` for a field it does not know.
pub fn field_to_v1(kind: &Kind, label: &str, value: &str) -> Option<(String, String)> {
    let same = |label: &str| Some((label.to_owned(), value.to_owned()));
    if label.starts_with("metadata.") {
        return same(label);
    }
    match (kind.resource.kind, label) {
        (_, "name" | "id") => same("metadata.name"),
        (_, "namespace") => same("metadata.namespace"),
        ("Pod", "DesiredState.Host" | "desiredState.host" | "spec.host") => same("spec.nodeName"),
        ("Pod", "DesiredState.Status" | "desiredState.status" | "currentState.status") => {
            let phase = pod::phase_to_v1(value).unwrap_or(value);
            Some(("status.phase".to_owned(), phase.to_owned()))
        }
        ("Minion" | "Node", "unschedulable") => same("spec.unschedulable"),
        ("ReplicationController", "currentState.replicas") => same("status.replicas"),
        ("Event", "involvedObject.id") => same("involvedObject.name"),
        _ => same(label),
    }
}

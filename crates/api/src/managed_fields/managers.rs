//! The entries of `metadata.managedFields`: reading, changing and writing them.

use serde_json::{Value, json};

use super::Writer;
use super::compare::Comparison;
use super::path::PathElement;
use super::set::FieldSet;
use crate::meta;

/// More entries of updates than this are merged, the oldest first.
const MAX_UPDATERS: usize = 10;
/// The manager of entries that were merged.
const ANCIENT: &str = "ancient-changes";

/// How fields came to their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// RFC 3339, seconds; empty where it is not known.
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

/// All entries of an object; no two of them are [the same](Manager::is).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managers(pub(super) Vec<Manager>);

impl Manager {
    /// The entry that `writer` writes to.
    pub(super) fn of(writer: &Writer<'_>, name: &str, operation: Operation) -> Self {
        Self {
            name: if name.is_empty() { "unknown" } else { name }.to_owned(),
            operation,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: String::new(),
            fields: FieldSet::default(),
        }
    }

    /// One manager has one entry for each way of writing; for updates, also for each version.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    fn parse(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
            return None;
        }
        let fields = entry.get("fieldsV1").map_or(Ok(FieldSet::default()), FieldSet::parse).ok()?;
        Some(Self {
            name: text("manager").to_owned(),
            operation,
            api_version: text("apiVersion").to_owned(),
            subresource: text("subresource").to_owned(),
            time: text("time").to_owned(),
            fields,
        })
    }

    fn render(&self) -> Value {
        let mut entry = json!({
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.render(),
            "operation": match self.operation {
                Operation::Apply => "Apply",
                Operation::Update => "Update",
            },
        });
        for (key, value) in [("manager", &self.name), ("subresource", &self.subresource), ("time", &self.time)] {
            if !value.is_empty() {
                entry[key] = value.as_str().into();
            }
        }
        entry
    }

    /// Without what nobody owns: what an object is, and what the server gives.
    pub(super) fn strip(&mut self) {
        let metadata = || PathElement::field("metadata");
        let mut stripped = FieldSet::default();
        for field in ["apiVersion", "kind", "metadata"] {
            stripped.insert(&[PathElement::field(field)]);
        }
        for field in [
            "creationTimestamp",
            "generation",
            "managedFields",
            "name",
            "namespace",
            "resourceVersion",
            "selfLink",
            "uid",
        ] {
            stripped.insert(&[metadata(), PathElement::field(field)]);
        }
        self.fields = self.fields.difference(&stripped);
    }
}

impl Managers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `metadata.managedFields`. `None`: some entry cannot be read.
    pub(super) fn parse(entries: &Value) -> Option<Self> {
        let mut managers = Self::default();
        for entry in entries.as_array()? {
            let manager = Manager::parse(entry)?;
            match managers.0.iter_mut().find(|known| known.is(&manager)) {
                Some(known) => *known = manager,
                None => managers.0.push(manager),
            }
        }
        Some(managers)
    }

    /// The same of an object that is stored: nobody where it cannot be read.
    pub(super) fn read(entries: Option<&Value>) -> Self {
        entries.and_then(Self::parse).unwrap_or_default()
    }

    /// An update by `name`, made by `writer`, has changed this: its fields are the writer's now, and nobody else's.
    pub(super) fn update(&mut self, comparison: &Comparison, writer: &Writer<'_>, name: &str) {
        let changed = comparison.changed();
        for manager in self.0.iter_mut().filter(|manager| manager.api_version == writer.api_version) {
            manager.fields = manager.fields.difference(&changed).difference(&comparison.removed);
        }
        let mut own = Manager::of(writer, name, Operation::Update);
        own.time = meta::seconds(writer.now);
        own.fields = changed;
        own.strip();
        if !own.fields.is_empty() {
            match self.0.iter_mut().find(|manager| manager.is(&own)) {
                Some(known) => {
                    known.fields = known.fields.union(&own.fields);
                    known.time = own.time;
                }
                None => self.0.push(own),
            }
        }
        self.drop_empty();
        self.cap();
    }

    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|manager| !manager.fields.is_empty());
    }

    /// Puts the entries into the object, in upstream's order.
    pub(super) fn write(mut self, object: &mut Value) {
        if self.0.is_empty() {
            return meta::unset(object, "managedFields");
        }
        self.0.sort_by(|a, b| {
            let key = |manager: &Manager| (manager.operation, manager.time.clone(), manager.name.clone());
            let rest = |manager: &Manager| (manager.api_version.clone(), manager.subresource.clone());
            key(a).cmp(&key(b)).then_with(|| rest(a).cmp(&rest(b)))
        });
        let entries = self.0.iter().map(Manager::render).collect::<Vec<_>>();
        meta::set(object, "managedFields", entries);
    }

    /// Merges the oldest updates of one version into one entry until there are not too many.
    fn cap(&mut self) {
        let is_update = |manager: &&Manager| manager.operation == Operation::Update;
        while self.0.iter().filter(is_update).count() > MAX_UPDATERS {
            let mut oldest = (0..self.0.len()).filter(|index| self.0[*index].operation == Operation::Update);
            let oldest = {
                let mut indices = oldest.by_ref().collect::<Vec<_>>();
                indices.sort_by_key(|index| {
                    let manager = &self.0[*index];
                    (manager.name != ANCIENT, manager.time.clone(), manager.name.clone())
                });
                indices
            };
            let version = &self.0[oldest[0]].api_version;
            let Some(second) = oldest[1..].iter().find(|index| self.0[**index].api_version == *version) else { return };
            let merged = Manager {
                name: ANCIENT.to_owned(),
                operation: Operation::Update,
                api_version: version.clone(),
                subresource: String::new(),
                time: self.0[*second].time.clone(),
                fields: self.0[oldest[0]].fields.union(&self.0[*second].fields),
            };
            let gone = [oldest[0], *second];
            let mut index = 0;
            self.0.retain(|_| {
                index += 1;
                !gone.contains(&(index - 1))
            });
            self.0.push(merged);
        }
    }
}

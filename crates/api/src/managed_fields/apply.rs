//! Server-side apply.

use serde_json::Value;

use super::fields_of::{ConfigError, Duplicates, fields_of};
use super::managers::{Manager, Managers, Operation};
use super::merge::merge;
use super::remove::remove;
use super::set::FieldSet;
use super::shape::Shape;
use super::{Comparison, PathElement, Writer, compare, take_entries};
use crate::decode::{DecodeError, prune};
use crate::meta;

/// The manager of fields that were there before anything was applied and that nobody was noted for.
const BEFORE: &str = "before-first-apply";
/// The one manager for which the annotation of client-side apply counts.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is done with fields that others own and the configuration states otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// They are conflicts.
    Refuse,
    /// They become the applier's.
    Take,
}

/// A field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// `"kubectl-edit" using v1`, as messages name an owner.
    pub manager: String,
    /// Such as `.spec.ports[port=80,protocol="TCP"].targetPort`.
    pub field: String,
}

/// Why nothing is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("{}", message(.0))]
    Conflicts(Vec<Conflict>),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("no schema for {definition}")]
    NoSchema { definition: String },
}

/// What `live` (canonical, at least an empty object of its kind) becomes when `config` (as it was sent) is applied to it. It is
/// canonical, not defaulted, and carries the new `managedFields`.
pub fn apply(live: &Value, config: &Value, writer: &Writer<'_>, force: Force) -> Result<Value, ApplyError> {
    let definition = writer.definition;
    let shape = Shape::of(definition).ok_or_else(|| ApplyError::NoSchema { definition: definition.to_owned() })?;
    let mut live = live.clone();
    let mut managers = Managers::read(take_entries(&mut live).as_ref());
    if managers.is_empty() {
        let empty = Value::Object(serde_json::Map::new());
        let writer = Writer { subresource: "", ..*writer };
        managers.update(&compare(&empty, &live, shape, &writer), &writer, BEFORE);
    }
    let application = Application { live: &live, config, shape, writer };
    let done = application.run(managers.clone(), force);
    let (mut new, managers) = match done {
        Err(ApplyError::Conflicts(conflicts)) if writer.manager == KUBECTL => {
            let allowed = application.applied_by_client();
            let left = conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.field)).collect::<Vec<_>>();
            if !left.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            application.run(managers, Force::Take)?
        }
        done => done?,
    };
    if writer.manager == KUBECTL && meta::annotation(&new, LAST_APPLIED).is_some_and(|text| !text.is_empty()) {
        new["metadata"]["annotations"][LAST_APPLIED] = last_applied(config).into();
    }
    managers.write(&mut new);
    Ok(new)
}

/// One configuration to be laid over one object.
#[derive(Clone, Copy, Debug)]
struct Application<'a> {
    live: &'a Value,
    config: &'a Value,
    shape: Shape<'a>,
    writer: &'a Writer<'a>,
}

impl Application<'_> {
    fn run(&self, mut managers: Managers, force: Force) -> Result<(Value, Managers), ApplyError> {
        let Self { live, config, shape, writer } = *self;
        let mut own = Manager::of(writer, writer.manager, Operation::Apply);
        own.fields = self.stated()?;
        let last = managers.0.iter().position(|manager| manager.is(&own)).map(|index| managers.0.remove(index));
        let merged = merge(live, config, shape);
        let new = match &last {
            Some(last) if last.api_version == writer.api_version => {
                self.pruned(merged, &last.fields, &own, &managers)?
            }
            _ => merged,
        };
        // What is stated counts also where the stored form leaves it out: an empty value takes a field from its owner.
        let comparison = compare(live, &new, shape, writer);
        let new = prune(new, writer.definition)?.value;
        let changed = comparison.changed();
        let others = managers.0.iter_mut().filter(|manager| manager.api_version == writer.api_version);
        let mut conflicts = Vec::new();
        for manager in others {
            let taken = manager.fields.intersection(&changed);
            let owner = describe(manager);
            conflicts.extend(taken.paths().into_iter().map(|field| Conflict { manager: owner.clone(), field }));
            manager.fields = manager.fields.difference(&taken).difference(&comparison.removed);
        }
        if force == Force::Refuse && !conflicts.is_empty() {
            conflicts.sort();
            return Err(ApplyError::Conflicts(conflicts));
        }
        own.strip();
        own.time = match last {
            Some(last) if comparison.is_same() => last.time,
            _ if comparison.is_same() => String::new(),
            _ => meta::seconds(writer.now),
        };
        managers.0.push(own);
        managers.drop_empty();
        Ok((new, managers))
    }

    /// The fields that the configuration states and this way of writing changes.
    fn stated(&self) -> Result<FieldSet, ConfigError> {
        let mut ignored = FieldSet::default();
        for field in self.writer.ignored {
            ignored.insert(&[PathElement::field(field)]);
        }
        Ok(fields_of(self.config, self.shape, Duplicates::Refused)?.without(&ignored))
    }

    /// `merged` without what the applier stated last time, does not state now, and nobody else owns.
    fn pruned(&self, merged: Value, last: &FieldSet, own: &Manager, others: &Managers) -> Result<Value, ConfigError> {
        let shape = self.shape;
        if last.is_empty() {
            return Ok(merged);
        }
        let named = |set: &FieldSet| set.with_named_fields(shape);
        let fields = |object: &Value| Ok(named(&fields_of(object, shape, Duplicates::Allowed)?));
        let managed = others.0.iter().filter(|manager| manager.api_version == self.writer.api_version);
        let managed = managed.fold(own.fields.clone(), |all, manager| all.union(&manager.fields));
        let last = named(last);
        let all = fields(&merged)?;
        let left = fields(&remove(&merged, &last, shape))?;
        let owned = remove(&merged, &all.difference(&left.union(&named(&managed))), shape);
        // What hangs below something that is gone goes only where the applier stated it.
        let gone = all.difference(&fields(&owned)?).intersection(&last);
        Ok(remove(&merged, &gone, shape))
    }

    /// The fields that client-side apply stated and that are still as it stated them: those are no conflicts.
    fn applied_by_client(&self) -> Vec<String> {
        let text = meta::annotation(self.live, LAST_APPLIED).unwrap_or_default();
        let Ok(last) = serde_json::from_str::<Value>(text) else { return Vec::new() };
        if last["apiVersion"] != self.writer.api_version {
            return Vec::new();
        }
        let Ok(stated) = fields_of(&last, self.shape, Duplicates::Allowed) else { return Vec::new() };
        let Ok(last) = prune(last, self.writer.definition) else { return Vec::new() };
        let Comparison { removed, modified, added } = Comparison::of(&last.value, self.live, self.shape);
        stated.difference(&modified).difference(&added).difference(&removed).paths()
    }
}

/// The configuration as the annotation of client-side apply has it.
fn last_applied(config: &Value) -> String {
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    format!("{config}\n")
}

/// As messages name an owner.
fn describe(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if manager.operation == Operation::Update {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}

fn message(conflicts: &[Conflict]) -> String {
    if let [Conflict { manager, field }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {field}");
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    for (index, Conflict { manager, field }) in conflicts.iter().enumerate() {
        let line = if index == 0 { "" } else { "\n" };
        match conflicts[..index].last() {
            Some(before) if before.manager == *manager => {}
            _ => text.push_str(&format!("{line}conflicts with {manager}:")),
        }
        text.push_str(&format!("\n- {field}"));
    }
    text
}

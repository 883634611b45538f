//! What the API server knows of a kind. One constant [`Resource`] per kind, each in a module of its own under `kinds`;
//! handlers are generic over it, so that adding a kind is adding a module.

use jiff::Timestamp;
use serde_json::Value;

use crate::field::FieldError;

/// Everything about one kind at one version.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// Plural, lower case, as in paths.
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    /// `all` makes it part of `kubectl get all`.
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// The definition in the OpenAPI schema, such as `io.k8s.api.core.v1.Service`.
    pub definition: &'static str,
    /// Where objects are stored: `/registry/PREFIX/NAMESPACE/NAME`, without the namespace for cluster-scoped kinds.
    pub registry: &'static str,
    /// PUT to a name that does not exist creates it (Service, Endpoints, Event, Lease).
    pub create_on_update: bool,
    /// DELETE answers with the object instead of a Status (Service, Pod, Namespace, ServiceAccount).
    pub delete_returns_object: bool,
    /// How long an object lives after its last write, in seconds (Events: 3600).
    pub time_to_live: Option<u32>,
    pub columns: &'static [Column],
    pub strategy: &'static dyn Strategy,
}

/// A subresource that the generic handlers serve, or that a handler of its own does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    Status,
    /// `autoscaling/v1` Scale.
    Scale,
    /// `pods/log`.
    Log,
    /// `pods/binding`.
    Binding,
    /// `pods/eviction`.
    Eviction,
    /// `namespaces/finalize`.
    Finalize,
    /// `serviceaccounts/token`.
    Token,
    /// `services/proxy`, `pods/proxy`, `nodes/proxy`.
    Proxy,
    /// `pods/exec`.
    Exec,
    /// `pods/attach`.
    Attach,
    /// `pods/portforward`.
    PortForward,
}

impl Subresource {
    /// Whether it leads on into a pod or to a node, so that reading it is more than reading an object.
    pub const fn connects(self) -> bool {
        matches!(self, Self::Proxy | Self::Exec | Self::Attach | Self::PortForward)
    }
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`.
    pub kind: &'static str,
    /// `name` for the first column, else empty.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
}

/// A `TableRowCondition` that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowCondition {
    pub kind: &'static str,
    pub reason: &'static str,
    pub message: &'static str,
}

/// What a write must be told besides failing: `Warning: 299` texts.
pub type Warnings = Vec<String>;

/// The rules of a kind over decoded, canonical objects. All functions are pure; what needs the store (allocation of
/// addresses and ports) is the API server's.
///
/// A write goes: decode → [`default`](Self::default) → `prepare_*` → server's own (uid, timestamps, allocation) →
/// `validate_*` → store. An object that failed validation is never stored.
pub trait Strategy: std::fmt::Debug + Sync {
    /// Turns an object as it is served at this version into the form that is stored, where more than `apiVersion` differs. All
    /// other functions see only the stored form. Both forms are the same for all kinds but `events.k8s.io/v1` Event.
    fn become_stored(&self, _object: &mut Value) {}

    /// The way back of [`become_stored`](Self::become_stored), before an object is answered or patched.
    fn become_served(&self, _object: &mut Value) {}

    /// Fills what upstream's defaulting fills. Called on every write, and on every read of an older stored form.
    fn default(&self, _object: &mut Value) {}

    /// Clears what a client may not set on create (status, generation 1 where the kind has one).
    fn prepare_create(&self, _object: &mut Value) {}

    /// Puts back what a client may not change (status, immutable leftovers), bumps `metadata.generation` where spec changed.
    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    /// For PUT and PATCH on `/status`: keeps everything but status and metadata of `old`; the generation counts changes of
    /// the spec and stays too.
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        if let (Some(new), Some(spec)) = (new.as_object_mut(), old.get("spec")) {
            new.insert("spec".to_owned(), spec.clone());
        }
        if let Some(generation) = old.pointer("/metadata/generation") {
            crate::meta::set(new, "generation", generation.clone());
        }
    }

    /// Whether a PUT may leave out which revision it replaces. Not so where objects are locks.
    fn may_replace_any_revision(&self) -> bool {
        true
    }

    /// Whether a deletion that says nothing of dependents leaves them, as only the oldest kind of workload does.
    fn orphans_dependents(&self) -> bool {
        false
    }

    fn validate_create(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// What is accepted and yet not what the client may think: deprecated fields, fields that nothing acts on yet.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Warnings {
        Vec::new()
    }

    /// What whoever uses the kind at all is told: what to use instead.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// The value of a field that field selectors may name, beside `metadata.name` and `metadata.namespace`.
    /// `None`: the kind knows no such field. An unset field is the empty text.
    fn selectable_field(&self, _object: &Value, _path: &str) -> Option<String> {
        None
    }

    /// The names [`selectable_field`](Self::selectable_field) answers to. Versions of one stored form name the same fields in the
    /// same order; the version that is stored may name more.
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// What marks an object's row in a Table, such as that a Pod has ended.
    fn row_condition(&self, _object: &Value) -> Option<RowCondition> {
        None
    }

    /// One cell for each of the resource's columns.
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value>;
}

impl Resource {
    /// `v1` or `GROUP/VERSION`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The key an object is stored under.
    pub fn registry_key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("/registry/{}/{namespace}/{name}", self.registry)
        } else {
            format!("/registry/{}/{name}", self.registry)
        }
    }
}

//! Which objects of a kind a list, watch or collection deletion is about: namespace, labels, fields.

use stead_api::{
    resource::Resource,
    selector::{FieldSelector, Selector},
    status::ApiError,
};

use crate::{
    cache::{Entry, KindCache, Listing},
    query::Query,
    refusal::Refusal,
    storage::object_path,
};

/// What must hold for an object to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    resource: &'static Resource,
    namespace: Option<String>,
    labels: Selector,
    fields: FieldSelector,
    /// The one object that can match.
    only: Option<String>,
}

impl Filter {
    /// `name` narrows to one object (the old watch paths); a field selector beside it has to name the same one.
    pub(crate) fn new(
        resource: &'static Resource,
        namespace: Option<&str>,
        name: Option<&str>,
        query: &Query,
    ) -> Result<Self, Refusal> {
        let labels = query.get("labelSelector").unwrap_or_default();
        let labels = Selector::parse(labels)?;
        let fields = query.get("fieldSelector").unwrap_or_default();
        let fields = FieldSelector::parse(fields)?;
        fields.validate(resource)?;
        if name.is_some() && !fields.terms().is_empty() && fields.required("metadata.name") != name {
            return Err(ApiError::bad_request("fieldSelector metadata.name doesn't match requested name").into());
        }
        let namespace = namespace.or_else(|| fields.required("metadata.namespace").filter(|_| resource.namespaced));
        let namespace = namespace.map(str::to_owned);
        let only = name.or_else(|| fields.required("metadata.name"));
        let only = match (only, &namespace) {
            (Some(name), Some(namespace)) => Some(object_path(resource, namespace, name)),
            (Some(name), None) if !resource.namespaced => Some(name.to_owned()),
            _ => None,
        };
        Ok(Self { resource, namespace, labels, fields, only })
    }

    /// All objects in the namespace match.
    pub(crate) fn selects_nothing_special(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.only.is_none()
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| entry.namespace() == namespace)
            && self.only.as_ref().is_none_or(|only| *entry.path == **only)
            && self.labels.matches_by(|key| entry.label(key))
            && self.fields.terms().iter().all(|term| (self.field(entry, &term.field) == term.value) != term.negated)
    }

    fn field<'a>(&self, entry: &'a Entry, field: &str) -> &'a str {
        match field {
            "metadata.name" => entry.name(),
            "metadata.namespace" => entry.namespace(),
            _ => {
                let known = self.resource.strategy.selectable_fields();
                known.iter().position(|known| *known == field).and_then(|at| entry.fields.get(at)).map_or("", |v| v)
            }
        }
    }

    /// What of the cache matches.
    pub(crate) fn list(&self, cache: &KindCache) -> Listing {
        let mut listing = cache.list(self.namespace.as_deref(), self.only.as_deref());
        if !self.selects_nothing_special() {
            listing.entries.retain(|entry| self.matches(entry));
        }
        listing
    }

    /// Where the namespace's keys begin behind the kind's prefix.
    pub(crate) fn path_prefix(&self) -> String {
        self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default()
    }
}

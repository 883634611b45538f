//! Under whose name a write is noted in `metadata.managedFields`, and what of the object it can change at all.

use http::header;
use jiff::Timestamp;
use serde_json::Value;
use stead_api::{
    kinds,
    managed_fields::{Writer, record_update},
    resource::{Resource, Subresource},
};

use crate::{dispatch::Call, path::subresource_name, query::MAX_MANAGER};

/// Whether a write still has to be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noting {
    /// Of what it changes the writer becomes the owner.
    Due,
    /// The object carries its new entries already.
    Done,
}

impl Call<'_> {
    /// Who writes: `fieldManager`, else what the client calls itself, else who it is.
    pub(crate) fn manager(&self) -> String {
        if let Some(stated) = self.query.get("fieldManager").filter(|stated| !stated.is_empty()) {
            return stated.to_owned();
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let agent = agent.split('/').next().unwrap_or_default();
        let printable = agent.chars().filter(|letter| !letter.is_control()).collect::<String>();
        match printable.as_str() {
            "" => self.identity.name().to_owned(),
            agent => agent.chars().take(MAX_MANAGER).collect(),
        }
    }

    /// The writer of this call's object in its stored form.
    pub(crate) fn note(&self, manager: &str, live: Option<&Value>, new: &mut Value) {
        let stored = stored_kind(self.path.resource);
        record_update(live, new, &writer(self, manager, stored, &stored.api_version()));
    }
}

/// A writer of objects in the form of `kind`.
pub(crate) fn writer<'a>(call: &Call<'_>, manager: &'a str, kind: &Resource, api_version: &'a str) -> Writer<'a> {
    let has_status = kind.subresources.contains(&Subresource::Status);
    let ignored: &[&str] = match call.path.subresource {
        None if has_status => &["status"],
        Some(Subresource::Status) => &["spec"],
        _ => &[],
    };
    Writer {
        manager,
        subresource: call.path.subresource.map(subresource_name).unwrap_or_default(),
        api_version,
        definition: kind.definition,
        ignored,
        now: Timestamp::now(),
    }
}

/// The kind whose form is stored.
fn stored_kind(resource: &'static Resource) -> &'static Resource {
    kinds::ALL.iter().find(|kind| kind.registry == resource.registry).unwrap_or(&resource)
}

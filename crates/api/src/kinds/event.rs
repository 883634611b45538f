//! Event: what happened to an object. One stored form, that of core `v1`, is served at `v1` and at `events.k8s.io/v1`.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    cell::or,
    column::{shown, wide},
    value::{count, is_set, text},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::{dns1123_subdomain, path_segment},
    resource::{Column, Resource, Strategy},
};

mod validate;
pub mod view;

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.core.v1.Event",
    registry: "events",
    create_on_update: true,
    delete_returns_object: false,
    time_to_live: Some(3600),
    columns: COLUMNS,
    strategy: &Rules::Core,
};

pub static RESOURCE_EVENTS_V1: Resource = Resource {
    group: "events.k8s.io",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.events.v1.Event",
    registry: "events",
    create_on_update: true,
    delete_returns_object: false,
    time_to_live: Some(3600),
    columns: COLUMNS,
    strategy: &Rules::EventsV1,
};

const COLUMNS: &[Column] = &[
    shown("Last Seen", "string", "Time since this happened last."),
    shown("Type", "string", "Normal or Warning."),
    shown("Reason", "string", "Why, as one word for programs."),
    shown("Object", "string", "What it happened to."),
    wide("Subobject", "string", "The part of the object it happened to."),
    wide("Source", "string", "Who reports it, and where."),
    shown("Message", "string", "What happened, for people."),
    wide("First Seen", "string", "Time since this happened first."),
    wide("Count", "string", "How often it happened."),
    Column { name: "Name", kind: "string", format: "name", description: "Name of the event.", priority: 1 },
];

/// Fields by their name in core `v1`; those that `events.k8s.io/v1` has too come first, in the order of [`SELECTABLE_EVENTS_V1`].
const SELECTABLE: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
    "source",
];

/// The same fields by their name in `events.k8s.io/v1`.
const SELECTABLE_EVENTS_V1: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// The version that an event comes in at; both see the stored form everywhere but in the two conversions.
#[derive(Debug)]
enum Rules {
    Core,
    EventsV1,
}

impl Rules {
    /// The field of who reports, as clients of this version know it.
    const fn controller(&self) -> &'static str {
        match self {
            Self::Core => validate::COMPONENT,
            Self::EventsV1 => validate::CONTROLLER,
        }
    }
}

impl Strategy for Rules {
    fn become_stored(&self, object: &mut Value) {
        if let Self::EventsV1 = self {
            view::become_core(object);
        }
    }

    fn become_served(&self, object: &mut Value) {
        if let Self::EventsV1 = self {
            view::become_events_v1(object);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        match self {
            Self::Core => {
                let mut errors = meta::validate_meta(object, Scope::Namespaced, path_segment);
                errors.extend(validate::validate(object, self.controller()));
                errors
            }
            Self::EventsV1 => {
                let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
                errors.extend(validate::validate(object, self.controller()));
                errors.extend(validate::validate_new_style(object));
                errors
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate::validate(new, self.controller()));
        if let Self::EventsV1 = self {
            errors.extend(validate::validate_change(new, old));
        }
        errors
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        let at = self.selectable_fields().iter().position(|field| *field == path)?;
        let value = match SELECTABLE[at] {
            "source" => or(text(object, "/source/component"), text(object, "/reportingComponent")),
            stored => text(object, &format!("/{}", stored.replace('.', "/"))),
        };
        Some(value.to_owned())
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        match self {
            Self::Core => SELECTABLE,
            Self::EventsV1 => SELECTABLE_EVENTS_V1,
        }
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let first = or(text(object, "/firstTimestamp"), text(object, "/eventTime"));
        let (last, times) = if is_set(object, "/series") {
            (text(object, "/series/lastObservedTime"), count(object, "/series/count"))
        } else {
            (or(text(object, "/lastTimestamp"), first), count(object, "/count").max(1))
        };
        vec![
            cell::since(last, now).into(),
            text(object, "/type").into(),
            text(object, "/reason").into(),
            target(object).into(),
            text(object, "/involvedObject/fieldPath").into(),
            source(object).into(),
            text(object, "/message").trim().into(),
            cell::since(first, now).into(),
            times.into(),
            cell::name(object),
        ]
    }
}

fn target(event: &Value) -> String {
    let kind = text(event, "/involvedObject/kind").to_lowercase();
    match text(event, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let component = or(text(event, "/source/component"), text(event, "/reportingComponent"));
    match or(text(event, "/source/host"), text(event, "/reportingInstance")) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

#[cfg(test)]
mod tests;

//! One constructor for each error that the API answers with.

use std::fmt;

use super::{ApiError, Cause, Details, Status, StatusReason};
use crate::field::FieldError;
use crate::managed_fields::{ApplyError, Conflict};
use crate::resource::Resource;

const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";
const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can \
    start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder \
    of the results. Continuing with the provided token results in an inconsistent list - objects that were created, \
    modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl ApiError {
    /// Code and message without further details.
    pub fn new(reason: StatusReason, message: impl Into<String>) -> Self {
        Self {
            status: Status {
                code: reason.code(),
                reason: Some(reason),
                message: message.into(),
                details: Details::default(),
                continue_token: None,
            },
            log: None,
        }
    }

    /// The same error, with something for the log alone.
    #[must_use]
    pub fn with_log(mut self, log: impl fmt::Display) -> Self {
        self.log = Some(log.to_string());
        self
    }

    pub fn bad_request(message: impl fmt::Display) -> Self {
        Self::new(StatusReason::BadRequest, message.to_string())
    }

    /// Nobody has shown who they are.
    pub fn unauthorized() -> Self {
        Self::new(StatusReason::Unauthorized, "Unauthorized")
    }

    /// `detail` such as `User "u" cannot get resource "services" in API group "" in the namespace "n"`.
    pub fn forbidden(resource: &Resource, name: &str, detail: impl fmt::Display) -> Self {
        let named = named(resource, name);
        Self::of(StatusReason::Forbidden, resource, name, format!("{named} is forbidden: {detail}"))
    }

    /// The same of a resource that is not served; `group` may be empty.
    pub fn forbidden_unserved(group: &str, plural: &str, name: &str, detail: impl fmt::Display) -> Self {
        let mut named = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        if !name.is_empty() {
            named = format!("{named} {name:?}");
        }
        let mut error = Self::new(StatusReason::Forbidden, format!("{named} is forbidden: {detail}"));
        (error.status.details.name, error.status.details.group) = (name.to_owned(), group.to_owned());
        error.status.details.kind = plural.to_owned();
        error
    }

    /// For paths that are no resources.
    pub fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        Self::new(StatusReason::Forbidden, format!("forbidden: User {user:?} cannot {verb} path {path:?}"))
    }

    /// Nothing is created in a namespace that is going.
    pub fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let detail = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Self::forbidden(resource, name, detail).with_cause(Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        })
    }

    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(resource));
        Self::of(StatusReason::NotFound, resource, name, message)
    }

    /// For a path that leads nowhere.
    pub fn no_such_path() -> Self {
        Self::new(StatusReason::NotFound, "the server could not find the requested resource")
    }

    /// For a path that knows other methods.
    pub fn no_such_method() -> Self {
        Self::new(StatusReason::MethodNotAllowed, "the server does not allow this method on the requested resource")
    }

    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        Self::new(StatusReason::NotAcceptable, format!("only the following media types are accepted: {list}"))
    }

    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let text = "the body of the request was in an unknown format - accepted media types include:";
        Self::new(StatusReason::UnsupportedMediaType, format!("{text} {list}"))
    }

    /// No patch that there is, in the words of upstream's router.
    pub fn unsupported_patch() -> Self {
        let mut error = Self::new(StatusReason::UnsupportedMediaType, "415: Unsupported Media Type");
        error.status.details.always = true;
        error
    }

    /// The body has more than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(StatusReason::RequestEntityTooLarge, format!("Request entity too large: limit is {limit}"))
    }

    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(resource));
        Self::of(StatusReason::AlreadyExists, resource, name, message)
    }

    /// `generateName` did not lead to a free name.
    pub fn generate_name_conflict(resource: &Resource, name: &str) -> Self {
        let text = "already exists, the server was not able to generate a unique name for the object";
        let message = format!("{} {name:?} {text}", qualified(resource));
        Self::of(StatusReason::AlreadyExists, resource, name, message).with_retry_after(1)
    }

    pub fn conflict(resource: &Resource, name: &str, detail: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {detail}", qualified(resource));
        Self::of(StatusReason::Conflict, resource, name, message)
    }

    /// Others own fields that are to be applied; each is a cause.
    pub fn apply_conflict(error: &ApplyError) -> Self {
        let mut answer = Self::new(StatusReason::Conflict, error.to_string());
        if let ApplyError::Conflicts(conflicts) = error {
            let cause = |conflict: &Conflict| Cause {
                reason: "FieldManagerConflict",
                message: format!("conflict with {}", conflict.manager),
                field: conflict.field.clone(),
            };
            answer.status.details.causes = conflicts.iter().map(cause).collect();
        }
        answer
    }

    /// The resource version of an update is not the object's.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(resource, name, MODIFIED)
    }

    /// A precondition names another `field` (`UID`, `ResourceVersion`) than the object has.
    pub fn precondition_failed(resource: &Resource, name: &str, field: &str, wanted: &str, found: &str) -> Self {
        let detail = format!("Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}");
        Self::conflict(resource, name, detail)
    }

    /// What a deletion expects of an object: the field, its value there and in the store. `since` says what may have been done to
    /// the object.
    pub fn deletion_conflict(resource: &Resource, name: &str, differs: (&str, &str, &str), since: &str) -> Self {
        let (field, wanted, found) = differs;
        let kind = resource.kind;
        let mut error = Self::new(
            StatusReason::Conflict,
            format!(
                "Operation cannot be fulfilled on {kind} {name:?}: the {field} in the precondition ({wanted}) does not match \
                 the {field} in record ({found}). The object might have been {since}"
            ),
        );
        error.status.details = Details {
            name: name.to_owned(),
            group: resource.group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        };
        error
    }

    /// What a client has seen is compacted away.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusReason::Expired, message)
    }

    /// The revision `wanted` of a watch is compacted; `oldest` is not.
    pub fn resource_version_too_old(wanted: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {wanted} ({oldest})"))
    }

    /// A continue token is too old; `token` goes on with what is there now.
    pub fn continue_expired(token: String) -> Self {
        let mut error = Self::expired(CONTINUE_EXPIRED);
        error.status.continue_token = Some(token);
        error
    }

    /// The object itself is wrong.
    pub fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind(resource.group, resource.kind, name, errors)
    }

    /// The same for what is no resource, such as `ListOptions` of `meta.k8s.io`.
    pub fn invalid_kind(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut message = format!("{qualified} {name:?} is invalid");
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for text in errors.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [] => {}
            [text] => message = format!("{message}: {text}"),
            texts => message = format!("{message}: [{}]", texts.join(", ")),
        }
        let mut error = Self::new(StatusReason::Invalid, message);
        error.status.details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes: errors.iter().map(Cause::of).collect(),
            ..Details::default()
        };
        error
    }

    /// `retry_after` in seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(StatusReason::TooManyRequests, message).with_retry_after(retry_after)
    }

    /// Something failed that the client has no part in. `summary` is for the client, `log` is not.
    pub fn internal(summary: impl fmt::Display, log: impl fmt::Display) -> Self {
        Self::new(StatusReason::InternalError, format!("Internal error occurred: {summary}"))
            .with_cause(Cause { reason: "", message: summary.to_string(), field: String::new() })
            .with_log(log)
    }

    /// `operation` may succeed when it is tried again.
    pub fn server_timeout(resource: &Resource, operation: &str, retry_after: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(resource)
        );
        Self::of(StatusReason::ServerTimeout, resource, operation, message).with_retry_after(retry_after)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusReason::ServiceUnavailable, message)
    }

    /// The operation took too long, and may still complete.
    pub fn timeout(message: impl fmt::Display, retry_after: u32) -> Self {
        Self::new(StatusReason::Timeout, format!("Timeout: {message}")).with_retry_after(retry_after)
    }

    /// The client asks for a revision that is not there yet.
    pub fn resource_version_too_large(wanted: u64, current: u64) -> Self {
        Self::timeout(format_args!("Too large resource version: {wanted}, current: {current}"), 1).with_cause(Cause {
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".to_owned(),
            field: String::new(),
        })
    }

    fn of(reason: StatusReason, resource: &Resource, name: &str, message: String) -> Self {
        let mut error = Self::new(reason, message);
        error.status.details = Details::of(resource, name);
        error
    }

    fn with_cause(mut self, cause: Cause) -> Self {
        self.status.details.causes.push(cause);
        self
    }

    fn with_retry_after(mut self, seconds: u32) -> Self {
        self.status.details.retry_after = seconds;
        self
    }
}

/// `services`, `deployments.apps`.
fn qualified(resource: &Resource) -> String {
    let Resource { group, plural, .. } = resource;
    if group.is_empty() { (*plural).to_owned() } else { format!("{plural}.{group}") }
}

fn named(resource: &Resource, name: &str) -> String {
    let qualified = qualified(resource);
    if name.is_empty() { qualified } else { format!("{qualified} {name:?}") }
}

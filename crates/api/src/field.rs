//! Errors that name a field, in upstream's words: what the API puts into `Status.details.causes`.

use std::fmt;

/// Why a field is wrong; the name is the cause's `reason` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    FieldValueInvalid,
    FieldValueRequired,
    FieldValueDuplicate,
    FieldValueNotFound,
    FieldValueNotSupported,
    FieldValueForbidden,
    FieldValueTooLong,
    FieldValueTooMany,
    FieldValueTypeInvalid,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub reason: Reason,
    /// Such as `spec.ports[0].nodePort`.
    pub field: String,
    /// Without the field: `Invalid value: 80: provided port is not in the valid range. …`.
    pub message: String,
}

impl FieldError {
    /// `value` as it is shown: JSON text for lists and texts, the bare number for numbers.
    pub fn invalid(field: impl Into<String>, value: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(Reason::FieldValueInvalid, field, format!("Invalid value: {value}: {detail}"))
    }

    pub fn required(field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::with_detail(Reason::FieldValueRequired, field, "Required value", detail)
    }

    pub fn forbidden(field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::with_detail(Reason::FieldValueForbidden, field, "Forbidden", detail)
    }

    pub fn duplicate(field: impl Into<String>, value: impl fmt::Display) -> Self {
        Self::new(Reason::FieldValueDuplicate, field, format!("Duplicate value: {value}"))
    }

    pub fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> Self {
        let list = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        Self::new(
            Reason::FieldValueNotSupported,
            field,
            format!("Unsupported value: {value:?}: supported values: {list}"),
        )
    }

    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        Self::new(Reason::FieldValueTooMany, field, format!("Too many: {actual}: must have at most {max} items"))
    }

    pub fn new(reason: Reason, field: impl Into<String>, message: String) -> Self {
        Self { reason, field: field.into(), message }
    }

    fn with_detail(reason: Reason, field: impl Into<String>, head: &str, detail: impl fmt::Display) -> Self {
        let detail = detail.to_string();
        let message = if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") };
        Self::new(reason, field, message)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FieldValueInvalid => "FieldValueInvalid",
            Self::FieldValueRequired => "FieldValueRequired",
            Self::FieldValueDuplicate => "FieldValueDuplicate",
            Self::FieldValueNotFound => "FieldValueNotFound",
            Self::FieldValueNotSupported => "FieldValueNotSupported",
            Self::FieldValueForbidden => "FieldValueForbidden",
            Self::FieldValueTooLong => "FieldValueTooLong",
            Self::FieldValueTooMany => "FieldValueTooMany",
            Self::FieldValueTypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

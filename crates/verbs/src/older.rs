//! `--output-version v1beta1|v1beta3`: objects and tables as they were in 2015.
//!
//! What they look like is `stead_api::legacy`'s; this module only asks it.

use std::str::FromStr;

use serde_json::Value;
use stead_api::{
    decode,
    field::FieldError,
    legacy::{self, Version},
};

use crate::{
    error::VerbError,
    kinds::{Kind, Kinds},
    print::table::Shown,
};

/// The value of `--output-version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputVersion {
    V1,
    Older(Version),
}

impl FromStr for OutputVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(Self::V1),
            _ => Version::parse(text)
                .map(Self::Older)
                .ok_or_else(|| "the versions that objects can be shown in are v1, v1beta1 and v1beta3".to_owned()),
        }
    }
}

impl OutputVersion {
    pub(crate) fn older(this: Option<Self>) -> Option<Version> {
        match this {
            Some(Self::Older(version)) => Some(version),
            Some(Self::V1) | None => None,
        }
    }
}

/// The table of that time; a kind that was not printed then is refused.
pub(crate) fn table(kind: &Kind, objects: &[Value], headers: Shown) -> Result<String, VerbError> {
    let known = legacy::table::table(&kind.plural, objects).filter(|_| kind.group.is_empty());
    let mut rows = known.ok_or_else(|| refused(kind))?;
    if headers == Shown::No {
        rows.remove(0);
    }
    Ok(legacy::table::render(&rows))
}

/// The object as `version` shows it.
pub(crate) fn object(version: Version, kind: &Kind, object: &Value) -> Result<Value, VerbError> {
    let plural = if kind.plural == "nodes" && version == Version::V1beta1 { "minions" } else { &kind.plural };
    let known = legacy::find(version, plural).filter(|_| kind.group.is_empty());
    Ok(known.ok_or_else(|| refused(kind))?.from_v1(object))
}

pub(crate) fn describe_service(service: &Value, events: &[Value]) -> String {
    legacy::table::describe_service(service, events)
}

/// The object in v1, where it is of an older version; unknown fields are refused, as the server does.
pub(crate) fn in_v1(kinds: &Kinds, object: Value) -> Result<Value, VerbError> {
    let kind = kinds.of_object(&object)?;
    let older = Version::parse(&kind.version).filter(|_| kind.group.is_empty());
    let Some(known) = older.and_then(|version| legacy::find(version, &kind.plural)) else { return Ok(object) };
    let decoded = decode::prune(object, known.resource.definition);
    let decoded = decoded.map_err(|error| VerbError::usage(error.to_string()))?;
    if let Some(problem) = decoded.strict_error() {
        return Err(VerbError::usage(problem));
    }
    let errors = |errors: Vec<FieldError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    known.to_v1(&decoded.value).map_err(|found| VerbError::usage(errors(found)))
}

fn refused(kind: &Kind) -> VerbError {
    VerbError::argument("--output-version", format!("there were no {} in that version", kind.plural))
}

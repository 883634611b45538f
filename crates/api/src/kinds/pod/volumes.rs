//! Volumes of a pod and their places in its containers: defaults, and what is wrong with them in upstream's words.
//!
//! Kinds of volumes that nothing acts on are `unhonoured`'s to refuse; of them only the number is looked at here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{
    errors::Errors,
    value::{at, is_set, items_mut, list, map, set, text},
};
use crate::{
    field::{FieldError, Reason},
    names::dns1123_label,
};

/// Types of hostPath, in the order in which upstream lists them; the empty one asks for no check.
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The mode of files that name none.
const DEFAULT_MODE: i32 = 0o644;

/// A volume that names no kind is an emptyDir.
pub(super) fn default_volumes(spec: &mut Value) {
    for volume in items_mut(spec, "volumes") {
        if sources(volume).is_empty() {
            set(volume, "emptyDir", json!({}));
        }
        if let Some(host_path) = volume.get_mut("hostPath").filter(|source| source.is_object()) {
            // Shown even though it is empty, as upstream shows it.
            if !is_set(host_path, "/type") {
                set(host_path, "type", "");
            }
        }
        for kind in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(kind).filter(|source| source.is_object())
                && !is_set(source, "/defaultMode")
            {
                set(source, "defaultMode", DEFAULT_MODE);
            }
        }
    }
}

/// The kinds that a volume names, other than by null.
fn sources(volume: &Value) -> Vec<&str> {
    let fields = map(volume, "").into_iter().flatten();
    fields.filter(|(name, value)| *name != "name" && !value.is_null()).map(|(name, _)| name.as_str()).collect()
}

/// What is wrong with the volumes of the spec at `root`.
pub(super) fn validate_volumes(spec: &Value, root: &str, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        let field = format!("{root}.volumes[{index}]");
        validate_source(volume, &field, errors);
        let name = text(volume, "/name");
        errors.named(&format!("{field}.name"), name, dns1123_label);
        if !name.is_empty() && !names.insert(name) {
            errors.duplicate(format!("{field}.name"), at(volume, "/name"));
        }
    }
}

fn validate_source(volume: &Value, field: &str, errors: &mut Errors) {
    let sources = sources(volume);
    if sources.is_empty() {
        errors.push(FieldError::required(field, "must specify a volume type"));
    }
    for more in sources.iter().skip(1) {
        errors.forbidden(format!("{field}.{more}"), "may not specify more than 1 volume type");
    }
    match sources.first() {
        Some(&"emptyDir") => {
            let limit = text(volume, "/emptyDir/sizeLimit");
            if limit.starts_with('-') {
                errors.forbidden(
                    format!("{field}.emptyDir.sizeLimit"),
                    "SizeLimit field must be a valid resource quantity",
                );
            }
        }
        Some(&"hostPath") => {
            let path = text(volume, "/hostPath/path");
            if path.is_empty() {
                errors.required(format!("{field}.hostPath.path"));
                return;
            }
            no_backsteps(path, &format!("{field}.hostPath.path"), errors);
            let kind = text(volume, "/hostPath/type");
            if !HOST_PATH_TYPES.contains(&kind) {
                errors.push(FieldError::not_supported(format!("{field}.hostPath.type"), kind, &HOST_PATH_TYPES));
            }
        }
        Some(&"configMap") => validate_config_map(at(volume, "/configMap"), &format!("{field}.configMap"), errors),
        _ => {}
    }
}

fn validate_config_map(source: &Value, field: &str, errors: &mut Errors) {
    if text(source, "/name").is_empty() {
        errors.required(format!("{field}.name"));
    }
    validate_mode(source, "/defaultMode", &format!("{field}.defaultMode"), errors);
    for (index, item) in list(source, "/items").iter().enumerate() {
        let field = format!("{field}.items[{index}]");
        if text(item, "/key").is_empty() {
            errors.required(format!("{field}.key"));
        }
        let path = text(item, "/path");
        if path.is_empty() {
            errors.required(format!("{field}.path"));
        } else {
            descending(path, &format!("{field}.path"), errors);
            if path.starts_with("..") && !path.starts_with("../") {
                errors.invalid(format!("{field}.path"), &path.into(), "must not start with '..'");
            }
        }
        validate_mode(item, "/mode", &format!("{field}.mode"), errors);
    }
}

fn validate_mode(source: &Value, pointer: &str, field: &str, errors: &mut Errors) {
    let mode = at(source, pointer);
    if mode.as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        errors.invalid(field, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// What is wrong with a container's places for the volumes of its pod.
pub(super) fn validate_mounts(container: &Value, volumes: &BTreeSet<&str>, root: &str, errors: &mut Errors) {
    let mut places = BTreeSet::new();
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let field = |name: &str| format!("{root}.volumeMounts[{index}].{name}");
        let name = text(mount, "/name");
        if name.is_empty() {
            errors.required(field("name"));
        }
        if !volumes.contains(name) {
            let message = format!("Not found: {name:?}");
            errors.push(FieldError::new(Reason::FieldValueNotFound, field("name"), message));
        }
        let place = text(mount, "/mountPath");
        if place.is_empty() {
            errors.required(field("mountPath"));
        } else if !places.insert(place) {
            errors.invalid(field("mountPath"), at(mount, "/mountPath"), "must be unique");
        }
        let (sub_path, expression) = (text(mount, "/subPath"), text(mount, "/subPathExpr"));
        if !sub_path.is_empty() {
            descending(sub_path, &field("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                errors.invalid(
                    field("subPathExpr"),
                    &expression.into(),
                    "subPathExpr and subPath are mutually exclusive",
                );
            }
            descending(expression, &field("subPathExpr"), errors);
        }
    }
}

/// A path below another.
pub(super) fn descending(path: &str, field: &str, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.invalid(field, &path.into(), "must be a relative path");
    }
    no_backsteps(path, field, errors);
}

fn no_backsteps(path: &str, field: &str, errors: &mut Errors) {
    if path.split('/').any(|part| part == "..") {
        errors.invalid(field, &path.into(), "must not contain '..'");
    }
}

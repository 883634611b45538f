//! Secret: bytes by key that few may see. How they lie in the store is the API server's affair.
//!
//! A type demands keys; `stringData` is what a client may write instead of base64, and is never read back.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME, shown},
    data,
    errors::Errors,
    value::{at, child, fill, map, remove, set, text},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::{config_map_key, dns1123_subdomain},
    resource::{Resource, Strategy, Warnings},
};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.core.v1.Secret",
    registry: "secrets",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[
        NAME,
        shown("Type", "string", "What the secret is for, which says what keys it has."),
        shown("Data", "string", "How many keys the secret holds."),
        AGE,
    ],
    strategy: &Rules,
};

const TOKEN: &str = "kubernetes.io/service-account-token";
const TLS: &str = "kubernetes.io/tls";
const OPAQUE: &str = "Opaque";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// What a block of PEM starts with.
const BEGIN: &[u8] = b"-----BEGIN ";

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        take_string_data(object);
        fill(object, "type", OPAQUE);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate_change(new, old));
        errors.extend(validate(new));
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Warnings {
        let filled = "type: nothing writes a token into a Secret of this type; `kubectl create token` gives one";
        match text(new, "/type") {
            TOKEN => vec![filled.to_owned()],
            TLS => without_pem(new).into_iter().collect(),
            _ => Warnings::new(),
        }
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        (path == "type").then(|| text(object, "/type").to_owned())
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let keys = map(object, "/data").map_or(0, Map::len);
        vec![cell::name(object), text(object, "/type").into(), keys.into(), cell::age(object, now)]
    }
}

/// `stringData` becomes `data`, over what is there under the same keys.
fn take_string_data(object: &mut Value) {
    let Some(Value::Object(texts)) = remove(object, "stringData") else { return };
    let data = child(object, "data");
    for (key, value) in texts {
        set(data, &key, BASE64_STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let mut size = 0;
    for (key, value) in map(object, "/data").into_iter().flatten() {
        errors.invalid_text(&format!("data[{key}]"), key, config_map_key(key));
        size += data::decoded_length(value.as_str().unwrap_or_default());
    }
    data::validate_size(size, "data", &mut errors);
    let mut errors = errors.into_vec();
    errors.extend(validate_type(object));
    errors
}

/// The first of certificate and key that no program will be able to read. Whether the two belong together is not looked at.
fn without_pem(object: &Value) -> Option<String> {
    let is_pem = |key: &str| {
        let bytes = map(object, "/data").and_then(|data| data.get(key)).and_then(Value::as_str);
        let bytes = BASE64_STANDARD.decode(bytes.unwrap_or_default()).unwrap_or_default();
        bytes.windows(BEGIN.len()).any(|part| part == BEGIN)
    };
    let wrong = [("tls.crt", "certificate"), ("tls.key", "key")].into_iter().find(|(key, _)| !is_pem(key));
    wrong.map(|(_, what)| format!("tls: failed to find any PEM data in {what} input"))
}

/// The keys that a type demands.
fn validate_type(object: &Value) -> Vec<FieldError> {
    let has = |key: &str| map(object, "/data").is_some_and(|data| data.contains_key(key));
    let missing = |key: &str| (!has(key)).then(|| FieldError::required(format!("data[{key}]"), ""));
    match text(object, "/type") {
        TOKEN => {
            let name = meta::annotation(object, SERVICE_ACCOUNT_NAME).unwrap_or_default();
            let field = format!("metadata.annotations[{SERVICE_ACCOUNT_NAME}]");
            if name.is_empty() { vec![FieldError::required(field, "")] } else { Vec::new() }
        }
        "kubernetes.io/dockercfg" => json_file(object, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_file(object, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            ["username", "password"].into_iter().filter_map(missing).collect()
        }
        "kubernetes.io/ssh-auth" => missing("ssh-privatekey").into_iter().collect(),
        TLS => ["tls.crt", "tls.key"].into_iter().filter_map(missing).collect(),
        _ => Vec::new(),
    }
}

/// A file that has to be JSON.
fn json_file(object: &Value, key: &str) -> Vec<FieldError> {
    let field = format!("data[{key}]");
    let Some(content) = map(object, "/data").and_then(|data| data.get(key)).and_then(Value::as_str) else {
        return vec![FieldError::required(field, "")];
    };
    let bytes = BASE64_STANDARD.decode(content).unwrap_or_default();
    match serde_json::from_slice::<Map<String, Value>>(&bytes) {
        Ok(_) => Vec::new(),
        // What is wrong is said without what is in it.
        Err(_) => vec![FieldError::invalid(field, "\"<secret contents redacted>\"", "must be a JSON object")],
    }
}

fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if at(new, "/type") != at(old, "/type") {
        errors.invalid("type", &text(new, "/type").into(), "field is immutable");
    }
    data::validate_immutable(new, old, &["data"], &mut errors);
    errors.into_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(fields: Value) -> Value {
        let mut object = json!({"metadata": {"name": "s", "namespace": "default"}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        RESOURCE.strategy.default(&mut object);
        object
    }

    fn check(fields: Value, expect: &[&str]) {
        let errors = RESOURCE.strategy.validate_create(&secret(fields));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn texts_become_bytes() {
        let made = secret(json!({"stringData": {"a": "b", "c": "d"}, "data": {"a": "eA==", "x": "eA=="}}));
        assert_eq!(made["data"], json!({"a": "Yg==", "c": "ZA==", "x": "eA=="}));
        assert_eq!((&made["type"], made.get("stringData")), (&json!("Opaque"), None));
    }

    #[test]
    fn types_demand_keys() {
        check(json!({"data": {"any": "eA=="}}), &[]);
        check(
            json!({"data": {"a/b": "eA=="}}),
            &[
                "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
             (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            ],
        );
        check(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), &["data[tls.key]: Required value"]);
        check(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}}), &[]);
        check(
            json!({"type": "kubernetes.io/basic-auth"}),
            &["data[username]: Required value", "data[password]: Required value"],
        );
        check(json!({"type": "kubernetes.io/basic-auth", "stringData": {"password": "x"}}), &[]);
        check(json!({"type": "kubernetes.io/ssh-auth"}), &["data[ssh-privatekey]: Required value"]);
        check(json!({"type": "kubernetes.io/dockerconfigjson"}), &["data[.dockerconfigjson]: Required value"]);
        check(
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{\"auths\":{}}"}}),
            &[],
        );
        check(
            json!({"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "hidden"}}),
            &["data[.dockercfg]: Invalid value: \"<secret contents redacted>\": must be a JSON object"],
        );
        check(
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        );
    }

    #[test]
    fn certificates_that_are_none_are_warned_of() {
        let check = |certificate: &str, key: &str, expect: &[&str]| {
            let data = json!({"tls.crt": certificate, "tls.key": key});
            let made = secret(json!({"type": "kubernetes.io/tls", "stringData": data}));
            assert_eq!(RESOURCE.strategy.warnings(&made, None), expect);
        };
        let (certificate, key) = ("-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----");
        check(certificate, key, &[]);
        check("x", "y", &["tls: failed to find any PEM data in certificate input"]);
        check(certificate, "y", &["tls: failed to find any PEM data in key input"]);
    }

    #[test]
    fn type_and_immutable_secrets_stay() {
        let old = secret(json!({"data": {"a": "eA=="}, "immutable": true}));
        let new = secret(json!({"data": {"a": "eQ=="}, "type": "other"}));
        let errors = RESOURCE.strategy.validate_update(&new, &old);
        assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["type", "immutable", "data"]);
        assert!(errors.iter().all(|error| !error.to_string().contains("eQ==")));
    }
}

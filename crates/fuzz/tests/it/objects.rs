//! Objects, patches and what is applied: no input panics, and what is accepted is stable.

use serde_json::{Value, json};
use stead_api::{
    decode::{DecodeError, Decoded, decode, prune},
    kinds, legacy,
    managed_fields::{self, Force, Writer},
    patch::{PatchType, parse},
    protobuf::Envelope,
};

const SERVICE: &str = "io.k8s.api.core.v1.Service";

/// What a decoder made of a text, in words; what it made stays as it is when it is read once more.
fn described(decoded: Result<Decoded, DecodeError>, definition: &str) -> String {
    let decoded = match decoded {
        Err(error) => return error.to_string(),
        Ok(decoded) => decoded,
    };
    let text = decoded.value.to_string();
    let again = decode(text.as_bytes(), definition).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((&again.value, again.problems.len()), (&decoded.value, 0), "canonical is canonical");
    decoded.strict_error().unwrap_or_else(|| names(&decoded.value))
}

/// The names of all that is in a value.
fn names(value: &Value) -> String {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name} {}", names(value))).collect(),
        Value::Array(items) => items.iter().map(names).collect(),
        _ => String::new(),
    }
}

/// The object in the first line and the patch in the rest.
fn pair(input: &[u8]) -> Option<(Value, Value)> {
    let line = input.iter().position(|byte| *byte == b'\n')?;
    let object = parse(&input[..line]).ok().filter(Value::is_object)?;
    Some((object, parse(&input[line + 1..]).ok()?))
}

#[test]
fn json_by_the_schema_of_every_kind() {
    stead_fuzz::run("json", |input| {
        let mut all = String::new();
        for kind in kinds::ALL {
            let decoded = decode(input, kind.definition);
            if let Err(DecodeError::Syntax { problem }) = decoded {
                return problem;
            }
            all += &described(decoded, kind.definition);
        }
        all
    });
}

fn patches(name: &str, patch_type: PatchType) {
    stead_fuzz::run(name, |input| {
        let Some((object, patch)) = pair(input) else { return "no pair".into() };
        match patch_type.apply(&object, &patch, SERVICE) {
            Err(error) => error.to_string(),
            Ok(patched) => described(prune(patched, SERVICE), SERVICE),
        }
    });
}

#[test]
fn json_patches() {
    patches("json_patch", PatchType::from_media_type("application/json-patch+json").unwrap());
}

#[test]
fn merge_patches() {
    patches("merge_patch", PatchType::from_media_type("application/merge-patch+json").unwrap());
}

#[test]
fn strategic_merge_patches() {
    patches("strategic_patch", PatchType::from_media_type("application/strategic-merge-patch+json").unwrap());
}

#[test]
fn applied_configurations_and_managed_fields() {
    let writer = Writer {
        manager: "kubectl",
        subresource: "",
        api_version: "v1",
        definition: SERVICE,
        ignored: &["status"],
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    stead_fuzz::run("apply", |input| {
        let Some((live, config)) = pair(input) else { return "no pair".into() };
        let Ok(live) = prune(live, SERVICE) else { return "not live".into() };
        let mut all = String::new();
        for force in [Force::Refuse, Force::Take] {
            all += &match managed_fields::apply(&live.value, &config, &writer, force) {
                Err(error) => error.to_string(),
                Ok(mut applied) => {
                    managed_fields::record_update(Some(&live.value), &mut applied, &writer);
                    names(&applied)
                }
            };
        }
        all
    });
}

#[test]
fn objects_of_2014_there_and_back() {
    let of = |version| legacy::RESOURCES.iter().filter_map(move |resource| legacy::find(version, resource.plural));
    let legacy_kinds: Vec<_> = legacy::Version::ALL.into_iter().flat_map(of).collect();
    assert!(legacy_kinds.len() > 8, "both versions are there");
    stead_fuzz::run("v1beta1", |input| {
        let mut all = String::new();
        for kind in &legacy_kinds {
            let decoded = match decode(input, kind.resource.definition) {
                Err(DecodeError::Syntax { problem }) => return problem,
                Err(error) => {
                    all += &error.to_string();
                    continue;
                }
                Ok(decoded) => decoded,
            };
            let shown = match kind.to_v1(&decoded.value) {
                Err(errors) => errors.iter().map(ToString::to_string).collect(),
                Ok(new) => {
                    let shown = kind.from_v1(&new);
                    let _ = kind.update_to_v1(&decoded.value, &new);
                    let _ = kind.patchable(&new, &shown);
                    let _ = kind.list_from_v1(&json!({"items": [new], "metadata": {}}));
                    names(&shown)
                }
            };
            all += &shown;
        }
        all
    });
}

#[test]
fn protocol_buffers() {
    stead_fuzz::run("protobuf", |input| {
        let envelope = match Envelope::open(input) {
            Err(error) => return error.to_string(),
            Ok(envelope) => envelope,
        };
        let kind = kinds::ALL.iter().find(|kind| kind.kind == envelope.kind);
        let definition = kind.map_or(SERVICE, |kind| kind.definition);
        match envelope.decode(definition) {
            Err(error) => error.to_string(),
            Ok(decoded) => described(Ok(decoded), definition),
        }
    });
}

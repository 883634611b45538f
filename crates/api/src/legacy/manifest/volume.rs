//! Volumes: a name and a source, which v1 has in one object; `hostDir` is v1's `hostPath`.

use serde_json::{Value, json};

use super::super::carry::{Same, backward, forward, put};
use crate::kinds::value::{at, set, text};

/// Sources that mean the same and hold the same.
const SAME: Same = &[
    ("gitRepo", "gitRepo"),
    ("persistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
];

pub(super) fn volume_to_v1(old: &Value) -> Value {
    let source = at(old, "/source");
    let mut new = forward(source, SAME);
    if source.get("hostDir").is_some_and(Value::is_object) {
        set(&mut new, "hostPath", json!({"path": text(source, "/hostDir/path")}));
    }
    if source.get("secret").is_some_and(Value::is_object) {
        let name = [text(source, "/secret/target/name"), text(source, "/secret/target/id")];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        set(&mut new, "secret", json!({"secretName": name}));
    }
    let stated = at(source, "/emptyDir");
    if stated.is_object() || new == json!({}) {
        let mut directory = json!({});
        put(&mut directory, "medium", text(stated, "/medium"));
        set(&mut new, "emptyDir", directory);
    }
    set(&mut new, "name", text(old, "/name"));
    new
}

/// `None` for a source that was not there then.
pub(super) fn volume_from_v1(new: &Value) -> Option<Value> {
    let mut source = backward(new, SAME);
    if let Some(path) = new.get("hostPath").filter(|path| path.is_object()) {
        set(&mut source, "hostDir", json!({"path": text(path, "/path")}));
    }
    if let Some(secret) = new.get("secret").filter(|secret| secret.is_object()) {
        set(&mut source, "secret", json!({"target": {"kind": "Secret", "name": text(secret, "/secretName")}}));
    }
    if let Some(directory) = new.get("emptyDir").filter(|directory| directory.is_object()) {
        let mut turned = json!({});
        put(&mut turned, "medium", text(directory, "/medium"));
        set(&mut source, "emptyDir", turned);
    }
    (source != json!({})).then(|| json!({"name": text(new, "/name"), "source": source}))
}

//! Objects out of a store that no server has open, for whoever has to restore them.
//!
//! What the store held besides objects, claims of node ports, follows from them and is left out.

use serde_json::{Value, json};
use stead_api::kinds;
use stead_store::Salvage;

use crate::sealed::{SealingKeys, is_sealed};

/// What can be read of a store.
#[derive(Debug)]
pub struct Export {
    /// A `v1` List of objects, as `kubectl create -f` takes it.
    pub list: Value,
    /// Keys of the store whose objects cannot be read, with why.
    pub unreadable: Vec<String>,
}

/// The objects in `salvage`. Secrets need the keys that they were sealed with.
pub fn export(salvage: &Salvage, keys: &SealingKeys) -> Export {
    let named = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    let mut unreadable: Vec<String> =
        salvage.damaged.iter().map(|key| format!("{}: its value is damaged", named(key))).collect();
    let mut objects = Vec::new();
    for item in &salvage.items {
        let key = named(&item.key);
        let is_object = kinds::ALL.iter().any(|kind| key.starts_with(&format!("/registry/{}/", kind.registry)));
        match serde_json::from_slice::<Value>(&keys.opened(item.clone()).value) {
            Ok(object) if object["kind"].is_string() => objects.push(object),
            _ if !is_object => {}
            _ if is_sealed(&item.key) => unreadable.push(format!("{key}: none of the keys opens it")),
            _ => unreadable.push(format!("{key}: it is no object")),
        }
    }
    Export { list: json!({"apiVersion": "v1", "kind": "List", "items": objects}), unreadable }
}

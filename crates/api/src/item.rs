//! What a watch loop needs of an object: to be read from the JSON of one list item or watch event, and to say which object it is
//! and at which revision.
//!
//! Every k8s-openapi kind with metadata has it by the blanket implementation; a compact view of a large kind implements it by
//! hand and keeps only what its reader asks for. `metadata.managedFields` are passed over: no reader of typed objects asks for them,
//! an update that does not state them leaves them, and they take as much memory as all the rest. Listing and watching are
//! `stead-client`'s.

use k8s_openapi::{Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use stead_model::{ObjectKey, Revision};

/// What stands for no time in a type that must have one: upstream reads it as none again.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// An object as one reader wants it.
pub trait FromItem: Sized + Send + 'static {
    /// Reads the JSON of one object. `kind` and `apiVersion` may be missing, as they are in items of a list.
    fn from_item(json: &[u8]) -> Result<Self, ItemError>;

    fn key(&self) -> ObjectKey;

    /// `metadata.resourceVersion`, which every server since 1.0 gives as a decimal number; zero where it is missing.
    fn revision(&self) -> Revision;
}

/// Why the JSON of an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    #[error("object is not what its kind demands")]
    Shape(#[from] serde_json::Error),
    #[error("object has no metadata.name")]
    Nameless,
    #[error("{field} {value:?} is not valid")]
    Field { field: &'static str, value: String },
}

impl<T> FromItem for T
where
    T: Metadata<Ty = ObjectMeta> + DeserializeOwned + Send + 'static,
{
    fn from_item(json: &[u8]) -> Result<Self, ItemError> {
        let without = without_managers(json);
        let json = without.as_deref().unwrap_or(json);
        let object: Self = match serde_json::from_slice(json) {
            Ok(object) => object,
            Err(error) => with_times(json).ok_or(error)?,
        };
        if object.metadata().name.as_deref().unwrap_or_default().is_empty() {
            return Err(ItemError::Nameless);
        }
        Ok(object)
    }

    fn key(&self) -> ObjectKey {
        object_key(self.metadata())
    }

    fn revision(&self) -> Revision {
        parse_revision(self.metadata().resource_version.as_deref().unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Managed<'a> {
    #[serde(borrow)]
    metadata: Managers<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Managers<'a> {
    #[serde(borrow)]
    managed_fields: Option<&'a RawValue>,
}

/// The object with `null` for its `metadata.managedFields`; `None` where it has none, or is no object at all.
fn without_managers(json: &[u8]) -> Option<Vec<u8>> {
    let Managed { metadata: Managers { managed_fields } } = serde_json::from_slice(json).ok()?;
    let managers = managed_fields?.get();
    let start = managers.as_ptr() as usize - json.as_ptr() as usize;
    Some([&json[..start], b"null", &json[start + managers.len()..]].concat())
}

/// Reads an object whose conditions do not all say since when they hold: there the API has a time or null, and its schema a
/// time alone. `None` where that is not what is wrong.
fn with_times<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let mut object: Value = serde_json::from_slice(json).ok()?;
    for condition in object.pointer_mut("/status/conditions")?.as_array_mut()? {
        let time = condition.as_object_mut()?.entry("lastTransitionTime").or_insert(Value::Null);
        if time.is_null() {
            *time = NEVER.into();
        }
    }
    serde_json::from_value(object).ok()
}

/// The key that metadata name; parts that are missing are empty.
pub fn object_key(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// Reads a `resourceVersion`; zero for anything that is no decimal number.
pub fn parse_revision(text: &str) -> Revision {
    Revision(text.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Node, Pod, Service};

    use super::*;

    #[test]
    fn items_of_a_list_carry_no_kind() {
        let pod = Pod::from_item(br#"{"metadata":{"namespace":"default","name":"a","resourceVersion":"7"}}"#).unwrap();
        assert_eq!((pod.key(), pod.revision()), (ObjectKey::new("default", "a"), Revision(7)));
        let node = Node::from_item(br#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"node1"}}"#).unwrap();
        assert_eq!((node.key(), node.revision()), (ObjectKey::cluster("node1"), Revision::ZERO));
    }

    #[test]
    fn managed_fields_are_passed_over() {
        let pod = br#"{"metadata":{"name":"a","managedFields":[{"fieldsV1":{"f:spec":{}}}],"uid":"u"},"spec":{"containers":[]}}"#;
        let pod = Pod::from_item(pod).unwrap();
        assert_eq!((pod.metadata.managed_fields, pod.metadata.uid.as_deref()), (None, Some("u")));
        assert!(pod.spec.is_some());
    }

    #[test]
    fn conditions_without_a_time_are_read() {
        for condition in [r#"{"type":"A","status":"True"}"#, r#"{"type":"A","lastTransitionTime":null}"#] {
            let json = format!(r#"{{"metadata":{{"name":"a"}},"status":{{"conditions":[{condition}]}}}}"#);
            let service = Service::from_item(json.as_bytes()).unwrap();
            let conditions = service.status.unwrap().conditions.unwrap();
            assert_eq!(
                (conditions[0].type_.as_str(), conditions[0].last_transition_time.0.to_string()),
                ("A", NEVER.into())
            );
        }
    }

    #[test]
    fn what_is_no_object_of_the_kind_is_refused() {
        assert!(matches!(Pod::from_item(b"{}"), Err(ItemError::Nameless)));
        assert!(matches!(Pod::from_item(br#"{"metadata":{"name":1}}"#), Err(ItemError::Shape(_))));
        assert!(matches!(Pod::from_item(b"{"), Err(ItemError::Shape(_))));
    }
}

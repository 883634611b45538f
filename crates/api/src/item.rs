//! What a watch loop needs of an object: to be read from the JSON of one list item or watch event, and to say which object it is
//! and at which revision.
//!
//! Every k8s-openapi kind with metadata has it by the blanket implementation; a compact view of a large kind implements it by
//! hand and keeps only what its reader asks for. `metadata.managedFields` are passed over: no reader of typed objects asks for them,
//! an update that does not state them leaves them, and they take as much memory as all the rest. Listing and watching are
//! `stead-client`'s.

use k8s_openapi::{Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use stead_model::{ObjectKey, Revision};

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
        let object: Self = match without_managers(json) {
            Some(json) => serde_json::from_slice(&json)?,
            None => serde_json::from_slice(json)?,
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
    use k8s_openapi::api::core::v1::{Node, Pod};

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
    fn what_is_no_object_of_the_kind_is_refused() {
        assert!(matches!(Pod::from_item(b"{}"), Err(ItemError::Nameless)));
        assert!(matches!(Pod::from_item(br#"{"metadata":{"name":1}}"#), Err(ItemError::Shape(_))));
        assert!(matches!(Pod::from_item(b"{"), Err(ItemError::Shape(_))));
    }
}

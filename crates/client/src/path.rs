//! Paths of the API, from types and keys.

use k8s_openapi::Resource;
use stead_model::ObjectKey;

/// `/api/v1/namespaces/NS/pods`, or over all namespaces where `namespace` is empty. Cluster-scoped kinds take the empty one.
pub fn collection<K: Resource>(namespace: &str) -> String {
    let root = if K::GROUP.is_empty() { "/api" } else { "/apis" };
    let (version, plural) = (K::API_VERSION, K::URL_PATH_SEGMENT);
    if namespace.is_empty() {
        format!("{root}/{version}/{plural}")
    } else {
        format!("{root}/{version}/namespaces/{namespace}/{plural}")
    }
}

/// The path of one object.
pub fn object<K: Resource>(key: &ObjectKey) -> String {
    format!("{}/{}", collection::<K>(&key.namespace), key.name)
}

/// `text` as a value in a query string: everything but RFC 3986's unreserved characters is escaped.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Pod},
    };

    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        assert_eq!(collection::<Pod>(""), "/api/v1/pods");
        assert_eq!(object::<Pod>(&ObjectKey::new("default", "a")), "/api/v1/namespaces/default/pods/a");
        assert_eq!(object::<Namespace>(&ObjectKey::cluster("a")), "/api/v1/namespaces/a");
        assert_eq!(collection::<Deployment>("x"), "/apis/apps/v1/namespaces/x/deployments");
    }

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(escape("a.b/c!=d,e~f"), "a.b%2Fc%21%3Dd%2Ce~f");
    }
}

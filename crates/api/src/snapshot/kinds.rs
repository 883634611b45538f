//! The kinds that controllers watch, each with its objects.

use std::sync::Arc;

use k8s_openapi::{
    Resource,
    api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, ReplicationController, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        networking::v1::{IPAddress, ServiceCIDR},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use stead_model::{ObjectKey, Revision};

use super::{Change, Delta, Objects, terms};
use crate::item::FromItem;

/// One line for each kind: the variant, which is also the type, the field, and the index terms.
macro_rules! kinds {
    ($($kind:ident, $field:ident, $terms:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($kind,)*
        }

        /// A [`Change`] of an object of any kind.
        #[derive(Debug)]
        pub enum KindChange {
            $($kind(Change<$kind>),)*
        }

        /// A [`Delta`] of an object of any kind.
        #[derive(Debug)]
        pub enum KindDelta {
            $($kind(Delta<$kind>),)*
        }

        /// All objects of the kinds that controllers decide from. Index terms are those of [`super::term`].
        #[derive(Debug)]
        pub struct Snapshot {
            $(pub $field: Objects<$kind>,)*
        }

        impl Default for Snapshot {
            fn default() -> Self {
                Self { $($field: Objects::indexed($terms),)* }
            }
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// As in `kind:`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $kind::KIND,)* }
            }

            /// As in `apiVersion:`.
            pub const fn api_version(self) -> &'static str {
                match self { $(Self::$kind => $kind::API_VERSION,)* }
            }

            pub const fn group(self) -> &'static str {
                match self { $(Self::$kind => $kind::GROUP,)* }
            }

            /// As in paths.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$kind => $kind::URL_PATH_SEGMENT,)* }
            }
        }

        impl Snapshot {
            /// Takes in one change of one kind; see [`Objects::apply`].
            pub fn apply(&mut self, change: KindChange) -> Vec<KindDelta> {
                match change {
                    $(KindChange::$kind(change) => {
                        self.$field.apply(change).into_iter().map(KindDelta::$kind).collect()
                    })*
                }
            }

            /// Whether the kind's first full list is complete.
            pub fn synced(&self, kind: Kind) -> bool {
                match kind { $(Kind::$kind => self.$field.synced(),)* }
            }

            /// Whether everything of this kind up to `revision` is in the snapshot; see [`Objects::has_seen`].
            pub fn has_seen(&self, kind: Kind, revision: Revision) -> bool {
                match kind { $(Kind::$kind => self.$field.has_seen(revision),)* }
            }

            /// Whether the object exists and could never be read; see [`Objects::is_unknown`].
            pub fn is_unknown(&self, kind: Kind, key: &ObjectKey) -> bool {
                match kind { $(Kind::$kind => self.$field.is_unknown(key),)* }
            }

            /// All objects of a kind that exist and could never be read, by key.
            pub fn unknown(&self, kind: Kind) -> Vec<&ObjectKey> {
                match kind { $(Kind::$kind => self.$field.unknown().collect(),)* }
            }

            pub fn metadata(&self, kind: Kind, key: &ObjectKey) -> Option<&ObjectMeta> {
                match kind { $(Kind::$kind => self.$field.get(key).map(|object| &object.metadata),)* }
            }

            /// Keys and metadata of all objects of a kind that have an index term.
            pub fn metadata_with_term(&self, kind: Kind, term: &str) -> Vec<(&ObjectKey, &ObjectMeta)> {
                match kind {
                    $(Kind::$kind => metadata_of(self.$field.with_term(term)),)*
                }
            }

            /// Keys and metadata of all objects of a kind in a namespace.
            pub fn metadata_in_namespace(&self, kind: Kind, namespace: &str) -> Vec<(&ObjectKey, &ObjectMeta)> {
                match kind {
                    $(Kind::$kind => metadata_of(self.$field.in_namespace(namespace)),)*
                }
            }
        }

        $(impl From<Change<$kind>> for KindChange {
            fn from(change: Change<$kind>) -> Self {
                Self::$kind(change)
            }
        })*

        impl KindDelta {
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            pub fn key(&self) -> &ObjectKey {
                match self { $(Self::$kind(delta) => &delta.key,)* }
            }

            /// Metadata before and after.
            pub fn metadata(&self) -> (Option<&ObjectMeta>, Option<&ObjectMeta>) {
                match self {
                    $(Self::$kind(Delta { old, new, .. }) => {
                        (old.as_ref().map(|object| &object.metadata), new.as_ref().map(|object| &object.metadata))
                    })*
                }
            }
        }
    };
}

kinds! {
    ConfigMap, config_maps, |object| terms::owners(&object.metadata);
    Deployment, deployments, |object| terms::owners(&object.metadata);
    EndpointSlice, endpoint_slices, terms::of_slice;
    Endpoints, endpoints, |object| terms::owners(&object.metadata);
    IPAddress, ip_addresses, |object| terms::owners(&object.metadata);
    Lease, leases, |object| terms::owners(&object.metadata);
    Namespace, namespaces, |object| terms::owners(&object.metadata);
    Node, nodes, |object| terms::owners(&object.metadata);
    Pod, pods, terms::of_pod;
    ReplicaSet, replica_sets, |object| terms::owners(&object.metadata);
    ReplicationController, replication_controllers, |object| terms::owners(&object.metadata);
    Service, services, terms::of_service;
    ServiceAccount, service_accounts, |object| terms::owners(&object.metadata);
    ServiceCIDR, service_cidrs, |object| terms::owners(&object.metadata);
}

trait HasMetadata {
    fn object_meta(&self) -> &ObjectMeta;
}

impl<T: k8s_openapi::Metadata<Ty = ObjectMeta>> HasMetadata for T {
    fn object_meta(&self) -> &ObjectMeta {
        self.metadata()
    }
}

fn metadata_of<'a, T: HasMetadata + FromItem>(
    objects: impl Iterator<Item = (&'a ObjectKey, &'a Arc<T>)>,
) -> Vec<(&'a ObjectKey, &'a ObjectMeta)> {
    objects.map(|(key, object)| (key, object.object_meta())).collect()
}

impl Kind {
    /// The kind that an owner reference or another reference names; `None` for kinds that are not watched.
    pub fn from_reference(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Self::ALL.iter().copied().find(|each| each.name() == kind && each.group() == group)
    }

    pub const fn namespaced(self) -> bool {
        !matches!(self, Self::IPAddress | Self::Namespace | Self::Node | Self::ServiceCIDR)
    }

    /// The path of the kind's collection in a namespace, or of the whole collection where `namespace` is empty.
    pub fn collection(self, namespace: &str) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        let (version, plural) = (self.api_version(), self.plural());
        if namespace.is_empty() {
            format!("{root}/{version}/{plural}")
        } else {
            format!("{root}/{version}/namespaces/{namespace}/{plural}")
        }
    }

    /// The path of one object.
    pub fn path(self, key: &ObjectKey) -> String {
        format!("{}/{}", self.collection(&key.namespace), key.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_reference_whatever_the_version() {
        assert_eq!(Kind::from_reference("v1", "Pod"), Some(Kind::Pod));
        assert_eq!(Kind::from_reference("apps/v1beta1", "Deployment"), Some(Kind::Deployment));
        assert_eq!(Kind::from_reference("example.com/v1", "Pod"), None);
    }

    #[test]
    fn paths_follow_scope() {
        let path = |kind: Kind| kind.path(&ObjectKey::new(if kind.namespaced() { "a" } else { "" }, "b"));
        assert_eq!(path(Kind::Node), "/api/v1/nodes/b");
        assert_eq!(path(Kind::EndpointSlice), "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/b");
    }
}

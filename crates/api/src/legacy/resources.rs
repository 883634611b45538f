//! Which kinds older versions have, as discovery and OpenAPI show them, and what turns each.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Kind, Version, binding, endpoints, event, minion, namespace, pod, replication_controller, service, v1beta3,
};
use crate::{
    kinds::{self, ALL_VERBS},
    resource::{Resource, Strategy, Subresource},
};

/// Nothing is decided by it: objects of older versions are turned before any rule sees them.
#[derive(Debug)]
struct Turned;

impl Strategy for Turned {
    fn cells(&self, _object: &Value, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }
}

#[derive(Clone, Copy)]
enum Scope {
    Namespaced,
    Cluster,
}

const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

const fn resource(
    version: &'static str,
    names: [&'static str; 3],
    scope: Scope,
    definition: &'static str,
    subresources: &'static [Subresource],
    verbs: &'static [&'static str],
) -> Resource {
    let [kind, plural, singular] = names;
    Resource {
        group: "",
        version,
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: matches!(scope, Scope::Namespaced),
        verbs,
        subresources,
        definition,
        registry: "",
        create_on_update: false,
        delete_returns_object: false,
        time_to_live: None,
        columns: &[],
        strategy: &Turned,
    }
}

macro_rules! resources {
    ($($name:ident: $version:literal $kind:literal $plural:literal $singular:literal $scope:ident $definition:literal
        [$($subresource:ident),*] $verbs:expr;)*) => {
        $(static $name: Resource = resource(
            $version, [$kind, $plural, $singular], Scope::$scope,
            concat!("io.k8s.api.core.", $version, ".", $definition), &[$(Subresource::$subresource),*], $verbs,
        );)*
        /// All kinds at all older versions, for discovery and OpenAPI. They come behind v1, which stays preferred.
        pub static RESOURCES: &[&Resource] = &[$(&$name),*];
    };
}

resources! {
    ENDPOINTS_1: "v1beta1" "Endpoints" "endpoints" "endpoints" Namespaced "Endpoints" [] ALL_VERBS;
    EVENT_1: "v1beta1" "Event" "events" "event" Namespaced "Event" [] ALL_VERBS;
    MINION_1: "v1beta1" "Minion" "minions" "minion" Cluster "Minion" [] ALL_VERBS;
    NAMESPACE_1: "v1beta1" "Namespace" "namespaces" "namespace" Cluster "Namespace" [] NO_COLLECTION;
    NODE_1: "v1beta1" "Node" "nodes" "node" Cluster "Minion" [] ALL_VERBS;
    POD_1: "v1beta1" "Pod" "pods" "pod" Namespaced "Pod" [Status, Log] ALL_VERBS;
    CONTROLLER_1: "v1beta1" "ReplicationController" "replicationcontrollers" "replicationcontroller" Namespaced
        "ReplicationController" [] ALL_VERBS;
    SERVICE_1: "v1beta1" "Service" "services" "service" Namespaced "Service" [] ALL_VERBS;
    BINDING_1: "v1beta1" "Binding" "bindings" "binding" Namespaced "Binding" [] &["create"];
    ENDPOINTS_3: "v1beta3" "Endpoints" "endpoints" "endpoints" Namespaced "Endpoints" [] ALL_VERBS;
    EVENT_3: "v1beta3" "Event" "events" "event" Namespaced "Event" [] ALL_VERBS;
    NAMESPACE_3: "v1beta3" "Namespace" "namespaces" "namespace" Cluster "Namespace" [] NO_COLLECTION;
    NODE_3: "v1beta3" "Node" "nodes" "node" Cluster "Node" [] ALL_VERBS;
    POD_3: "v1beta3" "Pod" "pods" "pod" Namespaced "Pod" [Status, Log] ALL_VERBS;
    CONTROLLER_3: "v1beta3" "ReplicationController" "replicationcontrollers" "replicationcontroller" Namespaced
        "ReplicationController" [] ALL_VERBS;
    SERVICE_3: "v1beta3" "Service" "services" "service" Namespaced "Service" [] ALL_VERBS;
    BINDING_3: "v1beta3" "Binding" "bindings" "binding" Namespaced "Binding" [] &["create"];
}

macro_rules! kind {
    ($version:ident $resource:ident $modern:expr, $to_v1:expr, $from_v1:expr) => {
        Kind { version: Version::$version, resource: &$resource, modern: $modern, to_v1: $to_v1, from_v1: $from_v1 }
    };
}

pub(super) static KINDS: &[Kind] = &[
    kind!(V1beta1 ENDPOINTS_1 Some(&kinds::endpoints::RESOURCE), endpoints::to_v1, endpoints::from_v1),
    kind!(V1beta1 EVENT_1 Some(&kinds::event::RESOURCE), |old, _| event::to_v1(old), event::from_v1),
    kind!(V1beta1 MINION_1 Some(&kinds::node::RESOURCE), |old, _| minion::to_v1(old), minion::from_v1),
    kind!(V1beta1 NAMESPACE_1 Some(&kinds::namespace::RESOURCE), |old, _| namespace::to_v1(old), namespace::from_v1),
    kind!(V1beta1 NODE_1 Some(&kinds::node::RESOURCE), |old, _| minion::to_v1(old), minion::from_v1),
    kind!(V1beta1 POD_1 Some(&kinds::pod::RESOURCE), pod::to_v1, pod::from_v1),
    kind!(V1beta1 CONTROLLER_1 Some(&kinds::replication_controller::RESOURCE),
        replication_controller::to_v1, replication_controller::from_v1),
    kind!(V1beta1 SERVICE_1 Some(&kinds::service::RESOURCE), |old, _| service::to_v1(old), service::from_v1),
    kind!(V1beta1 BINDING_1 None, |old, _| binding::to_v1(old), binding::from_v1),
    kind!(V1beta3 ENDPOINTS_3 Some(&kinds::endpoints::RESOURCE),
        |old, _| v1beta3::endpoints_to_v1(old), v1beta3::endpoints_from_v1),
    kind!(V1beta3 EVENT_3 Some(&kinds::event::RESOURCE), |old, _| v1beta3::event_to_v1(old), v1beta3::event_from_v1),
    kind!(V1beta3 NAMESPACE_3 Some(&kinds::namespace::RESOURCE),
        |old, _| v1beta3::namespace_to_v1(old), v1beta3::namespace_from_v1),
    kind!(V1beta3 NODE_3 Some(&kinds::node::RESOURCE), |old, _| v1beta3::node_to_v1(old), v1beta3::node_from_v1),
    kind!(V1beta3 POD_3 Some(&kinds::pod::RESOURCE), |old, _| v1beta3::pod_to_v1(old), v1beta3::pod_from_v1),
    kind!(V1beta3 CONTROLLER_3 Some(&kinds::replication_controller::RESOURCE),
        |old, _| v1beta3::controller_to_v1(old), v1beta3::controller_from_v1),
    kind!(V1beta3 SERVICE_3 Some(&kinds::service::RESOURCE),
        |old, _| v1beta3::service_to_v1(old), v1beta3::service_from_v1),
    kind!(V1beta3 BINDING_3 None, |old, _| v1beta3::binding_to_v1(old), v1beta3::binding_from_v1),
];

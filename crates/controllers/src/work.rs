//! What there is to look at: a controller and a key, which changes lead to it, and what it needs to know before.
//!
//! A change leads to too many keys rather than too few: looking is cheap, and a look that finds nothing to do writes nothing.

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    discovery::v1::EndpointSlice,
};
use stead_api::{
    kinds::endpoint_slice::SERVICE_NAME_LABEL,
    snapshot::{Delta, Kind, KindDelta, Snapshot, term},
};
use stead_model::ObjectKey;

use crate::{
    Outcome, deployment, endpoint_mirror, endpoint_slices, endpoints, garbage, namespaces, nodes, pods, replica_set,
    scheduler, service_cidrs, service_pods,
};

/// One key of one controller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Work {
    EndpointSlices(ObjectKey),
    Endpoints(ObjectKey),
    EndpointMirror(ObjectKey),
    ReplicaSet(ObjectKey),
    ReplicationController(ObjectKey),
    Deployment(ObjectKey),
    /// All pods that wait for a node.
    Schedule,
    Node(ObjectKey),
    Namespace(ObjectKey),
    ServiceCidr(ObjectKey),
    Garbage(Kind, ObjectKey),
}

/// What controllers know besides the snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The cluster's CA certificates in PEM.
    pub ca: String,
    /// Since when the cluster is watched.
    pub since: Timestamp,
    /// The most endpoints that the controller puts into one slice.
    pub endpoints_per_slice: usize,
}

impl Work {
    /// The kinds whose first list must be complete: what is absent from them is taken as not existing.
    pub(crate) fn needs(&self) -> &'static [Kind] {
        match self {
            Self::EndpointSlices(_) => &[Kind::Service, Kind::Pod, Kind::Node, Kind::EndpointSlice, Kind::Namespace],
            Self::Endpoints(_) => &[Kind::Service, Kind::Pod, Kind::Endpoints, Kind::Namespace],
            Self::EndpointMirror(_) => &[Kind::Service, Kind::Endpoints, Kind::EndpointSlice, Kind::Namespace],
            Self::ReplicaSet(_) => &[Kind::ReplicaSet, Kind::Pod, Kind::Namespace],
            Self::ReplicationController(_) => &[Kind::ReplicationController, Kind::Pod, Kind::Namespace],
            Self::Deployment(_) => &[Kind::Deployment, Kind::ReplicaSet, Kind::Pod, Kind::Namespace],
            Self::Schedule => &[Kind::Pod, Kind::Node],
            Self::Node(_) => &[Kind::Node, Kind::Pod, Kind::Lease],
            Self::ServiceCidr(_) => &[Kind::ServiceCIDR, Kind::IPAddress],
            Self::Namespace(_) | Self::Garbage(..) => Kind::ALL,
        }
    }

    /// The work that this one is not looked at beside.
    pub(crate) fn goes_after(&self) -> Option<Self> {
        match self {
            Self::Endpoints(key) => Some(Self::EndpointSlices(key.clone())),
            _ => None,
        }
    }

    /// The work that waits for this one: the way back of [`goes_after`](Self::goes_after).
    pub(crate) fn goes_before(&self) -> Option<Self> {
        match self {
            Self::EndpointSlices(key) => Some(Self::Endpoints(key.clone())),
            _ => None,
        }
    }

    /// The object that the work is about, of each of the kinds it needs.
    fn subject(&self) -> Option<&ObjectKey> {
        match self {
            Self::EndpointSlices(key)
            | Self::Endpoints(key)
            | Self::EndpointMirror(key)
            | Self::ReplicaSet(key)
            | Self::ReplicationController(key)
            | Self::Deployment(key)
            | Self::Node(key)
            | Self::Namespace(key)
            | Self::ServiceCidr(key)
            | Self::Garbage(_, key) => Some(key),
            Self::Schedule => None,
        }
    }

    /// Whether what the work is about exists and cannot be read: then nothing is known of what to do, and its absence from the
    /// snapshot is no reason to delete anything.
    fn is_about_unknown(&self, snapshot: &Snapshot) -> bool {
        self.subject().is_some_and(|key| self.needs().iter().any(|kind| snapshot.is_unknown(*kind, key)))
    }

    /// Asks the controller. Pure: the same snapshot and time give the same outcome.
    pub(crate) fn look(&self, snapshot: &Snapshot, now: Timestamp, known: &Known) -> Outcome {
        if self.is_about_unknown(snapshot) {
            return Outcome::default();
        }
        match self {
            Self::EndpointSlices(key) => endpoint_slices::reconcile(snapshot, key, known.endpoints_per_slice),
            Self::Endpoints(key) => endpoints::reconcile(snapshot, key),
            Self::EndpointMirror(key) => endpoint_mirror::reconcile(snapshot, key),
            Self::ReplicaSet(key) => replica_set::reconcile(snapshot, key, now),
            Self::ReplicationController(key) => replica_set::reconcile_controller(snapshot, key, now),
            Self::Deployment(key) => deployment::reconcile(snapshot, key, now),
            Self::Schedule => scheduler::reconcile(snapshot, now),
            Self::Node(key) => nodes::reconcile(snapshot, key, now, known.since),
            Self::Namespace(key) => namespaces::reconcile(snapshot, key, &known.ca),
            Self::ServiceCidr(key) => service_cidrs::reconcile(snapshot, key, now),
            Self::Garbage(kind, key) => garbage::reconcile(snapshot, *kind, key, now),
        }
    }
}

/// The keys that a change leads to; `snapshot` has the change already. The order is that of urgency, keys may repeat.
pub(crate) fn caused_by(snapshot: &Snapshot, delta: &KindDelta) -> Vec<Work> {
    let mut work = Vec::new();
    let key = delta.key().clone();
    match delta {
        KindDelta::Pod(delta) => of_pod(snapshot, delta, &mut work),
        KindDelta::Service(_) => {
            work.extend([Work::EndpointSlices(key.clone()), Work::Endpoints(key.clone())]);
            work.extend(snapshot.endpoints.get(&key).map(|_| Work::EndpointMirror(key.clone())));
        }
        KindDelta::EndpointSlice(delta) => of_slice(delta, &mut work),
        // Endpoints may be made before their Service; only at the start is the Service's absence a leftover.
        KindDelta::Endpoints(_) => {
            if snapshot.services.get(&key).is_some() || !snapshot.endpoints.synced() {
                work.push(Work::Endpoints(key.clone()));
            }
            work.push(Work::EndpointMirror(key.clone()));
        }
        KindDelta::Node(delta) => of_node(snapshot, delta, &mut work),
        KindDelta::Lease(_) if &*key.namespace == nodes::LEASE_NAMESPACE => {
            work.push(Work::Node(ObjectKey::cluster(&*key.name)));
        }
        KindDelta::ReplicaSet(_) => {
            work.push(Work::ReplicaSet(key.clone()));
            work.extend(deployments_of(snapshot, delta));
        }
        KindDelta::ReplicationController(_) => work.push(Work::ReplicationController(key.clone())),
        KindDelta::Deployment(_) => work.push(Work::Deployment(key.clone())),
        // What one of them has decides whether another may go.
        KindDelta::ServiceCIDR(_) => {
            let all = snapshot.service_cidrs.iter().map(|(key, _)| key.clone());
            work.extend(all.map(Work::ServiceCidr));
        }
        KindDelta::IPAddress(_) => {
            work.extend(service_cidrs::waiting_for(snapshot, &key).cloned().map(Work::ServiceCidr));
        }
        KindDelta::Namespace(_) => {
            work.push(Work::Namespace(key.clone()));
        }
        KindDelta::ServiceAccount(_) if &*key.name == namespaces::SERVICE_ACCOUNT => work.push(namespace_of(&key)),
        KindDelta::ConfigMap(_) if &*key.name == namespaces::ROOT_CA => work.push(namespace_of(&key)),
        KindDelta::Lease(_) | KindDelta::ServiceAccount(_) | KindDelta::ConfigMap(_) => {}
    }
    if namespaces::is_ending(snapshot, &key.namespace) {
        work.push(namespace_of(&key));
    }
    garbage(snapshot, delta, &mut work);
    work
}

fn namespace_of(key: &ObjectKey) -> Work {
    Work::Namespace(ObjectKey::cluster(&*key.namespace))
}

fn of_slice(delta: &Delta<EndpointSlice>, work: &mut Vec<Work>) {
    for slice in [&delta.old, &delta.new].into_iter().flatten() {
        let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let Some(service) = name.map(|name| ObjectKey::new(&*delta.key.namespace, name.as_str())) else { continue };
        if endpoint_mirror::is_managed(slice) {
            work.push(Work::EndpointMirror(service.clone()));
        }
        work.push(Work::EndpointSlices(service));
    }
}

fn of_pod(snapshot: &Snapshot, delta: &Delta<Pod>, work: &mut Vec<Work>) {
    let both = || [delta.old.as_deref(), delta.new.as_deref()].into_iter().flatten();
    let is_same_endpoint =
        matches!((&delta.old, &delta.new), (Some(old), Some(new)) if !service_pods::differ(old, new));
    if !is_same_endpoint {
        for service in both().flat_map(|pod| service_pods::services_choosing(snapshot, pod)) {
            work.extend([Work::EndpointSlices(service.clone()), Work::Endpoints(service.clone())]);
        }
    }
    if both().next().is_none() {
        // It was never read, and is gone: whoever had it as an endpoint.
        for (service, _) in snapshot.services.in_namespace(&delta.key.namespace) {
            work.extend([Work::EndpointSlices(service.clone()), Work::Endpoints(service.clone())]);
        }
    }
    work.push(Work::Schedule);
    for pod in both() {
        match pods::controller(&pod.metadata) {
            Some(owner) if owner.kind == Kind::ReplicationController.name() => {
                let controller = ObjectKey::new(&*delta.key.namespace, owner.name.as_str());
                work.push(Work::ReplicationController(controller));
            }
            Some(owner) => {
                let set = ObjectKey::new(&*delta.key.namespace, owner.name.as_str());
                work.extend(recreating_owner(snapshot, &set));
                work.push(Work::ReplicaSet(set));
            }
            None => work.extend(replica_set::choosing(snapshot, pod)),
        }
    }
    work.extend(both().filter_map(pods::node).map(|node| Work::Node(ObjectKey::cluster(node))));
}

/// A Deployment that recreates waits for pods to end; others learn all from their ReplicaSets.
fn recreating_owner(snapshot: &Snapshot, set: &ObjectKey) -> Option<Work> {
    let owner = pods::controller(&snapshot.replica_sets.get(set)?.metadata)?;
    let key = ObjectKey::new(&*set.namespace, owner.name.as_str());
    let spec = snapshot.deployments.get(&key)?.spec.as_ref()?;
    deployment::is_recreate(spec).then_some(Work::Deployment(key))
}

fn of_node(snapshot: &Snapshot, delta: &Delta<Node>, work: &mut Vec<Work>) {
    work.extend([Work::Schedule, Work::Node(delta.key.clone())]);
    let are_shares_same =
        matches!((&delta.old, &delta.new), (Some(old), Some(new)) if !endpoint_slices::zones::differ(old, new));
    if !are_shares_same {
        let services = snapshot.services.with_term(&term::topology_aware());
        work.extend(services.map(|(key, _)| Work::EndpointSlices(key.clone())));
    }
    let labels = |node: &Option<std::sync::Arc<Node>>| node.as_ref().map(|node| node.metadata.labels.clone());
    if labels(&delta.old) == labels(&delta.new) {
        return;
    }
    // Endpoints carry the node's zone, and wait for the node to be known.
    for (_, pod) in snapshot.pods.with_term(&term::node(&delta.key.name)) {
        let services = service_pods::services_choosing(snapshot, pod);
        work.extend(services.into_iter().cloned().map(Work::EndpointSlices));
    }
}

/// The Deployment that owns a ReplicaSet, or all whose selector may choose it.
fn deployments_of(snapshot: &Snapshot, delta: &KindDelta) -> Vec<Work> {
    let (old, new) = delta.metadata();
    let namespace = &delta.key().namespace;
    let mut owners = Vec::new();
    for metadata in [old, new].into_iter().flatten() {
        match pods::controller(metadata) {
            Some(owner) => owners.push(Work::Deployment(ObjectKey::new(&**namespace, owner.name.as_str()))),
            None => {
                let all = snapshot.deployments.in_namespace(namespace);
                let chosen = all.filter(|(_, deployment)| deployment::chooses(deployment, &metadata.labels));
                owners.extend(chosen.map(|(key, _)| Work::Deployment(key.clone())));
            }
        }
    }
    owners
}

/// Ownership matters when an object appears with owners, is being deleted, or is gone.
fn garbage(snapshot: &Snapshot, delta: &KindDelta, work: &mut Vec<Work>) {
    let (old, new) = delta.metadata();
    if let Some(new) = new
        && (new.deletion_timestamp.is_some() || new.owner_references.as_ref().is_some_and(|owners| !owners.is_empty()))
    {
        work.push(Work::Garbage(delta.kind(), delta.key().clone()));
    }
    let is_ending = new.is_none_or(|new| new.deletion_timestamp.is_some());
    let uid = old.or(new).and_then(|metadata| metadata.uid.as_deref());
    let uid_changed = matches!((old, new), (Some(old), Some(new)) if old.uid != new.uid);
    if let Some(uid) = uid.filter(|_| is_ending || uid_changed) {
        work.extend(garbage::dependent_keys(snapshot, uid).map(|(kind, key)| Work::Garbage(kind, key)));
    }
    // An owner in the foreground waits for the last of its dependents.
    let owners = old.into_iter().flat_map(|metadata| metadata.owner_references.iter().flatten());
    for owner in owners {
        if let Some(kind) = Kind::from_reference(&owner.api_version, &owner.kind) {
            let namespace = if kind.namespaced() { &*delta.key().namespace } else { "" };
            let key = ObjectKey::new(namespace, owner.name.as_str());
            if snapshot.metadata(kind, &key).is_some_and(|owner| owner.deletion_timestamp.is_some()) {
                work.push(Work::Garbage(kind, key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        core::v1::{Endpoints, Pod, Service},
        networking::v1::IPAddress,
    };
    use serde_json::json;
    use stead_api::snapshot::Change;
    use stead_model::Revision;

    use super::*;
    use crate::world::World;

    /// Found at a start: Endpoints of each kind, slices of a mirror, a pod on a node, a ServiceCIDR that is being deleted.
    fn leftovers() -> World {
        let mut world = World::new();
        let metadata = json!({"namespace": "default", "name": "web", "uid": "e", "resourceVersion": "1"});
        world.adopt(Kind::Endpoints, &json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}));
        world.adopt(
            Kind::EndpointSlice,
            &json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"namespace": "default", "name": "web-1", "uid": "s", "resourceVersion": "2", "labels": {
                    "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
                }},
            }),
        );
        world.adopt(
            Kind::Pod,
            &json!({
                "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "web"},
                "metadata": {"namespace": "default", "name": "web", "uid": "p", "resourceVersion": "3"},
            }),
        );
        world
    }

    #[test]
    fn what_cannot_be_read_is_no_reason_to_delete() {
        let (service, node) = (ObjectKey::new("default", "web"), ObjectKey::cluster("web"));
        let mut world = leftovers();
        world.take_in(Change::<Service>::Unread(service.clone(), Revision(4)).into());
        world.take_in(Change::<Node>::Unread(node.clone(), Revision(5)).into());
        let works = [
            Work::Endpoints(service.clone()),
            Work::EndpointMirror(service.clone()),
            Work::EndpointSlices(service.clone()),
            Work::Node(node.clone()),
        ];
        let known = Known { ca: String::new(), since: world.now, endpoints_per_slice: 100 };
        let writes = |world: &World| {
            let looks = works.iter().flat_map(|work| work.look(&world.snapshot, world.now, &known).writes);
            looks.map(|write| write.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(writes(&world), [""; 0]);
        // Once they are gone for sure there is.
        world.take_in(Change::<Service>::UnreadGone(service.clone(), Revision(6)).into());
        world.take_in(Change::<Node>::UnreadGone(node.clone(), Revision(7)).into());
        assert_eq!(writes(&world).len(), 3, "{:?}", writes(&world));
        world.settle();
        assert_eq!(world.all(Kind::Endpoints).count() + world.all(Kind::EndpointSlice).count(), 0);
    }

    #[test]
    fn endpoints_that_cannot_be_read_keep_their_mirror() {
        let key = ObjectKey::new("default", "web");
        let mut world = leftovers();
        world.put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
            "spec": {"ports": [{"port": 80}]},
        }));
        world.take_in(Change::<Endpoints>::UnreadGone(key.clone(), Revision(8)).into());
        world.take_in(Change::<Endpoints>::Unread(key, Revision(9)).into());
        world.settle();
        assert_eq!(world.all(Kind::EndpointSlice).count(), 1);
    }

    /// A Service with the pods a and b, all of it at rest.
    fn served() -> World {
        let mut world = World::new();
        world.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}));
        world.put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}], "ipFamilies": ["IPv4"], "clusterIP": "10.96.0.9"},
        }));
        for name in ["a", "b"] {
            world.put(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "default", "name": name, "labels": {"app": "web"}},
                "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
            }));
        }
        world.start_pods();
        world.settle();
        world
    }

    /// Names of the pods behind all endpoints, of slices and of Endpoints.
    fn endpoints(world: &World) -> (Vec<String>, Vec<String>) {
        let names = |objects: Vec<&serde_json::Value>, list: &str, inner: &str| {
            let entries = objects.iter().flat_map(|object| object[list].as_array().into_iter().flatten());
            let inner = entries.flat_map(|entry| match inner {
                "" => vec![entry],
                inner => entry[inner].as_array().into_iter().flatten().collect(),
            });
            let mut names: Vec<String> =
                inner.filter_map(|one| Some(one["targetRef"]["name"].as_str()?.to_owned())).collect();
            names.sort();
            names
        };
        let of = |kind| world.all(kind).map(|(_, object)| object).collect::<Vec<_>>();
        (names(of(Kind::EndpointSlice), "endpoints", ""), names(of(Kind::Endpoints), "subsets", "addresses"))
    }

    #[test]
    fn a_pod_that_cannot_be_read_stays_an_endpoint_until_it_is_gone() {
        let [a, b] = ["a", "b"].map(|name| ObjectKey::new("default", name));
        let mut world = served();
        assert_eq!(endpoints(&world), (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()]));
        // As a process finds it that starts now.
        world.take_in(Change::<Pod>::UnreadGone(b.clone(), Revision(100)).into());
        world.take_in(Change::<Pod>::Unread(b.clone(), Revision(101)).into());
        world.settle();
        assert_eq!(endpoints(&world).0, ["a", "b"]);
        assert_eq!(endpoints(&world).1, ["a", "b"]);
        // What is known of others is followed.
        world.drop_object(Kind::Pod, &a);
        world.settle();
        assert_eq!(endpoints(&world).0, ["b"]);
        world.take_in(Change::<Pod>::UnreadGone(b, Revision(200)).into());
        world.settle();
        assert_eq!(endpoints(&world), (vec![], vec![]));
    }

    #[test]
    fn a_dependent_that_cannot_be_read_holds_a_foreground_deletion() {
        let mut world = served();
        world.take_in(Change::<Pod>::Unread(ObjectKey::new("default", "c"), Revision(100)).into());
        let service = ObjectKey::new("default", "web");
        world.delete(Kind::Service, &service, None, stead_client::write::Propagation::Foreground);
        world.settle();
        assert!(world.get(Kind::Service, &service).is_some(), "it may depend on the Service");
        world.take_in(Change::<Pod>::UnreadGone(ObjectKey::new("default", "c"), Revision(200)).into());
        world.wait(jiff::SignedDuration::from_secs(30));
        assert!(world.get(Kind::Service, &service).is_none());
    }

    #[test]
    fn an_address_that_cannot_be_read_keeps_its_range() {
        let mut world = World::new();
        let deleted = world.now.to_string();
        world.adopt(
            Kind::ServiceCIDR,
            &json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "spec": {"cidrs": ["10.97.0.0/24"]},
                "metadata": {"name": "more", "uid": "c", "resourceVersion": "1", "deletionTimestamp": deleted,
                    "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
            }),
        );
        world.take_in(Change::<IPAddress>::Unread(ObjectKey::cluster("10.97.0.9"), Revision(2)).into());
        world.wait(jiff::SignedDuration::from_secs(60));
        assert_eq!(world.all(Kind::ServiceCIDR).count(), 1);
    }
}

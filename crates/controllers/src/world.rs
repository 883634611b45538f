//! A cluster for tests: an API that keeps objects by the rules controllers rely on, and an agent that starts and ends pods.
//! It carries outcomes out one at a time and has every change in the snapshot at once; lag is the shell's and tested there.

mod object;

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, ReplicationController, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    networking::v1::{IPAddress, ServiceCIDR},
};
use serde_json::{Value, json};
use stead_api::{
    item::FromItem,
    snapshot::{Change, Kind, KindChange, Snapshot},
};
use stead_client::write::Propagation;
use stead_model::ObjectKey;

use self::object::{brief, has_finalizers, key_of, merge, prune};
pub(crate) use self::object::{kind_of, text};
use crate::{
    First, Verb, Write,
    shell::lean::lean,
    work::{Known, Work, caused_by},
};

/// Looks before a world counts as one that never comes to rest.
const PATIENCE: usize = 20_000;

pub(crate) struct World {
    pub snapshot: Snapshot,
    pub now: Timestamp,
    /// Writes and events, in order.
    pub log: Vec<String>,
    /// Which works are looked at.
    pub only: fn(&Work) -> bool,
    objects: BTreeMap<(Kind, ObjectKey), Value>,
    queue: VecDeque<Work>,
    alarms: BTreeMap<Work, Timestamp>,
    known: Known,
    revision: u64,
    serial: u64,
}

macro_rules! for_kind {
    ($kind:expr, $Type:ident => $body:expr) => {
        match $kind {
            Kind::ConfigMap => {
                type $Type = ConfigMap;
                $body
            }
            Kind::Deployment => {
                type $Type = Deployment;
                $body
            }
            Kind::EndpointSlice => {
                type $Type = EndpointSlice;
                $body
            }
            Kind::Endpoints => {
                type $Type = Endpoints;
                $body
            }
            Kind::IPAddress => {
                type $Type = IPAddress;
                $body
            }
            Kind::Lease => {
                type $Type = Lease;
                $body
            }
            Kind::Namespace => {
                type $Type = Namespace;
                $body
            }
            Kind::Node => {
                type $Type = Node;
                $body
            }
            Kind::Pod => {
                type $Type = Pod;
                $body
            }
            Kind::ReplicaSet => {
                type $Type = ReplicaSet;
                $body
            }
            Kind::ReplicationController => {
                type $Type = ReplicationController;
                $body
            }
            Kind::Service => {
                type $Type = Service;
                $body
            }
            Kind::ServiceAccount => {
                type $Type = ServiceAccount;
                $body
            }
            Kind::ServiceCIDR => {
                type $Type = ServiceCIDR;
                $body
            }
        }
    };
}

impl World {
    pub(crate) fn new() -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut world = Self {
            snapshot: Snapshot::default(),
            now,
            log: Vec::new(),
            only: |_| true,
            objects: BTreeMap::new(),
            queue: VecDeque::new(),
            alarms: BTreeMap::new(),
            known: Known { ca: "PEM".to_owned(), since: now, endpoints_per_slice: 100 },
            revision: 0,
            serial: 0,
        };
        for kind in Kind::ALL {
            for_kind!(kind, T => {
                world.snapshot.apply(KindChange::from(Change::<T>::Init));
                world.snapshot.apply(KindChange::from(Change::<T>::InitDone));
            });
        }
        world
    }

    pub(crate) fn get(&self, kind: Kind, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(&(kind, key.clone()))
    }

    pub(crate) fn all(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Value)> {
        self.objects.iter().filter(move |((each, _), _)| *each == kind).map(|((_, key), object)| (key, object))
    }

    /// Creates an object, or replaces it as `kubectl apply` would: metadata and status that are not given stay.
    pub(crate) fn put(&mut self, mut object: Value) {
        let kind = kind_of(&object);
        let key = key_of(&object);
        match self.get(kind, &key).cloned() {
            None => self.insert(kind, object),
            Some(mut old) => {
                let before = old.clone();
                if object.get("status").is_none() {
                    object["status"] = old["status"].clone();
                }
                let metadata = object["metadata"].take();
                merge(&mut old["metadata"], &metadata);
                object["metadata"] = old["metadata"].take();
                self.store(kind, object, Some(&before));
            }
        }
    }

    /// Changes one object in place, as somebody else would.
    pub(crate) fn edit(&mut self, kind: Kind, key: &ObjectKey, change: impl FnOnce(&mut Value)) {
        if let Some(before) = self.get(kind, key).cloned() {
            let mut object = before.clone();
            change(&mut object);
            self.store(kind, object, Some(&before));
        }
    }

    pub(crate) fn delete(&mut self, kind: Kind, key: &ObjectKey, grace: Option<u32>, propagation: Propagation) {
        let Some(mut object) = self.get(kind, key).cloned() else { return };
        let finalizer = match propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some("foregroundDeletion"),
            Propagation::Orphan => Some("orphan"),
        };
        let before = object.clone();
        if let Some(finalizer) = finalizer {
            object["metadata"]["finalizers"] = json!([finalizer]);
        }
        let is_running = kind == Kind::Pod && object.pointer("/spec/nodeName").is_some() && grace != Some(0);
        let is_held = is_running || kind == Kind::Namespace || has_finalizers(&object);
        if is_held {
            if object.pointer("/metadata/deletionTimestamp").is_none() {
                object["metadata"]["deletionTimestamp"] = self.now.to_string().into();
            }
            self.store(kind, object, Some(&before));
        } else {
            self.drop_object(kind, key);
        }
    }

    /// Looks at everything there is to look at, until nothing is left.
    pub(crate) fn settle(&mut self) {
        let mut looks = 0;
        while self.step(0) {
            looks += 1;
            assert!(
                looks < PATIENCE,
                "never comes to rest; last: {:#?}",
                &self.log[self.log.len().saturating_sub(10)..]
            );
        }
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.queue.is_empty()
    }

    /// One look, at a work that `choice` picks; false if there is none.
    pub(crate) fn step(&mut self, choice: usize) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let index = choice % self.queue.len();
        let work = self.queue.remove(index).expect("the index is in the queue");
        let outcome = work.look(&self.snapshot, self.now, &self.known);
        self.log.extend(outcome.events.iter().map(ToString::to_string));
        match outcome.requeue_at {
            Some(at) => self.alarms.insert(work, at),
            None => self.alarms.remove(&work),
        };
        outcome.writes.into_iter().for_each(|write| self.carry_out(write));
        true
    }

    /// Lets time pass, to the next alarm and the next, until `wait` is over.
    pub(crate) fn wait(&mut self, wait: SignedDuration) {
        let end = self.now.checked_add(wait).unwrap();
        loop {
            self.settle();
            let next = self.alarms.iter().map(|(work, at)| (*at, work.clone())).min();
            let Some((at, work)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.alarms.remove(&work);
            self.queue.push_back(work);
        }
        self.now = end;
        self.settle();
    }

    /// The agent: starts what is placed on a node, each pod ready with an address of its own.
    pub(crate) fn start_pods(&mut self) {
        for key in self.pods(|pod| pod.pointer("/spec/nodeName").is_some() && pod.pointer("/status/podIP").is_none()) {
            self.start_pod(&key);
        }
    }

    pub(crate) fn start_pod(&mut self, key: &ObjectKey) {
        self.serial += 1;
        let (serial, now) = (self.serial, self.now.to_string());
        let ip = format!("10.244.{}.{}", serial / 250, serial % 250 + 1);
        self.edit(Kind::Pod, key, |pod| {
            pod["status"] = json!({
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{ "ip": ip }],
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": now }],
            });
        });
    }

    /// The agent: ends what is being deleted.
    pub(crate) fn end_pods(&mut self) {
        for key in self.pods(|pod| pod.pointer("/metadata/deletionTimestamp").is_some()) {
            self.drop_object(Kind::Pod, &key);
        }
    }

    pub(crate) fn pods(&self, holds: impl Fn(&Value) -> bool) -> Vec<ObjectKey> {
        self.all(Kind::Pod).filter(|(_, pod)| holds(pod)).map(|(key, _)| key.clone()).collect()
    }

    fn carry_out(&mut self, write: Write) {
        let (kind, key) = (write.kind, write.key.clone());
        let is_there = |first: &First| match first {
            First::EnsureGone { kind, key, uid } => {
                self.get(*kind, key).is_some_and(|object| uid.is_empty() || text(object, "/metadata/uid") == *uid)
            }
            First::DeleteCollection { .. } => false,
        };
        if write.first.iter().any(is_there) {
            return;
        }
        let before = self.get(kind, &key).cloned();
        self.log.push(brief(&write, before.as_ref()));
        let name = match (write.verb, before) {
            (Verb::Create(object), None) => {
                let serial = self.serial;
                self.insert(kind, object);
                if key.name.is_empty() { format!("…{}", serial + 1) } else { key.name.to_string() }
            }
            (Verb::Create(_), Some(_)) => panic!("{} {key} exists", kind.name()),
            (_, None) => panic!("{} {key} does not exist", kind.name()),
            (Verb::Update(object), Some(before)) => {
                self.check_revision(&object, &before);
                self.store(kind, object, Some(&before));
                key.name.to_string()
            }
            (Verb::Patch(patch), Some(before)) => {
                self.check_revision(&patch, &before);
                let mut object = before.clone();
                merge(&mut object, &patch);
                self.store(kind, object, Some(&before));
                key.name.to_string()
            }
            (Verb::PatchStatus { status, revision }, Some(before)) => {
                assert!(revision.is_none_or(|revision| text(&before, "/metadata/resourceVersion") == revision));
                let mut object = before.clone();
                merge(&mut object, &json!({ "status": status }));
                self.store(kind, object, Some(&before));
                key.name.to_string()
            }
            (Verb::Delete { uid, grace_seconds, propagation }, Some(before)) => {
                assert_eq!(text(&before, "/metadata/uid"), uid);
                self.delete(kind, &key, grace_seconds, propagation.unwrap_or_default());
                key.name.to_string()
            }
            (Verb::Bind { node, .. }, Some(before)) => {
                let mut object = before.clone();
                object["spec"]["nodeName"] = node.into();
                self.store(kind, object, Some(&before));
                key.name.to_string()
            }
            (Verb::Finalize(_), Some(_)) => {
                self.drop_object(kind, &key);
                key.name.to_string()
            }
        };
        if let Some(note) = write.on_success {
            self.log.push(note.to_string().replace("{name}", &name));
        }
    }

    /// A write on a stale snapshot cannot happen here: every write has the revision that is stored, or none.
    fn check_revision(&self, given: &Value, stored: &Value) {
        if let Some(revision) = given.pointer("/metadata/resourceVersion") {
            assert_eq!(Some(revision), stored.pointer("/metadata/resourceVersion"));
        }
    }

    fn insert(&mut self, kind: Kind, mut object: Value) {
        self.serial += 1;
        let metadata = &mut object["metadata"];
        if metadata["name"].as_str().unwrap_or_default().is_empty() {
            metadata["name"] = format!("{}{:04}", metadata["generateName"].as_str().unwrap(), self.serial).into();
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("uid-{}", self.serial).into();
        }
        metadata["creationTimestamp"] = self.now.to_string().into();
        metadata["generation"] = 1.into();
        if kind == Kind::Namespace {
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
        }
        if kind == Kind::Pod && object.get("status").is_none() {
            object["status"] = json!({ "phase": "Pending" });
        }
        self.store(kind, object, None);
    }

    fn store(&mut self, kind: Kind, mut object: Value, before: Option<&Value>) {
        prune(&mut object);
        if Some(&object) == before {
            return;
        }
        let key = key_of(&object);
        if let Some(before) = before
            && before.get("spec") != object.get("spec")
        {
            let generation = before.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
            object["metadata"]["generation"] = (generation + 1).into();
        }
        let is_ending = object.pointer("/metadata/deletionTimestamp").is_some();
        let was_held = before.is_some_and(has_finalizers);
        if is_ending && was_held && !has_finalizers(&object) {
            return self.drop_object(kind, &key);
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.objects.insert((kind, key), object.clone());
        self.show(kind, &object, true);
    }

    pub(crate) fn drop_object(&mut self, kind: Kind, key: &ObjectKey) {
        if let Some(mut object) = self.objects.remove(&(kind, key.clone())) {
            self.revision += 1;
            object["metadata"]["resourceVersion"] = self.revision.to_string().into();
            self.show(kind, &object, false);
        }
    }

    /// Has an object of a real server in the snapshot, as it is.
    pub(crate) fn adopt(&mut self, kind: Kind, object: &Value) {
        self.objects.insert((kind, key_of(object)), object.clone());
        self.show(kind, object, true);
    }

    fn show(&mut self, kind: Kind, object: &Value, exists: bool) {
        let json = object.to_string();
        let change = for_kind!(kind, T => {
            let object = T::from_item(json.as_bytes()).unwrap();
            KindChange::from(if exists { Change::Apply(object) } else { Change::Delete(object) })
        });
        self.take_in(change);
    }

    /// What the watch of a kind says.
    pub(crate) fn take_in(&mut self, change: KindChange) {
        for delta in self.snapshot.apply(lean(change)) {
            for work in caused_by(&self.snapshot, &delta) {
                if (self.only)(&work) && !self.queue.contains(&work) {
                    self.queue.push_back(work);
                }
            }
        }
    }
}

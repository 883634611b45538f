//! What must hold in every history of a simulated cluster: pods start late, die at any time, and templates and totals change,
//! while controllers look in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use stead_api::snapshot::Kind;
use stead_client::write::Propagation;
use stead_model::ObjectKey;

use crate::{
    work::Work,
    world::{World, text},
};

#[derive(Clone, Debug)]
enum Happening {
    /// Controllers look this often, at works in an order given by the number.
    Looks(u8, usize),
    /// The agent starts one pod.
    Starts(usize),
    /// The agent ends all pods that are being deleted.
    Ends,
    /// A pod dies: its object is gone.
    Dies(usize),
    /// A pod is no longer ready.
    Ails(usize),
    Template(u8),
    Total(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1..8_u8, any::<usize>()).prop_map(|(count, order)| Happening::Looks(count, order)),
        4 => any::<usize>().prop_map(Happening::Starts),
        2 => Just(Happening::Ends),
        1 => any::<usize>().prop_map(Happening::Dies),
        1 => any::<usize>().prop_map(Happening::Ails),
        1 => (0..3_u8).prop_map(Happening::Template),
        1 => (0..7_u8).prop_map(Happening::Total),
    ]
}

/// What the user wants.
#[derive(Clone, Debug)]
struct Wish {
    replicas: u8,
    image: u8,
    surge: u8,
    unavailable: u8,
}

fn apply(world: &mut World, wish: &Wish) {
    let Wish { replicas, image, surge, unavailable } = wish;
    world.put(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": "default", "name": "web" },
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 600,
            "selector": { "matchLabels": { "app": "web" } },
            "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": image.to_string() }] },
            },
        },
    }));
}

fn is_active(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_none()
}

fn is_ready(pod: &Value) -> bool {
    is_active(pod) && text(pod, "/status/conditions/0/status") == "True"
}

fn happen(world: &mut World, wish: &mut Wish, happening: &Happening) {
    let pick = |world: &World, holds: &dyn Fn(&Value) -> bool, index: usize| {
        let pods = world.pods(holds);
        (!pods.is_empty()).then(|| pods[index % pods.len()].clone())
    };
    match happening {
        Happening::Looks(count, order) => {
            let mut order = *order;
            for _ in 0..*count {
                world.step(order);
                order = order.rotate_left(7);
            }
        }
        Happening::Starts(index) => {
            let waits = |pod: &Value| pod.pointer("/spec/nodeName").is_some() && !is_ready(pod) && is_active(pod);
            pick(world, &waits, *index).iter().for_each(|key| world.start_pod(key));
        }
        Happening::Ends => world.end_pods(),
        Happening::Dies(index) => {
            pick(world, &|_| true, *index).iter().for_each(|key| world.drop_object(Kind::Pod, key));
        }
        Happening::Ails(index) => {
            pick(world, &is_ready, *index).iter().for_each(|key| {
                world.edit(Kind::Pod, key, |pod| pod["status"]["conditions"][0]["status"] = "False".into());
            });
        }
        Happening::Template(image) => {
            wish.image = *image;
            apply(world, wish);
        }
        Happening::Total(replicas) => {
            wish.replicas = *replicas;
            apply(world, wish);
        }
    }
}

fn cluster(wish: &Wish) -> World {
    let mut world = World::new();
    world.only = |work| !matches!(work, Work::Node(_));
    for name in ["node1", "node2", "node3"] {
        world.put(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        }));
    }
    world.put(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "default", "name": "web" },
        "spec": { "clusterIP": "10.96.0.9", "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    }));
    apply(&mut world, wish);
    world
}

/// Lets everything start and end until nothing changes any more.
fn come_to_rest(world: &mut World) {
    for _ in 0..200 {
        world.settle();
        let before = world.log.len();
        for key in world.pods(|pod| pod.pointer("/spec/nodeName").is_some() && is_active(pod) && !is_ready(pod)) {
            world.start_pod(&key);
        }
        world.end_pods();
        world.settle();
        if world.log.len() == before {
            return;
        }
    }
    panic!("never comes to rest");
}

fn ready_addresses(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (_, slice) in world.all(Kind::EndpointSlice) {
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        found.extend(ready.map(|endpoint| text(endpoint, "/addresses/0").to_owned()));
    }
    found.sort();
    found
}

fn wish() -> impl Strategy<Value = Wish> {
    (0..7_u8, 0..3_u8, 0..3_u8).prop_map(|(replicas, surge, unavailable)| Wish {
        replicas,
        image: 0,
        surge,
        unavailable,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever happens, in the end there are as many ready pods as wanted, all of the last template, all in the slices and Endpoints,
    /// and looking again writes nothing.
    #[test]
    fn a_cluster_becomes_what_is_wanted(
        mut wish in wish(),
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut world = cluster(&wish);
        for each in &happenings {
            happen(&mut world, &mut wish, each);
        }
        come_to_rest(&mut world);
        let pods = world.pods(is_ready);
        prop_assert_eq!(pods.len(), usize::from(wish.replicas));
        let all: BTreeMap<&ObjectKey, &Value> = world.all(Kind::Pod).collect();
        prop_assert_eq!(all.len(), pods.len());
        prop_assert!(all.values().all(|pod| text(pod, "/spec/containers/0/image") == wish.image.to_string()));
        let mut addresses: Vec<_> = all.values().map(|pod| text(pod, "/status/podIP").to_owned()).collect();
        addresses.sort();
        prop_assert_eq!(ready_addresses(&world), addresses);
        let status = world.get(Kind::Deployment, &ObjectKey::new("default", "web")).unwrap()["status"].clone();
        prop_assert_eq!(status["availableReplicas"].as_u64().unwrap_or_default(), u64::from(wish.replicas));
        let progressing = status["conditions"].as_array().unwrap().iter().find(|each| each["type"] == "Progressing");
        prop_assert_eq!(progressing.map(|each| &each["reason"]), Some(&json!("NewReplicaSetAvailable")));
    }

    /// During a rollout in which no pod fails never more pods are asked for than wanted and surge, and never fewer are available than
    /// wanted without those that may be missing.
    #[test]
    fn a_rollout_keeps_its_bounds(
        mut wish in wish(),
        templates in prop::collection::vec(1..3_u8, 1..4),
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let mut world = cluster(&wish);
        come_to_rest(&mut world);
        let (surge, mut unavailable) = (usize::from(wish.surge), usize::from(wish.unavailable));
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        let quiet = |happening: &&Happening| {
            matches!(happening, Happening::Looks(..) | Happening::Starts(_) | Happening::Ends)
        };
        let mut templates = templates.into_iter();
        for (index, each) in happenings.iter().filter(quiet).enumerate() {
            if index % 9 == 0 && let Some(template) = templates.next() {
                happen(&mut world, &mut wish, &Happening::Template(template));
            }
            happen(&mut world, &mut wish, each);
            let wanted = usize::from(wish.replicas);
            let asked = world.all(Kind::ReplicaSet).map(|(_, set)| set["spec"]["replicas"].as_u64().unwrap());
            let asked = asked.sum::<u64>() as usize;
            prop_assert!(asked <= wanted + surge, "{asked} pods asked for, of {wanted} + {surge}");
            if world.is_at_rest() {
                let active = world.pods(is_active).len();
                prop_assert!(active <= wanted + surge, "{active} pods of {wanted} + {surge}");
            }
            let ready = world.pods(is_ready).len();
            prop_assert!(ready + unavailable >= wanted, "{ready} ready of {wanted} - {unavailable}");
        }
    }

    /// A ReplicaSet comes back to its number, whatever dies, and deletes nothing that it needs.
    #[test]
    fn a_replica_set_converges(replicas in 0..9_u8, deaths in prop::collection::vec(any::<usize>(), 0..20)) {
        let mut world = World::new();
        world.only = |work| matches!(work, Work::ReplicaSet(_));
        let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } });
        world.put(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "namespace": "default", "name": "web" },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template },
        }));
        world.settle();
        for death in deaths {
            let pods = world.pods(|_| true);
            if let Some(key) = pods.get(death % pods.len().max(1)) {
                world.delete(Kind::Pod, key, Some(0), Propagation::Background);
            }
            world.settle();
            prop_assert_eq!(world.pods(|_| true).len(), usize::from(replicas));
            prop_assert!(!world.log.iter().any(|line| line.starts_with("delete")));
        }
    }
}

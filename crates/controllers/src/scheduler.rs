//! Scheduling: gives each pod without a node one that is ready, not cordoned, has the labels the pod asks for and no taint it
//! does not tolerate; among those, the one with fewest taints that would rather not have it, then fewest pods of the same owner,
//! then fewest pods.
//!
//! One look places all waiting pods, each knowing where the ones before it went. Capacity is not weighed. Starting what was
//! placed is the node agent's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Pod, PodCondition, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::json;
use stead_api::{
    item::object_key,
    snapshot::{Kind, Snapshot, term},
};
use stead_client::EventKind;

use crate::{
    outcome::{Note, Outcome, Source, Verb, Write, json as to_json},
    pods,
};

const NAME: &str = "default-scheduler";

/// How many pods a node has: all, and those of each owner.
#[derive(Default)]
struct Load<'a> {
    all: usize,
    of_owner: BTreeMap<&'a str, usize>,
}

/// Why a node cannot take a pod, in the order upstream's summary counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unfit<'a> {
    NotReady,
    Cordoned,
    Selector,
    Taint { key: &'a str, value: &'a str },
}

pub(crate) fn reconcile(snapshot: &Snapshot, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let waiting: Vec<&Pod> = snapshot
        .pods
        .with_term(&term::node(""))
        .map(|(_, pod)| &**pod)
        .filter(|pod| pods::is_active(pod) && is_ours(pod))
        .collect();
    if waiting.is_empty() {
        return outcome;
    }
    let mut loads = loads(snapshot);
    for pod in waiting {
        match choose(snapshot, pod, &loads) {
            Ok(node) => {
                let load = loads.entry(node).or_default();
                load.all += 1;
                *load.of_owner.entry(owner(pod)).or_default() += 1;
                outcome.writes.push(bind(pod, node));
            }
            Err(message) => outcome.writes.extend(refuse(pod, message, now)),
        }
    }
    outcome
}

fn is_ours(pod: &Pod) -> bool {
    let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    name.is_none_or(|name| name.is_empty() || name == NAME)
}

fn owner(pod: &Pod) -> &str {
    pods::controller(&pod.metadata).map_or("", |owner| &owner.uid)
}

fn loads(snapshot: &Snapshot) -> BTreeMap<&str, Load<'_>> {
    let mut loads = BTreeMap::<&str, Load<'_>>::new();
    for pod in snapshot.pods.values().filter(|pod| pods::is_active(pod)) {
        if let Some(node) = pods::node(pod) {
            let load = loads.entry(node).or_default();
            load.all += 1;
            *load.of_owner.entry(owner(pod)).or_default() += 1;
        }
    }
    loads
}

/// The best node, or what stands against all of them.
fn choose<'a>(snapshot: &'a Snapshot, pod: &Pod, loads: &BTreeMap<&str, Load<'_>>) -> Result<&'a str, String> {
    let mut against = Vec::new();
    let mut best = None;
    for (key, node) in snapshot.nodes.iter() {
        if let Some(unfit) = unfit(pod, node) {
            against.push(unfit);
            continue;
        }
        let load = loads.get(&*key.name);
        let siblings = load.and_then(|load| load.of_owner.get(owner(pod))).copied().unwrap_or_default();
        let unwelcome = untolerated(pod, node).filter(|taint| taint.effect == "PreferNoSchedule").count();
        let rank = (unwelcome, siblings, load.map_or(0, |load| load.all), &*key.name);
        best = Some(best.map_or(rank, |best: (usize, usize, usize, &str)| best.min(rank)));
    }
    best.map(|(.., name)| name).ok_or_else(|| summary(against))
}

fn unfit<'a>(pod: &Pod, node: &'a Node) -> Option<Unfit<'a>> {
    let spec = node.spec.as_ref();
    if !is_ready(node) || node.metadata.deletion_timestamp.is_some() {
        return Some(Unfit::NotReady);
    }
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        return Some(Unfit::Cordoned);
    }
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    if selector.is_some_and(|selector| !pods::has_pairs(&node.metadata.labels, selector)) {
        return Some(Unfit::Selector);
    }
    let taint = untolerated(pod, node).find(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    taint.map(|taint| Unfit::Taint { key: &taint.key, value: taint.value.as_deref().unwrap_or_default() })
}

fn untolerated<'a>(pod: &Pod, node: &'a Node) -> impl Iterator<Item = &'a Taint> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| !tolerations.iter().any(|each| tolerates(each, taint)))
}

pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if is_given(&toleration.effect) && toleration.effect.as_deref() != Some(&taint.effect) {
        return false;
    }
    if is_given(&toleration.key) && toleration.key.as_deref() != Some(&taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        _ => {
            is_given(&toleration.key)
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
    }
}

/// Such as `0/2 nodes are available: 1 node(s) were unschedulable, 1 node(s) were not ready.`
fn summary(mut against: Vec<Unfit<'_>>) -> String {
    if against.is_empty() {
        return "no nodes available to schedule pods".to_owned();
    }
    let total = against.len();
    against.sort();
    let groups = against.chunk_by(|a, b| a == b);
    let reasons: Vec<String> = groups
        .map(|group| {
            let count = group.len();
            match group[0] {
                Unfit::NotReady => format!("{count} node(s) were not ready"),
                Unfit::Cordoned => format!("{count} node(s) were unschedulable"),
                Unfit::Selector => format!("{count} node(s) didn't match Pod's node affinity/selector"),
                Unfit::Taint { key, value } => format!("{count} node(s) had untolerated taint {{{key}: {value}}}"),
            }
        })
        .collect();
    format!("0/{total} nodes are available: {}.", reasons.join(", "))
}

fn bind(pod: &Pod, node: &str) -> Write {
    let key = object_key(&pod.metadata);
    let message = format!("Successfully assigned {key} to {node}");
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    Write {
        on_success: Some(Note::new(Source::Scheduler, pod, EventKind::Normal, "Scheduled", message)),
        ..Write::new(Kind::Pod, key, Verb::Bind { uid, node: node.to_owned() })
    }
}

/// Says on the pod why it waits, unless it says so already.
fn refuse(pod: &Pod, message: String, now: Timestamp) -> Option<Write> {
    let known = pods::condition(pod, "PodScheduled");
    let is_false = known.filter(|known| known.status == "False");
    if is_false.is_some_and(|known| known.message.as_deref() == Some(&message)) {
        return None;
    }
    let since = is_false.and_then(|known| known.last_transition_time.clone()).unwrap_or(Time(now));
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.clone()),
        last_transition_time: Some(since),
        ..PodCondition::default()
    };
    let conditions = pods::with_condition(pod, condition);
    let verb = Verb::PatchStatus {
        status: json!({ "conditions": to_json(&conditions) }),
        revision: pod.metadata.resource_version.clone(),
    };
    Some(Write {
        on_success: Some(Note::new(Source::Scheduler, pod, EventKind::Warning, "FailedScheduling", message)),
        ..Write::new(Kind::Pod, object_key(&pod.metadata), verb)
    })
}

#[cfg(test)]
mod tests {
    use stead_api::kinds;

    use super::*;

    /// What the API says that nothing acts on, nothing here acts on, and the other way round.
    #[test]
    fn warnings_of_the_api_are_true_of_the_scheduler() {
        let check = |effect: &str, keeps_away: bool, counts: bool, warning: Option<&str>| {
            let wire = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "k", "effect": effect}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
            let node: Node = serde_json::from_value(wire.clone()).unwrap();
            let pod = Pod::default();
            assert_eq!(unfit(&pod, &node).is_some(), keeps_away, "{effect}");
            assert_eq!(untolerated(&pod, &node).count() == 1, counts, "{effect}");
            let said = kinds::node::RESOURCE.strategy.warnings(&wire, None);
            assert_eq!(said.first().map(String::as_str), warning, "{effect}");
        };
        check("NoSchedule", true, true, None);
        check("PreferNoSchedule", false, true, None);
        let stay = "spec.taints[0].effect: not acted on by this version of Stead: no new pod comes, but pods that are there stay";
        check("NoExecute", true, true, Some(stay));

        let check = |spec: serde_json::Value, ours: bool, warning: Option<&str>| {
            let wire = json!({"metadata": {"name": "p"}, "spec": spec});
            let said = kinds::pod::RESOURCE.strategy.warnings(&wire, None);
            assert_eq!(said.first().and_then(|said| said.split(": ").next()), warning, "{wire}");
            let mut wire = wire;
            wire["spec"]["containers"] = json!([]);
            assert_eq!(is_ours(&serde_json::from_value(wire).unwrap()), ours);
        };
        check(json!({"schedulerName": "default-scheduler", "tolerations": [{"operator": "Exists"}]}), true, None);
        check(json!({"schedulerName": "mine"}), false, Some("spec.schedulerName"));
        let seconds = json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]);
        check(json!({"tolerations": seconds}), true, Some("spec.tolerations[0].tolerationSeconds"));
    }
}

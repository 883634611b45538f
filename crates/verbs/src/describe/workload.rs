//! The pages of what makes pods: Deployment, ReplicaSet, ReplicationController.

use serde_json::Value;

use super::{
    page::{Page, controller, date, list, map, or_none, pairs, plain},
    pod::describe_template,
};

const POD_TEMPLATE_HASH: &str = "pod-template-hash";

pub(super) fn describe_deployment(page: &mut Page, deployment: &Value, sets: &[Value]) {
    let (metadata, spec, status) = (&deployment["metadata"], &deployment["spec"], &deployment["status"]);
    page.field("Name", plain(&metadata["name"]));
    page.field("Namespace", plain(&metadata["namespace"]));
    page.field("CreationTimestamp", date(&metadata["creationTimestamp"]));
    page.labels("Labels", &metadata["labels"]);
    page.annotations("Annotations", &metadata["annotations"]);
    page.field("Selector", selector(&spec["selector"]));
    let count = |key: &str| status[key].as_i64().unwrap_or_default();
    page.field(
        "Replicas",
        format_args!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            plain(&spec["replicas"]),
            count("updatedReplicas"),
            count("replicas"),
            count("availableReplicas"),
            count("unavailableReplicas")
        ),
    );
    page.field("StrategyType", plain(&spec["strategy"]["type"]));
    page.field("MinReadySeconds", spec["minReadySeconds"].as_i64().unwrap_or_default());
    let rolling = &spec["strategy"]["rollingUpdate"];
    if !rolling.is_null() {
        let (unavailable, surge) = (plain(&rolling["maxUnavailable"]), plain(&rolling["maxSurge"]));
        page.field("RollingUpdateStrategy", format_args!("{unavailable} max unavailable, {surge} max surge"));
    }
    describe_template(page, &spec["template"]);
    describe_conditions(page, status);
    describe_replica_sets(page, deployment, sets);
}

/// A ReplicaSet or ReplicationController; `pods` are those of its namespace.
pub(super) fn describe_set(page: &mut Page, set: &Value, pods: &[Value]) {
    let (metadata, spec, status) = (&set["metadata"], &set["spec"], &set["status"]);
    page.field("Name", plain(&metadata["name"]));
    page.field("Namespace", plain(&metadata["namespace"]));
    let is_replica_set = set["kind"] == "ReplicaSet";
    page.field("Selector", if is_replica_set { selector(&spec["selector"]) } else { pairs(&spec["selector"]) });
    page.labels("Labels", &metadata["labels"]);
    page.annotations("Annotations", &metadata["annotations"]);
    if let Some(controller) = controller(set) {
        page.field("Controlled By", controller);
    }
    let current = status["replicas"].as_i64().unwrap_or_default();
    page.field("Replicas", format_args!("{current} current / {} desired", plain(&spec["replicas"])));
    let own = |pod: &&Value| list(&pod["metadata"]["ownerReferences"]).any(|owner| owner["uid"] == metadata["uid"]);
    let in_phase = |phase: &str| pods.iter().filter(own).filter(|pod| pod["status"]["phase"] == phase).count();
    let [running, waiting, succeeded, failed] = ["Running", "Pending", "Succeeded", "Failed"].map(in_phase);
    let counts = format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed");
    page.field("Pods Status", counts);
    describe_template(page, &spec["template"]);
    describe_conditions(page, status);
}

fn describe_conditions(page: &mut Page, status: &Value) {
    if list(&status["conditions"]).next().is_some() {
        page.line(0, "Conditions:\n  Type\tStatus\tReason");
        page.line(1, "----\t------\t------");
    }
    for condition in list(&status["conditions"]) {
        let [kind, state, reason] = ["type", "status", "reason"].map(|key| plain(&condition[key]));
        page.line(1, format_args!("{kind} \t{state}\t{reason}"));
    }
}

/// The new one has the Deployment's own template; the oldest of several is it.
fn describe_replica_sets(page: &mut Page, deployment: &Value, sets: &[Value]) {
    let uid = &deployment["metadata"]["uid"];
    let is_own = |set: &&Value| list(&set["metadata"]["ownerReferences"]).any(|owner| owner["uid"] == *uid);
    let mut old: Vec<&Value> = sets.iter().filter(is_own).collect();
    if old.is_empty() {
        return;
    }
    old.sort_by_key(|set| (plain(&set["metadata"]["creationTimestamp"]), stead_api::meta::name(set).to_owned()));
    let template = without_hash(&deployment["spec"]["template"]);
    let new = old.iter().position(|set| without_hash(&set["spec"]["template"]) == template);
    let new: Vec<&Value> = new.map(|at| old.remove(at)).into_iter().collect();
    let text = |set: &&Value| {
        let created = set["status"]["replicas"].as_i64().unwrap_or_default();
        format!("{} ({created}/{} replicas created)", plain(&set["metadata"]["name"]), plain(&set["spec"]["replicas"]))
    };
    let joined = |sets: &[&Value]| or_none(&sets.iter().map(text).collect::<Vec<_>>().join(", ")).to_owned();
    page.field("OldReplicaSets", joined(&old));
    page.field("NewReplicaSet", joined(&new));
}

/// The template without the label by which its pods are told from those of others.
fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(POD_TEMPLATE_HASH);
    }
    template
}

/// A label selector as one line: `a=b,c in (d,e),!f`.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<String> =
        map(&selector["matchLabels"]).map(|(key, value)| format!("{key}={}", plain(value))).collect();
    for expression in list(&selector["matchExpressions"]) {
        let key = plain(&expression["key"]);
        let values = list(&expression["values"]).map(plain).collect::<Vec<_>>().join(",");
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            _ => format!("!{key}"),
        });
    }
    or_none(&parts.join(",")).to_owned()
}

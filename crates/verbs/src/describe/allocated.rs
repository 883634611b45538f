//! What pods of a node ask for and may take, beside what the node has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use stead_api::{quantity::Quantity, table::age};

use super::page::{Page, list, map};

/// Amounts by resource.
type Amounts = BTreeMap<String, Quantity>;

/// Resources that every node may have; others are told of without a share.
const STANDARD: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pods"];

/// `pods` are those on the node that are not over.
pub(super) fn describe(page: &mut Page, node: &Value, pods: &[Value], now: Timestamp) {
    let status = &node["status"];
    let offered = [&status["allocatable"], &status["capacity"]].into_iter().map(amounts).find(|one| !one.is_empty());
    let offered = offered.unwrap_or_default();
    page.line(0, format_args!("Non-terminated Pods:\t({} in total)", pods.len()));
    page.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    page.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let mut totals = (Amounts::new(), Amounts::new());
    for pod in pods {
        let (requests, limits) = (of_pod(pod, "requests"), of_pod(pod, "limits"));
        let (namespace, name) = (stead_api::meta::namespace(pod), stead_api::meta::name(pod));
        let cells = ["cpu", "memory"].map(|resource| {
            let part = |amounts: &Amounts| share(amounts, &offered, resource);
            format!("{}\t{}", part(&requests), part(&limits))
        });
        let age = age(stead_api::meta::creation_timestamp(pod), now);
        page.line(1, format_args!("{namespace}\t{name}\t\t{}\t{}\t{age}", cells[0], cells[1]));
        add(&mut totals.0, &requests);
        add(&mut totals.1, &limits);
    }
    page.line(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)");
    page.line(1, "Resource\tRequests\tLimits");
    page.line(1, "--------\t--------\t------");
    let is_huge = |resource: &str| resource.starts_with("hugepages-");
    let huge = offered.keys().map(String::as_str).filter(|resource| is_huge(resource));
    for resource in ["cpu", "memory", "ephemeral-storage"].into_iter().chain(huge) {
        let part = |amounts: &Amounts| share(amounts, &offered, resource);
        page.line(1, format_args!("{resource}\t{}\t{}", part(&totals.0), part(&totals.1)));
    }
    for resource in offered.keys().filter(|resource| !is_huge(resource) && !STANDARD.contains(&resource.as_str())) {
        let amount = |amounts: &Amounts| amounts.get(resource).copied().unwrap_or_default();
        page.line(1, format_args!("{resource}\t{}\t{}", amount(&totals.0), amount(&totals.1)));
    }
}

/// What a pod asks for or may take as a whole: what it says itself, or what its containers come to at the most at one time.
fn of_pod(pod: &Value, what: &str) -> Amounts {
    let spec = &pod["spec"];
    let mut total = Amounts::new();
    for container in list(&spec["containers"]) {
        add(&mut total, &amounts(&container["resources"][what]));
    }
    let mut beside = Amounts::new();
    let mut before = Amounts::new();
    for container in list(&spec["initContainers"]) {
        let mut needed = amounts(&container["resources"][what]);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &needed);
            add(&mut beside, &needed);
            needed.clone_from(&beside);
        } else {
            add(&mut needed, &beside);
        }
        raise(&mut before, needed);
    }
    raise(&mut total, before);
    total.extend(amounts(&spec["resources"][what]));
    let mut overhead = amounts(&spec["overhead"]);
    // Without a limit there is none to be raised.
    overhead.retain(|name, _| what == "requests" || total.contains_key(name));
    add(&mut total, &overhead);
    total
}

fn amounts(value: &Value) -> Amounts {
    let parsed = map(value).filter_map(|(name, amount)| Some((name.clone(), amount.as_str()?.parse().ok()?)));
    parsed.collect()
}

fn add(to: &mut Amounts, amounts: &Amounts) {
    for (name, amount) in amounts {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.plus(*amount);
    }
}

fn raise(to: &mut Amounts, amounts: Amounts) {
    for (name, amount) in amounts {
        let most = to.entry(name).or_default();
        *most = (*most).max(amount);
    }
}

/// `250m (12%)`, the share of what the node offers being cut to a whole number.
fn share(amounts: &Amounts, offered: &Amounts, resource: &str) -> String {
    let [amount, whole] = [amounts, offered].map(|amounts| amounts.get(resource).copied().unwrap_or_default());
    let percent = match whole.nanos() {
        0 => 0,
        whole => amount.nanos().saturating_mul(100) / whole,
    };
    format!("{amount} ({percent}%)")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_takes_what_its_containers_come_to() {
        let check = |spec: Value, expect: &str| {
            let text = |what| {
                let amounts = of_pod(&json!({"spec": spec}), what);
                amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
            };
            assert_eq!(format!("{} / {}", text("requests"), text("limits")), expect, "{spec}");
        };
        let container =
            |cpu: &str, memory: &str| json!({"resources": {"requests": {"cpu": cpu}, "limits": {"memory": memory}}});
        check(json!({"containers": [container("100m", "64Mi"), container("400m", "64Mi")]}), "cpu=500m / memory=128Mi");
        let before = container("2", "1Gi");
        check(json!({"containers": [container("1", "1Mi")], "initContainers": [before]}), "cpu=2 / memory=1Gi");
        let mut beside = container("1", "1Gi");
        beside["restartPolicy"] = "Always".into();
        let init = json!([beside, container("500m", "1Gi")]);
        check(json!({"containers": [container("1", "1Mi")], "initContainers": init}), "cpu=2 / memory=2Gi");
        let whole = json!({"requests": {"cpu": "3"}, "limits": {}});
        check(json!({"containers": [container("1", "1Mi")], "resources": whole}), "cpu=3 / memory=1Mi");
        let overhead = json!({"cpu": "10m", "memory": "1Mi"});
        check(json!({"containers": [{}], "overhead": overhead}), "cpu=10m,memory=1Mi / ");
    }

    #[test]
    fn shares_are_cut_to_whole_numbers() {
        let check = |amount: &str, whole: &str, expect: &str| {
            let [amount, whole] = [amount, whole].map(|text| amounts(&json!({"cpu": text})));
            assert_eq!(share(&amount, &whole, "cpu"), expect);
        };
        check("250m", "2", "250m (12%)");
        check("3", "2", "3 (150%)");
        check("1", "0", "1 (0%)");
        assert_eq!(share(&Amounts::new(), &Amounts::new(), "cpu"), "0 (0%)");
    }
}

//! Services: one port flat, or several in `ports`, which count before the flat ones.
//!
//! Two things are said in 2014 that v1 has no field for: an empty `selector` chooses every pod (an absent one nobody), and
//! without a `containerPort` traffic goes to the first port of a pod's first container. Marks on the stored object stand for
//! them; controllers read these by [`chooses_all`] and [`takes_first_port`].

use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::util::intstr::IntOrString};
use serde_json::{Value, json};

use super::{
    carry::{Same, backward, each, forward, put, with_protocol},
    meta::{self, MARKS},
};
use crate::kinds::value::{at, child, count, is_set, is_true, items_mut, list, number, remove, set, text};

const SAME: Same = &[("portalIP", "clusterIP"), ("sessionAffinity", "sessionAffinity")];
const PORT: Same = &[
    ("name", "name"),
    ("protocol", "protocol"),
    ("port", "port"),
    ("containerPort", "targetPort"),
    ("nodePort", "nodePort"),
];
const FLAT_PORT: Same =
    &[("portName", "name"), ("protocol", "protocol"), ("port", "port"), ("containerPort", "targetPort")];
const TYPES: [&str; 3] = ["ClusterIP", "NodePort", "LoadBalancer"];

const SELECTOR: &str = "selector";
const EVERYTHING: &str = "everything";
const CONTAINER_PORT: &str = "container-port";
const FIRST: &str = "first";

/// Whether an older client made this Service to choose every pod.
pub fn chooses_all(service: &Service) -> bool {
    let has_selector = service.spec.as_ref().is_some_and(|spec| spec.selector.iter().flatten().next().is_some());
    says(service, SELECTOR, EVERYTHING) && !has_selector
}

/// Whether an older client left the port to the pod. Who has set another `targetPort` since has said more.
pub fn takes_first_port(service: &Service) -> bool {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).collect::<Vec<_>>();
    let untouched = matches!(ports.as_slice(), [port] if match &port.target_port {
        None => true,
        Some(IntOrString::Int(number)) => *number == port.port,
        Some(IntOrString::String(name)) => name.is_empty(),
    });
    says(service, CONTAINER_PORT, FIRST) && untouched
}

fn says(service: &Service, mark: &str, value: &str) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(&format!("{MARKS}{mark}"))).is_some_and(|found| found == value)
}

pub(super) fn to_v1(old: &Value) -> Value {
    let mut new = meta::to_v1(old);
    let mut spec = forward(old, SAME);
    let kind = match text(old, "/type") {
        "" if is_true(old, "/createExternalLoadBalancer") => "LoadBalancer",
        stated => stated,
    };
    put(&mut spec, "type", kind);
    let addresses = [at(old, "/publicIPs"), at(old, "/PublicIPs")];
    put(&mut spec, "externalIPs", addresses.into_iter().find(|list| !list.is_null()).cloned().unwrap_or_default());
    if at(old, "/selector").as_object().is_some_and(|selector| selector.is_empty()) {
        mark_everything(&mut new);
    }
    put(&mut spec, "selector", at(old, "/selector").clone());
    if !list(old, "/ports").is_empty() {
        put(&mut spec, "ports", each(old, "ports", |port| Some(port_to_v1(port, PORT))));
    } else if count(old, "/port") != 0 {
        let port = port_to_v1(old, FLAT_PORT);
        if !is_set(&port, "/targetPort") {
            meta::mark(&mut new, CONTAINER_PORT, FIRST);
        }
        put(&mut spec, "ports", vec![port]);
    }
    set(&mut new, "spec", spec);
    let balancer = at(old, "/loadBalancer");
    if balancer.is_object() {
        set(&mut new, "status", json!({"loadBalancer": balancer}));
    }
    new
}

/// The stored Service without the container's port that v1 gave it, where `new` leaves the port to the pod: it follows `port`.
pub(super) fn without_given_port(stored: &Value, new: &Value) -> Value {
    let mut stored = stored.clone();
    if meta::marked(new, CONTAINER_PORT) == FIRST {
        for port in items_mut(child(&mut stored, "spec"), "ports") {
            remove(port, "targetPort");
        }
    }
    stored
}

/// What a client means that has read the Service (`shown`) and sends it back with another flat port: the list of ports, which it
/// left as it was, would count before that one.
pub(super) fn with_flat_port(old: &Value, shown: &Value) -> Value {
    let mut meant = old.clone();
    if old.get("ports") != shown.get("ports") {
        return meant;
    }
    if let Some(port) = items_mut(&mut meant, "ports").first_mut() {
        for (flat, name) in FLAT_PORT {
            let said = old.get(*flat).filter(|said| !said.is_null() && shown.get(*flat) != Some(said));
            let listed = if *name == "targetPort" { "containerPort" } else { name };
            if let Some(said) = said {
                set(port, listed, said.clone());
            }
        }
    }
    meant
}

/// Makes room for a patch of the one flat port, or of `createExternalLoadBalancer`, in what it is applied to: there, the list of
/// ports or the type would count before it.
pub(super) fn make_room(shown: &mut Value, patch: &Value) {
    let touched = |name: &str| match patch {
        Value::Array(operations) => operations
            .iter()
            .any(|operation| text(operation, "/path").trim_start_matches('/').split('/').next() == Some(name)),
        patch => patch.get(name).is_some(),
    };
    let touches_flat = FLAT_PORT.iter().any(|(name, _)| touched(name));
    if touches_flat && !touched("ports") && list(shown, "/ports").len() == 1 {
        remove(shown, "ports");
    }
    if touched("createExternalLoadBalancer") && !touched("type") {
        remove(shown, "type");
    }
}

/// A container's port that is 0 or has no name is not stated.
fn port_to_v1(old: &Value, same: Same) -> Value {
    let mut port = with_protocol(forward(old, same));
    if count(&port, "/targetPort") == 0 && text(&port, "/targetPort").is_empty() {
        remove(&mut port, "targetPort");
    }
    port
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    let spec = at(new, "/spec");
    for (key, value) in backward(spec, SAME).as_object().into_iter().flatten() {
        put(&mut old, key, value.clone());
    }
    let ports = list(spec, "/ports").iter().filter(|port| ["", "TCP", "UDP"].contains(&text(port, "/protocol")));
    let mut ports = ports.collect::<Vec<_>>();
    let first = leaves_port_to_pods(new);
    if let Some(port) = ports.first() {
        for (key, value) in backward(port, FLAT_PORT).as_object().into_iter().flatten() {
            put(&mut old, key, value.clone());
        }
    }
    if first {
        remove(&mut old, "containerPort");
        // With a list of ports none without a number would mean another thing.
        ports.clear();
    }
    put(&mut old, "ports", ports.into_iter().map(|port| backward(port, PORT)).collect::<Vec<_>>());
    let selector = if leaves_choice_to_all(new) { json!({}) } else { at(spec, "/selector").clone() };
    set(&mut old, "selector", selector);
    put(&mut old, "publicIPs", at(spec, "/externalIPs").clone());
    let kind = text(spec, "/type");
    if TYPES.contains(&kind) {
        set(&mut old, "type", kind);
    }
    put(&mut old, "createExternalLoadBalancer", kind == "LoadBalancer");
    put(&mut old, "loadBalancer", at(new, "/status/loadBalancer").clone());
    old
}

/// Notes that the Service chooses every pod.
pub(super) fn mark_everything(new: &mut Value) {
    meta::mark(new, SELECTOR, EVERYTHING);
}

/// As [`chooses_all`], of an object that is not typed.
pub(super) fn leaves_choice_to_all(new: &Value) -> bool {
    let has_selector = at(new, "/spec/selector").as_object().is_some_and(|selector| !selector.is_empty());
    !has_selector && meta::marked(new, SELECTOR) == EVERYTHING
}

/// As [`takes_first_port`], of an object that is not typed.
fn leaves_port_to_pods(new: &Value) -> bool {
    let untouched = match list(new, "/spec/ports") {
        [port] => match at(port, "/targetPort") {
            Value::Null => true,
            target => target.as_i64() == number(port, "/port") || target.as_str() == Some(""),
        },
        _ => false,
    };
    untouched && meta::marked(new, CONTAINER_PORT) == FIRST
}

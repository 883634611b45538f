//! The ServiceCIDR `kubernetes`, made of the ranges that this server is told. It is made again when it is gone and gets a second
//! family when the server has one; any other difference is only reported, since addresses may be in use.

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use stead_api::{
    kinds::service_cidr::{DEFAULT, READY},
    meta,
};

use super::Pass;
use crate::{
    events::{Note, record},
    own::call,
    server::Inner,
};

const COLLECTION: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const COMPONENT: &str = "kubernetes-service-cidr-controller";
/// From nothing to a ready object, with a conflict between.
const STEPS: usize = 4;

/// What is to be done about the object next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create,
    /// Add the second family.
    Extend,
    BecomeReady,
    /// It is as it should be, or somebody else's to change.
    Nothing,
    Differs,
}

/// Brings the object to where addresses can be taken from it, and waits until they can.
pub(super) async fn prepare(server: &Arc<Inner>, pass: Pass) -> Result<(), String> {
    let ranges = server.config.service_ranges.iter().map(|range| range.trunc().to_string()).collect::<Vec<_>>();
    let path = format!("{COLLECTION}/{DEFAULT}");
    let status_path = format!("{path}/status");
    for _ in 0..STEPS {
        let (code, found) = call(server, Method::GET, &path, None).await?;
        let found = match code {
            StatusCode::OK => Some(found),
            StatusCode::NOT_FOUND => None,
            _ => return Err(format!("GET {path}: {}", found["message"])),
        };
        let (method, path, body) = match step(found.as_ref(), &ranges) {
            Step::Create => (Method::POST, COLLECTION, object(&ranges)),
            Step::Extend => (Method::PATCH, path.as_str(), json!({"spec": {"cidrs": ranges}})),
            Step::BecomeReady => (Method::PATCH, status_path.as_str(), json!({"status": ready()})),
            Step::Nothing => break,
            Step::Differs if pass == Pass::Again => break,
            Step::Differs => {
                let found = found.unwrap_or_default();
                let message = format!(
                    "The default ServiceCIDR {} does not match the controller flag configurations {ranges:?}",
                    found["spec"]["cidrs"]
                );
                let reason = "KubernetesDefaultServiceCIDRInconsistent";
                record(server, COMPONENT, &Note::new(("networking.k8s.io/v1", "ServiceCIDR"), &found, reason, message))
                    .await;
                break;
            }
        };
        let (code, answer) = call(server, method.clone(), path, Some(&body)).await?;
        if !code.is_success() && code != StatusCode::CONFLICT {
            return Err(format!("{method} {path} ({DEFAULT}): {}", answer["message"]));
        }
    }
    server.allocator.catch_up().await.map_err(|error| error.to_string())
}

fn step(found: Option<&Value>, ranges: &[String]) -> Step {
    let Some(found) = found else { return Step::Create };
    let cidrs = found.pointer("/spec/cidrs").and_then(Value::as_array).cloned().unwrap_or_default();
    let conditions = found.pointer("/status/conditions").and_then(Value::as_array);
    let is_judged = conditions.is_some_and(|all| all.iter().any(|condition| condition["type"] == READY));
    match ranges {
        [first, _] if cidrs.len() == 1 && cidrs[0] == first.as_str() => Step::Extend,
        _ if cidrs.iter().map(Value::as_str).ne(ranges.iter().map(|range| Some(range.as_str()))) => Step::Differs,
        _ if is_judged || meta::is_being_deleted(found) => Step::Nothing,
        _ => Step::BecomeReady,
    }
}

fn object(ranges: &[String]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": DEFAULT}, "spec": {"cidrs": ranges},
    })
}

fn ready() -> Value {
    json!({"conditions": [{
        "type": READY, "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": meta::seconds(Timestamp::now()),
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_follows_the_servers_ranges_where_it_may() {
        let (four, six) = ("10.96.0.0/16".to_owned(), "fd56:96::/112".to_owned());
        let stored = |cidrs: &[&str], status: Value| json!({"spec": {"cidrs": cidrs}, "status": status});
        let both = [four.clone(), six];
        let four = [four];
        assert_eq!(step(None, &four), Step::Create);
        assert_eq!(step(Some(&stored(&["10.96.0.0/16"], json!({}))), &four), Step::BecomeReady);
        assert_eq!(step(Some(&stored(&["10.96.0.0/16"], ready())), &four), Step::Nothing);
        assert_eq!(step(Some(&stored(&["10.96.0.0/16"], ready())), &both), Step::Extend);
        assert_eq!(step(Some(&stored(&["10.97.0.0/16"], ready())), &four), Step::Differs);
        assert_eq!(step(Some(&stored(&["10.96.0.0/16", "fd56:96::/112"], ready())), &four), Step::Differs);
        let mut ending = stored(&["10.96.0.0/16"], json!({}));
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(step(Some(&ending), &four), Step::Nothing);
    }
}

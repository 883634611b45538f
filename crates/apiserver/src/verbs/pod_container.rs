//! Which container of a pod a request means, and where it runs.

use serde_json::Value;
use stead_api::{meta, status::ApiError};

use crate::{query::Query, refusal::Refusal};

/// The container that is meant: the one named, or the only one.
pub(crate) fn container<'a>(pod: &'a Value, query: &Query) -> Result<&'a str, Refusal> {
    let of = |list: &str| pod.pointer(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |container: &'a Value| container["name"].as_str().unwrap_or_default();
    let containers = of("/spec/containers").iter().map(name).collect::<Vec<_>>();
    let inits = of("/spec/initContainers").iter().map(name).collect::<Vec<_>>();
    let pod_name = meta::name(pod);
    match query.get("container").filter(|wanted| !wanted.is_empty()) {
        Some(wanted) => {
            let found = containers.iter().chain(&inits).find(|name| **name == wanted);
            let found = found.ok_or_else(|| {
                ApiError::bad_request(format_args!("container {wanted} is not valid for pod {pod_name}"))
            })?;
            Ok(found)
        }
        None => match containers.as_slice() {
            [only] => Ok(only),
            many => {
                let mut message = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    many.join(" ")
                );
                if !inits.is_empty() {
                    message.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
                }
                Err(ApiError::bad_request(message).into())
            }
        },
    }
}

/// The node that the pod is bound to.
pub(crate) fn node_name(pod: &Value) -> Result<&str, Refusal> {
    let bound = pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let unbound = || ApiError::bad_request(format_args!("pod {} does not have a host assigned", meta::name(pod)));
    Ok(bound.ok_or_else(unbound)?)
}

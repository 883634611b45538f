//! GET of `pods/NAME/log`: checked here, answered by the agent of the pod's node.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use stead_api::{field::FieldError, kinds, meta, status::ApiError};

use super::pod_container::{container, node_name};
use crate::{agent, outbound::Passage, path::ResourcePath, query::Query, refusal::Refusal, server::Inner};

/// What of the query is the agent's to understand.
const PASSED_ON: [&str; 8] = [
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "insecureSkipTLSVerifyBackend",
];

pub(crate) async fn get(
    server: &Inner,
    path: &ResourcePath<'_>,
    query: &Query,
    passage: Passage,
) -> Result<Response, Refusal> {
    let (namespace, name) = (path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    let stored = server.storage.get(&path.resource.registry_key(namespace, name)).await?;
    let pod = stored.ok_or_else(|| ApiError::not_found(path.resource, name))?.object;
    check_options(query, name)?;
    let container = container(&pod, query)?;
    let Ok(node_name) = node_name(&pod) else {
        // As upstream: where there is no node there is nothing to say.
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    check_started(&pod, container, query)?;
    let node_kind = &kinds::node::RESOURCE;
    let node = server.storage.get(&node_kind.registry_key("", node_name)).await?;
    let node = node.ok_or_else(|| ApiError::not_found(node_kind, node_name))?.object;
    let target = format!("/containerLogs/{namespace}/{name}/{container}{}", passed_on(query));
    let mut response = agent::get(&server.config, &node, &target).await?;
    if response.status() != StatusCode::OK {
        return Err(agent::refusal(response).await);
    }
    response.headers_mut().clear();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response.map(|body| passage.with(body)))
}

/// What is asked of the log of `pod` is checked here, so that all that is wrong comes back together in the API's words.
fn check_options(query: &Query, pod: &str) -> Result<(), Refusal> {
    let [tail, bytes, since] = ["tailLines", "limitBytes", "sinceSeconds"].map(|name| query.number(name));
    let (tail, bytes, since) = (tail?, bytes?, since?);
    let time = query.get("sinceTime").filter(|time| !time.is_empty());
    if let Some(Err(error)) = time.map(str::parse::<Timestamp>) {
        return Err(ApiError::bad_request(format!("parsing time {:?}: {error}", time.unwrap_or_default())).into());
    }
    let mut problems = Vec::new();
    let mut at_least = |name: &str, least: i64, number: Option<i64>, detail: &str| {
        if let Some(number) = number.filter(|number| *number < least) {
            problems.push(FieldError::invalid(name, number, detail));
        }
    };
    at_least("tailLines", 0, tail, "must be greater than or equal to 0");
    at_least("limitBytes", 1, bytes, "must be greater than 0");
    if since.is_some() && time.is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        problems.push(FieldError::forbidden("[]", detail));
    } else {
        at_least("sinceSeconds", 1, since, "must be greater than 0");
    }
    if query.get("stream").is_some() {
        problems.push(FieldError::forbidden("stream", "may not be specified"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_kind("", "PodLogOptions", pod, &problems).into())
}

fn passed_on(query: &Query) -> String {
    let pairs = PASSED_ON.iter().filter_map(|name| query.get(name).map(|value| (*name, value))).collect::<Vec<_>>();
    match serde_urlencoded::to_string(&pairs) {
        Ok(text) if !text.is_empty() => format!("?{text}"),
        _ => String::new(),
    }
}

/// There is something to read: the container runs or has run.
fn check_started(pod: &Value, container: &str, query: &Query) -> Result<(), Refusal> {
    let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let mut statuses = lists.iter().filter_map(|list| pod.pointer(list).and_then(Value::as_array)).flatten();
    let status = statuses.find(|status| status["name"] == container).unwrap_or(&Value::Null);
    let pod_name = meta::name(pod);
    let has_ended_before = !status["lastState"]["terminated"].is_null();
    if query.is_true("previous") {
        if has_ended_before {
            return Ok(());
        }
        let message = format!("previous terminated container {container:?} in pod {pod_name:?} not found");
        return Err(ApiError::bad_request(message).into());
    }
    if !status["state"]["running"].is_null() || !status["state"]["terminated"].is_null() || has_ended_before {
        return Ok(());
    }
    let why = match status["state"]["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) if !reason.is_empty() => reason,
        _ => "ContainerCreating",
    };
    let message = format!("container {container:?} in pod {pod_name:?} is waiting to start: {why}");
    Err(ApiError::bad_request(message).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(pod: &Value, query: &str, expected: Result<&str, &str>) {
        let query = Query::parse(Some(query)).unwrap();
        let found = container(pod, &query).and_then(|container| {
            check_started(pod, container, &query)?;
            Ok(container)
        });
        assert_eq!(found.map_err(|refusal| refusal.0.status.message), expected.map_err(str::to_owned));
    }

    #[test]
    fn all_that_is_wrong_with_what_is_asked_comes_back_together() {
        let check = |query: &str, expected: Option<&str>| {
            let refused = check_options(&Query::parse(Some(query)).unwrap(), "p").err();
            assert_eq!(refused.map(|refusal| refusal.0.status.message).as_deref(), expected, "{query}");
        };
        check("tailLines=0&limitBytes=1&sinceSeconds=1", None);
        check("sinceTime=2026-01-01T00:00:00Z", None);
        check("sinceTime=2026-01-01T00:00:00.5%2B02:00&timestamps=true", None);
        let invalid = |problems: &str| format!("PodLogOptions \"p\" is invalid: {problems}");
        let tail = "tailLines: Invalid value: -1: must be greater than or equal to 0";
        check("tailLines=-1", Some(&invalid(tail)));
        let bytes = "limitBytes: Invalid value: 0: must be greater than 0";
        let stream = "stream: Forbidden: may not be specified";
        let all =
            invalid(&format!("[{tail}, {bytes}, sinceSeconds: Invalid value: 0: must be greater than 0, {stream}]"));
        check("tailLines=-1&limitBytes=0&sinceSeconds=0&stream=All", Some(&all));
        let both = "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
        check("sinceSeconds=0&sinceTime=2026-01-01T00:00:00Z", Some(&invalid(both)));
        let refused = check_options(&Query::parse(Some("sinceTime=x")).unwrap(), "p").unwrap_err();
        assert_eq!(refused.0.status.code, 400);
    }

    #[test]
    fn one_container_is_meant_and_has_started() {
        let pod = |containers: &[&str], state: Value| {
            let named = containers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
            json!({"metadata": {"name": "p"}, "spec": {"containers": named}, "status": {"containerStatuses": [state]}})
        };
        let runs = json!({"name": "a", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
        check(&pod(&["a"], runs.clone()), "", Ok("a"));
        check(&pod(&["a", "b"], runs.clone()), "container=a", Ok("a"));
        check(&pod(&["a"], runs.clone()), "container=z", Err("container z is not valid for pod p"));
        check(
            &pod(&["a", "b"], runs.clone()),
            "",
            Err("a container name must be specified for pod p, choose one of: [a b]"),
        );
        check(
            &pod(&["a", "b"], runs.clone()),
            "container=b",
            Err("container \"b\" in pod \"p\" is waiting to start: ContainerCreating"),
        );
        check(&pod(&["a"], runs), "previous=true", Err("previous terminated container \"a\" in pod \"p\" not found"));
        let waits = json!({"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}});
        check(&pod(&["a"], waits), "", Err("container \"a\" in pod \"p\" is waiting to start: image can't be pulled"));
        let crashed = json!({
            "name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1}},
        });
        check(&pod(&["a"], crashed), "", Ok("a"));
    }
}

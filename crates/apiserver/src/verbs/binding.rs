//! POST of `pods/NAME/binding`, or of `bindings`: a scheduler gives a pod its node, once.

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use stead_api::{kinds, meta, resource::Subresource, status::ApiError};

use crate::{
    body::Encoding,
    dispatch::{Answer, Call},
    path::ResourcePath,
    query::Keep,
    refusal::Refusal,
    storage::{Claims, Written},
};

const ATTEMPTS: usize = 16;
const DEFINITION: &str = "io.k8s.api.core.v1.Binding";

/// What a Binding says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Binding {
    metadata: Metadata,
    target: Target,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    uid: String,
    labels: serde_json::Map<String, Value>,
    annotations: serde_json::Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    kind: String,
    name: String,
}

/// Whether the call is for the collection of Bindings, which names its pod in the body alone.
pub(crate) fn is_binding(call: &Call<'_>) -> bool {
    std::ptr::eq(call.path.resource, &kinds::binding::RESOURCE)
}

/// The same as [`bind`] for the pod that the Binding names.
pub(crate) async fn bind_named(call: &Call<'_>, body: &[u8]) -> Result<Answer, Refusal> {
    let binding = read(call, body)?;
    let path = ResourcePath {
        resource: &kinds::pod::RESOURCE,
        name: Some(&binding.metadata.name),
        subresource: Some(Subresource::Binding),
        ..call.path
    };
    let Call { server, identity, query, headers, asked, shown, .. } = *call;
    apply(&Call { server, identity, path, query, headers, asked, shown }, &binding).await
}

pub(crate) async fn bind(call: &Call<'_>, body: &[u8]) -> Result<Answer, Refusal> {
    apply(call, &read(call, body)?).await
}

fn read(call: &Call<'_>, body: &[u8]) -> Result<Binding, Refusal> {
    let value = Encoding::of(call.headers)?.value(body, DEFINITION)?;
    let binding = serde_json::from_value(value).map_err(|error| {
        ApiError::bad_request(format!("Binding in version \"v1\" cannot be handled as a Binding: {error}"))
    });
    Ok(binding?)
}

async fn apply(call: &Call<'_>, binding: &Binding) -> Result<Answer, Refusal> {
    let keep = call.query.keep();
    if binding.metadata.name != call.name() {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object").into());
    }
    if !matches!(binding.target.kind.as_str(), "" | "Node") {
        return Err(ApiError::bad_request(format!(
            "invalid target kind {:?}: must be empty or 'Node'",
            binding.target.kind
        ))
        .into());
    }
    if binding.target.name.is_empty() {
        return Err(ApiError::bad_request("target.name: Required value").into());
    }
    for _ in 0..ATTEMPTS {
        let found = call.server.storage.get(&call.key()).await?;
        let old = found.ok_or_else(|| ApiError::not_found(call.path.resource, call.name()))?;
        let mut pod = old.object.clone();
        check(call, binding, &pod)?;
        become_bound(&mut pod, binding);
        let written = match keep {
            Keep::DryRun => Written::At(old.revision),
            Keep::Stored => {
                call.server.storage.put(&call.key(), &pod, old.revision, old.lease, &Claims::default()).await?
            }
        };
        if let Written::At(_) = written {
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
            return Ok(Answer { code: StatusCode::CREATED, body: status.to_string().into(), warnings: Vec::new() });
        }
    }
    Err(ApiError::modified(call.path.resource, call.name()).into())
}

fn check(call: &Call<'_>, binding: &Binding, pod: &Value) -> Result<(), Refusal> {
    let (resource, name) = (call.path.resource, call.name());
    let conflict = |why: &dyn std::fmt::Display| {
        let mut error = ApiError::conflict(resource, name, why);
        error.status.message = format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}");
        error.status.details.kind = "pods/binding".into();
        Err(error.into())
    };
    let (wanted, found) = (&*binding.metadata.uid, meta::uid(pod));
    if !wanted.is_empty() && wanted != found {
        return Err(ApiError::precondition_failed(resource, name, "UID", wanted, found).into());
    }
    if meta::is_being_deleted(pod) {
        return conflict(&format_args!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    match pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default() {
        "" => Ok(()),
        node => conflict(&format_args!("pod {name} is already assigned to node {node:?}")),
    }
}

fn become_bound(pod: &mut Value, binding: &Binding) {
    pod["spec"]["nodeName"] = binding.target.name.as_str().into();
    for (field, values) in [("labels", &binding.metadata.labels), ("annotations", &binding.metadata.annotations)] {
        for (key, value) in values {
            pod["metadata"][field][key] = value.clone();
        }
    }
    kinds::pod::become_scheduled(pod, Timestamp::now());
}

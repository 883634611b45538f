//! The pod that a person means: by its name, or as one of what a Deployment, ReplicaSet, Service … has.

use serde_json::Value;

use crate::{
    api::{Api, escape},
    error::VerbError,
    kinds::Kinds,
};

/// `NAME`, `pod/NAME`, or `TYPE/NAME` of something with a selector, of which a ready pod is preferred.
pub(crate) async fn find(api: &Api, kinds: &Kinds, word: &str) -> Result<Value, VerbError> {
    let (kind, name) = match word.split_once('/') {
        Some((kind, name)) => (kinds.find(kind)?, name),
        None => (kinds.find("pods")?, word),
    };
    let object = kind.read(api, &api.namespace, name).await?;
    if kind.kind == "Pod" {
        return Ok(object);
    }
    let selector = &object["spec"]["selector"];
    let labels = selector.get("matchLabels").unwrap_or(selector).as_object();
    let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
        return Err(VerbError::argument("TYPE/NAME", format!("{word}: it has no selector, so no pods")));
    };
    let pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let pods = kinds.find("pods")?;
    let path = format!("{}?labelSelector={}", pods.collection(Some(&api.namespace)), escape(&pairs.join(",")));
    let mut list = api.get(&path).await?;
    let Value::Array(mut items) = list["items"].take() else {
        return Err(VerbError::argument("TYPE/NAME", format!("{word}: it has no pods")));
    };
    items.sort_by_key(|pod| !is_ready(pod));
    items.into_iter().next().ok_or_else(|| VerbError::argument("TYPE/NAME", format!("{word}: it has no pods")))
}

/// The container that `kubectl.kubernetes.io/default-container` names, or the first of several, which is said.
pub(crate) fn default_container(pod: &Value) -> Option<String> {
    let named = stead_api::meta::annotation(pod, "kubectl.kubernetes.io/default-container");
    let containers = pod["spec"]["containers"].as_array()?;
    let first = named.or_else(|| containers.first()?["name"].as_str())?;
    if named.is_none() && containers.len() > 1 {
        let names: Vec<&str> = containers.iter().filter_map(|one| one["name"].as_str()).collect();
        eprintln!("Defaulted container {first:?} out of: {}", names.join(", "));
    }
    Some(first.to_owned())
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

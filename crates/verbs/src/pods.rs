//! The pod that a person means: by its name, or as one of what a Deployment, ReplicaSet, Service … has.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    api::{Api, escape},
    chosen::items,
    duration::Span,
    error::VerbError,
    kinds::Kinds,
};

/// Between two looks for a pod that is not there yet.
const LOOK: Duration = Duration::from_millis(200);

/// `NAME`, `pod/NAME`, or `TYPE/NAME` of something with a selector, of which a ready pod is preferred; where it has none yet, one is
/// waited for.
pub(crate) async fn find(api: &Api, kinds: &Kinds, word: &str, patience: Span) -> Result<Value, VerbError> {
    let patience =
        patience.limit().ok_or_else(|| VerbError::usage("--pod-running-timeout must be higher than zero"))?;
    let until = Instant::now() + patience;
    loop {
        let pods = of(api, kinds, word).await?;
        if let Some(pod) = pods.into_iter().next() {
            return Ok(pod);
        }
        if Instant::now() >= until {
            return Err(VerbError::TimedOut("the condition".to_owned()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// All pods that a word means, those that are ready first.
pub(crate) async fn of(api: &Api, kinds: &Kinds, word: &str) -> Result<Vec<Value>, VerbError> {
    let (kind, name) = match word.split_once('/') {
        Some((kind, name)) => (kinds.find(kind)?, name),
        None => (kinds.find("pods")?, word),
    };
    let object = kind.read(api, &api.namespace, name).await?;
    if kind.kind == "Pod" {
        return Ok(vec![object]);
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
    let mut pods = items(api.get(&path).await?);
    pods.sort_by_key(|pod| !is_ready(pod));
    Ok(pods)
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

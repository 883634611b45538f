//! As much of an API server as an agent talks to: objects by path, lists, watches, merge patches. It checks nothing.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures::stream;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::broadcast;

#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    objects: Mutex<Objects>,
    changes: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct Objects {
    by_path: BTreeMap<String, Value>,
    revision: u64,
}

impl Api {
    pub(crate) fn new() -> Self {
        let (changes, _) = broadcast::channel(4096);
        Self(Arc::new(Inner { objects: Mutex::default(), changes }))
    }

    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.objects.lock().unwrap().by_path.get(path).cloned()
    }

    /// Every object whose path has `part` in it.
    pub(crate) fn all(&self, part: &str) -> Vec<Value> {
        let objects = self.0.objects.lock().unwrap();
        objects.by_path.iter().filter(|(path, _)| path.contains(part)).map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn put(&self, path: &str, mut object: Value) -> Value {
        let mut objects = self.0.objects.lock().unwrap();
        objects.revision += 1;
        object["metadata"]["resourceVersion"] = objects.revision.to_string().into();
        let kind = if objects.by_path.insert(path.to_owned(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        let _ = self.0.changes.send((collection_of(path), json!({"type": kind, "object": object})));
        object
    }

    pub(crate) fn delete(&self, path: &str) -> Option<Value> {
        let mut objects = self.0.objects.lock().unwrap();
        let mut object = objects.by_path.remove(path)?;
        objects.revision += 1;
        object["metadata"]["resourceVersion"] = objects.revision.to_string().into();
        let _ = self.0.changes.send((collection_of(path), json!({"type": "DELETED", "object": object})));
        Some(object)
    }

    fn list(&self, collection: &str) -> (Vec<Value>, u64) {
        let objects = self.0.objects.lock().unwrap();
        let items = objects.by_path.iter().filter(|(path, _)| collection_of(path) == collection);
        (items.map(|(_, object)| object.clone()).collect(), objects.revision)
    }

    /// Everything that is there, the bookmark that says so, and every change from then on.
    fn watch(&self, collection: String, node: Option<String>) -> Response {
        let changes = self.0.changes.subscribe();
        let (items, revision) = self.list(&collection);
        let wanted = move |object: &Value| node.as_ref().is_none_or(|node| object["spec"]["nodeName"] == **node);
        let mut first = String::new();
        for object in items.into_iter().filter(|object| wanted(object)) {
            first += &format!("{}\n", json!({"type": "ADDED", "object": object}));
        }
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": revision.to_string(), "annotations": annotations});
        first += &format!("{}\n", json!({"type": "BOOKMARK", "object": {"metadata": metadata}}));
        let later = stream::unfold((changes, collection, wanted), |(mut changes, collection, wanted)| async move {
            loop {
                let (changed, event) = changes.recv().await.ok()?;
                if changed == collection && wanted(&event["object"]) {
                    return Some((format!("{event}\n"), (changes, collection, wanted)));
                }
            }
        });
        use futures::StreamExt;
        let all = stream::once(async { first }).chain(later).map(|text| Ok::<_, Infallible>(Bytes::from(text)));
        Body::from_stream(all).into_response()
    }
}

fn collection_of(path: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    // Pods of all namespaces are watched as one.
    let parts: Vec<&str> = folder.split('/').collect();
    match parts.iter().position(|part| *part == "namespaces") {
        Some(at) if parts.len() > at + 2 => [&parts[..at], &parts[at + 2..]].concat().join("/"),
        _ => folder.to_owned(),
    }
}

async fn serve(State(api): State<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let path = parts.uri.path().to_owned();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let target = path.trim_end_matches("/status");
    match parts.method {
        Method::GET if query.contains("watch=1") => {
            let node = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=spec.nodeName%3D"));
            api.watch(path, node.map(str::to_owned))
        }
        Method::GET => api.get(&path).map_or_else(not_found, answer),
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            answer(api.put(&format!("{path}/{name}"), body.clone()))
        }
        Method::PATCH => match api.get(target) {
            Some(object) if is_other(&object, &body["metadata"]["uid"]) => conflict(),
            Some(mut object) => {
                merge(&mut object, body);
                answer(api.put(target, object))
            }
            None => not_found(),
        },
        Method::DELETE => match api.get(&path) {
            Some(object) if is_other(&object, &body["preconditions"]["uid"]) => conflict(),
            _ => api.delete(&path).map_or_else(not_found, answer),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn is_other(object: &Value, uid: &Value) -> bool {
    !uid.is_null() && object["metadata"]["uid"] != *uid
}

fn answer(object: Value) -> Response {
    axum::Json(object).into_response()
}

fn not_found() -> Response {
    refused(StatusCode::NOT_FOUND, "NotFound")
}

fn conflict() -> Response {
    refused(StatusCode::CONFLICT, "Conflict")
}

fn refused(code: StatusCode, reason: &str) -> Response {
    let status =
        json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code.as_u16(), "message": reason});
    (code, axum::Json(status)).into_response()
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(&field);
        } else {
            merge(&mut target[field], value);
        }
    }
}

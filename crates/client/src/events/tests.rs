//! The recorder against a server that keeps what it is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::IntoResponse,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{EventKind, Recorder};
use crate::in_process;

#[derive(Clone)]
struct Told {
    requests: mpsc::UnboundedSender<String>,
    /// The codes of the first answers, the next one last.
    codes: Arc<Mutex<Vec<u16>>>,
}

async fn answer(State(told): State<Told>, method: Method, uri: Uri, body: String) -> impl IntoResponse {
    let body: Value = serde_json::from_str(&body).unwrap();
    let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let path = uri.path().rsplit_once('.').map_or(uri.path(), |(path, _)| path).to_owned();
    let what = format!("{method} {path} {} {} {}", body["count"], field("reason"), field("message"));
    told.requests.send(what.trim_end().to_owned()).unwrap();
    let code = told.codes.lock().unwrap().pop().unwrap_or(200);
    (StatusCode::from_u16(code).unwrap(), Json(json!({})))
}

/// What reaches a server that answers with `codes`, the last one first, and then with success.
async fn check(codes: &[u16], record: impl FnOnce(&Recorder), expect: &[&str]) {
    let (requests, mut heard) = mpsc::unbounded_channel();
    let told = Told { requests, codes: Arc::new(Mutex::new(codes.to_vec())) };
    let recorder = Recorder::new(in_process(Router::new().fallback(answer).with_state(told)), "tester", "");
    record(&recorder);
    drop(recorder);
    for expect in expect {
        let request = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("in time");
        assert_eq!(request.as_deref(), Some(*expect));
    }
    assert_eq!(heard.recv().await, None);
}

fn pod() -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: Some("a".into()),
        name: Some("p".into()),
        ..ObjectReference::default()
    }
}

#[tokio::test]
async fn what_is_said_again_is_counted() {
    let record = |recorder: &Recorder| {
        for message in ["one", "two", "one", "one"] {
            recorder.record(&pod(), EventKind::Normal, "Said", message);
        }
    };
    let post = "POST /api/v1/namespaces/a/events 1 Said";
    let patch = "PATCH /api/v1/namespaces/a/events/p";
    let expect = [format!("{post} one"), format!("{post} two"), format!("{patch} 2"), format!("{patch} 3")];
    check(&[], record, &expect.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn an_event_whose_time_was_over_is_made_anew() {
    let record = |recorder: &Recorder| {
        recorder.record(&pod(), EventKind::Warning, "Said", "one");
        recorder.record(&pod(), EventKind::Warning, "Said", "one");
    };
    let post = "POST /api/v1/namespaces/a/events 1 Said one";
    check(&[404, 200], record, &[post, "PATCH /api/v1/namespaces/a/events/p 2", post]).await;
}

#[tokio::test]
async fn a_server_that_stumbles_is_asked_again_and_a_refusal_is_final() {
    let record = |recorder: &Recorder| {
        let node = ObjectReference { namespace: None, ..pod() };
        recorder.record(&node, EventKind::Normal, "Said", "one");
        recorder.record(&pod(), EventKind::Normal, "Said", "two");
        recorder.record(&pod(), EventKind::Normal, "Said", "three");
    };
    let first = "POST /api/v1/namespaces/default/events 1 Said one";
    let second = "POST /api/v1/namespaces/a/events 1 Said two";
    check(&[403, 200, 503], record, &[first, first, second, "POST /api/v1/namespaces/a/events 1 Said three"]).await;
}

#[tokio::test]
async fn an_object_of_any_name_has_events() {
    let record = |recorder: &Recorder| {
        for name in ["x".repeat(10_000), "Up".into(), "a..b".into(), "-a".into(), String::new(), "a.b-c".into()] {
            recorder.record(&ObjectReference { name: Some(name), ..pod() }, EventKind::Normal, "Said", "");
        }
    };
    let post = "POST /api/v1/namespaces/a/events 1 Said";
    check(&[], record, &[post; 6]).await;
    let named = |name: &str| {
        super::Object::from(&ObjectReference { name: Some(name.into()), ..pod() }).event_key(Timestamp::UNIX_EPOCH)
    };
    assert_eq!((&*named("Up").name, &*named("a.b-c").name), ("pod.0", "a.b-c.0"));
}

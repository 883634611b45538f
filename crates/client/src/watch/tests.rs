//! Watches against a scripted server in this process.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use stead_api::{item::FromItem, snapshot::Change};

use super::{Query, watch};
use crate::in_process;

/// Answers in turn; the last one stays open for ever. Keeps what was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn answer(State(script): State<Script>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let lifetime = query.rfind("&timeoutSeconds=").unwrap_or(query.len());
    let rest = query[lifetime..].split_once("&labelSelector").map_or(String::new(), |(_, rest)| rest.to_owned());
    script.asked.lock().unwrap().push(format!("{} {}{rest}", uri.path(), &query[..lifetime]));
    let (next, is_last) = {
        let mut answers = script.answers.lock().unwrap();
        (answers.pop_front(), answers.is_empty())
    };
    let Some((status, body)) = next else {
        return std::future::pending().await;
    };
    let body = body.into_bytes();
    // Pieces of seven bytes: every object is cut somewhere.
    let pieces =
        futures::stream::iter(body.chunks(7).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>());
    let body = if is_last && status == 200 {
        Body::from_stream(pieces.chain(futures::stream::pending()))
    } else {
        Body::from_stream(pieces)
    };
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap()
}

fn object(name: &str, revision: u64) -> String {
    format!(r#"{{"metadata":{{"namespace":"a","name":"{name}","resourceVersion":"{revision}"}}}}"#)
}

fn line(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn bookmark(revision: u64, end: &str) -> String {
    let annotations = format!(r#""annotations":{{"k8s.io/initial-events-end":"{end}"}}"#);
    line("BOOKMARK", &format!(r#"{{"metadata":{{"resourceVersion":"{revision}",{annotations}}}}}"#))
}

fn print(change: &Change<ConfigMap>) -> String {
    match change {
        Change::Init => "init".into(),
        Change::InitApply(object) => format!("list {} {}", object.key().name, object.revision()),
        Change::InitDone => "done".into(),
        Change::Apply(object) => format!("apply {} {}", object.key().name, object.revision()),
        Change::Delete(object) => format!("delete {} {}", object.key().name, object.revision()),
    }
}

/// Follows the script and wants these changes and these requests.
async fn check(query: Query, answers: &[(u16, String)], changes: &[&str], asked: &[&str]) {
    let script = Script { answers: Arc::new(Mutex::new(answers.iter().cloned().collect())), ..Script::default() };
    let client = in_process(Router::new().fallback(answer).with_state(script.clone()));
    let seen = watch::<ConfigMap>(client, query).take(changes.len()).map(|change| print(&change)).collect::<Vec<_>>();
    let seen = tokio::time::timeout(Duration::from_secs(20), seen).await.expect("the changes come in time");
    assert_eq!(seen, changes);
    assert_eq!(*script.asked.lock().unwrap(), asked);
}

const STREAMED: &str = "/x watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

#[tokio::test]
async fn a_streamed_list_goes_over_into_changes() {
    let body = [
        line("ADDED", &object("one", 3)),
        line("ADDED", &object("two", 1)),
        bookmark(5, "true"),
        line("MODIFIED", &object("one", 6)),
        line("DELETED", &object("two", 7)),
        bookmark(8, "false"),
        line("ADDED", &object("three", 9)),
    ];
    check(
        Query::all("/x").labels("a=b"),
        &[(200, body.concat())],
        &["init", "list one 3", "list two 1", "done", "apply one 6", "delete two 7", "apply three 9"],
        &[&format!("{STREAMED}=a%3Db")],
    )
    .await;
}

#[tokio::test]
async fn a_server_without_streamed_lists_is_listed() {
    let list = format!(
        r#"{{"apiVersion":"v1","items":[{},{}],"metadata":{{"resourceVersion":"12"}}}}"#,
        object("one", 3),
        object("two", 4)
    );
    check(
        Query::all("/x"),
        &[(422, "{}".into()), (200, list), (200, line("ADDED", &object("three", 13)))],
        &["init", "list one 3", "list two 4", "done", "apply three 13"],
        &[STREAMED, "/x ", "/x watch=1&allowWatchBookmarks=true&resourceVersion=12"],
    )
    .await;
}

#[tokio::test]
async fn a_broken_watch_resumes_where_it_was() {
    let first = [bookmark(5, "true"), line("ADDED", &object("one", 6)), r#"{"type":"ADD"#.to_owned()];
    check(
        Query::all("/x"),
        &[
            (503, String::new()),
            (200, first.concat()),
            (500, String::new()),
            (200, bookmark(9, "false")),
            (200, line("ADDED", &object("two", 10))),
        ],
        &["init", "done", "apply one 6", "apply two 10"],
        &[
            STREAMED,
            STREAMED,
            "/x watch=1&allowWatchBookmarks=true&resourceVersion=6",
            "/x watch=1&allowWatchBookmarks=true&resourceVersion=6",
            "/x watch=1&allowWatchBookmarks=true&resourceVersion=9",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_list_that_breaks_off_means_nothing() {
    check(
        Query::all("/x"),
        &[(200, line("ADDED", &object("one", 3))), (200, bookmark(5, "true"))],
        &["init", "list one 3", "init", "done"],
        &[STREAMED, STREAMED],
    )
    .await;
}

#[tokio::test]
async fn a_compacted_revision_brings_a_new_list() {
    let gone = line("ERROR", r#"{"kind":"Status","code":410,"reason":"Expired"}"#);
    check(
        Query::all("/x"),
        &[
            (200, bookmark(5, "true")),
            (200, gone),
            (200, bookmark(7, "true")),
            (410, "{}".into()),
            (200, bookmark(9, "true")),
        ],
        &["init", "done", "init", "done", "init", "done"],
        &[
            STREAMED,
            "/x watch=1&allowWatchBookmarks=true&resourceVersion=5",
            STREAMED,
            "/x watch=1&allowWatchBookmarks=true&resourceVersion=7",
            STREAMED,
        ],
    )
    .await;
}

#[tokio::test]
async fn a_bad_object_never_stops_the_others() {
    let bad = r#"{"metadata":{"name":"bad","resourceVersion":"7"},"data":[]}"#;
    let body = [bookmark(5, "true"), line("ADDED", &object("one", 6)), line("ADDED", bad)];
    let after = line("ADDED", &object("two", 8));
    check(
        Query::all("/x"),
        &[(200, body.concat()), (200, after)],
        &["init", "done", "apply one 6", "apply two 8"],
        &[STREAMED, "/x watch=1&allowWatchBookmarks=true&resourceVersion=7"],
    )
    .await;
}

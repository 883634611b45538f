//! Watches against a scripted server in this process.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
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
        Change::Unread(key, revision) => format!("unread {key} {revision}"),
        Change::UnreadGone(key, revision) => format!("unread gone {key} {revision}"),
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
        &["init", "done", "apply one 6", "unread bad 7", "apply two 8"],
        &[STREAMED, "/x watch=1&allowWatchBookmarks=true&resourceVersion=7"],
    )
    .await;
}

/// What a collection has gone through: each line with the revision that it brings a client to.
fn past() -> Vec<(u64, String)> {
    vec![
        (0, line("ADDED", &object("one", 3))),
        (0, line("ADDED", &object("two", 4))),
        (5, bookmark(5, "true")),
        (6, line("MODIFIED", &object("one", 6))),
        (7, line("DELETED", &object("two", 7))),
        (8, bookmark(8, "false")),
        (9, line("ADDED", &object("three", 9))),
        (10, line("MODIFIED", &object("three", 10))),
    ]
}

/// Cuts its first answer after so many bytes, and goes on from whatever revision it is asked for.
async fn cut_once(State((cut, answered)): State<(usize, Arc<AtomicUsize>)>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let from = query.split('&').find_map(|word| word.strip_prefix("resourceVersion=")?.parse().ok());
    let lines = past().into_iter().filter(|(revision, _)| from.is_none_or(|from: u64| *revision > from));
    let text: String = lines.map(|(_, line)| line).collect();
    let whole = futures::stream::once(async move { Ok::<_, std::io::Error>(text) });
    let body = if answered.fetch_add(1, Ordering::Relaxed) == 0 {
        Body::from_stream(whole.map(move |text| text.map(|text| text[..cut].to_owned())))
    } else {
        Body::from_stream(whole.chain(futures::stream::pending()))
    };
    Response::builder().body(body).unwrap()
}

#[tokio::test]
async fn a_watch_that_is_cut_at_any_byte_loses_nothing_and_doubles_nothing() {
    let length: usize = past().iter().map(|(_, line)| line.len()).sum();
    let cuts = (0..=length).map(async |cut| {
        let router = Router::new().fallback(cut_once).with_state((cut, Arc::default()));
        let mut changes = Box::pin(watch::<ConfigMap>(in_process(router), Query::all("/x")));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "apply three 10") {
            let change = tokio::time::timeout(Duration::from_secs(60), changes.next()).await;
            let change = print(&change.unwrap_or_else(|_| panic!("cut after {cut} bytes: {seen:?}")).unwrap());
            // A list that broke off means nothing.
            if change == "init" {
                seen.clear();
            }
            seen.push(change);
        }
        let expect = [
            "init",
            "list one 3",
            "list two 4",
            "done",
            "apply one 6",
            "delete two 7",
            "apply three 9",
            "apply three 10",
        ];
        assert_eq!(seen, expect, "cut after {cut} bytes");
    });
    futures::future::join_all(cuts).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named_in_lists_changes_and_deletions() {
    let bad = |revision| {
        format!(r#"{{"metadata":{{"namespace":"a","name":"bad","resourceVersion":"{revision}"}},"data":[]}}"#)
    };
    let body = [line("ADDED", &bad(3)), bookmark(5, "true"), line("MODIFIED", &bad(6)), line("DELETED", &bad(7))];
    check(
        Query::all("/x"),
        &[(200, body.concat())],
        &["init", "unread a/bad 3", "done", "unread a/bad 6", "unread gone a/bad 7"],
        &[STREAMED],
    )
    .await;
    let list = format!(r#"{{"metadata":{{"resourceVersion":"9"}},"items":[{},{}]}}"#, bad(3), object("one", 4));
    check(
        Query::all("/x"),
        &[(422, "{}".into()), (200, list), (200, line("DELETED", &bad(10)))],
        &["init", "unread a/bad 3", "list one 4", "done", "unread gone a/bad 10"],
        &[STREAMED, "/x ", "/x watch=1&allowWatchBookmarks=true&resourceVersion=9"],
    )
    .await;
}

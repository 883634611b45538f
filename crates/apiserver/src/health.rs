//! Is the server well, and which version is it.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use stead_api::status::ApiError;
use stead_metrics::KUBERNETES_VERSION;

use crate::{query::Query, refusal::Refusal, server::Inner};

const MAJOR: &str = "1";
const MINOR: &str = "36";
/// Patience with a store that is asked whether it is there.
const PATIENCE: Duration = Duration::from_secs(2);
const CHECKS: [&str; 3] = ["ping", "store", "watch-cache"];

/// `/version`.
pub(crate) fn version() -> Bytes {
    let platform = format!("{}/{}", std::env::consts::OS, architecture());
    json!({
        "major": MAJOR, "minor": MINOR, "emulationMajor": MAJOR, "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR, "minCompatibilityMinor": "35",
        "gitVersion": KUBERNETES_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": platform,
    })
    .to_string()
    .into()
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/healthz`, `/livez`, `/readyz`, all checks or one.
pub(crate) async fn answer(
    server: &Arc<Inner>,
    path: &str,
    only: Option<&str>,
    query: &Query,
) -> Result<Response, Refusal> {
    if only.is_some_and(|only| !CHECKS.contains(&only)) {
        return Err(ApiError::no_such_path().into());
    }
    let excluded = query.all("exclude").collect::<Vec<_>>();
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check in CHECKS.into_iter().filter(|check| only.is_none_or(|only| only == *check)) {
        let excluded = excluded.contains(&check);
        let good = excluded || is_well(server, check).await;
        let note = if excluded { "excluded: ok" } else { "ok" };
        if good {
            lines.push_str(&format!("[+]{check} {note}\n"));
        } else {
            lines.push_str(&format!("[-]{check} failed: reason withheld\n"));
            failed.push(check);
        }
    }
    let name = path.trim_matches('/').split('/').next().unwrap_or_default();
    let text = match (failed.is_empty(), query.is_true("verbose")) {
        (true, false) => "ok".to_owned(),
        (true, true) => format!("{lines}{name} check passed\n"),
        (false, _) => format!("{lines}{name} check failed\n"),
    };
    let mut response = Response::new(Body::from(text));
    if !failed.is_empty() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

async fn is_well(server: &Inner, check: &str) -> bool {
    match check {
        "store" => matches!(tokio::time::timeout(PATIENCE, server.storage.store.revision()).await, Ok(Ok(_))),
        "watch-cache" => {
            let Ok(Ok(newest)) = tokio::time::timeout(PATIENCE, server.storage.store.revision()).await else {
                return false;
            };
            for cache in server.caches.all() {
                if cache.reach(newest, PATIENCE).await.is_err() {
                    return false;
                }
            }
            true
        }
        _ => true,
    }
}

//! What a verb ends with when it does not succeed, in kubectl's words.

use std::{io, path::PathBuf};

use http::StatusCode;
use serde_json::Value;
use stead_client::ConnectError;

#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// The server's refusal. Displayed as kubectl does; `reason` is empty where the answer was no Status. `details` are the
    /// Status's.
    #[error("{}", server_text(.reason, .message, .details))]
    Server { code: StatusCode, reason: String, message: String, details: Value },
    #[error("error: {0}")]
    Connect(#[from] ConnectError),
    #[error("error: no kubeconfig: give --kubeconfig, set KUBECONFIG, or start a lab with `stead up`")]
    NoKubeconfig,
    #[error("error: kubeconfig cannot be read")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    #[error("The connection to the server failed: {request}")]
    Transport { request: String, source: kube::Error },
    #[error("error: {request}: the answer ended early")]
    Body { request: String, source: kube::Error },
    #[error("error: {request}: the answer is not the JSON expected")]
    Decode { request: String, source: serde_json::Error },
    #[error("error: {request} is not a valid request")]
    Request { request: String, source: http::Error },
    #[error("error: the server doesn't have a resource type {0:?}")]
    UnknownKind(String),
    #[error("error: no matches for kind {kind:?} in version {version:?}")]
    UnknownManifestKind { kind: String, version: String },
    #[error("error: {field}: {problem}")]
    Argument { field: &'static str, problem: String },
    /// What was asked for cannot be, in kubectl's words.
    #[error("error: {0}")]
    Usage(String),
    #[error("error: {}: cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("error: {}: it has more than {mebibytes} MiB: split it", path.display())]
    TooLarge { path: PathBuf, mebibytes: u64 },
    #[error("error: {}: error converting YAML to JSON: {problem}", path.display())]
    Manifest { path: PathBuf, problem: String },
    #[error("error: {}: document {number}: {problem}", path.display())]
    Document { path: PathBuf, number: usize, problem: &'static str },
    #[error("error: error parsing jsonpath {template}: {problem}")]
    JsonPath { template: String, problem: String },
    #[error("error: output cannot be written")]
    Output(#[from] io::Error),
    #[error("error: timed out waiting for {0}")]
    TimedOut(String),
    #[error("error: the connection of {request} cannot be taken over")]
    Upgrade { request: String, source: hyper::Error },
    /// What the far end said about its failure.
    #[error("error: {0}")]
    Remote(String),
    #[error("error: the server's OpenAPI says nothing about {0}")]
    NoSchema(String),
    #[error("error: lost connection to pod")]
    Lost,
    /// A command ran and ended otherwise than with 0.
    #[error("command terminated with exit code {0}")]
    Exited(u8),
    #[error("error: unable to listen on any of the requested ports: {0}")]
    Listen(String),
    /// There are differences, which were shown.
    #[error("")]
    Differs,
    /// Ends with a code of its own.
    #[error("{text}")]
    Failed { code: u8, text: String },
    /// Several things went wrong, each told on its own; nothing is left to say.
    #[error("")]
    Told,
}

impl VerbError {
    /// Reads the server's Status, or makes up for one that is not there.
    pub(crate) fn refused(code: StatusCode, body: &[u8]) -> Self {
        let status: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = match status.get("message") {
            Some(_) => text("message"),
            None => String::from_utf8_lossy(&body[..body.len().min(1000)]).trim().to_owned(),
        };
        Self::Server { code, reason: text("reason"), message, details: status["details"].clone() }
    }

    pub(crate) fn argument(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Argument { field, problem: problem.into() }
    }

    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage(problem.into())
    }

    /// A refusal as the reason why something else failed, as kubectl tells it of what it makes itself.
    pub(crate) fn into_cause_of(self, failed: &str) -> Self {
        match self {
            Self::Server { message, .. } => Self::Usage(format!("{failed} {message}")),
            other => other,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Server { code: StatusCode::NOT_FOUND, .. })
    }
}

/// Tells each problem but the last, which is the verb's own.
pub(crate) fn told(mut problems: Vec<VerbError>) -> Result<(), VerbError> {
    let last = problems.pop();
    for problem in problems {
        eprintln!("{}", stead_client::error_text(&problem));
    }
    last.map_or(Ok(()), Err)
}

/// What is invalid is told by its causes, each once; everything else says first where it comes from.
fn server_text(reason: &str, message: &str, details: &Value) -> String {
    match reason {
        "Invalid" => {}
        "" => return format!("Error from server: {message}"),
        _ => return format!("Error from server ({reason}): {message}"),
    }
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(details, "kind"), text(details, "name"));
    let mut causes: Vec<String> = Vec::new();
    for cause in details["causes"].as_array().into_iter().flatten() {
        let cause = format!("{}: {}", text(cause, "field"), text(cause, "message"));
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let what = match (kind.is_empty() && name.is_empty(), causes.is_empty()) {
        (false, _) => format!("The {kind} {name:?} is invalid"),
        (true, true) => format!("The request is invalid: {message}"),
        (true, false) => "The request is invalid".to_owned(),
    };
    match causes.as_slice() {
        [] => what,
        [cause] => format!("{what}: {cause}"),
        causes => format!("{what}: \n* {}", causes.join("\n* ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_kubectl_prints_them() {
        let check = |code, body: &str, expect: &str| {
            assert_eq!(VerbError::refused(code, body.as_bytes()).to_string(), expect);
        };
        let missing = r#"{"kind":"Status","reason":"NotFound","message":"services \"web\" not found","code":404}"#;
        check(StatusCode::NOT_FOUND, missing, "Error from server (NotFound): services \"web\" not found");
        let of = |causes: &str| {
            format!(
                r#"{{"reason":"Invalid","message":"x","details":{{"kind":"Service","name":"web","causes":[{causes}]}}}}"#
            )
        };
        let [ports, typed] =
            ["ports", "type"].map(|field| format!(r#"{{"field":"spec.{field}","message":"Required value"}}"#));
        let code = StatusCode::UNPROCESSABLE_ENTITY;
        check(code, &of(&ports), "The Service \"web\" is invalid: spec.ports: Required value");
        check(
            code,
            &of(&[&*ports, &typed, &ports].join(",")),
            "The Service \"web\" is invalid: \n* spec.ports: Required value\n* spec.type: Required value",
        );
        check(code, r#"{"reason":"Invalid","message":"no such path"}"#, "The request is invalid: no such path");
        check(StatusCode::BAD_GATEWAY, "no upstream\n", "Error from server: no upstream");
    }
}

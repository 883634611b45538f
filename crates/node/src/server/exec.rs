//! `exec`: a process in a running container, joined with a client's streams.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use stead_model::ObjectKey;

use super::{Body, Sources, error_text, query, remote_command, session, text};
use crate::runtime::Wanted;

/// Answers `/exec/NAMESPACE/POD/CONTAINER?command=…&input=1&output=1&error=1&tty=1`.
pub(super) async fn answer(
    sources: &Sources,
    [namespace, pod, container]: [&str; 3],
    request: Request<Incoming>,
) -> Response<Body> {
    let pairs = query::pairs(request.uri().query().unwrap_or_default());
    let args: Vec<String> =
        pairs.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
    if args.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify at least one command for the container");
    }
    let wanted = match wanted(&pairs) {
        Ok(wanted) => wanted,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let run = match sources.logs.running(&ObjectKey::new(namespace, pod), container) {
        Ok(run) => run,
        Err(message) => return text(StatusCode::NOT_FOUND, message),
    };
    let runtime = Arc::clone(&sources.runtime);
    session::begin(sources, request, wanted, move |streams| async move {
        match runtime.exec(&run, args, wanted).await {
            Ok(executing) => streams.carry(executing).await,
            Err(error) => streams.end(&remote_command::Outcome::Failed(error_text(&error))).await,
        }
    })
}

/// What of input and output the query asks for.
pub(super) fn wanted(pairs: &[(String, String)]) -> Result<Wanted, &'static str> {
    let is_set =
        |wanted: &str| pairs.iter().any(|(name, value)| name == wanted && matches!(value.as_str(), "1" | "true"));
    let (stdin, stdout, stderr, tty) = (is_set("input"), is_set("output"), is_set("error"), is_set("tty"));
    match (tty, stdin || stdout || stderr) {
        (_, false) => Err("you must specify at least 1 of stdin, stdout, stderr"),
        (true, _) => Ok(Wanted::Terminal { stdin }),
        (false, _) => Ok(Wanted::Pipes { stdin, stdout, stderr }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_must_be_wanted() {
        let check = |text: &str, expected: Option<Wanted>| {
            assert_eq!(wanted(&query::pairs(text)).ok(), expected, "{text}");
        };
        check("output=1&error=1", Some(Wanted::Pipes { stdin: false, stdout: true, stderr: true }));
        check("input=true&output=1&tty=1", Some(Wanted::Terminal { stdin: true }));
        check("tty=1", None);
        check("output=0", None);
    }
}

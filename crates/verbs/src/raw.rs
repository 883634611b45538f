//! `--raw PATH` of several verbs: a request to that path as it is, and the answer's bytes.

use std::io::{self, Write as _};

use http::Method;

use crate::{
    api::{Ask, JSON},
    connection::Connection,
    error::VerbError,
    manifest::Files,
};

/// Sends what `files` have, byte for byte, or nothing where there are none.
pub(crate) async fn ask(connection: &Connection, method: Method, path: &str, files: &Files) -> Result<(), VerbError> {
    if !path.starts_with('/') {
        return Err(VerbError::argument("--raw", "a path of the API server begins with /"));
    }
    let body = match files.is_empty() {
        true => Vec::new(),
        false => files.read_as_is()?.into_bytes(),
    };
    let api = connection.open().await?;
    let answer = api.bytes(Ask { method, path, accept: "*/*", content_type: JSON, body }).await?;
    Ok(io::stdout().lock().write_all(&answer)?)
}

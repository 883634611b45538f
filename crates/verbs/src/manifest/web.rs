//! Manifests behind `http://` and `https://`: one GET each, without credentials, in bounds. Other answers than 200 are errors;
//! redirects are not followed.

use futures::TryStreamExt as _;
use http::{Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::MAX_BYTES;
use crate::error::VerbError;

/// Whether `path` names a page and no file.
pub(super) fn is_page(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

pub(super) async fn get(url: &str) -> Result<String, VerbError> {
    let refused = |problem: String| VerbError::usage(format!("unable to read URL {url:?}, {problem}"));
    let uri: Uri = url.parse().map_err(|error| refused(format!("{error}")))?;
    let (scheme, authority) = (uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |one| one.as_str()));
    let (client, ..) = stead_client::connect_to(None, Some(&format!("{scheme}://{authority}"))).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).body(Body::empty());
    let request = request.map_err(|source| VerbError::Request { request: format!("GET {url}"), source })?;
    let failed = |source| VerbError::Transport { request: format!("GET {url}"), source };
    let answer = client.send(request).await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        let code = answer.status().as_u16();
        return Err(refused(format!("server reported {}, status code={code}", answer.status())));
    }
    let mut bytes = Vec::new();
    let mut pieces = answer.into_body().into_data_stream();
    while let Some(piece) = pieces.try_next().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > MAX_BYTES {
            return Err(VerbError::TooLarge { path: url.into(), mebibytes: MAX_BYTES >> 20 });
        }
    }
    String::from_utf8(bytes).map_err(|error| refused(error.to_string()))
}

//! Large answers for clients that take them compressed: those of more than 128 KiB, as upstream's.
//!
//! Handlers mark what may be compressed as a whole, which is objects and lists. A watch is read event by event, a
//! [`document`](crate::document) keeps its compressed form, and what is proxied stays as it came.

use std::io::Write as _;

use axum::{
    body::{Body, BodyDataStream},
    response::Response,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use stead_api::status::ApiError;

use crate::refusal::Refusal;

/// Answers of no more bytes are not worth the work.
pub(crate) const FROM: usize = 128 << 10;

/// Marks an answer that may be compressed, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compressible;

/// In which form a client takes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    /// The best of what a client accepts that sent these headers.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut ranges = accepted.flat_map(|value| value.split(','));
        let takes_gzip = ranges.any(|range| {
            let (coding, quality) = range.split_once(';').unwrap_or((range, ""));
            coding.trim().eq_ignore_ascii_case("gzip") && !matches!(quality.trim(), "q=0" | "q=0.0")
        });
        if takes_gzip { Self::Gzip } else { Self::Identity }
    }

    /// The answer in this form, if it may be and is large.
    pub(crate) async fn write(self, response: Response) -> Response {
        let is_small = response.body().size_hint().exact().is_some_and(|length| length <= FROM as u64);
        if self == Self::Identity || is_small || response.extensions().get::<Compressible>().is_none() {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let mut rest = body.into_data_stream();
        let mut first = Vec::new();
        while first.iter().map(Bytes::len).sum::<usize>() <= FROM {
            match rest.next().await {
                Some(Ok(piece)) => first.push(piece),
                Some(Err(error)) => {
                    return Refusal::from(ApiError::internal("an answer cannot be read", error)).into_response();
                }
                None => return Response::from_parts(parts, Body::from(first.concat())),
            }
        }
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::from_stream(compressed(first, rest)))
    }
}

/// Piece by piece, so that a large list is never in memory as a whole.
fn compressed(first: Vec<Bytes>, rest: BodyDataStream) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    let pieces = stream::iter(first.into_iter().map(Ok)).chain(rest);
    stream::unfold(Some((pieces, encoder())), |state| async {
        let (mut pieces, mut encoder) = state?;
        while encoder.get_ref().is_empty() {
            match pieces.next().await {
                Some(Ok(piece)) => write_all(&mut encoder, &piece),
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((Ok(finish(encoder)), None)),
            }
        }
        let written = std::mem::take(encoder.get_mut());
        Some((Ok(written.into()), Some((pieces, encoder))))
    })
}

pub(crate) fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = encoder();
    write_all(&mut encoder, body);
    finish(encoder)
}

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

fn write_all(encoder: &mut GzEncoder<Vec<u8>>, bytes: &[u8]) {
    encoder.write_all(bytes).expect("memory takes all that is written");
}

fn finish(encoder: GzEncoder<Vec<u8>>) -> Bytes {
    encoder.finish().expect("memory takes all that is written").into()
}

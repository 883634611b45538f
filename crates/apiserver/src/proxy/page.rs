//! The body of an HTML answer, its links rewritten on the way, also where it is compressed.
//!
//! It is never gathered: a piece goes out before the next comes in, and what one piece may unfold to is bounded.

use std::io::{self, Write as _};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use flate2::{
    Compression,
    write::{DeflateDecoder, DeflateEncoder, GzEncoder, MultiGzDecoder},
};
use futures::{StreamExt as _, stream};

use super::{html::Rewriter, link::Page};

/// Compressed bytes that are unfolded at a time; a thousand times as much can come of them.
const PIECE: usize = 1 << 10;

/// What unfolds and what folds again.
type Gzip = (MultiGzDecoder<Vec<u8>>, GzEncoder<Vec<u8>>);
type Deflate = (DeflateDecoder<Vec<u8>>, DeflateEncoder<Vec<u8>>);

/// How an answer is compressed, as `Content-Encoding` says.
pub(super) enum Coding {
    Plain,
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
}

impl Coding {
    /// `None`: one that is not known here, so that the page stays as it is.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (none, best) = (Vec::new, Compression::default());
        match name.trim() {
            "" | "identity" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip(Box::new((MultiGzDecoder::new(none()), GzEncoder::new(none(), best))))),
            "deflate" => {
                Some(Self::Deflate(Box::new((DeflateDecoder::new(none()), DeflateEncoder::new(none(), best)))))
            }
            _ => None,
        }
    }

    fn unfold(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(piece.to_vec()),
            Self::Gzip(both) => both.0.write_all(piece).map(|()| std::mem::take(both.0.get_mut())),
            Self::Deflate(both) => both.0.write_all(piece).map(|()| std::mem::take(both.0.get_mut())),
        }
    }

    fn fold(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(piece.to_vec()),
            Self::Gzip(both) => both.1.write_all(piece).map(|()| std::mem::take(both.1.get_mut())),
            Self::Deflate(both) => both.1.write_all(piece).map(|()| std::mem::take(both.1.get_mut())),
        }
    }

    /// What still comes out of both ends.
    fn finish(&mut self, rewriter: &mut Rewriter, page: &Page) -> io::Result<Vec<u8>> {
        let rest = match self {
            Self::Plain => Vec::new(),
            Self::Gzip(both) => both.0.try_finish().map(|()| std::mem::take(both.0.get_mut()))?,
            Self::Deflate(both) => both.0.try_finish().map(|()| std::mem::take(both.0.get_mut()))?,
        };
        let mut text = Vec::new();
        rewriter.push(&rest, &|link| page.rewrite(link), &mut text);
        text.extend(rewriter.finish());
        let mut out = self.fold(&text)?;
        match self {
            Self::Plain => {}
            Self::Gzip(both) => out.extend(both.1.try_finish().map(|()| std::mem::take(both.1.get_mut()))?),
            Self::Deflate(both) => out.extend(both.1.try_finish().map(|()| std::mem::take(both.1.get_mut()))?),
        }
        Ok(out)
    }
}

/// A body under way.
struct Passing {
    body: BodyDataStream,
    /// Of the last piece that came: what is not read yet.
    left: Bytes,
    coding: Coding,
    rewriter: Rewriter,
    page: Page,
    is_over: bool,
}

/// `body` with its links rewritten. One that is not compressed as it should be ends with an error.
pub(super) fn rewritten(body: Body, coding: Coding, page: Page) -> Body {
    let passing = Passing {
        body: body.into_data_stream(),
        left: Bytes::new(),
        coding,
        rewriter: Rewriter::default(),
        page,
        is_over: false,
    };
    Body::from_stream(stream::try_unfold(passing, |mut passing| async move {
        Ok::<_, io::Error>(passing.next().await?.map(|piece| (piece, passing)))
    }))
}

impl Passing {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.is_over {
            if self.left.is_empty() {
                match self.body.next().await {
                    Some(piece) => self.left = piece.map_err(io::Error::other)?,
                    None => {
                        self.is_over = true;
                        return self.coding.finish(&mut self.rewriter, &self.page).map(|rest| Some(rest.into()));
                    }
                }
            }
            let piece = self.left.split_to(self.left.len().min(PIECE));
            let text = self.coding.unfold(&piece)?;
            let mut new = Vec::new();
            self.rewriter.push(&text, &|link| self.page.rewrite(link), &mut new);
            let folded = self.coding.fold(&new)?;
            if !folded.is_empty() {
                return Ok(Some(folded.into()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn compressed_pages_stay_compressed() {
        let page = Page { prefix: "/p".into(), behind: "10.244.1.2:80".into(), host: "h".into() };
        let text = format!("<a href=\"/x\">{}</a>", "y".repeat(100_000));
        let expected = text.replace("/x", "/p/x");
        let pass = async |coding: &str, body: Vec<u8>| {
            let body = rewritten(Body::from(body), Coding::named(coding).unwrap(), page.clone());
            body.collect().await.map(|body| body.to_bytes().to_vec())
        };
        assert_eq!(pass("", text.clone().into()).await.unwrap(), expected.as_bytes());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        let folded = pass("gzip", gzip.finish().unwrap()).await.unwrap();
        let mut unfolded = String::new();
        flate2::read::GzDecoder::new(folded.as_slice()).read_to_string(&mut unfolded).unwrap();
        assert_eq!(unfolded, expected);
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(text.as_bytes()).unwrap();
        let folded = pass("deflate", deflate.finish().unwrap()).await.unwrap();
        let mut unfolded = String::new();
        flate2::read::DeflateDecoder::new(folded.as_slice()).read_to_string(&mut unfolded).unwrap();
        assert_eq!(unfolded, expected);
        assert!(pass("gzip", b"no gzip at all".to_vec()).await.is_err());
        assert!(Coding::named("br").is_none());
    }
}

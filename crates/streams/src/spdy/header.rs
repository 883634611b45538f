//! Header blocks: name and value pairs, compressed with the protocol's dictionary and one state for the whole connection.

use std::sync::LazyLock;

use bytes::{Buf as _, BufMut as _};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Names are lower case; a name may have several values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("headers cannot be decompressed")]
    Compression,
    #[error("headers are larger than {MAX_BLOCK} bytes")]
    Size,
    #[error("headers end early or are no text")]
    Content,
}

/// Of a block, decompressed.
const MAX_BLOCK: usize = 64 << 10;

/// The common words of HTTP, each behind its length, and then some without (SPDY protocol draft 3, section 2.6.10.1).
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
        accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
        content-length content-location content-md5 content-range content-type date etag expect expires from host \
        if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
        proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
        user-agent vary via warning www-authenticate method get status";
    const MORE: [&str; 8] = ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"];
    const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
        203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
        404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
        Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
        chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
        publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    let mut dictionary = Vec::new();
    for word in WORDS.split(' ').filter(|word| !word.is_empty()).chain(MORE) {
        dictionary.put_u32(word.len() as u32);
        dictionary.put_slice(word.as_bytes());
    }
    dictionary.put_slice(REST.as_bytes());
    dictionary
});

impl Headers {
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
    }

    /// The first value of a name, which is given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn parse(mut block: &[u8]) -> Option<Self> {
        let count = block.try_get_u32().ok()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let (name, values) = (text(&mut block)?, text(&mut block)?);
            pairs.extend(values.split('\0').map(|value| (name.to_ascii_lowercase(), value.to_owned())));
        }
        Some(Self(pairs))
    }

    fn render(&self) -> Vec<u8> {
        let mut merged: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.0 {
            match merged.iter_mut().find(|(found, _)| found == name) {
                Some((_, values)) => {
                    values.push('\0');
                    values.push_str(value);
                }
                None => merged.push((name, value.clone())),
            }
        }
        let mut block = Vec::new();
        block.put_u32(merged.len() as u32);
        for (name, values) in merged {
            for part in [name, &values] {
                block.put_u32(part.len() as u32);
                block.put_slice(part.as_bytes());
            }
        }
        block
    }
}

fn text(block: &mut &[u8]) -> Option<String> {
    let length = block.try_get_u32().ok()? as usize;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[derive(Debug)]
pub(super) struct Decompressor(Decompress);

impl Default for Decompressor {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Decompressor {
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        let mut out = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let before = (self.0.total_in(), out.len());
            let status = self.0.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            rest = &rest[(self.0.total_in() - before.0) as usize..];
            match status {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| HeaderError::Compression)?;
                    continue;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(HeaderError::Compression),
                Ok(_) => {}
            }
            if out.len() > MAX_BLOCK {
                return Err(HeaderError::Size);
            }
            if out.len() == out.capacity() {
                out.reserve(out.len().max(1024));
            } else if rest.is_empty() || self.0.total_in() == before.0 && out.len() == before.1 {
                return Headers::parse(&out).ok_or(HeaderError::Content);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Compressor(Compress);

impl Default for Compressor {
    fn default() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).expect("nothing has been compressed yet");
        Self(compress)
    }
}

impl Compressor {
    /// Appends the compressed headers.
    pub(super) fn write(&mut self, headers: &Headers, out: &mut Vec<u8>) {
        let block = headers.render();
        let mut rest = block.as_slice();
        loop {
            out.reserve(1024);
            let before = self.0.total_in();
            self.0.compress_vec(rest, out, FlushCompress::Sync).expect("a compressor takes any bytes");
            rest = &rest[(self.0.total_in() - before) as usize..];
            // Room that is left over means that everything has been written.
            if rest.is_empty() && out.len() < out.capacity() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_protocols_own() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((DICTIONARY.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_build_on_those_before() {
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        for number in 0..200 {
            let value = "x".repeat(number * 31);
            let headers =
                Headers::new([("StreamType", "data"), ("port", value.as_str()), ("many", "1"), ("many", "2")]);
            let mut block = Vec::new();
            compressor.write(&headers, &mut block);
            assert_eq!(decompressor.read(&block).unwrap(), headers);
            assert_eq!(headers.get("streamtype"), Some("data"));
        }
    }

    #[test]
    fn a_block_that_unfolds_too_far_is_refused() {
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        let mut block = Vec::new();
        compressor.write(&Headers::new([("a", "x".repeat(1 << 20).as_str())]), &mut block);
        assert!(block.len() < MAX_BLOCK, "{} bytes", block.len());
        assert!(matches!(decompressor.read(&block), Err(HeaderError::Size)));
        assert!(matches!(Decompressor::default().read(b"no zlib"), Err(HeaderError::Compression)));
        assert!(Decompressor::default().read(b"").is_err());
    }
}

//! A watch read with as little work as can be, because what reads ten thousand of them is inside the figures: one task for each,
//! no HTTP library between socket and line.

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::client::Target;

pub(crate) struct Lines {
    stream: TlsStream<TcpStream>,
    /// As it came, from the next chunk's head or from within a chunk.
    read: BytesMut,
    /// Bytes of the chunk that are still to come, its line end included.
    chunk: usize,
    body: BytesMut,
}

impl Lines {
    /// Asks for a watch and reads the answer's head.
    pub(crate) async fn open(target: &Target, path: &str) -> Self {
        let mut stream = target.connect_tls().await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: kubernetes\r\naccept: application/json\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        stream.flush().await.expect("a request");
        let mut lines = Self { stream, read: BytesMut::new(), chunk: 0, body: BytesMut::new() };
        loop {
            if let Some(end) = memchr::memmem::find(&lines.read, b"\r\n\r\n") {
                let head = lines.read.split_to(end + 4);
                assert!(head.starts_with(b"HTTP/1.1 200 "), "{path}: {}", String::from_utf8_lossy(&head));
                return lines;
            }
            lines.receive().await;
        }
    }

    /// The next line.
    pub(crate) async fn next(&mut self) -> BytesMut {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.body) {
                return self.body.split_to(end + 1);
            }
            if !self.decode() {
                self.receive().await;
            }
        }
    }

    async fn receive(&mut self) {
        let count = self.stream.read_buf(&mut self.read).await.expect("the watch goes on");
        assert!(count > 0, "the watch ended");
    }

    /// Moves what is there of one chunk into the body. False: more has to be read first.
    fn decode(&mut self) -> bool {
        const END: usize = 2;
        if self.chunk == 0 {
            let Some(end) = memchr::memchr(b'\n', &self.read) else { return false };
            let size = str::from_utf8(&self.read[..end]).expect("a size").trim_end();
            let size = usize::from_str_radix(size, 16).expect("a size");
            assert!(size > 0, "the watch ended");
            self.chunk = size + END;
            self.read.advance(end + 1);
        }
        let data = self.read.len().min(self.chunk.saturating_sub(END));
        self.body.extend_from_slice(&self.read[..data]);
        self.read.advance(data);
        self.chunk -= data;
        if self.chunk == END && self.read.len() >= END {
            self.read.advance(END);
            self.chunk = 0;
        }
        data > 0 || self.chunk == 0
    }
}

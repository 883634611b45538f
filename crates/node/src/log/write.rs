//! Writing a container's log.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

/// A log file is moved aside when it has this many bytes.
const MAX_FILE: u64 = 10 << 20;
/// The longest text of one record; a longer line is written as several.
const MAX_TEXT: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// An open log. Holds back the beginning of a line until its end comes, for each stream.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max: u64,
    begun: [Vec<u8>; 2],
}

impl LogFile {
    /// Opens the log for appending.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, MAX_FILE)
    }

    fn open_with(path: &Path, max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, max, begun: [Vec::new(), Vec::new()] })
    }

    /// Takes what a stream gave at `now`.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let stamp = stamp(now);
        let begun = &mut self.begun[stream as usize];
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            begun.extend_from_slice(line);
            record(&mut out, &stamp, stream, begun, b'F');
            begun.clear();
        }
        begun.extend_from_slice(rest);
        while begun.len() > MAX_TEXT {
            let tail = begun.split_off(MAX_TEXT);
            record(&mut out, &stamp, stream, begun, b'P');
            *begun = tail;
        }
        self.append(&out)
    }

    /// Writes what was begun and never ended.
    pub(crate) fn finish(&mut self, now: Timestamp) -> io::Result<()> {
        let mut out = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() {
                record(&mut out, &stamp(now), stream, &begun, b'F');
            }
        }
        self.append(&out)
    }

    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + records.len() as u64 > self.max {
            fs::rename(&self.path, super::older(&self.path))?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(records)?;
        self.size += records.len() as u64;
        Ok(())
    }
}

fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

fn record(out: &mut Vec<u8>, stamp: &str, stream: Stream, text: &[u8], last: u8) {
    let mut chunks = text.chunks(MAX_TEXT).peekable();
    // An empty line is a record too.
    let mut next = Some(chunks.next().unwrap_or_default());
    while let Some(chunk) = next {
        next = chunks.next();
        let tag = if next.is_some() { b'P' } else { last };
        out.extend_from_slice(stamp.as_bytes());
        out.extend_from_slice(match stream {
            Stream::Stdout => b" stdout ",
            Stream::Stderr => b" stderr ",
        });
        out.extend_from_slice(&[tag, b' ']);
        out.extend_from_slice(chunk);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05.000000006Z".parse().unwrap()
    }

    #[test]
    fn lines_are_joined_across_writes_and_kept_apart_by_stream() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        log.write(Stream::Stdout, b"one\ntw", now()).unwrap();
        log.write(Stream::Stderr, b"oops\n\n", now()).unwrap();
        log.write(Stream::Stdout, b"o\nrest", now()).unwrap();
        log.finish(now()).unwrap();
        let expect = "\
            2026-01-02T03:04:05.000000006Z stdout F one\n\
            2026-01-02T03:04:05.000000006Z stderr F oops\n\
            2026-01-02T03:04:05.000000006Z stderr F \n\
            2026-01-02T03:04:05.000000006Z stdout F two\n\
            2026-01-02T03:04:05.000000006Z stdout F rest\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expect);
    }

    #[test]
    fn long_lines_are_cut_and_disk_use_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open_with(&path, 100_000).unwrap();
        let mut line = vec![b'x'; 40_000];
        line.push(b'\n');
        for _ in 0..20 {
            log.write(Stream::Stdout, &line, now()).unwrap();
        }
        let sizes = [fs::metadata(&path).unwrap().len(), fs::metadata(super::super::older(&path)).unwrap().len()];
        assert!(sizes.iter().all(|size| (1..=100_000).contains(size)), "{sizes:?}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().all(|record| record.len() < MAX_TEXT + 64));
        assert!(text.lines().any(|record| record.contains(" stdout P x")));
    }
}

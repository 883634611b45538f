//! Reading a container's log back, as a client asked for it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

/// What a client asks for: the query of `GET …/pods/NAME/log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogQuery {
    pub run: Run,
    pub end: End,
    /// The last so many lines.
    pub tail_lines: Option<u64>,
    /// Nothing older than this.
    pub since: Option<Timestamp>,
    pub timestamps: Timestamps,
    pub output: Output,
    /// No more bytes than this.
    pub limit_bytes: Option<u64>,
}

/// Whose log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Run {
    #[default]
    Current,
    /// That of the run before the last restart.
    Previous,
}

/// What happens where the log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Stop,
    /// Wait for more, until the container has ended.
    Follow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Timestamps {
    #[default]
    Hidden,
    Shown,
}

/// Which of the container's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Output {
    #[default]
    Both,
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log query: {name} cannot be {value:?}")]
pub(crate) struct InvalidQuery {
    pub name: String,
    pub value: String,
}

impl LogQuery {
    /// Reads a query string such as `follow=true&tailLines=10`; what it does not know is left aside, as the API server has
    /// checked it.
    pub(crate) fn parse(query: &str, now: Timestamp) -> Result<Self, InvalidQuery> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace("%3A", ":").replace("%3a", ":").replace("%2B", "+").replace("%2b", "+");
            let invalid = || InvalidQuery { name: name.to_owned(), value: value.clone() };
            let number = || value.parse::<u64>().map_err(|_| invalid());
            let flag = || match value.as_str() {
                "true" | "1" | "" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(invalid()),
            };
            match name {
                "follow" if flag()? => parsed.end = End::Follow,
                "previous" if flag()? => parsed.run = Run::Previous,
                "timestamps" if flag()? => parsed.timestamps = Timestamps::Shown,
                "stream" => {
                    parsed.output = match value.as_str() {
                        "All" | "" => Output::Both,
                        "Stdout" => Output::Stdout,
                        "Stderr" => Output::Stderr,
                        _ => return Err(invalid()),
                    }
                }
                "tailLines" => parsed.tail_lines = Some(number()?),
                "limitBytes" => parsed.limit_bytes = Some(number()?),
                "sinceSeconds" => {
                    let ago = Duration::from_secs(number()?);
                    parsed.since = Some(now.checked_sub(ago).map_err(|_| invalid())?);
                }
                "sinceTime" => parsed.since = Some(value.parse().map_err(|_| invalid())?),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// A place in a log, from which on its text is read piece by piece.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    query: LogQuery,
    /// Files still to be read, the oldest last.
    files: Vec<BufReader<File>>,
    /// Of the newest file, to see when another has taken its place.
    newest: Option<u64>,
    /// Whole lines to leave out.
    skip: u64,
    /// The record that is not yet whole.
    begun: Vec<u8>,
    /// The last record said that its line goes on.
    within_line: bool,
    given: u64,
}

/// About how much text one piece has.
const PIECE: usize = 64 << 10;

impl LogReader {
    /// Opens the log; one that does not exist yet is empty.
    pub(crate) fn open(path: &Path, query: LogQuery) -> io::Result<Self> {
        let mut reader = Self {
            path: path.to_owned(),
            query,
            files: Vec::new(),
            newest: None,
            skip: 0,
            begun: Vec::new(),
            within_line: false,
            given: 0,
        };
        reader.open_files()?;
        if let Some(tail) = reader.query.tail_lines {
            let total = reader.count_lines()?;
            reader.files.clear();
            reader.open_files()?;
            reader.skip = total.saturating_sub(tail);
        }
        Ok(reader)
    }

    /// The next piece of text; empty where nothing more is there now.
    pub(crate) fn next_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < PIECE && !self.is_exhausted() {
            if !self.next_record()? {
                break;
            }
            let record = std::mem::take(&mut self.begun);
            self.take_record(&record, &mut out);
        }
        if let Some(limit) = self.query.limit_bytes {
            let left = usize::try_from(limit - self.given).unwrap_or(usize::MAX);
            out.truncate(left);
        }
        self.given += out.len() as u64;
        Ok(out)
    }

    /// Whether the limit is reached, after which nothing comes.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.query.limit_bytes.is_some_and(|limit| self.given >= limit)
    }

    fn open_files(&mut self) -> io::Result<()> {
        for path in [self.path.clone(), super::older(&self.path)] {
            match File::open(&path) {
                Ok(file) => {
                    if path == self.path {
                        self.newest = Some(file.metadata()?.ino());
                    }
                    self.files.push(BufReader::new(file));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Brings a whole record into `begun`, without its line end; `false` where there is none yet.
    fn next_record(&mut self) -> io::Result<bool> {
        loop {
            let Some(file) = self.files.last_mut() else {
                if !self.reopen()? {
                    return Ok(false);
                }
                continue;
            };
            file.read_until(b'\n', &mut self.begun)?;
            if self.begun.last() == Some(&b'\n') {
                self.begun.pop();
                return Ok(true);
            }
            if self.files.len() == 1 && !self.reopen()? {
                return Ok(false);
            }
            if self.files.len() > 1 {
                self.files.pop();
                self.begun.clear();
            }
        }
    }

    /// Adds the newest file where it is another than the one that is read.
    fn reopen(&mut self) -> io::Result<bool> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        if self.newest == Some(inode) {
            return Ok(false);
        }
        self.newest = Some(inode);
        self.files.insert(0, BufReader::new(file));
        Ok(true)
    }

    fn count_lines(&mut self) -> io::Result<u64> {
        let mut lines = 0;
        while self.next_record()? {
            let record = std::mem::take(&mut self.begun);
            lines += u64::from(split(&record).is_some_and(|r| r.ends_line && self.is_wanted(&r)));
        }
        self.begun.clear();
        Ok(lines)
    }

    fn take_record(&mut self, record: &[u8], out: &mut Vec<u8>) {
        // A line that is no record was cut short by a full disk; nobody can read it.
        let Some(record) = split(record) else { return };
        if !self.is_wanted(&record) {
            return;
        }
        if self.skip > 0 {
            self.skip -= u64::from(record.ends_line);
            return;
        }
        if self.query.timestamps == Timestamps::Shown && !self.within_line {
            out.extend_from_slice(record.stamp.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if record.ends_line {
            out.push(b'\n');
        }
        self.within_line = !record.ends_line;
    }

    fn is_wanted(&self, record: &Record<'_>) -> bool {
        let is_of_output = match self.query.output {
            Output::Both => true,
            Output::Stdout => record.stream == b"stdout",
            Output::Stderr => record.stream == b"stderr",
        };
        is_of_output && self.is_recent(record.stamp)
    }

    fn is_recent(&self, stamp: &str) -> bool {
        self.query.since.is_none_or(|since| stamp.parse::<Timestamp>().is_ok_and(|stamp| stamp >= since))
    }
}

struct Record<'a> {
    stamp: &'a str,
    stream: &'a [u8],
    ends_line: bool,
    text: &'a [u8],
}

/// `TIMESTAMP STREAM TAG TEXT`.
fn split(record: &[u8]) -> Option<Record<'_>> {
    let mut words = record.splitn(4, |byte| *byte == b' ');
    let stamp = std::str::from_utf8(words.next()?).ok()?;
    let stream = words.next()?;
    let ends_line = words.next()? == b"F";
    Some(Record { stamp, stream, ends_line, text: words.next()? })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LOG: &str = "\
        2026-01-01T00:00:01.000000000Z stdout F one\n\
        2026-01-01T00:00:02.000000000Z stderr F two\n\
        2026-01-01T00:00:03.000000000Z stdout P thr\n\
        2026-01-01T00:00:03.000000000Z stdout F ee\n\
        2026-01-01T00:00:04.000000000Z stdout F four\n";

    fn read(reader: &mut LogReader) -> String {
        String::from_utf8(reader.next_piece().unwrap()).unwrap()
    }

    #[test]
    fn a_query_chooses_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, LOG).unwrap();
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let check = |query: &str, expect: &str| {
            let query = LogQuery::parse(query, now).unwrap();
            let mut reader = LogReader::open(&path, query.clone()).unwrap();
            assert_eq!(read(&mut reader), expect, "{query:?}");
            assert_eq!(read(&mut reader), "", "{query:?}");
        };
        check("", "one\ntwo\nthree\nfour\n");
        check("tailLines=2", "three\nfour\n");
        check("tailLines=0", "");
        check("tailLines=99", "one\ntwo\nthree\nfour\n");
        check("sinceSeconds=7", "three\nfour\n");
        check("sinceTime=2026-01-01T00%3A00%3A04Z&unknown=1", "four\n");
        check("sinceSeconds=8&tailLines=1", "four\n");
        check("limitBytes=5", "one\nt");
        check(
            "timestamps=true&tailLines=2",
            "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z four\n",
        );
        assert!(LogQuery::parse("tailLines=-1", now).is_err());
        assert!(LogQuery::parse("sinceTime=yesterday", now).is_err());
        assert!(LogQuery::parse("follow=maybe", now).is_err());
        assert_eq!(LogQuery::parse("follow=true&previous=1", now).unwrap().end, End::Follow);
    }

    #[test]
    fn following_goes_over_rotation_and_misses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let line = |text: &str| format!("2026-01-01T00:00:01.000000000Z stdout F {text}\n");
        let mut reader = LogReader::open(&path, LogQuery::default()).unwrap();
        assert_eq!(read(&mut reader), "");
        fs::write(&path, line("one")).unwrap();
        assert_eq!(read(&mut reader), "one\n");
        fs::write(&path, line("one") + &line("two")[..20]).unwrap();
        assert_eq!(read(&mut reader), "", "half a record");
        fs::write(&path, line("one") + &line("two")).unwrap();
        fs::rename(&path, super::super::older(&path)).unwrap();
        fs::write(&path, line("three")).unwrap();
        assert_eq!(read(&mut reader), "two\nthree\n");
        let mut late = LogReader::open(&path, LogQuery { tail_lines: Some(2), ..LogQuery::default() }).unwrap();
        assert_eq!(read(&mut late), "two\nthree\n");
    }
}

//! Transcripts under `testdata/`: commands, `----`, answers. Every engine must give the same. `STEAD_UPDATE=1` writes what the
//! model answers into them.
//!
//! ```text
//! [if KEY@REVISION …] [then OP …] [else OP …]     a transaction; OP: put:KEY=VALUE[:LEASE] | delete:KEY | get:KEY
//! range START END [at=REVISION] [limit=N]         END - means no end
//! watch NAME START END from=REVISION
//! read NAME                                       what a watch delivers up to now
//! compact REVISION | grant LEASE | revoke LEASE
//! ```

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use bytes::Bytes;
use stead_model::Revision;
use stead_store::{
    Compare, EventKind, KeyValue, Lease, Op, OpOutcome, Page, RangeRequest, StoreError, Txn, TxnOutcome, WatchStream,
};

use crate::subject::{Subject, read_watch};

const SEPARATOR: &str = "----\n";

#[tokio::test]
async fn the_model_follows_the_transcripts() {
    for path in paths() {
        let transcript = std::fs::read_to_string(&path).unwrap();
        let answered = answer(Subject::model().await, &transcript).await;
        if std::env::var_os("STEAD_UPDATE").is_some() {
            std::fs::write(&path, answered).unwrap();
        } else {
            assert_eq!(answered, transcript, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn the_embedded_engine_follows_the_transcripts() {
    for path in paths() {
        let transcript = std::fs::read_to_string(&path).unwrap();
        assert_eq!(answer(Subject::embedded().await, &transcript).await, transcript, "{}", path.display());
        let without_window = Subject::embedded_without_window().await;
        assert_eq!(answer(without_window, &transcript).await, transcript, "{}", path.display());
        let small_log = Subject::embedded_with_a_small_log().await;
        assert_eq!(answer(small_log, &transcript).await, transcript, "{}", path.display());
    }
}

fn paths() -> Vec<PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// The transcript with the subject's answers in place of those that it holds.
async fn answer(subject: Subject, transcript: &str) -> String {
    let mut session = Session { subject, leases: BTreeMap::new(), watches: BTreeMap::new() };
    let mut answered = String::new();
    for block in transcript.split("\n\n") {
        let commands = block.split_once(SEPARATOR).map_or(block, |(commands, _)| commands).trim_end();
        if !answered.is_empty() {
            answered.push('\n');
        }
        writeln!(answered, "{commands}").unwrap();
        if commands.starts_with('#') {
            continue;
        }
        answered.push_str(SEPARATOR);
        for command in commands.lines() {
            match session.run(command).await {
                Ok(answer) => answered.push_str(&answer),
                Err(error) => writeln!(answered, "error: {}", session.error(error)).unwrap(),
            }
        }
    }
    answered
}

struct Session {
    subject: Subject,
    leases: BTreeMap<String, Lease>,
    watches: BTreeMap<String, (Revision, WatchStream)>,
}

impl Session {
    async fn run(&mut self, command: &str) -> Result<String, StoreError> {
        let words: Vec<_> = command.split_whitespace().collect();
        match words[0] {
            "if" | "then" => {
                let outcome = self.subject.store.txn(self.txn(&words)).await?;
                Ok(self.print_outcome(&outcome))
            }
            "range" => {
                let request = RangeRequest {
                    start: Bytes::copy_from_slice(words[1].as_bytes()),
                    end: end(words[2]),
                    revision: argument(&words, "at=").map(|at| self.subject.at(at)),
                    limit: argument(&words, "limit=").map(|limit| limit as usize),
                };
                let page = self.subject.store.range(request).await?;
                Ok(self.print_page(&page))
            }
            "watch" => {
                let from = self.subject.at(argument(&words, "from=").unwrap());
                let start = Bytes::copy_from_slice(words[2].as_bytes());
                let watch = self.subject.store.watch(start, end(words[3]), from).await?;
                self.watches.insert(words[1].to_owned(), (from, watch));
                Ok(String::new())
            }
            "read" => self.read(words[1]).await,
            "compact" => {
                self.subject.store.compact(self.subject.at(words[1].parse().unwrap())).await?;
                Ok(String::new())
            }
            "grant" => {
                let lease = self.subject.store.grant_lease(3600).await?;
                self.leases.insert(words[1].to_owned(), lease);
                Ok(String::new())
            }
            "revoke" => {
                self.subject.store.revoke_lease(self.leases[words[1]]).await?;
                let revision = self.subject.store.revision().await?;
                Ok(format!("revision {}\n", self.ours(revision)))
            }
            word => panic!("no such command: {word}"),
        }
    }

    fn txn(&self, words: &[&str]) -> Txn {
        let mut txn = Txn::default();
        let mut part = "";
        for word in words {
            match (part, *word) {
                (_, "if" | "then" | "else") => part = word,
                ("if", word) => {
                    let (key, revision) = word.split_once('@').unwrap();
                    let is = match revision.parse().unwrap() {
                        0 => Revision::ZERO,
                        nth => self.subject.at(nth),
                    };
                    txn.compare.push(Compare::ModRevision { key: Bytes::copy_from_slice(key.as_bytes()), is });
                }
                ("then", word) => txn.success.push(self.op(word)),
                (_, word) => txn.failure.push(self.op(word)),
            }
        }
        txn
    }

    fn op(&self, word: &str) -> Op {
        let mut parts = word.split(':');
        let (verb, rest) = (parts.next().unwrap(), parts.next().unwrap());
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        match verb {
            "put" => Op::Put { key, value, lease: parts.next().map(|name| self.leases[name]) },
            "delete" => Op::Delete { key },
            "get" => Op::Get { key },
            verb => panic!("no such operation: {verb}"),
        }
    }

    async fn read(&mut self, name: &str) -> Result<String, StoreError> {
        let newest = self.subject.store.revision().await?;
        let (from, mut watch) = self.watches.remove(name).unwrap();
        let mut text = String::new();
        for event in read_watch(&mut watch, from, newest).await? {
            let kind = match event.kind {
                EventKind::Put => "put",
                EventKind::Delete => "delete",
            };
            let previous = event.previous.as_ref().map(|previous| format!(" was {}", self.print(previous)));
            writeln!(text, "{kind} {}{}", self.print(&event.key_value), previous.unwrap_or_default()).unwrap();
        }
        self.watches.insert(name.to_owned(), (newest.next(), watch));
        Ok(text)
    }

    fn print(&self, key_value: &KeyValue) -> String {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let lease = self.leases.iter().find(|(_, lease)| Some(**lease) == key_value.lease);
        format!(
            "{}={} (created {}, written {}, version {}{})",
            text(&key_value.key),
            text(&key_value.value),
            self.ours(key_value.create_revision),
            self.ours(key_value.mod_revision),
            key_value.version,
            lease.map_or(String::new(), |(name, _)| format!(", lease {name}")),
        )
    }

    fn print_outcome(&self, outcome: &TxnOutcome) -> String {
        let branch = if outcome.succeeded { "then" } else { "else" };
        let mut text = format!("{branch}, revision {}\n", self.ours(outcome.revision));
        for outcome in &outcome.outcomes {
            let (verb, found) = match outcome {
                OpOutcome::Put => continue,
                OpOutcome::Delete(found) => ("deleted", found),
                OpOutcome::Get(found) => ("got", found),
            };
            writeln!(text, "  {verb} {}", found.as_ref().map_or("nothing".to_owned(), |found| self.print(found)))
                .unwrap();
        }
        text
    }

    fn print_page(&self, page: &Page) -> String {
        let mut text = format!("revision {}, {} more\n", self.ours(page.revision), page.remaining);
        for item in &page.items {
            writeln!(text, "  {}", self.print(item)).unwrap();
        }
        text
    }

    fn error(&self, error: StoreError) -> String {
        let ours = |revision| self.ours(revision);
        let error = match error {
            StoreError::Compacted { requested, oldest } => {
                StoreError::Compacted { requested: ours(requested), oldest: ours(oldest) }
            }
            StoreError::Future { requested, newest } => {
                StoreError::Future { requested: ours(requested), newest: ours(newest) }
            }
            StoreError::NoLease(_) => return "no such lease".to_owned(),
            error => error,
        };
        error.to_string()
    }

    fn ours(&self, revision: Revision) -> Revision {
        Revision(revision.0.saturating_sub(self.subject.base.0))
    }
}

fn end(word: &str) -> Bytes {
    if word == "-" { Bytes::new() } else { Bytes::copy_from_slice(word.as_bytes()) }
}

fn argument(words: &[&str], name: &str) -> Option<u64> {
    words.iter().find_map(|word| word.strip_prefix(name)).map(|number| number.parse().unwrap())
}

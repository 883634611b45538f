//! Many questions, each over a flow of its own, counted by who answered and by how they failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use stead_model::Protocol;

use crate::{Answer, Failure, Flow, Host, flow::TIMEOUT};

/// How often to ask, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// How many; a [`crate::Load`] ends after as many, too.
    pub count: usize,
    /// How many at once, 1–64.
    pub concurrency: usize,
    /// How long each may take to connect, and again to be answered.
    pub timeout: Duration,
    /// The least time from the start of one to the start of the next, of all together.
    pub pace: Duration,
    pub ending: Ending,
}

/// How a TCP connection ends once it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its port is taken for a minute.
    Orderly,
    /// By a reset, so that neither ports nor tables of connections fill, however many there are.
    Reset,
}

impl Calls {
    /// So many, eight at once, 2 s each, as fast as they go, each with an orderly end.
    pub const fn of(count: usize) -> Self {
        Self { count, concurrency: 8, timeout: TIMEOUT, pace: Duration::ZERO, ending: Ending::Orderly }
    }

    pub(crate) fn run(self, host: &Host, protocol: Protocol, to: SocketAddr) -> Tally {
        host.run(|| self.run_here(protocol, to, || false))
            .unwrap_or_else(|error| panic!("entering {}: {error}", host.name()))
    }

    /// Asks from the calling thread's namespace, until `stop` says so or all have been asked.
    pub(crate) fn run_here(self, protocol: Protocol, to: SocketAddr, stop: impl Fn() -> bool + Sync) -> Tally {
        let start = Instant::now();
        let started = AtomicUsize::new(0);
        let worker = || {
            let mut tally = Tally::default();
            loop {
                let nth = started.fetch_add(1, Ordering::Relaxed);
                if nth >= self.count || stop() {
                    return tally;
                }
                let due = self.pace.saturating_mul(u32::try_from(nth).unwrap_or(u32::MAX));
                thread::sleep(due.saturating_sub(start.elapsed()));
                let asked = Instant::now();
                let outcome = Flow::open(protocol, None, to, self.timeout).and_then(|flow| {
                    let mut flow = flow.with_timeout(self.timeout);
                    let answer = flow.ask()?;
                    if self.ending == Ending::Reset {
                        flow.reset_at_end()?;
                    }
                    Ok(answer)
                });
                tally.count(outcome, asked);
            }
        };
        let mut tally = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.concurrency.clamp(1, 64)).map(|_| scope.spawn(worker)).collect();
            let mut all = Tally::default();
            for worker in workers {
                all.add(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        });
        tally.elapsed = start.elapsed();
        tally
    }
}

/// Who answered how often, and what failed how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By the server's name.
    pub answers: BTreeMap<String, usize>,
    /// Where servers saw the questions come from.
    pub sources: BTreeSet<IpAddr>,
    pub failures: BTreeMap<Failure, usize>,
    /// When each of those that failed began and ended.
    pub failed_at: Vec<(Failure, Instant, Instant)>,
    /// From the first question to the last answer.
    pub elapsed: Duration,
    /// The longest that one question took, answered or not.
    pub slowest: Duration,
}

impl Tally {
    pub fn answered(&self) -> usize {
        self.answers.values().sum()
    }

    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// The names of those who answered, in order.
    pub fn servers(&self) -> Vec<&str> {
        self.answers.keys().map(String::as_str).collect()
    }

    /// Whether there were questions and each of them failed like this.
    pub fn all_failed(&self, failure: Failure) -> bool {
        self.answers.is_empty() && self.failures.keys().eq([&failure])
    }

    fn count(&mut self, outcome: Result<Answer, Failure>, asked: Instant) {
        let now = Instant::now();
        self.slowest = self.slowest.max(now - asked);
        match outcome {
            Ok(answer) => {
                self.sources.insert(answer.source.ip());
                *self.answers.entry(answer.server).or_default() += 1;
            }
            Err(failure) => {
                *self.failures.entry(failure).or_default() += 1;
                self.failed_at.push((failure, asked, now));
            }
        }
    }

    fn add(&mut self, other: Self) {
        for (server, count) in other.answers {
            *self.answers.entry(server).or_default() += count;
        }
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        self.failed_at.extend(other.failed_at);
        self.sources.extend(other.sources);
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// `pod-1-1 ×60, pod-1-2 ×40, refused ×1, from 10.244.1.1, in 12 ms, slowest 3 ms`
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (server, count) in &self.answers {
            write!(f, "{server} ×{count}, ")?;
        }
        for (failure, count) in &self.failures {
            write!(f, "{failure} ×{count}, ")?;
        }
        for source in &self.sources {
            write!(f, "from {source}, ")?;
        }
        write!(f, "in {} ms, slowest {} ms", self.elapsed.as_millis(), self.slowest.as_millis())
    }
}

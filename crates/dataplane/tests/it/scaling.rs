//! A Service between none and twenty backends, again and again under thousands of connections a second: none fails but where there was nobody,
//! or where it outlived its backend. `STEAD_SCALINGS` says how often (little in CI, hundreds in `make soak`).

use std::{
    thread,
    time::{Duration, Instant},
};

use stead_dataplane::NfTables;
use stead_model::{Family, Protocol};
use stead_testbed::{Calls, Ending, Failure, Layout};

use crate::bench::Bench;

const PODS_PER_NODE: u8 = 11;
/// One of node 1 asks.
const BACKENDS: usize = 20;
/// How long a backend that leaves finishes what it has.
const DRAIN: Duration = Duration::from_millis(40);

/// What the plan was for a while: from before it was applied until the next one had been.
struct Phase {
    ready: Vec<(u8, u8)>,
    draining: Vec<(u8, u8)>,
    since: Instant,
    applied: Instant,
}

struct History(Vec<Phase>);

impl History {
    /// When a phase was over everywhere.
    fn end(&self, place: usize) -> Option<Instant> {
        self.0.get(place + 1).map(|next| next.applied)
    }

    /// Whether there was nobody to ask at some moment of these.
    fn was_empty(&self, since: Instant, until: Instant) -> bool {
        let is_empty = |(place, phase): (usize, &Phase)| {
            let is_over = self.end(place).is_some_and(|end| end < since);
            phase.ready.is_empty() && phase.since <= until && !is_over
        };
        self.0.iter().enumerate().any(is_empty)
    }

    /// Whether a backend that took connections at the first moment was gone at the last.
    fn outlived(&self, since: Instant, until: Instant) -> bool {
        let took = self
            .0
            .iter()
            .enumerate()
            .filter(|(place, phase)| phase.since <= until && self.end(*place).is_none_or(|end| end >= since));
        took.flat_map(|(place, phase)| phase.ready.iter().map(move |pod| (place, pod))).any(|(place, pod)| {
            let later = self.0[place..].iter().take_while(|phase| phase.since <= until);
            later.clone().any(|phase| !phase.ready.contains(pod) && !phase.draining.contains(pod))
        })
    }

    fn explains(&self, failure: Failure, since: Instant, until: Instant) -> bool {
        match failure {
            Failure::Refused => self.was_empty(since, until),
            _ => self.outlived(since, until),
        }
    }
}

fn scale(family: Family) {
    let times = std::env::var("STEAD_SCALINGS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let layout = Layout { nodes: 2, pods_per_node: PODS_PER_NODE };
    let bench = &mut Bench::of(|namespace| Box::new(NfTables::open_in(namespace).unwrap()), family, layout);
    // What was reset is soon forgotten, or the table fills.
    bench.lab.node(1).set_sysctl("netfilter.nf_conntrack_tcp_timeout_close", "1").unwrap();
    let pods = (1..=2).flat_map(|node| (2..=PODS_PER_NODE).map(move |pod| (node, pod))).collect::<Vec<_>>();
    assert_eq!(pods.len(), BACKENDS);
    let mut history = History(Vec::new());
    let mut step = |bench: &mut Bench, ready: &[(u8, u8)], draining: &[(u8, u8)], is_first: bool| {
        let since = Instant::now();
        let port = bench.web_draining(ready, draining);
        if is_first {
            bench.all("web", [port])
        } else {
            bench.change("web", [port])
        };
        history.0.push(Phase { ready: ready.into(), draining: draining.into(), since, applied: Instant::now() });
    };
    step(bench, &pods, &[], true);
    let calls =
        Calls { concurrency: 16, pace: Duration::from_micros(300), ending: Ending::Reset, ..Calls::of(usize::MAX) };
    let load = bench.pod(1, 1).load(Protocol::Tcp, bench.cluster_ip(1, 80), calls).unwrap();
    let mut ready = pods.clone();
    // To none at every third, and to any number in between; which ones, goes round.
    for number in 0..times {
        let count = if number % 3 == 1 { 0 } else { number * 8 % (BACKENDS + 1) };
        let next: Vec<_> = pods.iter().cycle().skip(number * 5).take(count).copied().collect();
        let leaving: Vec<_> = ready.iter().filter(|pod| !next.contains(pod)).copied().collect();
        step(bench, &next, &leaving, false);
        thread::sleep(DRAIN);
        step(bench, &next, &[], false);
        ready = next;
        thread::sleep(DRAIN);
    }
    step(bench, &pods, &[], false);
    thread::sleep(DRAIN);
    let tally = load.stop().unwrap();
    let rate = tally.answered() as f64 / tally.elapsed.as_secs_f64();
    let unexplained: Vec<_> =
        tally.failed_at.iter().filter(|(failure, since, until)| !history.explains(*failure, *since, *until)).collect();
    println!(
        "{times} times: {} answered, {rate:.0} a second, failed as they had to: {:?}",
        tally.answered(),
        tally.failures
    );
    let timed_out = tally.failures.get(&Failure::TimedOut).copied().unwrap_or_default();
    assert!(unexplained.is_empty(), "{} of {tally}: {unexplained:?}", unexplained.len());
    assert!(rate > 500.0 && timed_out * 1000 < tally.answered(), "{rate:.0} a second, {tally}");
    let refused = tally.failures.get(&Failure::Refused).copied().unwrap_or_default();
    assert!(times < 2 || refused > 0, "who asks while there is nobody is refused: {tally}");
}

#[test]
fn between_none_and_twenty_backends_nothing_fails_that_need_not_v4() {
    scale(Family::V4);
}

#[test]
fn between_none_and_twenty_backends_nothing_fails_that_need_not_v6() {
    scale(Family::V6);
}

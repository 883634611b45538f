//! One change each, from the API write being sent to the first packet that shows it, at the size of the world: of our proxy on
//! `node1`, then of kube-proxy where it is at hand.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use stead_client::write::{self, DeleteOptions};
use stead_sys::namespace::Namespace;

use crate::{
    load::{self, World, ask},
    proxies::Proxy,
    stats,
};

/// A change that does not show within this time is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_millis(200);
const OURS: Pace = Pace { rounds: 200, pause: Duration::from_millis(20) };
/// Slow enough that kube-proxy's minimum sync period of a second delays nothing.
const PEERS: Pace = Pace { rounds: 4, pause: Duration::from_millis(1_200) };

/// How many changes of each kind, and how long nothing happens before each.
#[derive(Clone, Copy)]
struct Pace {
    rounds: usize,
    pause: Duration,
}

/// What a probe waits for.
#[derive(Clone)]
enum Sign {
    AnswerOf(String),
    /// The last answer of a backend: it counts when 40 answers in a row are of others.
    LastOf(String),
    Refused,
    /// The first attempt that fails in whatever way counts from its beginning.
    Gone,
}

/// Where changes are looked at.
struct Site<'a> {
    world: &'a World,
    host: &'a Namespace,
    pace: Pace,
    /// Of the objects that are made here.
    name: &'static str,
    /// What follows a deletion.
    end: Sign,
}

pub(crate) fn run(world: &World) {
    println!("\n== one change at {} Services: API write sent to first packet (figure: p99 ≤ 20 ms)", world.size);
    let ours = Site { world, host: &world.node, pace: OURS, name: "change", end: Sign::Refused }.measure_all();
    println!("   {} on node1", Proxy::Stead.name());
    for (what, series) in &ours {
        println!("   {what:<18} {}", stats::spread(series.clone()));
    }
    let Some(peer) = Proxy::peer() else {
        println!("   {}", stats::NO_KUBE_PROXY);
        return;
    };
    let (running, _) = peer.start(world);
    let theirs = Site { world, host: &running.host, pace: PEERS, name: "peer-change", end: Sign::Gone }.measure_all();
    println!("   {}", peer.name());
    for ((what, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        println!(
            "   {what:<18} {}   ratio of medians {:.0}",
            stats::spread(theirs.clone()),
            stats::ratio(theirs, ours)
        );
    }
}

impl Site<'_> {
    fn measure_all(&self) -> [(&'static str, Vec<Duration>); 5] {
        let world = self.world;
        let [a, b] = world.backends;
        let (of_a, of_b) = (a.ip().to_string(), b.ip().to_string());
        let target = world.runtime.block_on(load::create(&world.client, self.name, &[a]));
        assert!(self.host.run(|| load::until_answered(target, PATIENCE)).expect("the host's network"));

        let (mut swapped, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.pace.rounds {
            swapped.push(self.shown(target, Sign::AnswerOf(of_b.clone()), &[b]));
            self.shown(target, Sign::AnswerOf(of_a.clone()), &[a]);
            added.push(self.shown(target, Sign::AnswerOf(of_b.clone()), &[a, b]));
            removed.push(self.shown(target, Sign::LastOf(of_b.clone()), &[a]));
        }
        let (mut created, mut deleted) = (Vec::new(), Vec::new());
        for round in 0..self.pace.rounds {
            let name = format!("{}-{round}", self.name);
            world.runtime.block_on(load::create_slice(&world.client, &name, &[a]));
            thread::sleep(self.pace.pause);
            let sent = Instant::now();
            let target = world.runtime.block_on(load::create_service(&world.client, &name));
            let answered = self.host.run(|| when(target, &Sign::AnswerOf(of_a.clone()))).expect("the host's network");
            created.push(answered - sent);
            let path = format!("/api/v1/namespaces/default/services/{name}");
            deleted.push(self.measure(target, self.end.clone(), || {
                let options = DeleteOptions::default();
                world.runtime.block_on(write::delete(&world.client, &path, &options)).expect("a deleted Service");
            }));
        }
        [
            ("endpoint swapped", swapped),
            ("endpoint added", added),
            ("endpoint removed", removed),
            ("Service created", created),
            ("Service deleted", deleted),
        ]
    }

    fn shown(&self, target: SocketAddr, sign: Sign, endpoints: &[SocketAddr]) -> Duration {
        self.measure(target, sign, || {
            self.world.runtime.block_on(load::set_endpoints(&self.world.client, self.name, endpoints));
        })
    }

    /// From the moment a write is sent to the moment its sign is seen by a probe that runs meanwhile.
    fn measure(&self, target: SocketAddr, sign: Sign, write: impl FnOnce()) -> Duration {
        thread::sleep(self.pace.pause);
        let (report, seen) = mpsc::channel();
        let host = self.host.try_clone().expect("a descriptor");
        let (start_probe, started) = mpsc::channel();
        let probe = thread::spawn(move || {
            let _ = host.run(|| {
                let _ = start_probe.send(());
                let _ = report.send(when(target, &sign));
            });
        });
        started.recv().expect("the probe runs");
        let sent = Instant::now();
        write();
        let at = seen.recv().expect("the probe reports");
        probe.join().expect("the probe ends");
        at.saturating_duration_since(sent)
    }
}

/// Asks until the sign is seen; when that was.
fn when(target: SocketAddr, sign: &Sign) -> Instant {
    let deadline = Instant::now() + PATIENCE;
    let (mut last, mut others) = (Instant::now(), 0);
    while Instant::now() < deadline {
        let asked = Instant::now();
        let answer = ask(target, TIMEOUT);
        let now = Instant::now();
        match (sign, answer) {
            (Sign::AnswerOf(backend), Ok(answer)) if answer == *backend => return now,
            (Sign::Refused, Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return now,
            (Sign::Gone, Err(_)) => return asked,
            (Sign::LastOf(backend), Ok(answer)) => {
                (last, others) = if answer == *backend { (now, 0) } else { (last, others + 1) };
                if others == 40 {
                    return last;
                }
            }
            _ => {}
        }
        thread::sleep(Duration::from_micros(200));
    }
    panic!("{target} does not show the change within {PATIENCE:?}")
}

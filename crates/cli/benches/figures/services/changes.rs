//! One change each, from the API write being sent to the first packet that shows it, on a host where the proxy has served for a while.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use stead_sys::namespace::Namespace;

use super::{
    asking::{ask, when_answered_by},
    objects,
    proxies::Proxy,
    results::{Results, Value},
    world::World,
};
use crate::stats;

/// A change that does not show within this time is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_millis(200);

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
    pid: u32,
    pace: Pace,
    /// Of the objects that are made here.
    name: String,
    /// What follows a deletion.
    end: Sign,
}

/// Latencies of each kind of change, and the proxy's processor time for one change of an endpoint.
struct Measured {
    series: [(&'static str, Vec<Duration>); 5],
    cpu: Duration,
}

pub(crate) fn run(world: &World, proxy: &Proxy, results: &mut Results) {
    let name = proxy.name();
    let Some(running) = proxy.start(world) else {
        println!("   {name:<22} changes: it did not serve in {:?}", proxy.patience());
        results.put(
            "endpoint swapped p99 ms",
            &name,
            world.size,
            Value::MoreThan(proxy.patience().as_secs_f64() * 1e3),
        );
        return;
    };
    let (pace, end) = match proxy {
        Proxy::Stead => (Pace { rounds: 200, pause: Duration::from_millis(20) }, Sign::Refused),
        // Slow enough that a minimum sync period of a second delays nothing.
        Proxy::Kube { .. } => (Pace { rounds: 3, pause: Duration::from_millis(1_200) }, Sign::Gone),
    };
    let objects = format!("changes-{}", name.replace(' ', "-"));
    let site = Site { world, host: &running.host.namespace, pid: running.pid(), pace, name: objects, end };
    let Measured { series, cpu } = site.measure_all();
    let peak = stats::peak_of(running.pid()).expect("the proxy runs") as f64 / 1024.0;
    for (what, series) in series {
        println!("   {name:<22} {what:<18} {}", stats::spread(series.clone()));
        for (label, share) in [("p50", 0.5), ("p99", 0.99)] {
            let value = stats::percentile(&series, share).as_secs_f64() * 1e3;
            results.exactly(&format!("{what} {label} ms"), &name, world.size, value);
        }
    }
    let cpu = cpu.as_secs_f64() * 1e3;
    println!("   {name:<22} CPU for one change of an endpoint {cpu:.2} ms; peak memory since its start {peak:.1} MiB");
    results.exactly("CPU of a change ms", &name, world.size, cpu);
    results.exactly("peak memory after changes MiB", &name, world.size, peak);
}

impl Site<'_> {
    fn measure_all(&self) -> Measured {
        let world = self.world;
        let [a, b] = world.backends;
        let (of_a, of_b) = (a.ip().to_string(), b.ip().to_string());
        let target = world.runtime.block_on(objects::create(&world.client, &self.name, &[a]));
        let answered = self.host.run(|| when_answered_by(target, &of_a, PATIENCE)).expect("the host's network");
        assert!(answered.is_some(), "{target} does not answer");

        let (mut swapped, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        let before = stats::cpu_of(self.pid);
        for _ in 0..self.pace.rounds {
            swapped.push(self.shown(target, Sign::AnswerOf(of_b.clone()), &[b]));
            self.shown(target, Sign::AnswerOf(of_a.clone()), &[a]);
            added.push(self.shown(target, Sign::AnswerOf(of_b.clone()), &[a, b]));
            removed.push(self.shown(target, Sign::LastOf(of_b.clone()), &[a]));
        }
        let cpu = (stats::cpu_of(self.pid) - before) / (4 * self.pace.rounds as u32);
        let (mut created, mut deleted) = (Vec::new(), Vec::new());
        for round in 0..self.pace.rounds {
            let name = format!("{}-{round}", self.name);
            world.runtime.block_on(objects::create_slice(&world.client, &name, &[a]));
            thread::sleep(self.pace.pause);
            let sent = Instant::now();
            let target = world.runtime.block_on(objects::create_service(&world.client, &name));
            let answered = self.host.run(|| when(target, &Sign::AnswerOf(of_a.clone()))).expect("the host's network");
            created.push(answered - sent);
            deleted.push(self.measure(target, self.end.clone(), || {
                world.runtime.block_on(objects::delete_service(&world.client, &name));
            }));
        }
        let series = [
            ("endpoint swapped", swapped),
            ("endpoint added", added),
            ("endpoint removed", removed),
            ("Service created", created),
            ("Service deleted", deleted),
        ];
        Measured { series, cpu }
    }

    fn shown(&self, target: SocketAddr, sign: Sign, endpoints: &[SocketAddr]) -> Duration {
        self.measure(target, sign, || {
            self.world.runtime.block_on(objects::set_endpoints(&self.world.client, &self.name, endpoints));
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

//! One change each, from the API write being sent to the first packet that shows it, at the size of the world.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use stead_client::write::{self, DeleteOptions};

use crate::{
    load::{self, World, ask},
    stats,
};

const ROUNDS: usize = 200;
/// A change that shows later than this is reported as this.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_millis(200);

/// What a probe waits for.
#[derive(Clone)]
enum Sign {
    AnswerOf(String),
    /// The last answer of a backend: it counts when 40 answers in a row are of others.
    LastOf(String),
    Refused,
}

pub(crate) fn run(world: &World) {
    println!("\n== one change at {} Services: API write sent to first packet (figure: p99 ≤ 20 ms)", world.size);
    let [a, b] = world.backends;
    let name = "change";
    let target = world.runtime.block_on(load::create(&world.client, name, &[a]));
    assert!(world.node.run(|| load::until_answered(target, PATIENCE)).expect("the node's network"));

    let (mut swapped, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        swapped.push(shown(world, target, Sign::AnswerOf(b.ip().to_string()), &[b], name));
        set(world, name, &[a], target);
        added.push(shown(world, target, Sign::AnswerOf(b.ip().to_string()), &[a, b], name));
        removed.push(shown(world, target, Sign::LastOf(b.ip().to_string()), &[a], name));
    }
    let (mut created, mut deleted) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = format!("change-{round}");
        world.runtime.block_on(load::create_slice(&world.client, &name, &[a]));
        thread::sleep(PAUSE);
        let sent = Instant::now();
        let target = world.runtime.block_on(load::create_service(&world.client, &name));
        created.push(
            world.node.run(|| when(target, &Sign::AnswerOf(a.ip().to_string()))).expect("the node's network") - sent,
        );
        let path = format!("/api/v1/namespaces/default/services/{name}");
        deleted.push(measure(world, target, Sign::Refused, || {
            let options = DeleteOptions::default();
            world.runtime.block_on(write::delete(&world.client, &path, &options)).expect("a deleted Service");
        }));
    }
    for (what, series) in [
        ("endpoint swapped", swapped),
        ("endpoint added", added),
        ("endpoint removed", removed),
        ("Service created", created),
        ("Service deleted", deleted),
    ] {
        println!("   {what:<18} {}", stats::spread(series));
    }
}

fn shown(world: &World, target: SocketAddr, sign: Sign, endpoints: &[SocketAddr], name: &str) -> Duration {
    measure(world, target, sign, || {
        world.runtime.block_on(load::set_endpoints(&world.client, name, endpoints));
    })
}

/// Without measuring.
fn set(world: &World, name: &str, endpoints: &[SocketAddr], target: SocketAddr) {
    shown(world, target, Sign::AnswerOf(endpoints[0].ip().to_string()), endpoints, name);
}

/// From the moment a write is sent to the moment its sign is seen by a probe that runs meanwhile.
fn measure(world: &World, target: SocketAddr, sign: Sign, write: impl FnOnce()) -> Duration {
    thread::sleep(PAUSE);
    let (report, seen) = mpsc::channel();
    let node = world.node.try_clone().expect("a descriptor");
    let (start_probe, started) = mpsc::channel();
    let probe = thread::spawn(move || {
        let _ = node.run(|| {
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

/// Asks until the sign is seen; when that was.
fn when(target: SocketAddr, sign: &Sign) -> Instant {
    let deadline = Instant::now() + PATIENCE;
    let (mut last, mut others) = (Instant::now(), 0);
    while Instant::now() < deadline {
        let answer = ask(target, TIMEOUT);
        let now = Instant::now();
        match (sign, answer) {
            (Sign::AnswerOf(backend), Ok(answer)) if answer == *backend => return now,
            (Sign::Refused, Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return now,
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
    deadline
}

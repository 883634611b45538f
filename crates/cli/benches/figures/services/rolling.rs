//! A rolling change: so many endpoints one after the other, each of a Service of its own, at an even pace; each is timed from its write to
//! the first answer of the new one.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{asking::when_answered_by, objects, proxies::Proxy, results::Results, world::World};
use crate::stats;

const CHANGES: usize = 1_000;
const WITHIN: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// At so many changes that have not shown yet the next one waits.
const WATCHERS: usize = 16;

pub(crate) fn run(world: &World, proxy: &Proxy, results: &mut Results) {
    let name = proxy.name();
    let [a, b] = world.backends;
    let prefix = format!("rolling-{}", name.replace(' ', "-"));
    let mut targets = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let service = format!("{prefix}-{number:04}");
        let target = world.runtime.block_on(objects::create(&world.client, &service, &[a]));
        targets.push((service, target));
    }
    let Some(running) = proxy.start(world) else { return };
    running.until_synced(proxy.patience());

    let (next, series) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(CHANGES)));
    let (of_b, pace, begun) = (b.ip().to_string(), WITHIN / CHANGES as u32, Instant::now());
    let before = stats::cpu_of(running.pid());
    let watch = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((service, target)) = targets.get(number) else { return };
            thread::sleep((pace * number as u32).saturating_sub(begun.elapsed()));
            let sent = Instant::now();
            let (client, service) = (world.client.clone(), service.clone());
            let written = world.runtime.spawn(async move { objects::set_endpoints(&client, &service, &[b]).await });
            let seen = when_answered_by(*target, &of_b, PATIENCE).expect("the change shows");
            series.lock().expect("no watcher panicked").push(seen - sent);
            world.runtime.block_on(written).expect("the write is done");
        }
    };
    let watchers = || thread::scope(|scope| (0..WATCHERS).for_each(|_| drop(scope.spawn(watch))));
    running.host.namespace.run(watchers).expect("the host's network");
    let (took, busy) = (begun.elapsed(), stats::cpu_of(running.pid()) - before);
    let series = series.into_inner().expect("no watcher panicked");
    println!(
        "   {name:<22} {CHANGES} endpoints in {:.1} s: {}, CPU {:.2} s",
        took.as_secs_f64(),
        stats::spread(series.clone()),
        busy.as_secs_f64()
    );
    for (what, value) in [
        ("rolling p50 ms", stats::percentile(&series, 0.5).as_secs_f64() * 1e3),
        ("rolling p99 ms", stats::percentile(&series, 0.99).as_secs_f64() * 1e3),
        ("rolling slowest ms", stats::percentile(&series, 1.0).as_secs_f64() * 1e3),
        ("rolling CPU s", busy.as_secs_f64()),
        ("rolling took s", took.as_secs_f64()),
    ] {
        results.exactly(what, &name, world.size, value);
    }
}

//! Cold start: from the spawn on a host with empty tables to every one of the spread Services answering there. What it takes of processor
//! and memory until it rests, and what the kernel keeps when the process is gone.

use std::{thread, time::Duration};

use super::{
    proxies::{Proxy, Running},
    results::{Results, Value},
    world::World,
};
use crate::stats;

/// The kernel buries the host of the start before meanwhile, and what was begun comes to rest.
const REST: Duration = Duration::from_millis(400);

pub(crate) fn run(world: &World, proxy: &Proxy, results: &mut Results) {
    let (mut times, mut busy, mut peaks, mut resting, mut kernel) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs(proxy, world) {
        thread::sleep(REST);
        let host = world.host();
        thread::sleep(REST);
        let before = stats::kernel_memory();
        let (running, took) = proxy.start_on(world, host);
        let Some(took) = took else {
            let bound = proxy.patience().as_secs_f64();
            println!("   {:<22} cold start: more than {bound} s", proxy.name());
            results.put("cold start s", &proxy.name(), world.size, Value::MoreThan(bound));
            return;
        };
        let cpu = stats::cpu_of(running.pid());
        thread::sleep(Duration::from_secs(1));
        let memory = |of: fn(u32) -> Option<u64>, running: &Running| of(running.pid()).expect("the proxy runs");
        times.push(took);
        busy.push(cpu);
        peaks.push(memory(stats::peak_of, &running));
        resting.push(memory(stats::pss_of, &running));
        let _host = running.kill();
        thread::sleep(REST);
        kernel.push(stats::kernel_memory().saturating_sub(before));
    }
    let name = proxy.name();
    println!("   {name:<22} cold start {}", stats::spread(times.clone()));
    let mib = |series: &[u64]| median(series) / 1024.0;
    let cpu = stats::percentile(&busy, 0.5).as_secs_f64();
    // The host of the start before may still have been on its way out, so that less seems to have been added.
    let tables = kernel.iter().max().copied().unwrap_or(0) as f64 / 1024.0;
    let (peak, rest) = (mib(&peaks), mib(&resting));
    println!(
        "   {name:<22} CPU of it {cpu:.2} s, memory: peak {peak:.1} (most {:.1}), PSS a second later {rest:.1} MiB; kernel {tables:.1} MiB",
        peaks.iter().max().copied().unwrap_or(0) as f64 / 1024.0,
    );
    let slowest = stats::percentile(&times, 1.0).as_secs_f64();
    for (what, value) in [
        ("cold start s", stats::percentile(&times, 0.5).as_secs_f64()),
        ("cold start slowest s", slowest),
        ("cold start CPU s", cpu),
        ("peak memory MiB", peak),
        ("memory at rest MiB", rest),
        ("kernel memory MiB", tables),
    ] {
        results.exactly(what, &name, world.size, value);
    }
}

/// Enough for a median, within a minute or two.
fn runs(proxy: &Proxy, world: &World) -> usize {
    match proxy {
        Proxy::Stead if world.size.objects() > 300_000 => 5,
        Proxy::Stead => 10,
        Proxy::Kube { .. } if world.size.objects() > 50_000 => 1,
        Proxy::Kube { .. } => 3,
    }
}

fn median(series: &[u64]) -> f64 {
    let mut sorted = series.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0) as f64
}

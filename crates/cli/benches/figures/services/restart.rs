//! A proxy that is killed and started again with nothing changed meanwhile: how long until it has adopted what stands, whether it wrote
//! anything to the kernel (each commit raises the ruleset's generation), and what clients saw.

use std::{
    thread,
    time::{Duration, Instant},
};

use stead_sys::nft::Nftables;

use super::{
    asking::Load,
    proxies::Proxy,
    results::Results,
    world::{Host, World},
};
use crate::stats;

const RUNS: usize = 3;
const BEFORE: Duration = Duration::from_millis(500);

pub(crate) fn run(world: &World, proxy: &Proxy, results: &mut Results) {
    let name = proxy.name();
    let Some(mut running) = proxy.start(world) else { return };
    running.until_synced(proxy.patience());
    let (mut times, mut commits, mut asked, mut failed, mut slowest) = (Vec::new(), 0, 0, 0, Duration::ZERO);
    for _ in 0..RUNS {
        let load = Load::start(&running.host.namespace, &world.spread);
        thread::sleep(BEFORE);
        let host = running.kill();
        let before = generation(&host);
        let start = Instant::now();
        running = proxy.spawn(world, host);
        running.until_synced(proxy.patience());
        times.push(start.elapsed());
        thread::sleep(BEFORE);
        commits += generation(&running.host).wrapping_sub(before);
        let tally = load.stop();
        asked += tally.asked;
        failed += tally.failed;
        slowest = slowest.max(tally.slowest);
    }
    println!(
        "   {name:<22} restart {}; {commits} commits to nf_tables, {failed} of {asked} connections failed, the slowest took {slowest:.1?}",
        stats::spread(times.clone())
    );
    results.exactly("restart s", &name, world.size, stats::percentile(&times, 0.5).as_secs_f64());
    results.exactly("restart commits", &name, world.size, f64::from(commits));
    results.exactly("restart failed connections", &name, world.size, failed as f64);
    if *proxy == Proxy::Stead {
        assert_eq!(commits, 0, "a restart with nothing changed wrote to the kernel");
        assert_eq!(failed, 0, "a restart lost connections");
    }
}

fn generation(host: &Host) -> u32 {
    let mut nft = Nftables::open_in(&host.namespace).expect("nf_tables");
    nft.generation().expect("the ruleset's generation")
}

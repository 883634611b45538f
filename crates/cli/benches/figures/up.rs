//! `stead up --nodes 3` to the first answered request through a virtual IP of a two-replica Deployment, and the memory of it all.

use std::time::{Duration, Instant};

use crate::{lab::Lab, stats};

const RUNS: usize = 10;

pub(crate) fn run() {
    println!("\n== stead up --nodes 3 --demo: spawn to both pods' answers through the virtual IP (figure: ≤ 1 s)");
    let mut times = Vec::new();
    let mut sizes = Vec::new();
    let mut last = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let mut lab = Lab::start(3, &["--demo"]);
        lab.wait_for("Hello, world!");
        times.push(start.elapsed());
        std::thread::sleep(Duration::from_secs(1));
        let (each, sum) = lab.pss();
        sizes.push(sum);
        last = each;
    }
    println!("   {}", stats::spread(times));
    sizes.sort_unstable();
    println!(
        "== proportional set size of all processes, pods included (figure: ≤ 150 MB)\n   min {}   median {}   max {} KiB   n={}",
        sizes[0],
        sizes[sizes.len() / 2],
        sizes[sizes.len() - 1],
        sizes.len()
    );
    for (command, size) in last {
        println!("      {size:>8} KiB  {command}");
    }
}

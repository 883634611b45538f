//! Cold start of the proxy: from its spawn in a namespace with empty tables to every one of the spread Services answering there.
//! Where kube-proxy is at hand it does the same in turn, and the ratio is printed.

use std::{thread, time::Duration};

use crate::{load::World, proxies::Proxy, stats};

const RUNS: usize = 10;
const PEER_RUNS: usize = 3;
/// The kernel buries the host of the start before meanwhile.
const REST: Duration = Duration::from_millis(300);

pub(crate) fn run(world: &World) {
    println!(
        "\n== proxy cold start at {} Services × 5: spawn to all {} answering (figure: ≤ 0.3 s)",
        world.size,
        world.spread.len()
    );
    let peer = Proxy::peer();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        thread::sleep(REST);
        ours.push(Proxy::Stead.start(world).1);
        if let Some(peer) = peer.as_ref().filter(|_| run < PEER_RUNS) {
            thread::sleep(REST);
            theirs.push(peer.start(world).1);
        }
    }
    println!("   {:<22} {}", Proxy::Stead.name(), stats::spread(ours.clone()));
    let Some(peer) = peer else {
        println!("   {}", stats::NO_KUBE_PROXY);
        return;
    };
    println!("   {:<22} {}", peer.name(), stats::spread(theirs.clone()));
    println!("   ratio of medians       {:.1}", stats::ratio(&theirs, &ours));
}

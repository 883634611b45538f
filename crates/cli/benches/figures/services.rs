//! Figures of the Service proxy at several sizes: `stead proxy`, and kube-proxy in each mode where `KUBE_PROXY` names its program.
//!
//! All run against one `stead server`, each on a host of its own, and share the machine's cores with it and with the clients. Every figure
//! asserts what it times; what has one for each size is kept in [`results`] too, which the pictures of docs/scaling.md are drawn from.

mod asking;
mod changes;
mod cold;
mod connections;
mod datagrams;
pub(crate) mod objects;
mod pictures;
mod proxies;
mod restart;
mod results;
mod rolling;
mod route;
mod size;
pub(crate) mod world;

use self::{proxies::Proxy, results::Results, size::Size, world::World};
use crate::stats;

/// The benches of this module by name.
pub(crate) const NAMES: [&str; 6] = ["cold", "changes", "restart", "rolling", "connections", "datagrams"];

/// Each of these benches at each size.
pub(crate) fn run(names: &[&str]) {
    let peers = Proxy::peers();
    if peers.is_empty() {
        println!("{}", stats::NO_KUBE_PROXY);
    }
    let proxies: Vec<_> = Proxy::ours().into_iter().chain(peers).collect();
    let mut results = Results::load();
    for size in Size::chosen() {
        let at_size = || bench(&World::build(size), names, &proxies, &mut results);
        world::fabric().run(at_size).expect("the fabric's network");
        results.keep();
    }
}

fn bench(world: &World, names: &[&str], proxies: &[Proxy], results: &mut Results) {
    for name in names {
        match *name {
            "connections" => connections::run(world, proxies, results),
            "datagrams" => datagrams::run(world, proxies, results),
            name => proxies.iter().for_each(|proxy| of_each(name, world, proxy, results)),
        }
    }
}

/// What is measured of one proxy after the other.
fn of_each(name: &str, world: &World, proxy: &Proxy, results: &mut Results) {
    match name {
        "cold" => cold::run(world, proxy, results),
        "changes" => changes::run(world, proxy, results),
        "restart" => restart::run(world, proxy, results),
        "rolling" => rolling::run(world, proxy, results),
        other => unreachable!("{other} is no bench of Services"),
    }
}

//! `make bench`: the figures of docs/performance.md, each with its size, spread and command.
//!
//! Everything runs in labs of its own. `KUBE_PROXY` names kube-proxy's program, which then runs beside ours; without it the
//! bench says so; so do `KUBE_APISERVER` and `ETCD` for the API server's figures. Arguments choose benches by name: `up`, `changes`,
//! `cold`, `stored`, `configmaps`, `watchers`, `slices`. `STEAD_BENCH_SERVICES` sets the size (10,000).

mod api;
mod changes;
mod cold;
mod lab;
mod load;
mod proxies;
mod stats;
mod up;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    println!("{}", stats::machine());
    if wanted("up") {
        up::run();
    }
    if wanted("changes") || wanted("cold") {
        let world = load::World::build(size());
        if wanted("changes") {
            changes::run(&world);
        }
        if wanted("cold") {
            cold::run(&world);
        }
    }
    for name in api::NAMES.into_iter().filter(|name| wanted(name)) {
        api::run(name);
    }
}

fn size() -> usize {
    std::env::var("STEAD_BENCH_SERVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

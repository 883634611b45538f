//! `make bench`: the figures of docs/performance.md and docs/scaling.md, each with its size, spread and command.
//!
//! Everything runs in labs of its own. `KUBE_PROXY` names kube-proxy's program, which then runs beside ours; without it the
//! bench says so; so do `KUBE_APISERVER` and `ETCD` for the API server's figures. Arguments choose benches by name: `up`, `cold`,
//! `changes`, `restart`, `rolling`, `stored`, `configmaps`, `watchers`, `slices`. `STEAD_BENCH_SIZES` chooses the sizes of the Service
//! proxy's, such as `10000x5`, `STEAD_BENCH_WATCHERS` how many watchers (1,100,10000).

mod api;
mod lab;
mod services;
mod stats;
mod up;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    println!("{}", stats::machine());
    if wanted("up") {
        up::run();
    }
    let of_services: Vec<_> = services::NAMES.into_iter().filter(|name| wanted(name)).collect();
    if !of_services.is_empty() {
        services::run(&of_services);
    }
    for name in api::NAMES.into_iter().filter(|name| wanted(name)) {
        api::run(name);
    }
}

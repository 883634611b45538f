//! Figures of the API server: `stead server`, then kube-apiserver with etcd where `KUBE_APISERVER` and `ETCD` name their programs.
//! One generator asks both: HTTP/1.1 over TLS, JSON, an administrator's certificate. All of it runs in one network namespace that
//! leads nowhere and shares the machine's cores.
//!
//! Every figure asserts what it times: status codes, counts afterwards, no event missing or out of order.

mod client;
mod figure;
mod lines;
mod lists;
mod slices;
mod stored;
mod storm;
mod subject;
mod watchers;

use self::{
    figure::Figure,
    subject::{Kind, Subject},
};

/// The benches of this module by name.
pub(crate) const NAMES: [&str; 4] = ["stored", "configmaps", "watchers", "slices"];

pub(crate) fn run(name: &str) {
    let host = subject::host();
    host.run(|| bench(name)).expect("the host's network");
}

fn bench(name: &str) {
    match name {
        "stored" => beside("10,000 Services and their slices of 5 stored", stored::measure),
        "configmaps" => beside("ConfigMap creates", storm::config_maps),
        "watchers" => beside("write sent to watch event, 200 writes (figure: p99 ≤ 1.5 ms at 100)", watchers::measure),
        "slices" => {
            println!("\n== 5,000 pods in 500 Services");
            figure::print(&slices::measure(&mut Subject::start(Kind::Stead)));
        }
        other => unreachable!("{other} is no bench of the API server"),
    }
}

/// Ours and, if at hand, the peer, each on a server of its own.
fn beside(title: &str, measure: fn(&mut Subject) -> Vec<Figure>) {
    println!("\n== {title}");
    let ours = measure(&mut Subject::start(Kind::Stead));
    figure::print(&ours);
    match Kind::peer() {
        Some(peer) => figure::print_beside(&measure(&mut Subject::start(peer)), &ours),
        None => println!("   kube-apiserver not run: KUBE_APISERVER and ETCD do not name both programs"),
    }
}

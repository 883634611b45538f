//! What goes on beside the pods: the Node object and its lease, routes to other nodes and to virtual IPs, masquerading, and an eye
//! on the image store and on the other directories that pods need.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use stead_dataplane::egress::{self, EgressConfig};
use tokio::{task::JoinSet, time};

use super::{
    Event, Shared, node,
    readiness::{self, Need},
};
use stead_client::error_text;

use crate::net::{RouteTable, routes_to, service_routes};

/// How soon a rule or route that somebody else has changed is put right.
const HEAL: Duration = Duration::from_secs(20);
/// How soon what has failed, and lets no pod start, is tried again.
const RETRY: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_secs(1);

/// Starts everything; it ends when the set is dropped.
pub(super) fn start(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    // The Node's first word is to be true.
    look(shared);
    tasks.spawn(node::keep_registered(Arc::clone(shared)));
    tasks.spawn(node::keep_lease(Arc::clone(shared)));
    tasks.spawn(keep_routes(Arc::clone(shared)));
    tasks.spawn(keep_service_routes(Arc::clone(shared)));
    tasks.spawn(keep_masquerading(Arc::clone(shared)));
    tasks.spawn(watch_disk(Arc::clone(shared)));
    tasks
}

async fn keep_routes(shared: Arc<Shared>) {
    let mut news = shared.cache.subscribe();
    loop {
        let wanted = {
            let snapshot = shared.cache.read();
            let others = snapshot.nodes().filter(|node| *node.key.name != *shared.config.node_name);
            let routes: BTreeMap<_, _> =
                others.flat_map(|node| routes_to(&node.pod_ranges, &node.internal_addresses)).collect();
            snapshot.is_synced().then_some(routes)
        };
        if let Some(wanted) = wanted {
            let ranges = shared.config.cluster_pod_ranges.clone();
            let applied = tokio::task::spawn_blocking(move || RouteTable::read(&ranges)?.apply(&wanted)).await;
            if let Ok(Err(error)) = applied {
                tracing::warn!(error = error_text(&error), "routes to other nodes' pods are not all set");
            }
        }
        let changed = async {
            loop {
                let touched = news.next().await;
                if touched.synced || !touched.nodes.is_empty() {
                    return;
                }
            }
        };
        let _ = time::timeout(HEAL, changed).await;
    }
}

async fn keep_service_routes(shared: Arc<Shared>) {
    let mut news = shared.cache.subscribe();
    loop {
        let ranges = shared.cache.read().service_ranges();
        let own = shared.config.node_addresses.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || service_routes::ensure(&ranges, &own)).await {
            tracing::warn!(error = error_text(&error), "this node's own programs do not reach all virtual IPs");
        }
        let changed = async { while !news.next().await.ranges {} };
        let _ = time::timeout(HEAL, changed).await;
    }
}

async fn keep_masquerading(shared: Arc<Shared>) {
    let config = EgressConfig {
        pod_ranges: shared.config.cluster_pod_ranges.clone(),
        inside_ranges: shared.config.inside_ranges.clone(),
    };
    loop {
        let config = config.clone();
        let Ok(ensured) = tokio::task::spawn_blocking(move || egress::ensure(&config)).await else {
            time::sleep(RETRY).await;
            continue;
        };
        let problem = ensured.err().map(|error| {
            tracing::warn!(error = error_text(&error), "pods' traffic out of the cluster is not masqueraded");
            format!("pods' traffic out of the cluster is not masqueraded: {}", error_text(&error))
        });
        let next = if problem.is_some() { RETRY } else { HEAL };
        shared.note(Need::Masquerading, problem);
        time::sleep(next).await;
    }
}

/// An image that was missing may have been loaded by somebody else's process, and a directory may have become unusable.
async fn watch_disk(shared: Arc<Shared>) {
    let path = shared.config.image_dir.join("names.json");
    let read = || fs::metadata(&path).and_then(|meta| meta.modified()).ok();
    let mut before = read();
    loop {
        time::sleep(LOOK).await;
        look(&shared);
        let now = read();
        if now != before {
            before = now;
            shared.send(Event::ImagesChanged);
        }
    }
}

fn look(shared: &Shared) {
    for (need, problem) in readiness::read(&shared.config, &shared.store) {
        shared.note(need, problem);
    }
}

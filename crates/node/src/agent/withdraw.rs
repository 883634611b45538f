//! When a pod that is being deleted gets no new connections any more.
//!
//! The node's own proxy reads the same cache, those of other nodes get the same event from the same server within milliseconds.
//! What each of them then tells its kernel is theirs; here they are given [`SETTLE`] for it. Who waits no longer than it may is
//! `pod::step`'s.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use stead_api::service_snapshot::{EndpointView, ServiceSnapshot};
use stead_client::ServiceCache;
use stead_model::ObjectKey;
use tokio::time::sleep;

/// What proxies of all nodes get, from the moment this node knows that the pod has left its Services, to make it so in their kernels:
/// fifty times what they need in 99 of 100 cases at 10,000 Services. On a machine whose processors are shared by many, 265 ms were seen
/// (docs/performance.md).
const SETTLE: Duration = Duration::from_secs(1);

/// Waits until no Service offers any of `addresses` to new connections. There is no end to it while the cache hears nothing.
pub(super) async fn withdrawn(cache: &ServiceCache, addresses: &[IpAddr]) {
    let mut news = cache.subscribe();
    let mut offering: HashSet<Arc<ObjectKey>> = HashSet::new();
    loop {
        let touched = news.next().await;
        {
            let snapshot = cache.read();
            for service in touched.services {
                if is_offered(&snapshot, &service, addresses) {
                    offering.insert(service);
                } else {
                    offering.remove(&service);
                }
            }
            if offering.is_empty() && snapshot.is_synced() {
                break;
            }
        }
    }
    sleep(SETTLE).await;
}

/// Whether proxies send new connections there: to endpoints that are ready, and where a Service has none, to those that terminate and
/// still serve. One that publishes pods that are not ready calls them ready to the end, so that they terminate must count, too.
fn is_offered(snapshot: &ServiceSnapshot, service: &ObjectKey, addresses: &[IpAddr]) -> bool {
    let endpoints = || snapshot.slices_of(service).iter().flat_map(|slice| &slice.endpoints);
    let is_open = |endpoint: &EndpointView| endpoint.is_ready() && !endpoint.is_terminating();
    let has_others = endpoints().any(is_open);
    let mut own = endpoints().filter(|endpoint| addresses.contains(&endpoint.address));
    own.any(|endpoint| is_open(endpoint) || !has_others && endpoint.is_serving())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stead_api::{
        item::FromItem,
        service_snapshot::{ServiceChange, SliceView, Touched},
        snapshot::Change,
    };

    use super::*;

    /// Endpoints by the last number of their address: `+` is ready, `t` terminates and serves, `x` does neither.
    fn check(endpoints: &str, expect: bool) {
        let endpoints: Vec<_> = endpoints
            .split_ascii_whitespace()
            .map(|word| {
                let conditions = json!({
                    "ready": word.contains('+'), "serving": word.contains(['+', 't']), "terminating": word.contains('t'),
                });
                json!({"addresses": [format!("10.0.0.{}", &word[..1])], "conditions": conditions})
            })
            .collect();
        let slice = json!({
            "metadata": {"namespace": "a", "name": "x", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4", "endpoints": endpoints,
        });
        let slice = SliceView::from_item(slice.to_string().as_bytes()).unwrap();
        let mut snapshot = ServiceSnapshot::default();
        snapshot.apply(ServiceChange::Slice(Change::Apply(slice)), &mut Touched::default());
        let is_offered = is_offered(&snapshot, &ObjectKey::new("a", "s"), &["10.0.0.1".parse().unwrap()]);
        assert_eq!(is_offered, expect, "{endpoints:?}");
    }

    #[test]
    fn a_pod_is_offered_while_connections_are_sent_to_it() {
        check("", false);
        check("2+", false);
        check("1+ 2+", true);
        check("1t 2+", false);
        check("1x 2x", false);
        // Where there is nobody else, until somebody is there.
        check("1t", true);
        check("1t 2t", true);
        check("1t 2x", true);
        // With publishNotReadyAddresses it is ready to the end.
        check("1+t 2+", false);
        check("1+t", true);
    }
}

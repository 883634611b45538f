//! One snapshot of Services, EndpointSlices, Nodes and ServiceCIDRs for every reader in a process: proxy, agent, DNS.
//!
//! Owns the watches and the lock around [`ServiceSnapshot`], and tells each subscriber which objects to look at again.
//! Slow subscribers cost nobody anything: what they have not fetched is a set of keys, so that many changes of one object are
//! one entry. What the objects mean is the readers' business.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::StreamExt;
use kube::Client;
use stead_api::{
    item::FromItem,
    service_snapshot::{ServiceChange, ServiceSnapshot, Touched},
    snapshot::Change,
};
use tokio::{sync::Notify, task::AbortHandle};

use crate::watch::{Pulse, Query, watch_with};

/// Changes that are taken in under one lock, at most.
const BATCH: usize = 512;

/// Which objects are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All of the kinds.
    All,
    /// What a Service proxy alone has to know: no headless Services and slices, none that are another proxy's.
    Forwarding,
}

/// A handle; clones share one snapshot. The watches end with the last handle.
#[derive(Clone)]
pub struct ServiceCache {
    shared: Arc<Shared>,
}

/// One reader's news.
#[derive(Debug)]
pub struct Subscription {
    mailbox: Arc<Mailbox>,
}

#[derive(Default)]
struct Shared {
    snapshot: RwLock<ServiceSnapshot>,
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
    watches: Mutex<Vec<AbortHandle>>,
    pulses: [Pulse; KINDS.len()],
    services_seen: AtomicU64,
    slices_seen: AtomicU64,
}

/// What is watched, in the order of the watches.
const KINDS: [&str; 4] = ["services", "endpointslices", "nodes", "servicecidrs"];

/// How many changes came, since the cache began and with those of the first lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub services: u64,
    pub slices: u64,
}

#[derive(Debug, Default)]
struct Mailbox {
    touched: Mutex<Touched>,
    arrival: Notify,
}

impl ServiceCache {
    /// Starts to watch, in the current runtime.
    pub fn start(client: &Client, interest: Interest) -> Self {
        let cache = Self::unwatched();
        let [services, slices, nodes, ranges] = interest.queries();
        let [services_pulse, slices_pulse, nodes_pulse, ranges_pulse] = &cache.shared.pulses;
        let watches = vec![
            cache.follow(client, services, services_pulse, ServiceChange::Service),
            cache.follow(client, slices, slices_pulse, ServiceChange::Slice),
            cache.follow(client, nodes, nodes_pulse, ServiceChange::Node),
            cache.follow(client, ranges, ranges_pulse, ServiceChange::Range),
        ];
        *cache.shared.watches.lock().unwrap_or_else(PoisonError::into_inner) = watches;
        cache
    }

    /// An empty cache that only [`apply`](Self::apply) fills.
    pub fn unwatched() -> Self {
        Self { shared: Arc::default() }
    }

    /// Takes in changes as one: no reader sees a part of them, and a subscriber is told once.
    pub fn apply(&self, changes: impl IntoIterator<Item = ServiceChange>) {
        self.shared.apply(changes);
    }

    /// The snapshot as it is now. Writers wait for as long as the guard lives, so do not hold it across an `await`.
    pub fn read(&self) -> RwLockReadGuard<'_, ServiceSnapshot> {
        self.shared.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// News from now on; the first are all objects that are here already.
    pub fn subscribe(&self) -> Subscription {
        let snapshot = self.read();
        let here = Touched {
            services: snapshot.services().map(|service| Arc::clone(&service.key)).collect(),
            nodes: snapshot.nodes().map(|node| Arc::clone(&node.key)).collect(),
            ranges: !snapshot.service_ranges().is_empty(),
            synced: snapshot.is_synced(),
        };
        let mailbox = Arc::new(Mailbox::default());
        mailbox.post(&here);
        // Under the snapshot's lock: a change is either in `here` or finds the mailbox.
        self.shared.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&mailbox));
        Subscription { mailbox }
    }

    /// For each kind that is watched when its watch was last known to be current; see [`Pulse::last`].
    pub fn pulses(&self) -> impl Iterator<Item = (&'static str, &Pulse)> {
        KINDS.into_iter().zip(&self.shared.pulses)
    }

    pub fn seen(&self) -> Seen {
        Seen {
            services: self.shared.services_seen.load(Ordering::Relaxed),
            slices: self.shared.slices_seen.load(Ordering::Relaxed),
        }
    }

    fn follow<T: FromItem>(
        &self,
        client: &Client,
        query: Query,
        pulse: &Pulse,
        wrap: impl Fn(Change<T>) -> ServiceChange + Send + 'static,
    ) -> AbortHandle {
        let changes = watch_with::<T>(client.clone(), query, pulse.clone()).ready_chunks(BATCH);
        let shared = Arc::downgrade(&self.shared);
        let task = tokio::spawn(async move {
            let mut changes = std::pin::pin!(changes);
            while let Some(batch) = changes.next().await {
                let Some(shared) = shared.upgrade() else { return };
                shared.apply(batch.into_iter().map(&wrap));
            }
        });
        task.abort_handle()
    }
}

impl Subscription {
    /// Waits for news and takes them all; never empty. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Touched {
        loop {
            let arrival = self.mailbox.arrival.notified();
            let touched = std::mem::take(&mut *self.mailbox.lock());
            if !touched.is_empty() {
                return touched;
            }
            arrival.await;
        }
    }
}

impl Shared {
    fn apply(&self, changes: impl IntoIterator<Item = ServiceChange>) {
        let mut touched = Touched::default();
        {
            let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                match &change {
                    ServiceChange::Service(change) if is_of_object(change) => {
                        self.services_seen.fetch_add(1, Ordering::Relaxed);
                    }
                    ServiceChange::Slice(change) if is_of_object(change) => {
                        self.slices_seen.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
                snapshot.apply(change, &mut touched);
            }
        }
        if touched.is_empty() {
            return;
        }
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|mailbox| match mailbox.upgrade() {
            Some(mailbox) => {
                mailbox.post(&touched);
                true
            }
            None => false,
        });
    }
}

fn is_of_object<T>(change: &Change<T>) -> bool {
    matches!(change, Change::Apply(_) | Change::InitApply(_) | Change::Delete(_))
}

impl Drop for Shared {
    fn drop(&mut self) {
        for watch in self.watches.get_mut().unwrap_or_else(PoisonError::into_inner) {
            watch.abort();
        }
    }
}

impl Mailbox {
    fn post(&self, touched: &Touched) {
        self.lock().merge(touched.clone());
        self.arrival.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interest {
    fn queries(self) -> [Query; 4] {
        let services = Query::all("/api/v1/services");
        let slices = Query::all("/apis/discovery.k8s.io/v1/endpointslices");
        let nodes = Query::all("/api/v1/nodes");
        let ranges = Query::all("/apis/networking.k8s.io/v1/servicecidrs");
        match self {
            Self::All => [services, slices, nodes, ranges],
            Self::Forwarding => [
                services.labels("!service.kubernetes.io/service-proxy-name").fields("spec.clusterIP!=None"),
                slices.labels("!service.kubernetes.io/headless"),
                nodes,
                ranges,
            ],
        }
    }
}

impl fmt::Debug for ServiceCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceCache").field("is_synced", &self.read().is_synced()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use axum::{Router, body::Body, response::Response};
    use stead_model::ObjectKey;
    use tokio::time::timeout;

    use super::*;
    use crate::in_process;

    fn service(name: &str) -> ServiceChange {
        let json = format!(r#"{{"metadata":{{"namespace":"a","name":"{name}"}}}}"#);
        ServiceChange::Service(Change::Apply(FromItem::from_item(json.as_bytes()).unwrap()))
    }

    fn services(names: &[&str]) -> HashSet<Arc<ObjectKey>> {
        names.iter().map(|name| Arc::new(ObjectKey::new("a", *name))).collect()
    }

    async fn next(subscription: &mut Subscription) -> Touched {
        timeout(Duration::from_secs(20), subscription.next()).await.expect("news come in time")
    }

    #[tokio::test]
    async fn each_subscriber_gets_what_is_there_and_then_what_changes() {
        let cache = ServiceCache::unwatched();
        let mut early = cache.subscribe();
        cache.apply([service("one")]);
        let mut late = cache.subscribe();
        cache.apply([service("two"), service("one")]);
        cache.apply([service("three")]);
        assert_eq!(next(&mut early).await.services, services(&["one", "two", "three"]));
        assert_eq!(next(&mut late).await.services, services(&["one", "two", "three"]));
        cache.apply([service("two")]);
        assert_eq!(next(&mut late).await.services, services(&["two"]));
        assert_eq!(next(&mut early).await.services, services(&["two"]));
    }

    #[tokio::test]
    async fn news_that_nobody_waits_for_are_kept() {
        let cache = ServiceCache::unwatched();
        let mut subscription = cache.subscribe();
        assert!(timeout(Duration::ZERO, subscription.next()).await.is_err());
        cache.apply([service("one")]);
        assert_eq!(next(&mut subscription).await.services, services(&["one"]));
        drop(subscription);
        cache.apply([service("one")]);
        assert!(cache.shared.mailboxes.lock().unwrap().is_empty());
    }

    /// Every collection is the same stream: one object, the end of the list, and then nothing.
    async fn answer() -> Response {
        let object = r#"{"type":"ADDED","object":{"metadata":{"namespace":"a","name":"x"}}}"#;
        let end = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        let body = futures::stream::iter([Ok::<_, std::io::Error>(format!("{object}\n{end}\n"))]);
        Response::new(Body::from_stream(body.chain(futures::stream::pending())))
    }

    #[tokio::test]
    async fn watches_fill_the_snapshot_until_the_last_handle_goes() {
        let cache = ServiceCache::start(&in_process(Router::new().fallback(answer)), Interest::Forwarding);
        let mut subscription = cache.subscribe();
        while !cache.read().is_synced() {
            next(&mut subscription).await;
        }
        assert_eq!((cache.read().services().count(), cache.read().nodes().count()), (1, 1));
        let watches = cache.shared.watches.lock().unwrap().clone();
        drop(cache);
        let ended = async {
            while !watches.iter().all(AbortHandle::is_finished) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), ended).await.expect("the watches end");
    }
}

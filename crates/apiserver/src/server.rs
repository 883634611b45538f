//! The server: a store, its caches, and what answers requests. One value for all ways in: TLS, or a caller in the same process.

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use stead_api::{kinds, resource::Resource};
use stead_store::{Store, StoreError};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    alloc::{self, Allocator},
    auth::Identity,
    bootstrap,
    cache::{Caches, KindCache},
    compaction,
    config::{Config, ConfigError},
    dispatch,
    metrics::Metrics,
    read_only,
    sealed::SealedStore,
    serve,
    shares::{Limits, Shares},
    storage::Storage,
    ttl::EventLeases,
};

/// The API over one store. Clones share everything.
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) storage: Storage,
    pub(crate) caches: Arc<Caches>,
    pub(crate) allocator: Allocator,
    pub(crate) event_leases: EventLeases,
    pub(crate) metrics: Metrics,
    /// A place for each request that ends by itself.
    pub(crate) requests: Arc<Shares>,
    /// A place for each watch.
    pub(crate) watches: Arc<Shares>,
    /// A place for each request that is passed on.
    pub(crate) outbound: Arc<Shares>,
    /// A place for each connection.
    connections: Arc<Shares>,
    /// See [`Limits::unread`].
    unread: Duration,
    /// Turns true when the server ends: watches end with it.
    pub(crate) stop: watch::Sender<bool>,
    /// Ended when the last clone of the server is gone.
    tasks: std::sync::Mutex<JoinSet<()>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot read the store")]
    Store(#[from] StoreError),
    #[error("cannot prepare the cluster: {0}")]
    Bootstrap(String),
}

impl Server {
    /// Fills the caches and makes what every cluster has: the first namespaces and the Service `kubernetes` with its
    /// endpoints. Must be called in a tokio runtime.
    pub async fn new(store: Arc<dyn Store>, config: Config) -> Result<Self, ServerError> {
        Self::limited(store, config, Limits::default()).await
    }

    /// The same with limits of one's own.
    pub async fn limited(store: Arc<dyn Store>, config: Config, limits: Limits) -> Result<Self, ServerError> {
        config.validate()?;
        let store: Arc<dyn Store> = Arc::new(SealedStore::new(store, config.sealing_keys.clone()));
        let mut tasks = JoinSet::new();
        let caches = Caches::start(store.clone(), stored_kinds(), &mut tasks).await?;
        let allocator = Allocator::start(store.clone(), caches.clone(), &config).await?;
        let metrics = Metrics::new();
        let inner = Arc::new(Inner {
            config,
            storage: Storage { store: store.clone(), writes: metrics.writes() },
            metrics,
            caches,
            allocator,
            event_leases: EventLeases::new(store),
            requests: Shares::new(limits.requests),
            watches: Shares::new(limits.watches),
            outbound: Shares::new(limits.outbound),
            connections: Shares::new(limits.connections),
            unread: limits.unread,
            stop: watch::Sender::new(false),
            tasks: std::sync::Mutex::new(JoinSet::new()),
        });
        bootstrap::prepare(&inner, bootstrap::Pass::First).await.map_err(ServerError::Bootstrap)?;
        tasks.spawn(bootstrap::keep(Arc::downgrade(&inner)));
        inner.allocator.hold();
        tasks.spawn(alloc::keep(Arc::downgrade(&inner)));
        tasks.spawn(compaction::run(inner.storage.store.clone()));
        *inner.tasks.lock().expect("held for a moment only") = tasks;
        Ok(Self(inner))
    }

    /// Answers requests that carry an [`Identity`] as an extension; one without is anonymous.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.0.clone())
    }

    /// A service for `kube::Client::new`: every request comes from `identity`, and no socket or TLS is between.
    pub fn as_identity(&self, identity: Identity) -> Router {
        self.router().layer(Extension(identity))
    }

    /// Serves on all `listeners` until `shutdown` is ready; then watches end, and requests under way may take some
    /// seconds more.
    pub async fn serve(
        &self,
        listeners: Vec<TcpListener>,
        tls: Arc<rustls::ServerConfig>,
        shutdown: impl Future<Output = ()>,
    ) {
        // Whoever was told to stop before may be served again.
        self.0.stop.send_replace(false);
        let connections = (self.0.connections.clone(), self.0.unread);
        let serving = serve::serve(self.router(), listeners, tls, connections, self.0.stop.subscribe());
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => return,
            () = shutdown => {
                self.0.stop.send_replace(true);
            }
        }
        serving.await;
    }

    /// Serves plain HTTP on `listener` for anybody, reading only, as long as [`serve`](Self::serve) goes on elsewhere or the
    /// caller waits: it never ends by itself.
    pub async fn serve_read_only(&self, listener: TcpListener) {
        read_only::serve(self.0.clone(), listener).await;
    }

    /// The first address of the first service range: that of the Service `kubernetes`, for the serving certificate.
    pub fn service_address(config: &Config) -> Option<IpAddr> {
        config.service_ranges.first().and_then(|range| alloc::first_address(*range))
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    dispatch::answer(inner, request).await
}

/// Each stored form once: of kinds that share one, the first. What cannot be read is not stored.
fn stored_kinds() -> impl Iterator<Item = &'static Resource> {
    let first = |kind: &&'static Resource| {
        kinds::ALL.iter().find(|other| other.registry == kind.registry).is_some_and(|first| std::ptr::eq(*first, *kind))
    };
    kinds::ALL.iter().copied().filter(first).filter(|kind| kind.verbs.contains(&"get"))
}

impl Inner {
    pub(crate) fn cache(&self, resource: &'static Resource) -> &Arc<KindCache> {
        self.caches.kind(resource)
    }
}

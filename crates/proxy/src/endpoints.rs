//! What the proxy answers over HTTP: `/healthz` and `/livez` for load balancers and probes, `/metrics` and the rest for its operator.
//!
//! Owns the two servers: a port that cannot be had is tried again, or ends the proxy where that was asked for. None of this has credentials, so nothing here
//! tells more of the cluster than counts.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use stead_client::{EventKind, Seen, ServiceCache};
use stead_dataplane::Mode;
use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};

use crate::{
    Config, Error,
    forwarder::{Programmed, Report},
    health::{Health, Heard, NodeStanding},
    http::{Answer, json, listen, serve, text, with_type},
    metrics::Metrics,
    report::NodeRecorder,
    zpages::{flagz, statusz},
};

/// Where the proxy serves HTTP, if anywhere.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    pub healthz: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub when_taken: WhenTaken,
    /// What `/configz` answers: JSON.
    pub configuration: Arc<str>,
    /// What `/flagz` answers: `NAME=VALUE`, a line each.
    pub flags: Arc<str>,
}

/// What becomes of the proxy where it cannot listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenTaken {
    /// It goes on, and tries again every few seconds.
    #[default]
    TryAgain,
    Fail,
}

/// All that answers are made from.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) mode: Mode,
    pub(crate) node: String,
    pub(crate) cache: ServiceCache,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    /// The addresses that node ports answer on.
    pub(crate) serving: watch::Sender<Vec<IpAddr>>,
}

const RETRY: Duration = Duration::from_secs(5);
/// Connections of each server.
const CONNECTIONS: usize = 128;

/// Serves for ever.
///
/// # Errors
/// Where an address cannot be had and that is to end the proxy.
pub(crate) async fn run(
    endpoints: Endpoints,
    sources: Arc<Sources>,
    recorder: &NodeRecorder,
) -> Result<Infallible, Error> {
    let Endpoints { healthz, metrics, when_taken, configuration, flags } = endpoints;
    let started = Timestamp::now();
    let said = Said { configuration, flags, started };
    let ours = Arc::clone(&sources);
    let health =
        at(healthz, when_taken, recorder, "FailedToStartProxierHealthcheck", move |request: &Request<Incoming>, _| {
            healthz_answer(&ours, request)
        });
    let status =
        at(metrics, when_taken, recorder, "FailedToStartMetricServer", move |request: &Request<Incoming>, _| {
            status_answer(&sources, &said, request)
        });
    tokio::select! {
        ended = health => ended,
        ended = status => ended,
    }
}

async fn at(
    address: Option<SocketAddr>,
    when_taken: WhenTaken,
    recorder: &NodeRecorder,
    reason: &str,
    answer: impl Fn(&Request<Incoming>, SocketAddr) -> Answer + Clone + Send + Sync + 'static,
) -> Result<Infallible, Error> {
    let Some(address) = address else { return std::future::pending().await };
    let mut told = false;
    let listener = loop {
        match listen(address) {
            Ok(listener) => break listener,
            Err(source) => {
                if !told {
                    recorder.record(EventKind::Warning, reason, format!("listen on {address}: {source}"));
                    tracing::warn!(%address, error = %source, "cannot listen");
                    told = true;
                }
                if when_taken == WhenTaken::Fail {
                    return Err(Error::Listen { address, source });
                }
                sleep(RETRY).await;
            }
        }
    };
    tracing::debug!(%address, "listening");
    Ok(serve(listener, Arc::new(Semaphore::new(CONNECTIONS)), answer).await)
}

fn healthz_answer(sources: &Sources, request: &Request<Incoming>) -> Answer {
    let node = match request.uri().path() {
        "/healthz" => Some(sources.node_standing()),
        "/livez" => None,
        _ => return not_found(),
    };
    let now = Instant::now();
    let heard = Heard::of(&sources.cache, now);
    let (is_well, body) = sources.health.standing(now).body(Timestamp::now(), node, heard);
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match node {
        Some(_) => sources.metrics.on_healthz(status),
        None => sources.metrics.on_livez(status),
    }
    json(status, body)
}

/// What does not change.
#[derive(Clone, Debug)]
struct Said {
    configuration: Arc<str>,
    flags: Arc<str>,
    started: Timestamp,
}

fn status_answer(sources: &Sources, said: &Said, request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok"),
        "/proxyMode" => text(StatusCode::OK, sources.mode.name()),
        "/configz" => json(StatusCode::OK, format!("{{\"kubeproxy.config.k8s.io\":{}}}", said.configuration)),
        "/flagz" => flagz(request.headers(), &said.flags),
        "/statusz" => statusz(request.headers(), said.started, Timestamp::now()),
        "/metrics" => match sources.metrics.text(&sources.cache, Instant::now()) {
            Ok(body) => with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        _ => not_found(),
    }
}

fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

impl Sources {
    pub(crate) fn new(config: &Config, cache: ServiceCache) -> Self {
        Self {
            mode: config.mode,
            node: config.node.clone(),
            cache,
            health: Health::new(config.sync_period),
            metrics: Metrics::new(config.requests.clone()),
            serving: watch::Sender::default(),
        }
    }

    /// After a step that began at `start` with all changes in `seen`.
    pub(crate) fn on_step(&self, report: &Report, start: Instant, took: Duration, seen: Seen) {
        if report.healed > 0 {
            self.metrics.on_healed(report.healed);
        }
        match (&report.failure, &report.programmed) {
            (Some(_), _) => {
                self.health.on_queued(start);
                self.metrics.on_failure();
            }
            (None, Some(Programmed { extent, applied, triggers, no_local, .. })) => {
                let now = Timestamp::now();
                self.health.on_updated(now);
                self.metrics.on_synced(*extent, took, applied.operations, now, seen);
                self.metrics.on_programmed(triggers, now);
                self.metrics.on_no_local(*no_local);
            }
            (None, None) => {
                self.health.on_idle();
                self.metrics.on_nothing_to_sync(seen);
            }
        }
    }

    fn node_standing(&self) -> NodeStanding {
        let snapshot = self.cache.read();
        match snapshot.node(&self.node) {
            Some(node) if !node.is_leaving => NodeStanding::Eligible,
            _ => NodeStanding::Leaving,
        }
    }
}

#[cfg(test)]
mod tests;

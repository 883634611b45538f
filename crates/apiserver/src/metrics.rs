//! What the server counts, for `/metrics`: under kube-apiserver's names where those fit, so that its dashboards and alerts read them.
//!
//! Labels are words that the program has anyway, never what a client sends, so that no client makes new series. Counting costs a
//! request a few hundred nanoseconds; all else is read when somebody asks.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use stead_api::status::ApiError;
use stead_metrics::{classic, describe, encode, process};
use tokio::time::Instant;

use crate::{refusal::Refusal, server::Inner, view::preferred};

mod asked;

pub(crate) use asked::Asked;

const OPENMETRICS: &str = "application/openmetrics-text";
/// Upstream's buckets, in seconds.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    reading: Gauge,
    changing: Gauge,
    going_on: Family<Asked, Gauge>,
    watch_events: Family<Of, Counter>,
    writes: Family<Write, Histogram, fn() -> Histogram>,
    credentials: Credentials,
}

/// Requests that showed who sends them, and those whose proof was refused, which come no further.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    #[prometheus(flatten)]
    asked: Asked,
    code: u16,
}

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestKind {
    request_kind: &'static str,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct UnderWay {
    asked: Asked,
    since: Instant,
    /// Of requests that end by themselves.
    among: Option<Gauge>,
}

/// A request that goes on is counted as long as this is there.
#[derive(Debug, Default)]
pub(crate) struct GoesOn(Gauge);

/// A watch that goes on.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    _running: GoesOn,
    pub(crate) events: Counter,
}

/// How long writes to the store take until they are kept.
#[derive(Clone, Debug)]
pub(crate) struct Writes(Family<Write, Histogram, fn() -> Histogram>);

fn durations() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations = Family::new_with_constructor(self::durations as fn() -> Histogram);
        let in_flight = Family::<RequestKind, Gauge>::default();
        let going_on = Family::default();
        let watch_events = Family::default();
        let writes = Family::new_with_constructor(self::durations as fn() -> Histogram);
        registry.register(
            "apiserver_request",
            "Requests by what they asked for and how they were answered",
            requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time until requests were answered, but for those that go on",
            durations.clone(),
        );
        registry.register("apiserver_current_inflight_requests", "Requests that are being answered", in_flight.clone());
        registry.register(
            "apiserver_longrunning_requests",
            "Watches, logs and what is passed on, as long as they go on",
            going_on.clone(),
        );
        registry.register("apiserver_watch_events", "Events sent to watchers", watch_events.clone());
        registry.register("etcd_request_duration_seconds", "Time until a write is kept by the store", writes.clone());
        let kind = |request_kind| in_flight.get_or_create_owned(&RequestKind { request_kind });
        Self {
            reading: kind("readOnly"),
            changing: kind("mutating"),
            registry,
            requests,
            durations,
            going_on,
            watch_events,
            writes,
            credentials: Credentials::default(),
        }
    }

    pub(crate) fn begin(&self, asked: Asked) -> UnderWay {
        let among = match asked.verb {
            _ if !asked.ends() => None,
            "GET" | "LIST" => Some(self.reading.clone()),
            _ => Some(self.changing.clone()),
        };
        if let Some(among) = &among {
            among.inc();
        }
        UnderWay { asked, since: Instant::now(), among }
    }

    pub(crate) fn end(&self, request: UnderWay, code: StatusCode) {
        if request.among.is_some() {
            self.durations.get_or_create(&request.asked).observe(request.since.elapsed().as_secs_f64());
        }
        self.requests.get_or_create(&Answered { asked: request.asked, code: code.as_u16() }).inc();
    }

    pub(crate) fn goes_on(&self, asked: Asked) -> GoesOn {
        let running = self.going_on.get_or_create_owned(&asked);
        running.inc();
        GoesOn(running)
    }

    pub(crate) fn watched(&self, asked: Asked) -> Watched {
        let of = Of { group: asked.group, version: asked.version, resource: asked.resource };
        Watched { _running: self.goes_on(asked), events: self.watch_events.get_or_create_owned(&of) }
    }

    pub(crate) const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn writes(&self) -> Writes {
        Writes(self.writes.clone())
    }
}

impl Writes {
    /// `operation` as upstream names it: `create`, `update`, `delete`.
    pub(crate) fn took(&self, operation: &'static str, duration: Duration) {
        self.0.get_or_create(&Write { operation }).observe(duration.as_secs_f64());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(among) = &self.among {
            among.dec();
        }
    }
}

impl Drop for GoesOn {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// `/metrics`: as Prometheus' text, or as OpenMetrics where that is asked for.
pub(crate) fn answer(server: &Inner, headers: &HeaderMap) -> Result<Response, Refusal> {
    let mut text = encode(&server.metrics.registry)
        .map_err(|error| ApiError::internal("metrics cannot be written", error.to_string()))?;
    describe(&mut text, "apiserver_storage_objects", "gauge", "Objects in the store");
    for cache in server.caches.all() {
        let (resource, count) = (cache.resource, cache.count());
        let name = match resource.group {
            "" => resource.plural.to_owned(),
            group => format!("{}.{group}", resource.plural),
        };
        text.push_str(&format!("apiserver_storage_objects{{resource=\"{name}\"}} {count}\n"));
    }
    let Credentials { accepted, refused } = server.metrics.credentials();
    describe(&mut text, "authentication_attempts", "counter", "Requests by what came of their credentials");
    for (result, counted) in [("success", accepted), ("error", refused)] {
        text.push_str(&format!("authentication_attempts{{result=\"{result}\"}} {}\n", counted.get()));
    }
    text.push_str(&process());
    let wanted = preferred(headers, |range| match range.media_type {
        OPENMETRICS => Some(true),
        "text/plain" | "text/*" | "*/*" => Some(false),
        _ => None,
    });
    let media_type = if wanted == Some(true) {
        text.push_str("# EOF\n");
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        text = classic(&text);
        "text/plain; version=0.0.4; charset=utf-8"
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}

//! Whether the proxy does its work, and how old what it works from may be.
//!
//! Healthy is as upstream's: nothing waits longer than twice the sync period to be programmed. What the API server does has no part in it: a proxy that
//! hears nothing keeps what it has, and says how long it has heard nothing. Health is told over HTTP by `endpoints`; time comes in as values.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use stead_client::ServiceCache;

/// Shared by the loop, which says what happened, and by whoever is asked.
#[derive(Debug)]
pub(crate) struct Health {
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When everything that was known was programmed last.
    updated: Option<Timestamp>,
    /// `Some`: since then something waits to be programmed or to be read from the kernel.
    waiting: Option<Instant>,
}

/// One instant of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) is_healthy: bool,
    pub(crate) updated: Option<Timestamp>,
}

/// What is known of this node's Node object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeStanding {
    Eligible,
    /// It is being deleted, about to be, or not there.
    Leaving,
}

/// The body of `/healthz` and `/livez`, in upstream's words and order; what follows `status` is ours.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    seconds_since_heard: Heard,
}

#[derive(Debug, Serialize)]
struct Status {
    #[serde(rename = "IPv4")]
    v4: Family,
    #[serde(rename = "IPv6")]
    v6: Family,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    last_updated: Timestamp,
    healthy: bool,
}

/// Seconds since each watch was known to be current; `None` before its first list.
#[derive(Debug)]
pub(crate) struct Heard(pub(crate) Vec<(&'static str, Option<f64>)>);

impl Serialize for Heard {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl Heard {
    pub(crate) fn of(cache: &ServiceCache, now: Instant) -> Self {
        let seconds = |last: Instant| (now.saturating_duration_since(last).as_secs_f64() * 1000.0).round() / 1000.0;
        Self(cache.pulses().map(|(kind, pulse)| (kind, pulse.last().map(seconds))).collect())
    }
}

impl Health {
    pub(crate) fn new(sync_period: Duration) -> Self {
        Self { patience: sync_period.saturating_mul(2), state: Mutex::default() }
    }

    /// Something waits from now on, if nothing did.
    pub(crate) fn on_queued(&self, now: Instant) {
        self.lock().waiting.get_or_insert(now);
    }

    /// Nothing waits.
    pub(crate) fn on_idle(&self) {
        self.lock().waiting = None;
    }

    /// Nothing waits, as all was programmed at `now`.
    pub(crate) fn on_updated(&self, now: Timestamp) {
        *self.lock() = State { updated: Some(now), waiting: None };
    }

    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let state = self.lock();
        let is_late = |since: Instant| now.saturating_duration_since(since) >= self.patience;
        // Before the first programming it is starting.
        let is_healthy = state.updated.is_none() || !state.waiting.is_some_and(is_late);
        Standing { is_healthy, updated: state.updated }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// The body, and whether it says that all is well. `/livez` has no part for the node, and none for what was never programmed: who is
    /// only about to forward is alive, though nobody should be sent there yet.
    pub(crate) fn body(self, now: Timestamp, node: Option<NodeStanding>, heard: Heard) -> (bool, String) {
        let node_eligible = node.map(|node| node == NodeStanding::Eligible);
        let may_be_sent_to = |eligible: bool| eligible && self.updated.is_some();
        let is_well = self.is_healthy && node_eligible.is_none_or(may_be_sent_to);
        let family = self.updated.map(|last_updated| Family { last_updated, healthy: self.is_healthy });
        let body = Body {
            // As upstream: who is well is up to date, though nothing changed.
            last_updated: if is_well { now } else { self.updated.unwrap_or(NEVER) },
            current_time: now,
            node_eligible,
            healthy: self.is_healthy,
            status: family.map(|family| Status { v4: family, v6: family }),
            seconds_since_heard: heard,
        };
        (is_well, serde_json::to_string(&body).unwrap_or_default())
    }
}

/// What Go calls the zero time.
const NEVER: Timestamp = jiff::Timestamp::constant(-62_135_596_800, 0);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AT: Timestamp = Timestamp::constant(1_000, 0);

    fn body(standing: Standing, node: Option<NodeStanding>) -> (bool, Value) {
        let heard = Heard(vec![("services", Some(2.5)), ("nodes", None)]);
        let (is_well, text) = standing.body(AT, node, heard);
        (is_well, serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn it_is_ill_once_something_waits_for_twice_the_period() {
        let health = Health::new(Duration::from_secs(30));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        health.on_queued(start);
        assert!(health.standing(after(600)).is_healthy, "it starts");
        health.on_updated(AT);
        health.on_queued(start);
        health.on_queued(after(59));
        assert!(health.standing(after(59)).is_healthy);
        assert!(!health.standing(after(60)).is_healthy, "the oldest counts");
        health.on_idle();
        assert!(health.standing(after(60)).is_healthy);
    }

    #[test]
    fn bodies_are_upstreams_with_how_long_nothing_was_heard() {
        let well = Standing { is_healthy: true, updated: Some(Timestamp::constant(900, 0)) };
        let heard = json!({"services": 2.5, "nodes": null});
        let family = |healthy: bool| json!({"lastUpdated": "1970-01-01T00:15:00Z", "healthy": healthy});
        let now = "1970-01-01T00:16:40Z";
        let expect = json!({
            "lastUpdated": now, "currentTime": now, "nodeEligible": true, "healthy": true,
            "status": {"IPv4": family(true), "IPv6": family(true)}, "secondsSinceHeard": heard,
        });
        assert_eq!(body(well, Some(NodeStanding::Eligible)), (true, expect));
        let expect = json!({
            "lastUpdated": "1970-01-01T00:15:00Z", "currentTime": now, "nodeEligible": false, "healthy": true,
            "status": {"IPv4": family(true), "IPv6": family(true)}, "secondsSinceHeard": heard,
        });
        assert_eq!(body(well, Some(NodeStanding::Leaving)), (false, expect));
        let ill = Standing { is_healthy: false, ..well };
        let expect = json!({
            "lastUpdated": "1970-01-01T00:15:00Z", "currentTime": now, "healthy": false,
            "status": {"IPv4": family(false), "IPv6": family(false)}, "secondsSinceHeard": heard,
        });
        assert_eq!(body(ill, None), (false, expect));
        let starting = Standing { is_healthy: true, updated: None };
        let expect = json!({"lastUpdated": now, "currentTime": now, "healthy": true, "secondsSinceHeard": heard});
        assert_eq!(body(starting, None), (true, expect));
        for node in [NodeStanding::Leaving, NodeStanding::Eligible] {
            let (is_well, told) = body(starting, Some(node));
            let healthy = json!(true);
            assert_eq!(
                (is_well, &told["healthy"], &told["lastUpdated"]),
                (false, &healthy, &json!("0001-01-01T00:00:00Z"))
            );
        }
    }
}

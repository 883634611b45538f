//! What the proxy counts, under kube-proxy's names where those fit, so that its dashboards and alerts read them, and under ours.
//!
//! Both families are programmed by one transaction, so what upstream tells by family is the same for both.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::StatusCode;
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use stead_client::{Seen, ServiceCache};

use crate::health::Heard;

type Histograms = Family<IpFamily, Histogram, fn() -> Histogram>;
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    syncs: Histograms,
    full_syncs: Histograms,
    partial_syncs: Histograms,
    latencies: Histograms,
    synced_at: Family<IpFamily, Seconds>,
    queued_at: Family<IpFamily, Seconds>,
    failures: Family<IpFamily, Counter>,
    cleanings: Histograms,
    forgotten: Family<IpFamily, Counter>,
    healthz: Family<Code, Counter>,
    livez: Family<Code, Counter>,
    operations: Counter,
    healed: Counter,
    /// What was seen when everything was programmed last.
    programmed: [AtomicU64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IpFamily {
    ip_family: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

/// How much of the kernel's state a sync was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Full,
    Partial,
}

const FAMILIES: [IpFamily; 2] = [IpFamily { ip_family: "IPv4" }, IpFamily { ip_family: "IPv6" }];

/// Upstream's: from a millisecond on, doubling.
fn durations() -> Histogram {
    Histogram::new((0..15).map(|power| 0.001 * f64::from(1 << power)))
}

/// Upstream's, from a quarter of a second to five minutes, and below them what is usual here.
fn latencies() -> Histogram {
    let below = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5];
    let seconds = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    Histogram::new(below.into_iter().chain(seconds.map(f64::from)))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let histograms = || Histograms::new_with_constructor(durations as fn() -> Histogram);
        let mut metrics = Self {
            registry: Registry::default(),
            syncs: histograms(),
            full_syncs: histograms(),
            partial_syncs: histograms(),
            latencies: Histograms::new_with_constructor(latencies as fn() -> Histogram),
            synced_at: Family::default(),
            queued_at: Family::default(),
            failures: Family::default(),
            cleanings: histograms(),
            forgotten: Family::default(),
            healthz: Family::default(),
            livez: Family::default(),
            operations: Counter::default(),
            healed: Counter::default(),
            programmed: Default::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let kube = self.registry.sub_registry_with_prefix("kubeproxy");
        let seconds = || Unit::Seconds;
        kube.register_with_unit(
            "network_programming_duration",
            "Time from a change of a pod or Service until it is programmed",
            seconds(),
            self.latencies.clone(),
        );
        kube.register_with_unit("sync_proxy_rules_duration", "Time to program a change", seconds(), self.syncs.clone());
        kube.register_with_unit(
            "sync_full_proxy_rules_duration",
            "Time to program everything",
            seconds(),
            self.full_syncs.clone(),
        );
        kube.register_with_unit(
            "sync_partial_proxy_rules_duration",
            "Time to program some Services",
            seconds(),
            self.partial_syncs.clone(),
        );
        kube.register_with_unit(
            "sync_proxy_rules_last_timestamp",
            "When everything was programmed last, since 1970",
            seconds(),
            self.synced_at.clone(),
        );
        kube.register_with_unit(
            "sync_proxy_rules_last_queued_timestamp",
            "When a change came last, since 1970",
            seconds(),
            self.queued_at.clone(),
        );
        kube.register(
            "sync_proxy_rules_nftables_sync_failures",
            "Changes that the kernel did not take, each of which is tried again",
            self.failures.clone(),
        );
        kube.register_with_unit(
            "conntrack_reconciler_sync_duration",
            "Time to forget connections of what left",
            seconds(),
            self.cleanings.clone(),
        );
        kube.register(
            "conntrack_reconciler_deleted_entries",
            "Connections of what left that were forgotten",
            self.forgotten.clone(),
        );
        kube.register("proxy_healthz", "Answers of /healthz", self.healthz.clone());
        kube.register("proxy_livez", "Answers of /livez", self.livez.clone());
        let own = self.registry.sub_registry_with_prefix("stead_proxy");
        own.register(
            "kernel_operations",
            "Objects and elements added to and removed from the kernel",
            self.operations.clone(),
        );
        own.register(
            "foreign_changes_healed",
            "Operations that put right what somebody else changed in our tables",
            self.healed.clone(),
        );
    }

    pub(crate) fn on_queued(&self, now: Timestamp) {
        for family in FAMILIES {
            self.queued_at.get_or_create(&family).set(since_1970(now));
        }
    }

    /// `seen`: what was known when the plan was made.
    pub(crate) fn on_synced(&self, extent: Extent, took: Duration, operations: usize, now: Timestamp, seen: Seen) {
        let of_extent = match extent {
            Extent::Full => &self.full_syncs,
            Extent::Partial => &self.partial_syncs,
        };
        for family in FAMILIES {
            self.syncs.get_or_create(&family).observe(took.as_secs_f64());
            of_extent.get_or_create(&family).observe(took.as_secs_f64());
            self.synced_at.get_or_create(&family).set(since_1970(now));
        }
        self.operations.inc_by(operations as u64);
        self.on_nothing_to_sync(seen);
    }

    /// `since`: when what is programmed now happened, by clocks of other machines.
    pub(crate) fn on_programmed(&self, since: &[Timestamp], now: Timestamp) {
        for at in since {
            let seconds = now.duration_since(*at).as_secs_f64().max(0.0);
            FAMILIES.iter().for_each(|family| self.latencies.get_or_create(family).observe(seconds));
        }
    }

    /// What was seen asks for no change of the kernel.
    pub(crate) fn on_nothing_to_sync(&self, seen: Seen) {
        self.programmed[0].store(seen.services, Ordering::Relaxed);
        self.programmed[1].store(seen.slices, Ordering::Relaxed);
    }

    pub(crate) fn on_failure(&self) {
        for family in FAMILIES {
            self.failures.get_or_create(&family).inc();
        }
    }

    pub(crate) fn on_healed(&self, operations: usize) {
        self.healed.inc_by(operations as u64);
    }

    /// The kernel's count of connections tells no families apart: all are counted as the first.
    pub(crate) fn on_cleaned(&self, took: Duration, flows: usize) {
        self.cleanings.get_or_create(&FAMILIES[0]).observe(took.as_secs_f64());
        self.forgotten.get_or_create(&FAMILIES[0]).inc_by(flows as u64);
    }

    pub(crate) fn on_healthz(&self, status: StatusCode) {
        self.healthz.get_or_create(&Code { code: status.as_u16() }).inc();
    }

    pub(crate) fn on_livez(&self, status: StatusCode) {
        self.livez.get_or_create(&Code { code: status.as_u16() }).inc();
    }

    /// All of them, in Prometheus' own text.
    pub(crate) fn text(&self, cache: &ServiceCache, now: Instant) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        text.truncate(text.len().saturating_sub("# EOF\n".len()));
        let mut text = classic(&text);
        self.put_changes(&mut text, cache.seen());
        put(&mut text, "stead_proxy_staleness_seconds", "gauge", "Time since the watch was known to be current");
        for (resource, seconds) in Heard::of(cache, now).0 {
            if let Some(seconds) = seconds {
                text.push_str(&format!("stead_proxy_staleness_seconds{{resource=\"{resource}\"}} {seconds}\n"));
            }
        }
        Ok(text)
    }

    fn put_changes(&self, text: &mut String, seen: Seen) {
        let kinds = [("service", "Service", seen.services), ("endpoint", "EndpointSlice", seen.slices)];
        for ((name, kind, seen), programmed) in kinds.into_iter().zip(&self.programmed) {
            let pending = seen.saturating_sub(programmed.load(Ordering::Relaxed));
            let name = format!("kubeproxy_sync_proxy_rules_{name}_changes");
            put(text, &format!("{name}_total"), "counter", &format!("Changes of {kind} objects that came"));
            text.push_str(&format!("{name}_total {seen}\n"));
            put(
                text,
                &format!("{name}_pending"),
                "gauge",
                &format!("Changes of {kind} objects that are not programmed yet"),
            );
            text.push_str(&format!("{name}_pending {pending}\n"));
        }
    }
}

fn put(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n"));
}

fn since_1970(now: Timestamp) -> f64 {
    now.as_duration().as_secs_f64()
}

/// Prometheus' own text knows no units, and describes counters by the name that their series have.
fn classic(text: &str) -> String {
    let counters = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
    let counters = counters.filter(|name| !name.ends_with("_total")).collect::<Vec<_>>();
    let mut classic = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                classic.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _ => classic.push_str(line),
        }
        classic.push('\n');
    }
    classic
}

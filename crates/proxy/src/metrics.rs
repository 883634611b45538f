//! What the proxy counts, under kube-proxy's names where those fit, so that its dashboards and alerts read them, and under ours.
//!
//! Both families are programmed by one transaction, so what upstream tells by family is the same for both.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::StatusCode;
use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use stead_client::{Requests, Seen, ServiceCache};
use stead_dataplane::{Count, Mode};
use stead_metrics::{classic, describe, encode, process};
use stead_model::ObjectKey;

use crate::{health::Heard, no_local::Counts};

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
    no_local: Family<Policy, Gauge>,
    cleanings: Histograms,
    forgotten: Family<IpFamily, Counter>,
    healthz: Family<Code, Counter>,
    livez: Family<Code, Counter>,
    operations: Counter,
    healed: Counter,
    modes: Family<Modes, Gauge>,
    requests: Requests,
    /// By Service, where it is counted.
    traffic: Mutex<BTreeMap<Arc<ObjectKey>, Count>>,
    /// What was seen when everything was programmed last.
    programmed: [AtomicU64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IpFamily {
    ip_family: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Policy {
    ip_family: &'static str,
    traffic_policy: &'static str,
}

/// The mode that serves and the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Modes {
    mode: &'static str,
    wanted: &'static str,
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
    /// `requests`: what is sent to the API server.
    pub(crate) fn new(requests: Requests) -> Self {
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
            no_local: Family::default(),
            cleanings: histograms(),
            forgotten: Family::default(),
            healthz: Family::default(),
            livez: Family::default(),
            operations: Counter::default(),
            healed: Counter::default(),
            modes: Family::default(),
            traffic: Mutex::default(),
            requests,
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
        // What is no longer needed goes with the change itself, so that nothing else can fail.
        let cleanups = Family::<IpFamily, Counter>::default();
        for family in FAMILIES {
            drop((self.failures.get_or_create_owned(&family), cleanups.get_or_create_owned(&family)));
        }
        kube.register(
            "sync_proxy_rules_nftables_cleanup_failures",
            "Removals of what is no longer needed that the kernel did not take",
            cleanups,
        );
        kube.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Ports of Services whose policy is Local and whose endpoints are all on other nodes",
            self.no_local.clone(),
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
        own.register("mode", "1 for the mode that serves and the one that was wanted", self.modes.clone());
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

    pub(crate) fn on_traffic(&self, counts: BTreeMap<Arc<ObjectKey>, Count>) {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    pub(crate) fn on_no_local(&self, counts: Counts) {
        for (IpFamily { ip_family }, by_policy) in FAMILIES.into_iter().zip(counts) {
            for (traffic_policy, count) in ["internal", "external"].into_iter().zip(by_policy) {
                self.no_local.get_or_create(&Policy { ip_family, traffic_policy }).set(count as i64);
            }
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

    pub(crate) fn on_mode(&self, mode: Mode, wanted: Mode) {
        self.modes.get_or_create(&Modes { mode: mode.name(), wanted: wanted.name() }).set(1);
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
        let mut text = classic(&encode(&self.registry)?);
        self.put_changes(&mut text, cache.seen());
        describe(&mut text, "stead_proxy_staleness_seconds", "gauge", "Time since the watch was known to be current");
        for (resource, seconds) in Heard::of(cache, now).0 {
            if let Some(seconds) = seconds {
                text.push_str(&format!("stead_proxy_staleness_seconds{{resource=\"{resource}\"}} {seconds}\n"));
            }
        }
        self.put_requests(&mut text);
        self.put_traffic(&mut text);
        text.push_str(&process());
        Ok(text)
    }

    fn put_requests(&self, text: &mut String) {
        const NAME: &str = "rest_client_requests_total";
        describe(text, NAME, "counter", "Requests to the API server by how they were answered");
        let host = self.requests.host();
        for (method, status, count) in self.requests.counts() {
            let code = status.map_or_else(|| "<error>".to_owned(), |status| status.to_string());
            text.push_str(&format!("{NAME}{{code=\"{code}\",host=\"{host}\",method=\"{method}\"}} {count}\n"));
        }
    }

    fn put_traffic(&self, text: &mut String) {
        let traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = [
            ("connections", "Connections that came for the Service"),
            ("received_bytes", "Bytes of packets to the Service"),
            ("sent_bytes", "Bytes of packets from the Service"),
        ];
        for (place, (name, help)) in kinds.into_iter().enumerate().filter(|_| !traffic.is_empty()) {
            let name = format!("stead_proxy_service_{name}_total");
            describe(text, &name, "counter", help);
            for (key, count) in traffic.iter() {
                let (namespace, service) = (&key.namespace, &key.name);
                let value = [count.connections, count.received, count.sent][place];
                text.push_str(&format!("{name}{{namespace=\"{namespace}\",service=\"{service}\"}} {value}\n"));
            }
        }
    }

    fn put_changes(&self, text: &mut String, seen: Seen) {
        let kinds = [("service", "Service", seen.services), ("endpoint", "EndpointSlice", seen.slices)];
        for ((name, kind, seen), programmed) in kinds.into_iter().zip(&self.programmed) {
            let pending = seen.saturating_sub(programmed.load(Ordering::Relaxed));
            let name = format!("kubeproxy_sync_proxy_rules_{name}_changes");
            describe(text, &format!("{name}_total"), "counter", &format!("Changes of {kind} objects that came"));
            text.push_str(&format!("{name}_total {seen}\n"));
            describe(
                text,
                &format!("{name}_pending"),
                "gauge",
                &format!("Changes of {kind} objects that are not programmed yet"),
            );
            text.push_str(&format!("{name}_pending {pending}\n"));
        }
    }
}

fn since_1970(now: Timestamp) -> f64 {
    now.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Name, type and labels of each series that kube-proxy 1.36.2 serves of its own in nftables mode (`pkg/proxy/metrics/metrics.go`).
    const KUBE_PROXYS: [(&str, &str, &str); 17] = [
        ("kubeproxy_conntrack_reconciler_deleted_entries_total", "counter", "ip_family"),
        ("kubeproxy_conntrack_reconciler_sync_duration_seconds", "histogram", "ip_family"),
        ("kubeproxy_network_programming_duration_seconds", "histogram", "ip_family"),
        ("kubeproxy_proxy_healthz_total", "counter", "code"),
        ("kubeproxy_proxy_livez_total", "counter", "code"),
        ("kubeproxy_sync_full_proxy_rules_duration_seconds", "histogram", "ip_family"),
        ("kubeproxy_sync_partial_proxy_rules_duration_seconds", "histogram", "ip_family"),
        ("kubeproxy_sync_proxy_rules_duration_seconds", "histogram", "ip_family"),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", ""),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", ""),
        ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge", "ip_family"),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", "ip_family"),
        ("kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total", "counter", "ip_family"),
        ("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "counter", "ip_family"),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "gauge", "ip_family,traffic_policy"),
        ("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", ""),
        ("kubeproxy_sync_proxy_rules_service_changes_total", "counter", ""),
    ];

    /// What is served once everything has happened once.
    fn served() -> String {
        let metrics = Metrics::new(Requests::default());
        let (now, took, seen) = (Timestamp::UNIX_EPOCH, Duration::from_millis(1), Seen::default());
        metrics.on_queued(now);
        metrics.on_synced(Extent::Full, took, 1, now, seen);
        metrics.on_synced(Extent::Partial, took, 1, now, seen);
        metrics.on_programmed(&[now], now);
        metrics.on_no_local(Counts::default());
        metrics.on_mode(Mode::Iptables, Mode::Ipvs);
        metrics.on_failure();
        metrics.on_cleaned(took, 1);
        metrics.on_healthz(StatusCode::OK);
        metrics.on_livez(StatusCode::OK);
        let count = Count { connections: 3, received: 4, sent: 5 };
        metrics.on_traffic([(Arc::new(ObjectKey::new("shop", "web")), count)].into());
        metrics.text(&ServiceCache::unwatched(), Instant::now()).unwrap()
    }

    #[test]
    fn kube_proxys_series_have_its_names_types_and_labels() {
        let text = served();
        let mut found = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE kubeproxy_")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let name = format!("kubeproxy_{name}");
            let of_it = |line: &&str| {
                let rest = line.strip_prefix(name.as_str()).unwrap_or("x");
                ["{", " ", "_bucket{"].iter().any(|next| rest.starts_with(next))
            };
            let sample = text.lines().find(of_it).unwrap_or_else(|| panic!("{name} has no sample"));
            let labels =
                sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            let names: BTreeSet<_> = names.filter(|name| *name != "le").collect();
            found.push((name, kind.to_owned(), names.into_iter().collect::<Vec<_>>().join(",")));
        }
        found.sort_unstable();
        let expect: Vec<_> =
            KUBE_PROXYS.iter().map(|(name, kind, labels)| ((*name).into(), (*kind).into(), (*labels).into())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn what_serves_and_what_was_wanted_is_told() {
        let line = "stead_proxy_mode{mode=\"iptables\",wanted=\"ipvs\"} 1";
        assert!(served().lines().any(|each| each == line));
    }

    #[test]
    fn traffic_is_told_by_service() {
        let text = served();
        for (name, value) in [("connections", 3), ("received_bytes", 4), ("sent_bytes", 5)] {
            let line = format!("stead_proxy_service_{name}_total{{namespace=\"shop\",service=\"web\"}} {value}");
            assert!(text.lines().any(|each| each == line), "{line} is not in\n{text}");
        }
        let metrics = Metrics::new(Requests::default());
        let text = metrics.text(&ServiceCache::unwatched(), Instant::now()).unwrap();
        assert!(!text.contains("stead_proxy_service_"), "nobody counts");
    }
}

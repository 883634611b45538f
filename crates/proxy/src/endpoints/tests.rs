//! Real connections to the two servers, and an API server that falls silent.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, body::Body, extract::State, response::Response};
use futures::StreamExt;
use stead_api::{
    item::FromItem,
    service_snapshot::{NodeView, ServiceChange},
    snapshot::Change,
};
use stead_client::{Interest, Recorder, in_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

fn recorder() -> NodeRecorder {
    let client = in_process(Router::new().fallback(std::future::pending::<Response>));
    NodeRecorder::new(Recorder::new(client, "stead-proxy", "node1"), "node1")
}

fn sources(cache: ServiceCache) -> Arc<Sources> {
    let config = Config { node: "node1".to_owned(), sync_period: Duration::ZERO, ..Config::default() };
    Arc::new(Sources::new(&config, cache))
}

fn node(json: &str) -> ServiceChange {
    ServiceChange::Node(Change::Apply(NodeView::from_item(json.as_bytes()).unwrap()))
}

/// An address that was free a moment ago.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Status and body of an answer, as soon as somebody answers.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let asked = async {
        loop {
            let Ok(mut stream) = TcpStream::connect(address).await else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
            return (status, body.to_owned());
        }
    };
    timeout(DEADLINE, asked).await.expect("an answer in time")
}

#[tokio::test]
async fn the_node_counts_for_healthz_and_the_loop_for_both() {
    let cache = ServiceCache::unwatched();
    let sources = sources(cache.clone());
    let address = free_address().await;
    let endpoints = Endpoints { healthz: Some(address), ..Endpoints::default() };
    let ours = Arc::clone(&sources);
    let serving = tokio::spawn(async move { run(endpoints, ours, &recorder()).await });
    let check = async |healthz: u16, livez: u16| {
        assert_eq!((get(address, "/healthz").await.0, get(address, "/livez").await.0), (healthz, livez));
    };
    check(503, 200).await;
    cache.apply([node(r#"{"metadata":{"name":"node1"}}"#)]);
    // Nothing was programmed yet.
    check(503, 200).await;
    sources.health.on_updated(Timestamp::now());
    check(200, 200).await;
    let taint = r#"{"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]}"#;
    cache.apply([node(&format!(r#"{{"metadata":{{"name":"node1"}},"spec":{taint}}}"#))]);
    check(503, 200).await;
    cache.apply([node(r#"{"metadata":{"name":"node1","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#)]);
    check(503, 200).await;
    cache.apply([node(r#"{"metadata":{"name":"node1"}}"#)]);
    sources.health.on_queued(Instant::now());
    check(503, 503).await;
    assert_eq!(get(address, "/metrics").await.0, 404, "only health is for everybody");
    let metrics = sources.metrics.text(&cache, Instant::now()).unwrap();
    for line in ["kubeproxy_proxy_healthz_total{code=\"503\"} 5", "kubeproxy_proxy_livez_total{code=\"200\"} 5"] {
        assert!(metrics.lines().any(|each| each == line), "{line} is not in\n{metrics}");
    }
    serving.abort();
}

#[tokio::test]
async fn the_operator_is_told_the_mode_the_configuration_and_counts() {
    let sources = sources(ServiceCache::unwatched());
    let seen = Seen { services: 3, slices: 4 };
    sources.metrics.on_synced(
        crate::metrics::Extent::Full,
        Duration::from_millis(3),
        7,
        Timestamp::constant(1_000, 0),
        seen,
    );
    sources.metrics.on_cleaned(Duration::from_millis(1), 5);
    sources.metrics.on_no_local([[0, 2], [0, 0]]);
    let address = free_address().await;
    let configuration = r#"{"mode":"nftables"}"#.into();
    let endpoints = Endpoints { metrics: Some(address), configuration, ..Endpoints::default() };
    let serving = tokio::spawn(async move { run(endpoints, sources, &recorder()).await });
    assert_eq!(get(address, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(address, "/proxyMode").await, (200, "nftables".to_owned()));
    let expect = r#"{"kubeproxy.config.k8s.io":{"mode":"nftables"}}"#.to_owned();
    assert_eq!(get(address, "/configz").await, (200, expect));
    let (status, metrics) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    let lines = [
        "# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_bucket{le=\"0.004\",ip_family=\"IPv4\"} 1",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"} 1000.0",
        "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"} 5",
        "# TYPE stead_proxy_kernel_operations_total counter",
        "stead_proxy_kernel_operations_total 7",
        "stead_proxy_foreign_changes_healed_total 0",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
        "# TYPE kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge",
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"external\"} 2",
        "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family=\"IPv6\"} 0",
        "# TYPE process_resident_memory_bytes gauge",
        "kubernetes_build_info{git_version=\"v1.36.2\",major=\"1\",minor=\"36\"} 1",
    ];
    for line in lines {
        assert!(metrics.lines().any(|each| each == line), "{line} is not in\n{metrics}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_proxy_only_where_that_was_asked_for() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    let endpoints = |when_taken| Endpoints { healthz: Some(address), when_taken, ..Endpoints::default() };
    let run = async |when_taken| run(endpoints(when_taken), sources(ServiceCache::unwatched()), &recorder()).await;
    let error = timeout(DEADLINE, run(WhenTaken::Fail)).await.expect("it ends").unwrap_err();
    assert_eq!(error.to_string(), format!("listen on {address}"));
    assert!(timeout(Duration::from_millis(50), run(WhenTaken::TryAgain)).await.is_err(), "it goes on");
}

/// A server whose watches say one object each and the end of the list; when it falls silent nothing more is answered, and what is open ends.
#[derive(Clone, Default)]
struct Flaky {
    is_silent: Arc<AtomicBool>,
    /// New lists begin with another object and never end.
    is_endless: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<tokio::sync::oneshot::Sender<()>>>>,
}

async fn answer(State(server): State<Flaky>, query: axum::extract::Request) -> Response {
    if server.is_silent.load(Ordering::SeqCst) {
        return std::future::pending().await;
    }
    if query.uri().query().is_some_and(|query| query.contains("resourceVersion=5")) {
        // Compacted: whoever was here before lists again.
        return Response::builder().status(410).body(Body::from("{}")).unwrap();
    }
    if server.is_endless.load(Ordering::SeqCst) {
        let object = r#"{"type":"ADDED","object":{"metadata":{"namespace":"a","name":"y","resourceVersion":"9"}}}"#;
        let first = futures::stream::iter([Ok::<_, std::io::Error>(format!("{object}\n"))]);
        return Response::new(Body::from_stream(first.chain(futures::stream::pending())));
    }
    let object = r#"{"type":"ADDED","object":{"metadata":{"namespace":"a","name":"x","resourceVersion":"4"}}}"#;
    let end = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    let (ends, ended) = tokio::sync::oneshot::channel();
    server.open.lock().unwrap().push(ends);
    let first = futures::stream::iter([Ok::<_, std::io::Error>(format!("{object}\n{end}\n"))]);
    let rest = futures::stream::once(async move {
        let _ = ended.await;
        Err(std::io::Error::other("cut"))
    });
    Response::new(Body::from_stream(first.chain(rest)))
}

#[tokio::test]
async fn a_server_that_falls_silent_makes_what_is_known_older_and_nothing_else() {
    let server = Flaky::default();
    let cache = ServiceCache::start(
        &in_process(Router::new().fallback(answer).with_state(server.clone())),
        Interest::Forwarding,
    );
    let sources = sources(cache.clone());
    let mut news = cache.subscribe();
    while !cache.read().is_synced() || cache.pulses().any(|(_, pulse)| pulse.last().is_none()) {
        timeout(DEADLINE, news.next()).await.expect("the lists end");
    }
    server.is_silent.store(true, Ordering::SeqCst);
    for open in server.open.lock().unwrap().drain(..) {
        let _ = open.send(());
    }

    let age = |later: u64| Heard::of(&cache, Instant::now() + Duration::from_secs(later)).0;
    assert!(
        age(100)
            .iter()
            .all(|(_, seconds)| seconds
                .is_some_and(|seconds| (100.0..100.0 + DEADLINE.as_secs_f64()).contains(&seconds)))
    );
    assert_eq!(cache.read().services().count(), 1, "nothing is removed on doubt");
    let (is_well, body) = sources.health.standing(Instant::now()).body(Timestamp::now(), None, Heard(age(100)));
    assert!(is_well, "a proxy that hears nothing goes on: {body}");
    let metrics = sources.metrics.text(&cache, Instant::now() + Duration::from_secs(100)).unwrap();
    assert!(metrics.contains("stead_proxy_staleness_seconds{resource=\"services\"} 10"), "{metrics}");
}

#[tokio::test]
async fn a_list_that_does_not_end_removes_nothing() {
    let server = Flaky::default();
    let cache = ServiceCache::start(
        &in_process(Router::new().fallback(answer).with_state(server.clone())),
        Interest::Forwarding,
    );
    let mut news = cache.subscribe();
    while !cache.read().is_synced() {
        timeout(DEADLINE, news.next()).await.expect("the lists end");
    }
    server.is_endless.store(true, Ordering::SeqCst);
    for open in server.open.lock().unwrap().drain(..) {
        let _ = open.send(());
    }
    let names = || cache.read().services().map(|service| service.key.name.to_string()).collect::<Vec<_>>();
    while names() != ["x", "y"] {
        timeout(DEADLINE, news.next()).await.expect("the list begins");
    }
    assert!(cache.read().is_synced(), "what is known goes on being programmed");
}

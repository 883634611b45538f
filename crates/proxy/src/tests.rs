//! The loop against a scripted cache and a plane that remembers.

mod foreign;
mod hostile;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse};
use futures::channel::mpsc as notices;
use serde_json::{Value, json};
use stead_api::{
    item::FromItem,
    service_snapshot::{ServiceChange, Touched},
    snapshot::Change,
};
use stead_client::in_process;
use stead_dataplane::{Error as PlaneError, Fake, NfTables};
use stead_model::{ObjectKey, Revision};
use stead_plan::{FrontendKind, Plan};
use stead_sys::{link::LinkError, namespace::Namespace};
use tokio::{task::JoinHandle, time::timeout};

use super::{addresses::Addresses, *};

const DEADLINE: Duration = Duration::from_secs(20);

/// Addresses that a test sets.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Vec<IpAddr>>>);

impl Addresses for Scripted {
    fn read(&mut self) -> Result<Vec<IpAddr>, LinkError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// A running loop and everything around it; `plane` is what tells of its plane.
struct Rig<P = Fake> {
    sources: Arc<Sources>,
    cache: ServiceCache,
    plane: P,
    addresses: Scripted,
    notices: notices::UnboundedSender<()>,
    /// Bodies of the Events that were written.
    events: Arc<Mutex<Vec<Value>>>,
    running: JoinHandle<Infallible>,
}

impl<P> Drop for Rig<P> {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn write_event(State(events): State<Arc<Mutex<Vec<Value>>>>, body: Bytes) -> impl IntoResponse {
    events.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    (StatusCode::CREATED, "{}")
}

fn config() -> Config {
    Config {
        node: "node1".into(),
        service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
        pods: PodTraffic::of(vec!["10.244.0.0/16".parse().unwrap()]),
        reserved: vec!["192.168.56.100".parse().unwrap()],
        ..Config::default()
    }
}

impl<P> Rig<P> {
    fn over(cache: ServiceCache, plane: P, driven: Box<dyn DataPlane>, verify_period: Duration) -> Self {
        Self::succeeding(Predecessors::default(), cache, plane, driven, verify_period)
    }

    fn succeeding(
        predecessors: Predecessors,
        cache: ServiceCache,
        plane: P,
        driven: Box<dyn DataPlane>,
        verify_period: Duration,
    ) -> Self {
        let addresses = Scripted::default();
        *addresses.0.lock().unwrap() = vec!["192.168.56.101".parse().unwrap()];
        let (notices, noticed) = notices::unbounded();
        let events = Arc::<Mutex<Vec<Value>>>::default();
        let client = in_process(Router::new().fallback(write_event).with_state(Arc::clone(&events)));
        let sources = Arc::new(Sources::new(&config(), cache.clone()));
        let cleaner = driven.cleaner();
        let forwarder = Forwarder::new(config(), cache.clone(), Box::new(addresses.clone()), driven);
        let forwarder = forwarder.succeeding(predecessors);
        let recorder = Recorder::new(client, "stead-proxy", "node1");
        let services = ServiceRecorder::new(recorder.clone(), cache.clone());
        let reporter = Reporter::new(NodeRecorder::new(recorder, "node1"), services);
        let news = cache.subscribe();
        let ours = Arc::clone(&sources);
        let running = tokio::spawn(async move {
            let followers = Followers { changed: Notify::new(), local_ports: mpsc::unbounded_channel().0 };
            tokio::select! {
                never = forward(forwarder, news, noticed, verify_period, reporter, &followers, &ours) => never,
                never = clean_after(&followers.changed, cleaner, &ours.metrics) => never,
            }
        });
        Self { sources, cache, plane, addresses, notices, events, running }
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let holds = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(DEADLINE, holds).await.expect("the condition holds in time");
    }

    fn metrics(&self) -> String {
        self.sources.metrics.text(&self.cache, std::time::Instant::now()).unwrap()
    }
}

impl Rig {
    fn start(verify_period: Duration) -> Self {
        let plane = Fake::new();
        Self::over(ServiceCache::unwatched(), plane.clone(), Box::new(plane), verify_period)
    }

    /// A loop whose lists are complete and applied.
    async fn synced(changes: impl IntoIterator<Item = ServiceChange>) -> Self {
        let rig = Self::start(DEADLINE);
        rig.cache.apply(changes);
        rig.cache.apply(lists_done());
        rig.until(|rig| !rig.plane.scopes().is_empty()).await;
        rig
    }

    fn lines(&self) -> Vec<String> {
        lines(&self.plane.plan())
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, service) in &plan.services {
        for port in &service.ports {
            let backends: Vec<_> = port.backends.iter().map(|backend| backend.address.to_string()).collect();
            for rule in &port.frontends {
                let kind = if rule.kind == FrontendKind::NodePort { " (node port)" } else { "" };
                lines.push(format!("{} {}{kind} -> {}", key.name, rule.frontend, backends.join(" ")).trim_end().into());
            }
        }
    }
    lines
}

fn view<T: FromItem>(object: &Value) -> T {
    T::from_item(object.to_string().as_bytes()).unwrap()
}

fn service(name: &str, ip: &str) -> ServiceChange {
    ServiceChange::Service(Change::Apply(view(&json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}")},
        "spec": {"clusterIP": ip, "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
    }))))
}

fn slice(service: &str, addresses: &[&str]) -> ServiceChange {
    let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    ServiceChange::Slice(Change::Apply(view(&json!({
        "metadata": {
            "namespace": "default", "name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    }))))
}

fn lists_done() -> [ServiceChange; 3] {
    [
        ServiceChange::Service(Change::InitDone),
        ServiceChange::Slice(Change::InitDone),
        ServiceChange::Node(Change::InitDone),
    ]
}

fn keys(names: &[&str]) -> BTreeSet<ObjectKey> {
    names.iter().map(|name| ObjectKey::new("default", *name)).collect()
}

#[tokio::test]
async fn what_another_plane_left_is_removed_once_this_one_serves() {
    let [old, plane] = [(); 2].map(|()| Fake::new());
    let left = Rig::over(ServiceCache::unwatched(), old.clone(), Box::new(old.clone()), DEADLINE);
    left.cache.apply([service("web", "10.96.0.1")].into_iter().chain(lists_done()));
    left.until(|rig| !rig.lines().is_empty()).await;
    drop(left);
    let predecessors = {
        let left = old.clone();
        Predecessors::new([(Mode::Nftables, Box::new(move || Ok(Box::new(left.clone()) as Box<dyn DataPlane>)) as _)])
    };
    let (cache, period) = (ServiceCache::unwatched(), Duration::from_millis(5));
    let rig = Rig::succeeding(predecessors, cache, plane.clone(), Box::new(plane.clone()), period);
    rig.cache.apply([service("web", "10.96.0.1")]);
    for failing in [&plane, &old] {
        failing.fail_next(PlaneError::TooManyBackends { service: ObjectKey::new("a", "b"), count: 1 });
    }
    // Many turns of the loop, each with a reason to work.
    for _ in 0..20 {
        rig.notices.unbounded_send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(old.plan().services.len(), 1);
    // The first try to serve fails, and so does the first to remove; neither is the last.
    rig.cache.apply(lists_done());
    rig.until(|_| old.plan().services.is_empty()).await;
    assert_eq!(plane.plan().services.len(), 1);
    rig.cache.apply([slice("web", &["10.244.1.2"])]);
    rig.until(|rig| rig.lines().len() == 2 && rig.lines()[0].ends_with("10.244.1.2:8080")).await;
}

#[tokio::test]
async fn nothing_is_programmed_before_every_list_is_complete() {
    let rig = Rig::start(Duration::from_millis(1));
    rig.cache.apply([service("web", "10.96.0.1"), slice("web", &["10.244.1.2"])]);
    let [services, slices, nodes] = lists_done();
    rig.cache.apply([services]);
    rig.cache.apply([nodes]);
    // Many turns of the loop, each with a reason to work.
    for _ in 0..20 {
        rig.notices.unbounded_send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((rig.plane.scopes(), rig.plane.verifications()), (Vec::new(), 0));
    rig.cache.apply([slices]);
    rig.until(|rig| rig.plane.scopes() == [None]).await;
    let expect =
        ["web 10.96.0.1:80/TCP -> 10.244.1.2:8080", "web 192.168.56.101:30080/TCP (node port) -> 10.244.1.2:8080"];
    assert_eq!(rig.lines(), expect);
}

#[tokio::test]
async fn a_change_touches_its_own_service_and_what_comes_together_is_one() {
    let rig = Rig::synced([service("web", "10.96.0.1"), slice("web", &["10.244.1.2"])]).await;
    rig.cache.apply([slice("web", &["10.244.1.3"])]);
    rig.until(|rig| rig.plane.scopes().len() == 2).await;
    assert_eq!(rig.plane.scopes()[1], Some(keys(&["web"])));
    assert_eq!(rig.lines()[0], "web 10.96.0.1:80/TCP -> 10.244.1.3:8080");

    rig.cache.apply([service("api", "10.96.0.2"), slice("web", &["10.244.1.4"]), slice("api", &["10.244.1.5"])]);
    rig.until(|rig| rig.plane.scopes().len() == 3).await;
    assert_eq!(rig.plane.scopes()[2], Some(keys(&["api", "web"])));
    rig.cache.apply([slice("web", &["10.244.1.4"])]);
    rig.cache.apply([slice("api", &[])]);
    rig.until(|rig| rig.lines().contains(&"api 10.96.0.2:80/TCP ->".to_owned())).await;
    assert_eq!(rig.plane.scopes()[3], Some(keys(&["api"])), "what changes nothing costs nothing");
}

#[tokio::test]
async fn connections_are_cleaned_after_a_change_and_again_when_that_fails() {
    let rig = Rig::synced([service("web", "10.96.0.1"), slice("web", &["10.244.1.2"])]).await;
    rig.until(|rig| rig.plane.cleanings() == 1).await;
    let failure = || stead_dataplane::Error::TooManyBackends { service: ObjectKey::new("a", "b"), count: 1 };
    (0..2).for_each(|_| rig.plane.fail_next_cleaning(failure()));
    rig.cache.apply([slice("web", &["10.244.1.3"])]);
    rig.until(|rig| rig.plane.cleanings() == 2).await;
}

#[tokio::test]
async fn a_service_that_a_new_list_lacks_goes() {
    let rig = Rig::synced([service("web", "10.96.0.1"), service("api", "10.96.0.2")]).await;
    rig.cache.apply([ServiceChange::Service(Change::Init)]);
    rig.cache.apply([service("web", "10.96.0.3")]);
    rig.until(|rig| rig.lines().contains(&"web 10.96.0.3:80/TCP ->".to_owned())).await;
    assert!(rig.plane.plan().services.len() == 2, "not before the list is complete");
    rig.cache.apply([ServiceChange::Service(Change::InitDone)]);
    rig.until(|rig| rig.plane.plan().services.len() == 1).await;
}

/// As after a restart, when nothing is known of it from before.
#[tokio::test]
async fn a_service_that_could_never_be_read_holds_up_no_other() {
    let unread = |name: &str| ServiceChange::Service(Change::Unread(ObjectKey::new("default", name), Revision(1)));
    let rig = Rig::synced([unread("bad"), service("web", "10.96.0.1"), slice("web", &["10.244.1.2"])]).await;
    assert_eq!(rig.lines()[0], "web 10.96.0.1:80/TCP -> 10.244.1.2:8080");
    assert_eq!(rig.plane.plan().services.len(), 1);
    rig.cache.apply([unread("bad"), slice("bad", &["10.244.1.3"])]);
    rig.cache.apply([service("bad", "10.96.0.2")]);
    rig.until(|rig| rig.lines().contains(&"bad 10.96.0.2:80/TCP -> 10.244.1.3:8080".to_owned())).await;
    // Once known, it stays as it was when it could be read.
    rig.cache.apply([unread("bad"), slice("web", &[])]);
    rig.until(|rig| rig.lines().contains(&"web 10.96.0.1:80/TCP ->".to_owned())).await;
    assert!(rig.lines().contains(&"bad 10.96.0.2:80/TCP -> 10.244.1.3:8080".to_owned()));
}

#[tokio::test]
async fn node_ports_follow_the_addresses_of_the_node() {
    let rig = Rig::synced([service("web", "10.96.0.1")]).await;
    *rig.addresses.0.lock().unwrap() = vec!["192.168.56.7".parse().unwrap()];
    rig.notices.unbounded_send(()).unwrap();
    rig.until(|rig| rig.lines().contains(&"web 192.168.56.7:30080/TCP (node port) ->".to_owned())).await;
    assert_eq!(rig.lines().len(), 2);
}

#[tokio::test]
async fn ranges_that_join_the_cluster_are_refused_where_nobody_has_them() {
    let rig = Rig::synced([service("web", "10.96.0.1")]).await;
    let ranges =
        |rig: &Rig| rig.plane.plan().settings.service_ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ranges(&rig), ["10.96.0.0/16"]);
    let object = |cidrs: &[&str]| view(&json!({"metadata": {"name": "more"}, "spec": {"cidrs": cidrs}}));
    rig.cache.apply([ServiceChange::Range(Change::Apply(object(&["10.97.0.0/16", "10.96.0.0/16"])))]);
    rig.until(|rig| ranges(rig) == ["10.96.0.0/16", "10.97.0.0/16"]).await;
    assert_eq!(rig.plane.scopes(), [None, None], "what holds for all packets is programmed as a whole");
    rig.cache.apply([ServiceChange::Range(Change::Delete(object(&[])))]);
    rig.until(|rig| ranges(rig) == ["10.96.0.0/16"]).await;
}

#[tokio::test]
async fn what_failed_is_made_good() {
    let rig = Rig::synced([service("web", "10.96.0.1")]).await;
    for _ in 0..3 {
        rig.plane.fail_next(stead_dataplane::Error::Write(stead_sys::nft::Error::Stale));
    }
    rig.cache.apply([slice("web", &["10.244.1.2"])]);
    rig.until(|rig| rig.lines()[0] == "web 10.96.0.1:80/TCP -> 10.244.1.2:8080").await;
    assert_eq!(rig.plane.scopes(), [None, Some(keys(&["web"]))]);
    rig.until(|rig| rig.metrics().contains("sync_proxy_rules_endpoint_changes_pending 0\n")).await;
    let failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"} 3\n";
    assert!(rig.metrics().contains(failures), "{}", rig.metrics());
    assert!(rig.sources.health.standing(std::time::Instant::now()).updated.is_some());
}

#[tokio::test]
async fn the_kernel_is_verified_again_and_again() {
    let rig = Rig::start(Duration::from_millis(1));
    rig.cache.apply(lists_done());
    rig.until(|rig| rig.plane.verifications() > 3).await;
    assert_eq!(rig.plane.scopes(), [None], "an empty cluster is programmed too, once");
}

#[tokio::test]
async fn a_problem_is_an_event_and_stops_nobody_else() {
    let rig = Rig::synced([service("api", "10.96.0.1"), service("web", "10.96.0.2")]).await;
    let expect = ["api 10.96.0.1:80/TCP ->", "api 192.168.56.101:30080/TCP (node port) ->", "web 10.96.0.2:80/TCP ->"];
    assert_eq!(rig.lines(), expect);
    rig.until(|rig| !rig.events.lock().unwrap().is_empty()).await;
    let events = rig.events.lock().unwrap().clone();
    let about = &events[0]["involvedObject"];
    assert_eq!((&about["kind"], &about["name"], &about["uid"]), (&json!("Service"), &json!("web"), &json!("uid-web")));
    assert_eq!((&events[0]["type"], &events[0]["reason"]), (&json!("Warning"), &json!("FrontendTaken")));
    let message = "192.168.56.101:30080/TCP belongs to Service default/api; change one of the two";
    assert_eq!(events[0]["message"], message);
}

#[test]
fn a_successor_adopts_what_stands_in_the_kernel() {
    let namespace = Namespace::create().unwrap();
    let cache = ServiceCache::unwatched();
    cache.apply(
        [service("web", "10.96.0.1"), slice("web", &["10.244.1.2", "10.244.1.3"])].into_iter().chain(lists_done()),
    );
    let start = || {
        let plane = Box::new(NfTables::open_in(&namespace).unwrap());
        Forwarder::new(Config::default(), cache.clone(), Box::new(Scripted::default()), plane)
    };
    let operations = |report: forwarder::Report| {
        assert!(report.failure.is_none(), "{:?}", report.failure);
        report.programmed.map(|programmed| programmed.applied.operations)
    };
    assert!(operations(start().on_event(Event::RetryDue)).unwrap() > 0);
    let mut successor = start();
    assert_eq!(operations(successor.on_event(Event::RetryDue)), Some(0));
    assert_eq!(successor.on_event(Event::VerifyDue).healed, 0);

    cache.apply([slice("web", &["10.244.1.2"])]);
    let touched = Touched { services: [Arc::new(ObjectKey::new("default", "web"))].into(), ..Touched::default() };
    assert!(operations(successor.on_event(Event::Touched(touched.clone()))).unwrap() > 0);
    assert_eq!(operations(successor.on_event(Event::Touched(touched))), None, "what changes nothing costs nothing");
}

//! The shell against a real API server in this process, with a small agent that starts and ends pods.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
};
use kube::Client;
use serde_json::{Value, json};
use stead_api::{
    item::FromItem,
    snapshot::{Change, Kind},
};
use stead_apiserver::{Config, Identity, SealingKeys, Server, TokenKey, pki::Pki, tls};
use stead_client::{
    Query, collection, in_process, object, watch,
    write::{self, DeleteOptions, Propagation},
};
use stead_model::ObjectKey;
use stead_store::Model;
use tokio::{task::JoinSet, time::timeout};

use crate::world::World;

/// Longer than anything here takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

struct Cluster {
    client: Client,
    /// Controllers and agent; they end with the test.
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// A server, the controllers, an agent, and two nodes that are ready.
    async fn new() -> Self {
        Self::with(|router| router).await
    }

    /// The same, with something between the controllers and the server.
    async fn with(between: impl FnOnce(Router) -> Router) -> Self {
        let pki = Pki::create().unwrap();
        let config = Config {
            advertise: "192.168.56.100:6443".parse().unwrap(),
            service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
            node_ports: 30000..=32767,
            external_ips: Vec::new(),
            pod_ranges: vec!["10.244.0.0/16".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            read_only: None,
            agent_tls: tls::agent_client_config(&pki).unwrap(),
            token_key: Arc::new(TokenKey::create().unwrap()),
            sealing_keys: Arc::new(SealingKeys::create().unwrap()),
        };
        let server = Server::new(Arc::new(Model::new()), config).await.unwrap();
        let client = |user: &str| in_process(server.as_identity(Identity::control_plane(user)));
        let mut tasks = JoinSet::new();
        let controllers = in_process(between(server.as_identity(Identity::control_plane("controllers"))));
        let controllers =
            super::run(controllers, super::Config { root_ca: "PEM".to_owned(), ..super::Config::default() });
        tasks.spawn(async { match controllers.await {} });
        tasks.spawn(run_agent(client("agent")));
        let cluster = Self { client: client("admin"), _tasks: tasks };
        for node in ["node1", "node2"] {
            let node: Value = cluster.create::<Node>(json!({ "metadata": { "name": node } })).await;
            let key = ObjectKey::cluster(node["metadata"]["name"].as_str().unwrap());
            let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
            write::patch_status::<Value>(&cluster.client, &object::<Node>(&key), &ready).await.unwrap();
        }
        cluster
    }

    async fn create<K: k8s_openapi::Resource>(&self, mut body: Value) -> Value {
        body["apiVersion"] = K::API_VERSION.into();
        body["kind"] = K::KIND.into();
        let namespace = body["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        write::create(&self.client, &collection::<K>(&namespace), &body).await.unwrap()
    }

    async fn list<K: k8s_openapi::Resource>(&self, namespace: &str) -> Vec<Value> {
        let list: Value = write::get(&self.client, &collection::<K>(namespace)).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    async fn patch<K: k8s_openapi::Resource>(&self, name: &str, patch: Value) {
        let path = object::<K>(&ObjectKey::new("default", name));
        write::patch_merge::<Value>(&self.client, &path, &patch).await.unwrap();
    }

    async fn delete<K: k8s_openapi::Resource>(&self, key: &ObjectKey) {
        write::delete(&self.client, &object::<K>(key), &DeleteOptions::default()).await.unwrap();
    }

    async fn deploy(&self, namespace: &str, replicas: u32) {
        self.create::<Deployment>(json!({
            "metadata": { "namespace": namespace, "name": "web" },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
                },
            },
        }))
        .await;
        self.create::<Service>(json!({
            "metadata": { "namespace": namespace, "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        }))
        .await;
    }

    /// Looks at everything that is stored, as at a cluster found like this.
    async fn all_there_is_to_do(&self) -> Vec<String> {
        let mut world = World::new();
        for kind in Kind::ALL {
            let list: Value = write::get(&self.client, &kind.collection("")).await.unwrap();
            list["items"].as_array().unwrap().iter().for_each(|object| world.adopt(*kind, object));
        }
        world.settle();
        world.log
    }

    /// Addresses of ready endpoints in slices.
    async fn ready(&self, namespace: &str) -> BTreeSet<String> {
        let slices = self.list::<EndpointSlice>(namespace).await;
        let slices = slices.iter().filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "web");
        let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        ready.map(|endpoint| endpoint["addresses"][0].as_str().unwrap().to_owned()).collect()
    }

    async fn rollout_is_complete(&self) -> bool {
        let path = object::<Deployment>(&ObjectKey::new("default", "web"));
        let deployment: Value = write::get(&self.client, &path).await.unwrap();
        let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
        status["observedGeneration"] == deployment["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|count| status[count] == *wanted)
    }
}

/// Asks again and again, with little between, until it holds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Starts every pod that has a node, and ends every pod that is being deleted.
async fn run_agent(client: Client) {
    let mut changes = Box::pin(watch::<Pod>(client.clone(), Query::all(collection::<Pod>(""))));
    let mut started = 0_u32;
    while let Some(change) = changes.next().await {
        let (Change::Apply(pod) | Change::InitApply(pod)) = change else { continue };
        let path = object::<Pod>(&pod.key());
        if pod.metadata.deletion_timestamp.is_some() {
            let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
            let _ = write::delete(&client, &path, &now).await;
        } else if crate::pods::node(&pod).is_some() && !crate::pods::is_ready(&pod) {
            started += 1;
            let ip = format!("10.244.1.{started}");
            let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
            let status = json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [ready] });
            let _ = write::patch_status::<Value>(&client, &path, &status).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives_from_first_pod_to_last() {
    let cluster = &Cluster::new().await;
    cluster.deploy("default", 2).await;
    eventually("two endpoints", || async { cluster.ready("default").await.len() == 2 }).await;
    eventually("the rollout", || cluster.rollout_is_complete()).await;
    // What the server made of our objects is what we want: nothing is written again and again.
    eventually("rest", || async { cluster.all_there_is_to_do().await.is_empty() }).await;
    let pods = cluster.list::<Pod>("default").await;
    let nodes: BTreeSet<_> = pods.iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
    assert_eq!((pods.len(), nodes.len()), (2, 2));
    let endpoints: Value =
        write::get(&cluster.client, &object::<Endpoints>(&ObjectKey::new("default", "web"))).await.unwrap();
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 8080);

    cluster.patch::<Deployment>("web", json!({ "spec": { "replicas": 5 } })).await;
    eventually("five endpoints", || async { cluster.ready("default").await.len() == 5 }).await;
    // Nothing was done twice on a snapshot that lagged.
    let set = &cluster.list::<ReplicaSet>("default").await[0]["metadata"]["name"];
    let created = || async {
        let events = cluster.list::<Event>("default").await;
        let of_set = |event: &&Value| event["reason"] == "SuccessfulCreate" && event["involvedObject"]["name"] == *set;
        events.iter().filter(of_set).count()
    };
    eventually("events", || async { created().await >= 5 }).await;
    assert_eq!(created().await, 5);

    let image = json!([{ "name": "web", "image": "web:2" }]);
    cluster.patch::<Deployment>("web", json!({ "spec": { "template": { "spec": { "containers": image } } } })).await;
    eventually("the second rollout", || cluster.rollout_is_complete()).await;
    eventually("old pods to end", || async { cluster.list::<Pod>("default").await.len() == 5 }).await;
    let pods = cluster.list::<Pod>("default").await;
    assert!(pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "web:2"));

    let victim = ObjectKey::new("default", pods[0]["metadata"]["name"].as_str().unwrap());
    let address = pods[0]["status"]["podIP"].as_str().unwrap().to_owned();
    cluster.delete::<Pod>(&victim).await;
    eventually("a replacement", || async {
        let ready = cluster.ready("default").await;
        ready.len() == 5 && !ready.contains(&address)
    })
    .await;

    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let path = object::<Deployment>(&ObjectKey::new("default", "web"));
    write::delete(&cluster.client, &path, &foreground).await.unwrap();
    cluster.delete::<Service>(&ObjectKey::new("default", "web")).await;
    eventually("all to be collected", || async {
        cluster.list::<Deployment>("default").await.is_empty()
            && cluster.list::<Pod>("default").await.is_empty()
            && cluster.list::<ReplicaSet>("default").await.is_empty()
            && cluster.ready("default").await.is_empty()
            && cluster
                .list::<EndpointSlice>("default")
                .await
                .iter()
                .all(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] != "web")
    })
    .await;
}

/// Watches lag behind, differently for each kind, and every seventh write is refused for no reason.
async fn trouble(State(count): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=1"));
    if is_watch {
        let lag = Duration::from_millis(request.uri().path().len() as u64 % 7 * 10);
        let (head, body) = next.run(request).await.into_parts();
        let late = body.into_data_stream().then(move |chunk| async move {
            tokio::time::sleep(lag).await;
            chunk
        });
        return Response::from_parts(head, Body::from_stream(late));
    }
    let is_write = request.method() != Method::GET;
    if is_write && count.fetch_add(1, Ordering::Relaxed) % 7 == 6 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_twice_when_watches_lag_and_writes_fail() {
    let between = |router: Router| router.layer(from_fn_with_state(Arc::default(), trouble));
    let cluster = &Cluster::with(between).await;
    let made = Arc::new(Mutex::new(BTreeSet::new()));
    let all = watch::<Pod>(cluster.client.clone(), Query::all(collection::<Pod>("default")));
    let seen = made.clone();
    let collector = tokio::spawn(all.for_each(move |change| {
        if let Change::Apply(pod) | Change::InitApply(pod) = change {
            seen.lock().unwrap().insert(pod.key());
        }
        std::future::ready(())
    }));
    cluster.deploy("default", 12).await;
    eventually("twelve endpoints", || async { cluster.ready("default").await.len() == 12 }).await;
    eventually("the rollout", || cluster.rollout_is_complete()).await;
    cluster.patch::<Deployment>("web", json!({ "spec": { "replicas": 5 } })).await;
    eventually("five endpoints", || async { cluster.ready("default").await.len() == 5 }).await;
    eventually("the rollout", || cluster.rollout_is_complete()).await;
    eventually("the others' end", || async { cluster.list::<Pod>("default").await.len() == 5 }).await;
    eventually("all pods to be seen", || async { made.lock().unwrap().len() >= 12 }).await;
    collector.abort();
    assert_eq!(made.lock().unwrap().len(), 12);
    assert_eq!(cluster.list::<EndpointSlice>("default").await.len(), 2, "the Service's and that of kubernetes");
}

/// From the write of a pod's status to the slice that a reader sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_changes_is_in_its_slice_at_once() {
    let cluster = &Cluster::new().await;
    let query = Query::all(collection::<EndpointSlice>("default")).labels("kubernetes.io/service-name=web");
    let mut slices = Box::pin(watch::<EndpointSlice>(cluster.client.clone(), query));
    cluster.deploy("default", 1).await;
    eventually("an endpoint", || async { cluster.ready("default").await.len() == 1 }).await;
    let pod = cluster.list::<Pod>("default").await.remove(0);
    let path = object::<Pod>(&ObjectKey::new("default", pod["metadata"]["name"].as_str().unwrap()));
    let mut times = Vec::new();
    for serial in 0..20_u8 {
        // Another address, so that the agent of this test has no say in it.
        let ip = format!("10.244.9.{serial}");
        let start = std::time::Instant::now();
        let status = json!({ "podIP": ip, "podIPs": [{ "ip": ip }] });
        write::patch_status::<Value>(&cluster.client, &path, &status).await.unwrap();
        let shows =
            |slice: &EndpointSlice| slice.endpoints.iter().flatten().any(|endpoint| endpoint.addresses.contains(&ip));
        let seen = async {
            while let Some(change) = slices.next().await {
                if matches!(&change, Change::Apply(slice) | Change::InitApply(slice) if shows(slice)) {
                    return;
                }
            }
        };
        timeout(DEADLINE, seen).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    println!("pod to slice: median {:?}, longest {:?}", times[10], times[19]);
    assert!(times[10] < Duration::from_millis(100), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_comes_with_its_furniture_and_goes_with_all_it_holds() {
    let cluster = &Cluster::new().await;
    cluster.create::<Namespace>(json!({ "metadata": { "name": "shop" } })).await;
    eventually("furniture", || async {
        !cluster.list::<ServiceAccount>("shop").await.is_empty() && !cluster.list::<ConfigMap>("shop").await.is_empty()
    })
    .await;
    cluster.deploy("shop", 3).await;
    eventually("three endpoints", || async { cluster.ready("shop").await.len() == 3 }).await;
    cluster.delete::<Namespace>(&ObjectKey::cluster("shop")).await;
    eventually("the end", || async {
        let namespaces = cluster.list::<Namespace>("").await;
        namespaces.iter().all(|namespace| namespace["metadata"]["name"] != "shop")
    })
    .await;
    assert!(cluster.list::<Pod>("shop").await.is_empty() && cluster.list::<Event>("shop").await.is_empty());
}

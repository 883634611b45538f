//! kube-rs over TLS: its watchers in both modes, over a restart that drops history, every kind as its types read it, and a Lease
//! that many want.

use std::{fmt::Debug, pin::pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Endpoints, Event, Namespace, Node, Pod, ReplicationController, Secret, Service, ServiceAccount,
        },
        discovery::v1::EndpointSlice,
        events::v1::Event as LaterEvent,
        networking::v1::{IPAddress, ServiceCIDR},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{Config, KubeConfigOptions, Kubeconfig},
    core::PartialObjectMeta,
};
use kube_runtime::watcher::{self, watcher};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{served::Served, support::DEADLINE};

async fn client(served: &Served) -> Client {
    let kubeconfig = Kubeconfig::read_from(served.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_watchers_that_list_in_pages_survive_lost_history() {
    let served = Served::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&served).await);
    let events = watcher(maps.clone(), watcher::Config::default().page_size(1));
    survive(served, maps, events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_watchers_of_streamed_lists_survive_lost_history() {
    let served = Served::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&served).await);
    let events = watcher(maps.clone(), watcher::Config::default().streaming_lists());
    survive(served, maps, events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_watchers_of_metadata_survive_lost_history() {
    let served = Served::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&served).await);
    let metadata: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(maps.clone().into_client());
    let events = watcher(metadata, watcher::Config::default().streaming_lists());
    survive(served, maps, events).await;
}

async fn survive<K: kube::ResourceExt>(
    mut served: Served,
    maps: Api<ConfigMap>,
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
) {
    let mut events = pin!(events);
    let mut next = async || {
        let event = tokio::time::timeout(DEADLINE, events.next()).await.expect("an event in time");
        event.expect("a watcher never ends").map(|event| event.to_string())
    };
    for name in ["gone", "stays"] {
        maps.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    // What a watcher streams may be older than a write, but never older than a list.
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 2);
    for expected in ["Init", "InitApply(gone)", "InitApply(stays)", "InitDone"] {
        assert_eq!(next().await.unwrap(), expected);
    }
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    maps.patch("stays", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(next().await.unwrap(), "Apply(stays)");
    served.restart().await;
    let mut late = false;
    let first = loop {
        match next().await {
            Ok(event) => break event,
            Err(error) if status(&error) == Some(410) => late = true,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(late, "nobody was told that history is gone");
    assert_eq!(first, "Init");
    for expected in ["InitApply(come)", "InitApply(stays)", "InitDone"] {
        assert_eq!(next().await.unwrap(), expected);
    }
    maps.delete("stays", &DeleteParams::default()).await.unwrap();
    assert_eq!(next().await.unwrap(), "Delete(stays)");
    served.end().await;
}

/// Only what comes as an event has these watchers list again.
fn status(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_types_read_every_kind_and_write_it_back_without_a_change() {
    let served = Served::new().await;
    let client = client(&served).await;
    let client = &client;
    let labels = json!({"app": "rust"});
    let pod = json!({"containers": [{
        "name": "main", "image": "stead.local/hello-app:1.0", "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"limits": {"cpu": "0.5", "memory": "64Mi"}},
    }]});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    let workload = json!({"replicas": 2, "selector": {"matchLabels": labels}, "template": template});
    let about = json!({"kind": "Pod", "name": "x", "namespace": "default"});
    let (second, micro) = ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000006Z");
    let namespaced = |body: Value| (body, "rust");
    typed(in_default::<ConfigMap>(client), namespaced(json!({"data": {"a": "b"}, "binaryData": {"c": "AAEC"}}))).await;
    let subset = json!({"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]});
    typed(in_default::<Endpoints>(client), namespaced(json!({"subsets": [subset]}))).await;
    let event = json!({"involvedObject": about, "reason": "R", "message": "m", "type": "Normal", "count": 3,
        "firstTimestamp": second, "lastTimestamp": second, "source": {"component": "rust"}});
    typed(in_default::<Event>(client), namespaced(event)).await;
    let event = json!({"eventTime": micro, "reason": "R", "action": "A", "type": "Warning", "note": "n",
        "regarding": about, "reportingController": "example.org/rust", "reportingInstance": "rust-1"});
    typed(in_default::<LaterEvent>(client), (event, "rust-later")).await;
    typed(in_default::<Pod>(client), namespaced(json!({"spec": pod}))).await;
    let controller = json!({"spec": {"replicas": 2, "selector": labels, "template": template}});
    typed(in_default::<ReplicationController>(client), namespaced(controller)).await;
    typed(in_default::<Secret>(client), namespaced(json!({"stringData": {"a": "b"}}))).await;
    typed(in_default::<ServiceAccount>(client), namespaced(json!({}))).await;
    let service =
        json!({"spec": {"selector": labels, "type": "NodePort", "ports": [{"port": 80, "targetPort": "http"}]}});
    typed(in_default::<Service>(client), namespaced(service)).await;
    typed(in_default::<Deployment>(client), namespaced(json!({"spec": workload}))).await;
    typed(in_default::<ReplicaSet>(client), namespaced(json!({"spec": workload}))).await;
    let lease = json!({"spec": {"holderIdentity": "rust", "leaseDurationSeconds": 15, "acquireTime": micro}});
    typed(in_default::<Lease>(client), namespaced(lease)).await;
    let slice = json!({"addressType": "IPv4", "ports": [{"port": 80, "name": "http"}],
        "endpoints": [{"addresses": ["192.0.2.8"], "conditions": {"ready": true}, "zone": "a"}]});
    typed(in_default::<EndpointSlice>(client), namespaced(slice)).await;
    typed(Api::<Namespace>::all(client.clone()), (json!({}), "rust")).await;
    typed(Api::<Node>::all(client.clone()), (json!({"spec": {"podCIDR": "10.244.9.0/24"}}), "rust")).await;
    let parent = json!({"resource": "services", "name": "rust", "namespace": "default"});
    typed(Api::<IPAddress>::all(client.clone()), (json!({"spec": {"parentRef": parent}}), "10.96.66.66")).await;
    typed(Api::<ServiceCIDR>::all(client.clone()), (json!({"spec": {"cidrs": ["10.97.0.0/24"]}}), "rust")).await;
    served.end().await;
}

fn in_default<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(client: &Client) -> Api<K> {
    Api::namespaced(client.clone(), "default")
}

async fn typed<K>(api: Api<K>, (mut body, name): (Value, &str))
where
    K: Resource<DynamicType = ()> + Clone + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let kind = K::kind(&());
    body["metadata"]["name"] = name.into();
    let made = api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
    let read = api.get(name).await.unwrap();
    assert_eq!(read, made, "{kind}");
    let written = api.replace(name, &PostParams::default(), &read).await.unwrap();
    assert_eq!(written.resource_version(), read.resource_version(), "{kind}");
    let listed = api.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await.unwrap();
    assert_eq!(listed.items.iter().map(K::name_any).collect::<Vec<_>>(), [name], "{kind}");
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_have_read_a_lease_one_takes_it() {
    const CANDIDATES: usize = 8;
    let served = Served::new().await;
    let leases: Api<Lease> = Api::default_namespaced(client(&served).await);
    let lease = json!({"metadata": {"name": "leader"}, "spec": {"leaseTransitions": 0}});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    let read = Arc::new(Barrier::new(CANDIDATES));
    for term in 1..=5 {
        let candidates = (0..CANDIDATES).map(|candidate| {
            let (leases, read) = (leases.clone(), read.clone());
            tokio::spawn(async move {
                let mut lease = leases.get("leader").await.unwrap();
                read.wait().await;
                let spec = lease.spec.as_mut().unwrap();
                spec.holder_identity = Some(format!("candidate-{candidate}"));
                spec.lease_transitions = Some(term);
                match leases.replace("leader", &PostParams::default(), &lease).await {
                    Ok(taken) => taken.spec.unwrap().holder_identity,
                    Err(kube::Error::Api(status)) if status.code == 409 => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let holders = futures::future::join_all(candidates.collect::<Vec<_>>()).await;
        let holders = holders.into_iter().filter_map(Result::unwrap).collect::<Vec<_>>();
        let spec = leases.get("leader").await.unwrap().spec.unwrap();
        assert_eq!(holders, [spec.holder_identity.unwrap()], "term {term}");
        assert_eq!(spec.lease_transitions, Some(term));
    }
    served.end().await;
}

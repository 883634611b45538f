//! Where connections to 127.0.0.1 go.

use axum::{Router, response::Response};
use serde_json::{Value, json};
use stead_api::{item::FromItem, service_snapshot::ServiceChange, snapshot};
use stead_client::{Recorder, ServiceCache, in_process};
use stead_plan::{Algorithm, NodeContext, maglev::Member, plan_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

fn view<T: FromItem>(object: &Value) -> T {
    T::from_item(object.to_string().as_bytes()).unwrap()
}

#[test]
fn node_ports_lead_where_a_process_of_the_node_may_go() {
    let check = |spec: Value, expect: &[(u16, &[&str])]| {
        let cache = ServiceCache::unwatched();
        let metadata = json!({"namespace": "a", "name": "web"});
        let slice = json!({
            "metadata": {"namespace": "a", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.1.2"], "nodeName": "node2"}, {"addresses": ["10.244.1.3"]}],
        });
        cache.apply([
            ServiceChange::Service(snapshot::Change::Apply(view(&json!({"metadata": metadata, "spec": spec})))),
            ServiceChange::Slice(snapshot::Change::Apply(view(&slice))),
        ]);
        let mut context = NodeContext { node: "node1".into(), ..NodeContext::default() };
        context.settings.own_addresses = vec!["192.168.56.7".parse().unwrap()];
        let (plan, _) = plan_all(&cache.read(), &context);
        let found = targets(&cache.read(), &plan, &ObjectKey::new("a", "web"));
        let found: Vec<_> = found
            .iter()
            .map(|(port, target)| {
                (*port, target.pool.addresses().map(|address| address.to_string()).collect::<Vec<_>>())
            })
            .collect();
        let expect: Vec<_> =
            expect.iter().map(|(port, backends)| (*port, backends.iter().map(ToString::to_string).collect())).collect();
        assert_eq!(found, expect, "{spec}");
    };
    let spec = |more: Value| {
        let mut spec = json!({
            "clusterIP": "10.96.0.1", "type": "LoadBalancer",
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "none", "port": 81, "nodePort": 30081}],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let backends: &[&str] = &["10.244.1.2:8080", "10.244.1.3:8080"];
    check(spec(json!({})), &[(30080, backends)]);
    check(spec(json!({"externalTrafficPolicy": "Local"})), &[(30080, backends)]);
    check(spec(json!({"loadBalancerSourceRanges": ["192.168.56.0/24"]})), &[(30080, backends)]);
    check(spec(json!({"loadBalancerSourceRanges": ["192.0.2.0/24"]})), &[]);
    check(spec(json!({"type": "ClusterIP"})), &[]);
}

/// A server that says its name and then what it is told, until it is aborted.
async fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

struct Rig {
    changes: mpsc::UnboundedSender<Change>,
    port: u16,
    running: tokio::task::JoinHandle<Infallible>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Rig {
    async fn start() -> Self {
        let client = in_process(Router::new().fallback(std::future::pending::<Response>));
        let recorder = ServiceRecorder::new(Recorder::new(client, "stead-proxy", "node1"), ServiceCache::unwatched());
        let (changes, received) = mpsc::unbounded_channel();
        let running = tokio::spawn(LocalPorts::new(recorder, 10).run(received));
        Self { changes, port: free_address().await.port(), running }
    }

    fn lead_to(&self, target: Option<Target>) {
        let targets = target.map(|target| (self.port, target)).into_iter().collect();
        self.changes.send(Change::Some([(ObjectKey::new("a", "web"), targets)].into())).unwrap();
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port)).await
    }

    /// A connection, and the three letters that the backend is named by.
    async fn reach(&self) -> (TcpStream, String) {
        let reached = async {
            loop {
                let mut name = [0; 3];
                if let Ok(mut stream) = self.connect().await
                    && stream.read_exact(&mut name).await.is_ok()
                {
                    return (stream, String::from_utf8(name.to_vec()).unwrap());
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, reached).await.expect("a backend in time")
    }
}

fn target(backends: &[SocketAddr]) -> Target {
    let mut members: Box<[_]> = backends.iter().map(|address| Member { address: *address, weight: 1 }).collect();
    members.sort_unstable_by_key(|member| member.address);
    let pool = Pool::new(members, Algorithm::Random).unwrap();
    Target { port: 30080, pool, draining: Vec::new(), affinity: None }
}

#[tokio::test]
async fn connections_spread_and_pass_by_who_refuses() {
    let rig = Rig::start().await;
    let (one, two, closed) = (backend("one").await, backend("two").await, free_address().await);
    rig.lead_to(Some(target(&[one, two, closed])));
    rig.reach().await;
    let mut seen = [0; 2];
    for _ in 0..60 {
        let (mut stream, name) = rig.reach().await;
        seen[usize::from(name == "two")] += 1;
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hello");
    }
    // Fair coins fall so unevenly once in a billion times.
    assert!(seen.iter().all(|count| *count > 6), "{seen:?}");
    rig.lead_to(Some(Target { affinity: Some(DEADLINE), ..target(&[one, two]) }));
    let (_, first) = rig.reach().await;
    for _ in 0..20 {
        assert_eq!(rig.reach().await.1, first);
    }
}

#[tokio::test]
async fn connections_end_when_their_backend_leaves_and_go_on_while_it_drains() {
    let rig = Rig::start().await;
    let (one, two) = (backend("one").await, backend("two").await);
    rig.lead_to(Some(target(&[one])));
    let (mut stream, _) = rig.reach().await;
    rig.lead_to(Some(Target { draining: vec![one], ..target(&[two]) }));
    while rig.reach().await.1 != "two" {}
    stream.write_all(b"x").await.unwrap();
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).await.unwrap();
    rig.lead_to(Some(target(&[two])));
    let ended = timeout(DEADLINE, stream.read(&mut byte)).await.expect("it ends in time");
    assert!(matches!(ended, Err(_) | Ok(0)), "{ended:?}");
    rig.lead_to(None);
    let refused = async { while rig.connect().await.is_ok() {} };
    timeout(DEADLINE, refused).await.expect("the port is closed in time");
}

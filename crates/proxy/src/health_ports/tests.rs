//! What is answered, and who listens.

use axum::{Router, response::Response};
use serde_json::{Value, json};
use stead_api::{
    item::FromItem,
    service_snapshot::{ServiceChange, ServiceView, SliceView},
    snapshot::Change,
};
use stead_client::{Recorder, in_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::Config;

const DEADLINE: Duration = Duration::from_secs(20);

fn view<T: FromItem>(object: &Value) -> T {
    T::from_item(object.to_string().as_bytes()).unwrap()
}

fn service(name: &str, port: u16, policy: &str) -> ServiceChange {
    ServiceChange::Service(Change::Apply(view::<ServiceView>(&json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "clusterIP": "10.96.0.1", "type": "LoadBalancer", "externalTrafficPolicy": policy, "healthCheckNodePort": port,
            "ports": [{"port": 80, "nodePort": 30080}],
        },
    }))))
}

fn slice(name: &str, endpoints: &Value) -> ServiceChange {
    ServiceChange::Slice(Change::Apply(view::<SliceView>(&json!({
        "metadata": {"namespace": "default", "name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    }))))
}

fn endpoint(address: &str, node: &str, ready: bool) -> Value {
    json!({"addresses": [address], "nodeName": node, "conditions": {"ready": ready, "serving": true, "terminating": !ready}})
}

fn lists_done() -> [ServiceChange; 3] {
    [
        ServiceChange::Service(Change::InitDone),
        ServiceChange::Slice(Change::InitDone),
        ServiceChange::Node(Change::InitDone),
    ]
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

#[test]
fn only_ready_endpoints_of_this_node_count() {
    let check = |endpoints: &[Value], expect: [usize; 2]| {
        let cache = ServiceCache::unwatched();
        cache.apply([service("web", 32000, "Local"), slice("web", &json!(endpoints))]);
        let content = Content::of(&cache.read(), "node1", &key("web")).unwrap();
        assert_eq!((content.port, content.endpoints), (32000, expect));
    };
    let (here, there) = (endpoint("10.244.1.2", "node1", true), endpoint("10.244.2.2", "node2", true));
    check(&[here.clone(), there.clone(), endpoint("10.244.1.3", "node1", true)], [2, 0]);
    check(&[there], [0, 0]);
    check(&[endpoint("10.244.1.2", "node1", false)], [0, 0]);
    check(&[here.clone(), here], [1, 0]);
    let cache = ServiceCache::unwatched();
    cache.apply([service("web", 32000, "Cluster")]);
    assert_eq!(Content::of(&cache.read(), "node1", &key("web")), None);
    assert_eq!(Content::of(&cache.read(), "node1", &key("other")), None);
}

#[test]
fn answers_are_upstreams() {
    let sources = Some(vec!["192.0.2.0/24".parse().unwrap()].into());
    let content = Content { key: key("web"), port: 32000, endpoints: [2, 0], sources };
    let status = |client: &str, is_well| content.answer(client.parse().unwrap(), is_well).status().as_u16();
    assert_eq!([status("192.0.2.1", true), status("192.0.2.1", false), status("2001:db8::1", true)], [200, 503, 503]);
    let answer = content.answer("192.0.2.1".parse().unwrap(), true);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let expect = ["application/json", "nosniff", "2"].map(str::to_owned);
    assert_eq!(["content-type", "x-content-type-options", WEIGHT].map(header), expect);
    assert!(content.admits("192.0.2.9".parse().unwrap()) && !content.admits("198.51.100.1".parse().unwrap()));
}

/// Status and body; `None` where nobody listens.
async fn get(port: u16) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = "GET /any/path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
}

async fn until(port: u16, expect: impl Fn(Option<u16>) -> bool) -> Option<String> {
    let asked = async {
        loop {
            let answer = get(port).await;
            if expect(answer.as_ref().map(|(status, _)| *status)) {
                return answer.map(|(_, body)| body);
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, asked).await.expect("the port answers so in time")
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn ports_are_open_while_their_services_want_them_and_they_can_be_had() {
    let cache = ServiceCache::unwatched();
    let config = Config { node: "node1".to_owned(), ..Config::default() };
    let sources = Arc::new(Sources::new(&config, cache.clone()));
    sources.serving.send_replace(vec!["127.0.0.1".parse().unwrap()]);
    let client = in_process(Router::new().fallback(std::future::pending::<Response>));
    let recorder = ServiceRecorder::new(Recorder::new(client, "stead-proxy", "node1"), cache.clone());
    let ports = HealthPorts::new(sources, recorder, 10);
    let running = tokio::spawn(ports.run(cache.subscribe(), NodePortAddresses::In(Vec::new())));

    let (web, holder) = (free_port().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let taken = holder.local_addr().unwrap().port();
    cache.apply([service("web", web, "Local"), service("api", taken, "Local")]);
    cache.apply([slice("web", &json!([endpoint("10.244.1.2", "node1", true)]))]);
    cache.apply(lists_done());
    let body = until(web, |status| status == Some(200)).await.unwrap();
    let expect = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 1,\n\t\
        \"serviceProxyHealthy\": true\n}";
    assert_eq!(body, expect);
    cache.apply([slice("web", &json!([endpoint("10.244.1.2", "node1", false)]))]);
    until(web, |status| status == Some(503)).await;
    drop(holder);
    cache.apply([service("web", web, "Cluster")]);
    until(web, |status| status.is_none()).await;
    until(taken, |status| status == Some(503)).await;
    running.abort();
}

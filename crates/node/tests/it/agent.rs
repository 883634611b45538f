//! The whole agent against a small API: pods from their object to an answer on the network, over the agent's death, to nothing.

mod volumes;

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stead_client::{Interest, ServiceCache, in_process};
use stead_node::{Config, ServerConfig, image::Store, net::NodeNamespace, runtime::ShimCommand};
use stead_sys::{
    link::{Links, VethEnd},
    namespace::Namespace,
};

use crate::{api::Api, eventually};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_pod_runs_is_reached_and_leaves_nothing", a_pod_runs_is_reached_and_leaves_nothing),
    ("containers_outlive_the_agent", containers_outlive_the_agent),
    ("what_ended_while_nobody_looked_is_found", what_ended_while_nobody_looked_is_found),
    ("a_missing_image_is_named_and_then_found", a_missing_image_is_named_and_then_found),
    ("pods_of_two_nodes_reach_each_other", pods_of_two_nodes_reach_each_other),
    ("logs_are_for_the_api_server_only", logs_are_for_the_api_server_only),
    ("ports_are_forwarded_by_channels", ports_are_forwarded_by_channels),
    ("containers_share_volumes_and_localhost", volumes::containers_share_volumes_and_localhost),
    ("pods_of_a_node_meet_in_a_host_path", volumes::pods_of_a_node_meet_in_a_host_path),
    ("what_is_missing_is_named_and_waited_for", volumes::what_is_missing_is_named_and_waited_for),
];

/// One node: a namespace and directories, and the agent that may be running in them.
struct Node {
    name: &'static str,
    dir: tempfile::TempDir,
    namespace: Arc<Namespace>,
    address: &'static str,
    ranges: Vec<&'static str>,
    api: Api,
    server: Option<ServerConfig>,
    agent: Option<tokio::runtime::Runtime>,
}

impl Node {
    fn new(api: &Api) -> Self {
        Self::named(api, "node1", "192.168.56.101", "10.244.1.0/24")
    }

    fn named(api: &Api, name: &'static str, address: &'static str, range: &'static str) -> Self {
        let namespace = Arc::new(Namespace::create().unwrap());
        let mut links = Links::open_in(&namespace).unwrap();
        let loopback = links.index("lo").unwrap();
        links.add_address(loopback, format!("{address}/32").parse().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { name, dir, namespace, address, ranges: vec![range], api: api.clone(), server: None, agent: None }
    }

    fn config(&self) -> Config {
        Config {
            node_name: self.name.to_owned(),
            node_addresses: vec![self.address.parse().unwrap()],
            pod_ranges: self.ranges.iter().map(|range| range.parse().unwrap()).collect(),
            cluster_pod_ranges: vec!["10.244.0.0/16".parse().unwrap(), "fd56:244::/48".parse().unwrap()],
            inside_ranges: vec!["192.168.56.0/24".parse().unwrap(), "10.96.0.0/16".parse().unwrap()],
            state_dir: self.dir.path().join("state"),
            image_dir: self.image_dir(),
            cgroup: self.cgroup(),
            shim: ShimCommand { program: std::env::current_exe().unwrap(), args: vec!["shim".into()] },
            namespace: NodeNamespace::Own,
            resolv_conf: None,
            server: self.server.clone(),
        }
    }

    fn image_dir(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    fn cgroup(&self) -> PathBuf {
        let unique = self.dir.path().file_name().unwrap().to_str().unwrap().replace('.', "x");
        PathBuf::from(format!("/stead-test/{unique}"))
    }

    fn start(&mut self) {
        let (config, api, namespace) = (self.config(), self.api.clone(), Arc::clone(&self.namespace));
        // A runtime's threads are in the namespace of the thread that made it.
        let runtime = namespace.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.spawn(async move {
                let client = in_process(api.router());
                let cache = ServiceCache::start(&client, Interest::All);
                if let Err(error) = stead_node::run(config, client, cache).await {
                    eprintln!("agent: {error:?}");
                }
            });
            runtime
        });
        self.agent = Some(runtime.unwrap());
    }

    /// As a SIGKILL would: nothing is said, nothing is finished.
    fn kill(&mut self) {
        if let Some(runtime) = self.agent.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    fn create(&self, name: &str, container: Value) -> String {
        let mut container = container;
        container["name"] = "web".into();
        self.create_pod(name, json!({"containers": [container]}))
    }

    fn create_pod(&self, name: &str, spec: Value) -> String {
        let uid = format!("uid-{name}-{}", self.name);
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": uid},
            "spec": {"nodeName": self.name, "terminationGracePeriodSeconds": 5},
        });
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        self.api.put(&path, pod);
        path
    }

    /// As an API server answers a DELETE with the default grace.
    fn delete(&self, path: &str) {
        let mut pod = self.api.get(path).unwrap();
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod["metadata"]["deletionGracePeriodSeconds"] = 5.into();
        self.api.put(path, pod);
    }

    fn await_ready(&self, path: &str) -> Value {
        eventually(&format!("{path} is ready"), || is_ready(&self.api.get(path).unwrap()));
        self.api.get(path).unwrap()
    }

    fn fetch(&self, ip: &str) -> std::io::Result<String> {
        fetch(&self.namespace, ip, 8080)
    }

    fn events(&self, reason: &str) -> Vec<String> {
        let events = self.api.all("/events/");
        let of_reason = events.iter().filter(|event| event["reason"] == reason);
        of_reason.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    fn left_over(&self) -> usize {
        let count =
            |dir: &str| fs::read_dir(self.dir.path().join("state").join(dir)).map_or(0, |dir| dir.flatten().count());
        count("containers") + count("pods") + count("network/netns")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for pod in self.api.all("/pods/") {
            let path = format!("/api/v1/namespaces/default/pods/{}", pod["metadata"]["name"].as_str().unwrap());
            if pod["spec"]["nodeName"] == self.name {
                self.api.delete(&path);
            }
        }
        if self.agent.is_none() {
            self.start();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.left_over() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = self.left_over();
        self.kill();
        let netns = self.dir.path().join("state/network/netns");
        let _ = nix::mount::umount2(&netns, nix::mount::MntFlags::MNT_DETACH);
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let path = hierarchy.path().join(self.cgroup().strip_prefix("/").unwrap());
            let _ = fs::remove_dir(&path);
            let _ = fs::remove_dir(path.parent().unwrap());
        }
        if !std::thread::panicking() {
            assert_eq!(left, 0, "everything of the node's pods is gone");
        }
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn fetch(namespace: &Namespace, ip: &str, port: u16) -> std::io::Result<String> {
    let ip: IpAddr = ip.parse().unwrap();
    namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&(ip, port).into(), Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?
}

fn hello() -> Value {
    json!({
        "image": "stead.local/hello-app:1.0",
        "readinessProbe": {"httpGet": {"port": 8080}},
    })
}

fn shell(script: &str) -> Value {
    json!({"image": "stead.local/busybox", "command": ["sh", "-c", script]})
}

fn a_pod_runs_is_reached_and_leaves_nothing() {
    let api = Api::new();
    let mut node = Node::new(&api);
    node.ranges.push("fd56:244:0:1::/64");
    Store::open(node.image_dir()).unwrap().resolve("stead.local/hello-app:1.0").unwrap();
    node.start();
    eventually("the node is registered", || api.get("/api/v1/nodes/node1").is_some_and(|node| is_ready(&node)));
    let begun = Instant::now();
    let path = node.create("hello", hello());
    let pod = node.await_ready(&path);
    println!("  ready in {:?}", begun.elapsed());
    assert_eq!(pod["status"]["podIP"], "10.244.1.2");
    assert_eq!(pod["status"]["hostIP"], "192.168.56.101");
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "10.244.1.2"}, {"ip": "fd56:244:0:1::2"}]));
    assert!(node.fetch("fd56:244:0:1::2").is_ok());
    let answer = node.fetch("10.244.1.2").unwrap();
    assert!(answer.ends_with("Hello, world!\nVersion: 1.0.0\nHostname: hello\n"), "{answer}");
    for reason in ["Pulled", "Created", "Started"] {
        eventually(reason, || node.events(reason).len() == 1);
    }
    let registered = api.get("/api/v1/nodes/node1").unwrap();
    assert_eq!(registered["spec"]["podCIDR"], "10.244.1.0/24");
    assert_eq!(registered["status"]["nodeInfo"]["kubeletVersion"], "v1.36.2");
    eventually("the lease", || !api.all("/leases/node1").is_empty());
    let begun = Instant::now();
    node.delete(&path);
    eventually("the object is gone", || api.get(&path).is_none());
    println!("  gone in {:?}", begun.elapsed());
    assert!(node.fetch("10.244.1.2").is_err());
    eventually("nothing is left", || node.left_over() == 0);
    a_node_that_cannot_start_pods_says_so(&node);
    // The next pod does not get the address that was just in use.
    let path = node.create("next", hello());
    assert_eq!(node.await_ready(&path)["status"]["podIP"], "10.244.1.3");
}

fn a_node_that_cannot_start_pods_says_so(node: &Node) {
    let state = node.dir.path().join("state");
    let ready = || {
        let node = node.api.get("/api/v1/nodes/node1").unwrap();
        let conditions = node["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
    };
    let moved =
        [("containers", "elsewhere"), ("network", "nowhere")].map(|(from, to)| (state.join(from), state.join(to)));
    moved.iter().for_each(|(from, to)| fs::rename(from, to).unwrap());
    eventually("the node is not ready", || ready()["status"] == "False");
    assert_eq!(ready()["reason"], "KubeletNotReady");
    let told = |message: &str| {
        let (runtime, network) = message.split_once(", ").unwrap_or_default();
        runtime.starts_with("[container runtime is down: ")
            && runtime.contains("/containers cannot be written to")
            && network.starts_with("container runtime network not ready: ")
            && network.contains("/netns cannot be written to")
    };
    eventually("both are named", || told(ready()["message"].as_str().unwrap()));
    eventually("an event", || node.events("NodeNotReady") == ["Node node1 status is now: NodeNotReady"]);
    moved.iter().for_each(|(from, to)| fs::rename(to, from).unwrap());
    eventually("it is ready again", || ready()["status"] == "True");
    eventually("another event", || !node.events("NodeReady").is_empty());
}

fn containers_outlive_the_agent() {
    let api = Api::new();
    let mut node = Node::new(&api);
    node.start();
    let path = node.create("hello", hello());
    let before = node.await_ready(&path);
    node.kill();
    assert!(node.fetch("10.244.1.2").is_ok(), "it answers without an agent");
    // A pod that was deleted for good meanwhile, and one that is new.
    let gone = node.create("gone", hello());
    node.start();
    node.await_ready(&gone);
    node.kill();
    api.delete(&gone);
    node.start();
    eventually("the lost pod is taken down", || node.fetch("10.244.1.3").is_err());
    let new = node.create("new", hello());
    node.await_ready(&new);
    let after = api.get(&path).unwrap();
    let status = |pod: &Value| pod["status"]["containerStatuses"].clone();
    assert_eq!(status(&after), status(&before), "nothing was started twice");
    assert!(node.fetch("10.244.1.2").is_ok());
    assert_eq!(after["status"]["conditions"], before["status"]["conditions"], "it was ready all the while");
    node.delete(&path);
    eventually("an adopted pod can be deleted", || api.get(&path).is_none());
}

fn what_ended_while_nobody_looked_is_found() {
    let api = Api::new();
    let mut node = Node::new(&api);
    node.start();
    let path = node.create("brief", shell("while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 7"));
    node.await_ready(&path);
    node.kill();
    let containers = node.dir.path().join("state/containers/uid-brief-node1/web/0");
    let status = fs::read_to_string(containers.join("status.json")).unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    let pid = status["state"]["running"]["pid"].as_i64().unwrap();
    fs::write(format!("/proc/{pid}/root/tmp/end"), "").unwrap();
    eventually("it ends", || fs::read_to_string(containers.join("status.json")).unwrap().contains("exited"));
    node.start();
    eventually("it runs again", || {
        let pod = api.get(&path).unwrap();
        pod["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    let pod = api.get(&path).unwrap();
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(7), &json!("Error")));
}

fn a_missing_image_is_named_and_then_found() {
    let api = Api::new();
    let mut node = Node::new(&api);
    node.start();
    let path = node.create("public", json!({"image": "gcr.io/google-samples/hello-app:1.0"}));
    let reason = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    eventually("the image is missing", || reason(&api.get(&path).unwrap()) == "ErrImagePull");
    eventually("an event says what to do", || {
        node.events("Failed").iter().any(|message| message.contains("stead image load"))
    });
    let store = Store::open(node.image_dir()).unwrap();
    store.tag("stead.local/hello-app:1.0", "gcr.io/google-samples/hello-app:1.0").unwrap();
    node.await_ready(&path);
}

fn pods_of_two_nodes_reach_each_other() {
    let api = Api::new();
    let mut one = Node::new(&api);
    let mut two = Node::named(&api, "node2", "192.168.56.102", "10.244.2.0/24");
    let mut links = Links::open_in(&one.namespace).unwrap();
    let end = |namespace| VethEnd { name: "fabric", namespace: Some(namespace) };
    links.create_veth(end(&one.namespace), end(&two.namespace)).unwrap();
    for node in [&one, &two] {
        let mut links = Links::open_in(&node.namespace).unwrap();
        let fabric = links.index("fabric").unwrap();
        let loopback = links.index("lo").unwrap();
        links.delete_address(loopback, format!("{}/32", node.address).parse().unwrap()).unwrap();
        links.add_address(fabric, format!("{}/24", node.address).parse().unwrap()).unwrap();
        links.set_up(fabric).unwrap();
    }
    one.start();
    two.start();
    let (here, there) = (one.create("here", shell("sleep 1000")), two.create("there", hello()));
    let here = one.await_ready(&here);
    two.await_ready(&there);
    assert!(one.fetch("10.244.2.2").is_ok(), "from node to pod");
    assert_eq!(here["status"]["podIP"], "10.244.1.2");
    let pod = Namespace::open(&one.dir.path().join("state/network/netns/uid-here-node1")).unwrap();
    let from_pod = |ip: &str, port| fetch(&pod, ip, port);
    eventually("from pod to pod", || from_pod("10.244.2.2", 8080).is_ok());
    // Pods of one node, too, reach each other, and each itself.
    let path = one.create("near", hello());
    let near = one.await_ready(&path);
    assert!(from_pod(near["status"]["podIP"].as_str().unwrap(), 8080).is_ok());
    // One that goes takes nothing of the others along, though each pair has the gateway's address.
    one.delete(&path);
    eventually("it is gone", || api.get(&path).is_none());
    assert!(from_pod("10.244.2.2", 8080).is_ok());
}

fn logs_are_for_the_api_server_only() {
    let api = Api::new();
    let mut node = Node::new(&api);
    let pki = Pki::new(&node);
    node.server = Some(pki.server.clone());
    node.start();
    let path = node
        .create("talker", shell("echo first; echo second; while [ ! -e /tmp/end ]; do sleep 0.05; done; echo last"));
    node.await_ready(&path);
    let logs = "/containerLogs/default/talker/web";
    let trusted = pki.client("kube-apiserver-kubelet-client", "system:masters");
    eventually("the log", || pki.get(&node, &trusted, logs) == (200, "first\nsecond\n".to_owned()));
    assert_eq!(pki.get(&node, &trusted, &format!("{logs}?tailLines=1")), (200, "second\n".to_owned()));
    assert_eq!(pki.get(&node, &trusted, "/containerLogs/default/talker/absent").0, 404);
    assert_eq!(pki.get(&node, &trusted, &format!("{logs}?previous=true")).0, 400);
    assert_eq!(pki.get(&node, &trusted, &format!("{logs}?tailLines=x")).0, 400);
    assert_eq!(pki.get(&node, &trusted, "/healthz"), (200, "ok\n".to_owned()));
    let stranger = pki.client("somebody", "developers");
    assert_eq!(pki.get(&node, &stranger, logs).0, 403);
    // Followed to its end.
    let follow = std::thread::scope(|scope| {
        let following = scope.spawn(|| pki.get(&node, &trusted, &format!("{logs}?follow=true")));
        let status = node.dir.path().join("state/containers/uid-talker-node1/web/0/status.json");
        let status: Value = serde_json::from_str(&fs::read_to_string(status).unwrap()).unwrap();
        let pid = status["state"]["running"]["pid"].as_i64().unwrap();
        fs::write(format!("/proc/{pid}/root/tmp/end"), "").unwrap();
        following.join().unwrap()
    });
    assert_eq!(follow, (200, "first\nsecond\nlast\n".to_owned()));
}

/// As the Python and Rust clients do it, frame by frame.
fn ports_are_forwarded_by_channels() {
    let api = Api::new();
    let mut node = Node::new(&api);
    let pki = Pki::new(&node);
    node.server = Some(pki.server.clone());
    node.start();
    let path = node.create("quiet", shell("while :; do sleep 1; done"));
    node.await_ready(&path);
    let status = node.dir.path().join("state/containers/uid-quiet-node1/web/0/status.json");
    let status: Value = serde_json::from_str(&fs::read_to_string(status).unwrap()).unwrap();
    let pid = status["state"]["running"]["pid"].as_i64().unwrap();
    let inside = Namespace::open(format!("/proc/{pid}/ns/net").as_ref()).unwrap();
    let listener = inside.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let closed = inside.run(|| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()).unwrap();
    let open = listener.local_addr().unwrap().port();
    let shouting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word.map(|letter| letter.to_ascii_uppercase())).unwrap();
    });
    let trusted = pki.client("kube-apiserver-kubelet-client", "system:masters");
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n";
    let path = "/portForward/default/quiet";
    pki.speak(&node, &trusted, |stream| {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\n{handshake}\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head, *b"HTTP/1.1 400", "no port is named");
    });
    pki.speak(&node, &trusted, |stream| {
        write!(stream, "GET {path}?port={closed}&port={open} HTTP/1.1\r\nHost: node\r\n{handshake}\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && head.contains("protocol: v4.channel.k8s.io"), "{head}");
        // Local port 10250, established, and no timer left but that of keepalive.
        let kept = |line: &str| line.contains(":280A ") && line.contains(" 01 ") && line.contains(" 02:");
        eventually("a client that vanishes will be noticed", || {
            fs::read_to_string("/proc/thread-self/net/tcp").unwrap().lines().any(kept)
        });
        // A binary frame with a mask of zeros: channel 2 is the data of the second port.
        stream.write_all(b"\x82\x85\0\0\0\0\x02word").unwrap();
        let mut said = std::collections::BTreeMap::<u8, Vec<u8>>::new();
        loop {
            let mut start = [0; 2];
            stream.read_exact(&mut start).unwrap();
            let mut length = usize::from(start[1]);
            if length == 126 {
                let mut long = [0; 2];
                stream.read_exact(&mut long).unwrap();
                length = u16::from_be_bytes(long).into();
            }
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).unwrap();
            match start[0] {
                0x82 => said.entry(payload[0]).or_default().extend(&payload[1..]),
                0x88 => break,
                other => panic!("a frame of kind {other:#x}"),
            }
        }
        let (closed_bytes, open_bytes) = (closed.to_le_bytes(), open.to_le_bytes());
        assert_eq!((&said[&0], &said[&3]), (&closed_bytes.to_vec(), &open_bytes.to_vec()));
        assert_eq!(said[&2], [&open_bytes[..], b"WORD"].concat());
        let problem = String::from_utf8(said[&1][2..].to_vec()).unwrap();
        assert!(said[&1].starts_with(&closed_bytes) && problem.contains("connection refused"), "{problem}");
        assert!(problem.starts_with(&format!("error forwarding port {closed} to pod quiet_default")), "{problem}");
    });
    shouting.join().unwrap();
}

/// A cluster's authority.
struct Pki {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    server: ServerConfig,
    authority: String,
}

impl Pki {
    fn new(node: &Node) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        let write = |name: &str, text: &str| {
            let path = node.dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let serving = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![node.address.to_owned()]).unwrap();
        let certificate = params.signed_by(&serving, &issuer).unwrap();
        let server = ServerConfig {
            port: 10250,
            certificate: write("agent.crt", &certificate.pem()),
            key: write("agent.key", &serving.serialize_pem()),
            client_authority: write("ca.crt", &authority),
        };
        Self { issuer, server, authority }
    }

    /// Certificate and key, PEM.
    fn client(&self, user: &str, group: &str) -> (String, String) {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, user);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// GET from the agent: status and body.
    fn get(&self, node: &Node, client: &(String, String), path: &str) -> (u16, String) {
        self.speak(node, client, |stream| {
            write!(stream, "GET {path} HTTP/1.0\r\nHost: node\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
        })
    }

    /// A connection to the agent.
    fn speak<T: Send>(
        &self,
        node: &Node,
        client: &(String, String),
        said: impl FnOnce(&mut rustls::Stream<'_, rustls::ClientConnection, TcpStream>) -> T + Send,
    ) -> T {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let certificate = CertificateDer::from_pem_slice(client.0.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(client.1.as_bytes()).unwrap();
        let config = config.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key).unwrap();
        let name = rustls::pki_types::ServerName::try_from(node.address).unwrap();
        let address: IpAddr = node.address.parse().unwrap();
        node.namespace
            .run(|| {
                let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
                let mut socket = TcpStream::connect((address, 10250)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                let mut stream = rustls::Stream::new(&mut connection, &mut socket);
                said(&mut stream)
            })
            .unwrap()
    }
}

//! Pods that go, in every way there is, while connections come in: none of them may notice.

use std::net::SocketAddr;

use crate::{
    lab::{Lab, eventually, ok},
    load::Load,
};

/// From each client.
const PER_SECOND: u32 = 300;

const WEB: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{
    "replicas":3,"selector":{"matchLabels":{"app":"web"}},
    "template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{
        "name":"main","image":"stead.local/hello-app:1.0","ports":[{"containerPort":8080}],
        "readinessProbe":{"httpGet":{"path":"/","port":8080},"periodSeconds":1}}]}}}}"#;

#[test]
fn rollouts_deletions_scaling_and_drains_cost_no_connection() {
    let lab = Lab::up("removal", 2);
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], WEB));
    lab.kubectl_ok("expose deployment web --type=NodePort --port=80 --target-port=8080");
    let settled = || lab.kubectl_ok("rollout status deployment web --timeout=60s");
    settled();
    let field = |path: &str| lab.kubectl_ok(&format!("get svc web -o jsonpath={{.spec.{path}}}"));
    let vip: SocketAddr = format!("{}:80", field("clusterIP")).parse().unwrap();
    let node_port: SocketAddr = format!("192.168.56.102:{}", field("ports[0].nodePort")).parse().unwrap();
    eventually("the virtual IP to answer", || lab.curl("node1", &format!("http://{vip}")));
    eventually("the node port to answer", || lab.curl("outside", &format!("http://{node_port}")));
    let on_loopback = format!("http://127.0.0.1:{}", node_port.port());
    eventually("the node port to answer on the node's loopback", || lab.curl("node1", &on_loopback));

    let inside = Load::start(&lab, "node1", vip, PER_SECOND);
    let outside = Load::start(&lab, "outside", node_port, PER_SECOND);
    for image in ["2.0", "1.0"] {
        lab.kubectl_ok(&format!("set image deployment web main=stead.local/hello-app:{image}"));
        settled();
    }
    for _ in 0..3 {
        let pods = lab.kubectl_ok("get pods -l app=web --no-headers");
        // One that is on its way out may be gone before it can be deleted.
        let stays = pods.lines().find(|line| !line.contains("Terminating")).unwrap();
        let pod = stays.split(' ').next().unwrap();
        lab.kubectl_ok(&format!("delete pod {pod}"));
        settled();
    }
    for replicas in [6, 2] {
        lab.kubectl_ok(&format!("scale deployment web --replicas={replicas}"));
        settled();
    }
    // As a drain does it; whether both pods are there or one, the others take over first.
    lab.kubectl_ok("cordon node1");
    lab.kubectl_ok("delete pods -l app=web --field-selector=spec.nodeName=node1");
    settled();
    lab.kubectl_ok("uncordon node1");
    let terminating = || lab.kubectl_ok("get pods -l app=web").contains("Terminating");
    eventually("the last pod to be gone", || (!terminating()).then_some(()));

    inside.stop().assert_none_failed("node1", PER_SECOND);
    outside.stop().assert_none_failed("outside", PER_SECOND);
}

//! The README's session, as a user types it, with the installed `kubectl`.

use std::fs;

use crate::lab::{Lab, Reply, eventually, refused_at_once};

const MANIFEST: &str = include_str!("../../../../examples/hello-world.yaml");

#[test]
fn the_session_of_the_readme_works_as_written() {
    let lab = Lab::up("session", 2);

    let nodes = lab.kubectl_ok("get nodes -o wide");
    for (node, address) in [("node1", "192.168.56.101"), ("node2", "192.168.56.102")] {
        let line = nodes.lines().find(|line| line.starts_with(node)).unwrap_or_else(|| panic!("{nodes}"));
        assert!(line.contains(" Ready ") && line.contains(address) && line.contains("stead://"), "{line}");
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap().trim_matches('"');
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert!(line.contains(system) && line.contains(kernel.trim()), "{line}: {system}, {kernel}");
    }

    crate::lab::ok("apply", lab.kubectl_words(&["apply", "-f", "-"], MANIFEST));
    lab.kubectl_ok("expose deployment hello-world --port=80 --target-port=8080");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    let services = lab.kubectl_ok("get svc");
    let header: Vec<_> = services.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]);
    let row = |name: &str| {
        services.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(row("kubernetes")[..5], ["kubernetes", "ClusterIP", "10.96.0.1", "<none>", "443/TCP"]);
    let hello = row("hello-world");
    assert_eq!((hello[1], hello[3], hello[4]), ("ClusterIP", "<none>", "80/TCP"));
    let url = format!("http://{}", hello[2]);

    let answer = eventually("an answer through the virtual IP", || lab.curl("node1", &url));
    let lines: Vec<_> = answer.lines().collect();
    assert_eq!(lines[..2], ["Hello, world!", "Version: 1.0.0"]);
    assert!(lines[2].starts_with("Hostname: hello-world-"), "{answer}");
    eventually("both pods to answer", || (lab.answering("node2", &url, 20).len() == 2).then_some(()));
    assert_eq!(lab.curl_code("outside", &url), Some(7), "who is not in the cluster has no route to a virtual IP");

    lab.kubectl_ok("scale deployment hello-world --replicas=5");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    eventually("five pods to take their share", || (lab.answering("node1", &url, 60).len() == 5).then_some(()));

    lab.kubectl_ok("set image deployment hello-world *=stead.local/hello-app:2.0");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    eventually("only the new version to answer", || {
        (0..10).all(|_| lab.curl("node1", &url).is_some_and(|answer| answer.contains("Version: 2.0.0"))).then_some(())
    });

    let listing = lab.kubectl_ok("get endpoints,endpointslices,pods -o wide");
    assert!(
        listing.contains("endpoints/hello-world") && listing.contains("endpointslice.discovery.k8s.io/hello-world-")
    );
    let described = lab.kubectl_ok("describe svc hello-world");
    assert!(described.contains("Endpoints:") && described.contains(":8080"), "{described}");
    let yaml = lab.kubectl_ok("get svc hello-world -o yaml");
    assert!(yaml.contains("targetPort: 8080") && yaml.contains("internalTrafficPolicy: Cluster"), "{yaml}");
    assert!(lab.kubectl_ok("get events").contains("ScalingReplicaSet"));

    let pod = lab.answering("node1", &url, 1).into_keys().next().unwrap();
    lab.kubectl_ok(&format!("logs {pod}"));
    lab.kubectl_ok(&format!("delete pod {pod}"));
    assert!(!lab.answering("node1", &url, 40).contains_key(&pod), "a deleted pod still answers");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    eventually("a replacement to join", || (lab.answering("node1", &url, 60).len() == 5).then_some(()));

    lab.kubectl_words(&["patch", "svc", "hello-world", "-p", r#"{"spec":{"type":"NodePort"}}"#], "");
    let port = lab.kubectl_ok("get svc hello-world -o jsonpath={.spec.ports[0].nodePort}");
    for host in ["node1", "node2", "outside"] {
        for node in ["192.168.56.101", "192.168.56.102"] {
            let url = format!("http://{node}:{port}");
            eventually("the node port to answer", || lab.curl(host, &url));
        }
    }

    lab.kubectl_ok("delete svc hello-world");
    let node_port = format!("http://192.168.56.101:{port}");
    refused_at_once("the virtual IP", || Reply::of_curl(lab.curl_code("node1", &url)));
    refused_at_once("the node port", || Reply::of_curl(lab.curl_code("outside", &node_port)));
}

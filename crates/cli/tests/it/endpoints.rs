//! Services without a selector: Endpoints and EndpointSlices made by hand with kubectl carry traffic to a process that is no pod, and
//! to another Service's virtual IP.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    thread,
};

use crate::lab::{Lab, eventually, ok};

/// Answers every request on the lab's host `outside` until the test ends; its port.
fn serve_outside(lab: &Lab) -> u16 {
    let namespace = stead_lab::find(Path::new("/run/stead"), &lab.name).unwrap().namespace("outside").unwrap();
    let listener = namespace.run(|| TcpListener::bind("192.168.56.50:0")).unwrap().unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nno pod\n");
        }
    });
    port
}

fn service(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{{"ports":[{{"port":80}}]}}}}"#
    )
}

fn endpoints(name: &str, address: &str, port: u16) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Endpoints","metadata":{{"name":"{name}"}},
            "subsets":[{{"addresses":[{{"ip":"{address}"}}],"ports":[{{"port":{port}}}]}}]}}"#
    )
}

fn slice(service: &str, address: &str, port: u16) -> String {
    format!(
        r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{{"name":"{service}-1",
            "labels":{{"kubernetes.io/service-name":"{service}"}}}},"endpoints":[{{"addresses":["{address}"]}}],"ports":[{{"port":{port}}}]}}"#
    )
}

#[test]
fn endpoints_made_by_hand_carry_traffic() {
    let lab = Lab::up("by-hand", 2);
    let port = serve_outside(&lab);
    let create = |manifest: &str| ok("create", lab.kubectl_words(&["create", "-f", "-"], manifest));
    let vip = |name: &str| lab.kubectl_ok(&format!("get svc {name} -o jsonpath={{.spec.clusterIP}}"));
    let answers = |address: &str| {
        let url = format!("http://{address}");
        let answer = eventually("an answer from outside the cluster", || lab.curl("node1", &url));
        assert_eq!(answer, "no pod\n");
    };
    let refuses = |address: &str| {
        let url = format!("http://{address}");
        eventually("a refusal", || (lab.curl_code("node2", &url) == Some(7)).then_some(()));
    };

    create(&service("db"));
    create(&endpoints("db", "192.168.56.50", port));
    let db = vip("db");
    answers(&db);
    let mirror = lab.kubectl_ok("get endpointslices -l kubernetes.io/service-name=db -o wide");
    let line = mirror.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line[1..4], ["IPv4", &port.to_string(), "192.168.56.50"], "{mirror}");
    let shown = lab.kubectl_ok("get endpoints db -o wide");
    assert!(shown.contains(&format!("192.168.56.50:{port}")), "{shown}");
    // Slices are not described here: kubectl before 1.21 asks for them in a version that is gone.
    for (words, expect) in [
        ("describe svc db", "Endpoints:"),
        ("describe endpoints db", "Subsets:"),
        ("get endpointslices -l kubernetes.io/service-name=db -o yaml", "addressType:"),
    ] {
        let text = lab.kubectl_ok(words);
        assert!(text.contains(expect) && text.contains("192.168.56.50"), "{text}");
    }
    lab.kubectl_ok("delete endpoints db");
    refuses(&db);

    create(&slice("db", "192.168.56.50", port));
    answers(&db);
    // For a pod as well, to which `outside` has no route: it sees the node.
    let script = format!("while :; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {db} 80; sleep 0.1; done");
    lab.kubectl_words(&["run", "client", "--image=stead.local/busybox", "--", "sh", "-c", &script], "");
    eventually("an answer to a pod", || {
        let logs = lab.kubectl("logs client --tail=4");
        String::from_utf8_lossy(&logs.stdout).contains("no pod").then_some(())
    });

    // Another Service stands for it, by its virtual IP.
    create(&service("front"));
    create(&slice("front", &db, 80));
    answers(&vip("front"));
    lab.kubectl_ok("delete endpointslice db-1");
    refuses(&vip("front"));

    create(&service("loop"));
    create(&slice("loop", &vip("loop"), 80));
    create(&slice("db", &vip("front"), 80));
    let events = eventually("events that name the loops", || {
        let events = lab.kubectl_ok("get events --field-selector reason=EndpointLoop");
        ["service/loop", "service/db", "service/front"].iter().all(|name| events.contains(name)).then_some(events)
    });
    assert!(events.contains("is this Service itself"), "{events}");
    assert!(events.contains("is Service default/db, which leads back to this one"), "{events}");

    for address in ["127.0.0.1", "169.254.169.254"] {
        for manifest in [endpoints("bad", address, 80), slice("bad", address, 80)] {
            let error = lab.kubectl_refused(&["create", "-f", "-"], &manifest);
            assert!(error.contains("may not be in the"), "{error}");
        }
    }
    let patch = r#"{"endpoints":[{"addresses":["127.0.0.1"]}]}"#;
    let error = lab.kubectl_refused(&["patch", "endpointslice", "front-1", "--type=merge", "-p", patch], "");
    assert!(error.contains("may not be in the loopback range"), "{error}");
}

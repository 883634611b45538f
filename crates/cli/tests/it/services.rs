//! Services beyond the README's session: UDP and IPv6, asked from nodes, from pods and from outside; images by other names.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use stead_sys::namespace::Namespace;

use crate::lab::{Lab, Reply, eventually, ok, refused_at_once, run, stead};

fn deployment(name: &str, image: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}"}},"spec":{{
            "replicas":2,"selector":{{"matchLabels":{{"app":"{name}"}}}},
            "template":{{"metadata":{{"labels":{{"app":"{name}"}}}},"spec":{{
                "containers":[{{"name":"main","image":"{image}","ports":[{{"containerPort":8080}}]}}]}}}}}}}}"#
    )
}

fn host(lab: &Lab, name: &str) -> Namespace {
    stead_lab::find(Path::new("/run/stead"), &lab.name).unwrap().namespace(name).unwrap()
}

/// The network of the lab's pod that has the address.
fn pod(lab: &Lab, address: IpAddr) -> Namespace {
    let group = format!("stead/{}/", lab.name);
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let of_lab =
        processes.filter(|path| fs::read_to_string(path.join("cgroup")).is_ok_and(|text| text.contains(&group)));
    let mut networks = of_lab.filter_map(|path| Namespace::open(&path.join("ns/net")).ok());
    let is_it = |network: &Namespace| network.run(|| UdpSocket::bind((address, 0)).is_ok()).unwrap();
    networks.find(is_it).unwrap_or_else(|| panic!("no pod of {} has {address}", lab.name))
}

/// What a datagram to `target` is answered with.
fn ask_udp(network: &Namespace, target: SocketAddr) -> io::Result<String> {
    let ask = || {
        let any: SocketAddr = if target.is_ipv4() { "0.0.0.0:0".parse().unwrap() } else { "[::]:0".parse().unwrap() };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(target)?;
        match socket.send(b"who?") {
            // A node's own packets are refused before they leave: the kernel says so, and the ICMP answer comes all the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            sent => drop(sent?),
        }
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    network.run(ask).unwrap()
}

#[test]
fn udp_and_ipv6_services_answer_everywhere_and_are_refused_when_deleted() {
    let lab = Lab::up("families", 2);
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], &deployment("web", "stead.local/hello-app:1.0")));
    let services = r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"udp"},"spec":{"type":"NodePort","selector":{"app":"web"},
            "ports":[{"port":80,"targetPort":8080,"protocol":"UDP"}]}},
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"six"},"spec":{"type":"NodePort","selector":{"app":"web"},
            "ipFamilies":["IPv6"],"ports":[{"port":80,"targetPort":8080}]}},
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"balanced"},"spec":{"type":"LoadBalancer",
            "selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080}]}}]}"#;
    ok("services", lab.kubectl_words(&["create", "-f", "-"], services));
    lab.kubectl_ok("rollout status deployment web --timeout=60s");
    let field = |service: &str, path: &str| lab.kubectl_ok(&format!("get svc {service} -o jsonpath={{.spec.{path}}}"));

    let vip: SocketAddr = format!("{}:80", field("udp", "clusterIP")).parse().unwrap();
    let node_port =
        |node: &str| -> SocketAddr { format!("{node}:{}", field("udp", "ports[0].nodePort")).parse().unwrap() };
    let places = [
        ("node1", vip),
        ("node2", vip),
        ("node2", node_port("192.168.56.101")),
        ("outside", node_port("192.168.56.102")),
    ];
    for (name, target) in places {
        let answer = eventually("an answer to a datagram", || ask_udp(&host(&lab, name), target).ok());
        assert!(answer.contains("web-"), "{name} to {target}: {answer:?}");
    }
    let address = lab.kubectl_ok("get pods -l app=web -o jsonpath={.items[0].status.podIP}");
    let pod = pod(&lab, address.parse().unwrap());
    let answer = eventually("an answer to a pod's datagram", || ask_udp(&pod, vip).ok());
    assert!(answer.contains("web-"), "{answer:?}");

    let vip6 = field("six", "clusterIP");
    assert!(vip6.starts_with("fd56:96::"), "{vip6}");
    let url6 = format!("http://[{vip6}]");
    eventually("the IPv6 virtual IP to answer", || lab.curl("node1", &url6));
    eventually("both pods to answer over IPv6", || (lab.answering("node2", &url6, 20).len() == 2).then_some(()));
    let node_port6 = format!("http://[fd56::102]:{}", field("six", "ports[0].nodePort"));
    eventually("the IPv6 node port to answer outside", || lab.curl("outside", &node_port6));

    let shown = lab.kubectl_ok("get svc balanced");
    assert!(shown.contains(" LoadBalancer ") && shown.contains(" <pending> "), "{shown}");
    let node_port4 = format!("http://192.168.56.102:{}", field("balanced", "ports[0].nodePort"));
    eventually("a load balancer's node port to answer outside", || lab.curl("outside", &node_port4));

    let places = [
        ("a node", host(&lab, "node1"), vip),
        ("a pod", pod, vip),
        ("outside", host(&lab, "outside"), node_port("192.168.56.102")),
    ];
    lab.kubectl_ok("delete svc udp six");
    for (who, network, target) in places {
        refused_at_once(&format!("a datagram of {who}"), || match ask_udp(&network, target) {
            Ok(_) => Reply::Served,
            // ICMP's port unreachable.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Reply::Refused,
            Err(_) => Reply::Silent,
        });
    }
    refused_at_once("the IPv6 virtual IP", || Reply::of_curl(lab.curl_code("node1", &url6)));
    refused_at_once("the IPv6 node port", || Reply::of_curl(lab.curl_code("outside", &node_port6)));
    a_range_that_joins_is_served_everywhere_and_waits_with_its_end(&lab);
    a_machine_that_is_no_node_serves_with_the_proxy_alone(&lab);
}

/// The Service `balanced` is there.
fn a_machine_that_is_no_node_serves_with_the_proxy_alone(lab: &Lab) {
    let vip = lab.kubectl_ok("get svc balanced -o jsonpath={.spec.clusterIP}");
    let url = format!("http://{vip}");
    assert_eq!(lab.curl_code("outside", &url), Some(7), "no route");
    for route in ["10.244.1.0/24 via 192.168.56.101", "10.244.2.0/24 via 192.168.56.102", "10.96.0.0/16 dev eth0"] {
        let words: Vec<&str> = ["ip", "route", "add"].into_iter().chain(route.split(' ')).collect();
        ok(route, lab.exec("outside", &words));
    }
    let mut proxy = Command::new("setpriv");
    proxy.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_stead"), "exec-node", "--name", &lab.name, "outside", "--"]);
    proxy.args([env!("CARGO_BIN_EXE_stead"), "proxy", "--hostname-override=node1", "--cluster-cidr=10.244.0.0/16"]);
    // What is the machine's stays as it is.
    proxy.args(["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0"]);
    proxy.args(["--conntrack-tcp-timeout-close-wait=0", "--kubeconfig"]);
    proxy.arg(format!("/run/stead/{}/nodes/node1/kubeconfig", lab.name)).stderr(Stdio::null());
    let mut proxy = proxy.spawn().unwrap();
    eventually("the virtual IP to answer", || lab.curl("outside", &url));
    eventually("both pods to answer", || (lab.answering("outside", &url, 20).len() == 2).then_some(()));
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert!(lab.curl("outside", &url).is_some(), "the kernel serves on without it");
}

/// The pods `web` are there.
fn a_range_that_joins_is_served_everywhere_and_waits_with_its_end(lab: &Lab) {
    let range = r#"{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{"name":"more"},
        "spec":{"cidrs":["10.97.0.0/24"]}}"#;
    ok("range", lab.kubectl_words(&["create", "-f", "-"], range));
    let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"more"},"spec":{"clusterIP":"10.97.0.9",
        "externalIPs":["192.168.56.222"],"selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080}]}}"#;
    ok("service", lab.kubectl_words(&["create", "-f", "-"], service));
    for node in ["node1", "node2"] {
        eventually("the new range to answer", || lab.curl(node, "http://10.97.0.9"));
        eventually("the external address to answer", || lab.curl(node, "http://192.168.56.222"));
        eventually("its free addresses to be refused", || {
            (lab.curl_code(node, "http://10.97.0.8") == Some(7)).then_some(())
        });
    }
    let shown = lab.kubectl_ok("get servicecidr,ipaddress");
    assert!(shown.contains("10.97.0.0/24") && shown.contains("services/default/more"), "{shown}");
    lab.kubectl_ok("delete servicecidr more --wait=false");
    eventually("the reason why it stays", || {
        let message = lab.kubectl_ok("get servicecidr more -o jsonpath={.status.conditions[0].reason}");
        (message == "Terminating").then_some(())
    });
    lab.kubectl_ok("delete svc more");
    lab.kubectl_ok("wait --for=delete servicecidr/more --timeout=60s");
}

#[test]
fn pods_reach_services_and_are_refused_when_there_is_none() {
    let lab = Lab::up("pods", 2);
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], &deployment("web", "stead.local/hello-app:1.0")));
    lab.kubectl_ok("expose deployment web --port=80 --target-port=8080");
    lab.kubectl_ok("rollout status deployment web --timeout=60s");
    let vip = lab.kubectl_ok("get svc web -o jsonpath={.spec.clusterIP}");
    // Debian's busybox-static 1.35 crashes in its own wget, so the pod speaks HTTP by hand.
    let request = r"printf 'GET / HTTP/1.0\r\n\r\n'";
    let script = format!("while :; do {request} | nc -w 2 {vip} 80 2>&1; sleep 0.1; done");
    lab.kubectl_words(&["run", "client", "--image=stead.local/busybox", "--", "sh", "-c", &script], "");
    let log = |needle: &str| {
        let text = lab.kubectl_ok("logs client --tail=4");
        text.contains(needle).then_some(())
    };
    lab.kubectl_ok("wait --for=condition=Ready pod/client --timeout=60s");
    eventually("the pod to be answered", || log("Hello, world!"));
    lab.kubectl_ok("create configmap settings --from-literal=COLOUR=green");
    let printer = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"printer"},"spec":{"restartPolicy":"Never",
        "volumes":[{"name":"map","configMap":{"name":"settings"}}],
        "containers":[{"name":"c","image":"stead.local/busybox","envFrom":[{"configMapRef":{"name":"settings"}}],
            "command":["sh","-c","echo $COLOUR $(cat /map/COLOUR) $WEB_SERVICE_HOST:$WEB_SERVICE_PORT"],
            "volumeMounts":[{"name":"map","mountPath":"/map"}]}]}}"#;
    ok("printer", lab.kubectl_words(&["apply", "-f", "-"], printer));
    let said = eventually("its variables", || {
        let logs = lab.kubectl("logs printer");
        Some(String::from_utf8(logs.stdout).unwrap()).filter(|text| logs.status.success() && !text.is_empty())
    });
    assert_eq!(said, format!("green green {vip}:80\n"));
    a_pod_is_served_while_its_probes_succeed(&lab);
    lab.kubectl_ok("delete svc web");
    // The pod asks ten times a second.
    refused_at_once("the pod", || {
        let last = lab.kubectl_ok("logs client --tail=1");
        if last.contains("Connection refused") { Reply::Refused } else { Reply::Served }
    });
}

/// One container is asked for a file, the other whether its port is open.
fn a_pod_is_served_while_its_probes_succeed(lab: &Lab) {
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"probed","labels":{"app":"probed"}},"spec":{
        "terminationGracePeriodSeconds":0,"containers":[
        {"name":"file","image":"stead.local/busybox","command":["sh","-c","mkdir /www; exec httpd -f -p 8080 -h /www"],
            "readinessProbe":{"httpGet":{"path":"/ok","port":8080},"periodSeconds":1,"failureThreshold":1}},
        {"name":"port","image":"stead.local/busybox",
            "command":["sh","-c","while [ ! -e /tmp/go ]; do sleep 0.05; done; exec httpd -f -p 8081"],
            "readinessProbe":{"tcpSocket":{"port":8081},"periodSeconds":1}}]}}"#;
    ok("probed", lab.kubectl_words(&["apply", "-f", "-"], pod));
    lab.kubectl_ok("expose pod probed --port=80 --target-port=8080");
    let url = format!("http://{}/ok", lab.kubectl_ok("get svc probed -o jsonpath={.spec.clusterIP}"));
    let unhealthy = |text: &str| {
        eventually(text, || {
            lab.kubectl_ok("get events --field-selector reason=Unhealthy").contains(text).then_some(())
        });
    };
    unhealthy("statuscode: 404");
    unhealthy(":8081: Connection refused");
    eventually("it to be refused", || (lab.curl_code("node1", &url) == Some(7)).then_some(()));
    let run = |container: &str, script: &str| {
        ok(script, lab.kubectl_words(&["exec", "probed", "-c", container, "--", "sh", "-c", script], ""))
    };
    run("file", "touch /www/ok");
    let ready = "get pod probed -o jsonpath={.status.containerStatuses[*].ready}";
    eventually("the file's container to be ready, not the port's", || {
        (lab.kubectl_ok(ready) == "true false").then_some(())
    });
    assert_eq!(lab.curl_code("node1", &url), Some(7), "one container of two");
    run("port", "touch /tmp/go");
    eventually("it to be served", || lab.curl("node1", &url));
    run("file", "rm /www/ok");
    eventually("it to be refused again", || (lab.curl_code("node1", &url) == Some(7)).then_some(()));
    lab.kubectl_ok("delete pod,svc probed");
}

#[test]
fn images_run_under_other_names_and_missing_ones_say_what_to_do() {
    let mut lab = Lab::up("images", 1);
    let store = lab.directory.path().join("images");
    let config = lab.directory.path().join("config.yaml");
    std::fs::write(&config, format!("node:\n  images: {}\n", store.display())).unwrap();
    let image = |arguments: &[&str]| {
        let mut command = stead();
        command.args(["image", "--config"]).arg(&config).args(arguments);
        run(command, "")
    };
    lab.down();
    lab.up_with_config(1, &config);

    let public = "gcr.io/google-samples/hello-app:1.0";
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], &deployment("web", public)));
    eventually("the pod to say that its image is missing", || {
        lab.kubectl_ok("get pods").contains("ErrImagePull").then_some(())
    });
    eventually("an event that names the remedy", || {
        lab.kubectl_ok("get events").contains("stead image load").then_some(())
    });

    let listed = ok("ls", image(&["ls"]));
    for name in ["stead.local/hello-app:1.0", "stead.local/hello-app:2.0", "stead.local/busybox:latest"] {
        let line = listed.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{listed}"));
        assert!(line.contains("made at first use"), "{line}");
    }
    ok("tag", image(&["tag", "stead.local/hello-app:1.0", public]));
    let listed = ok("ls", image(&["ls"]));
    assert!(listed.contains("gcr.io/google-samples/hello-app"), "{listed}");
    assert_eq!(listed.matches("stead.local/hello-app:1.0 ").count(), 1, "{listed}");
    lab.kubectl_ok("rollout status deployment web --timeout=60s");
    let error = String::from_utf8(image(&["load", "/dev/null"]).stderr).unwrap();
    assert!(error.starts_with("stead: ") && error.trim_end().lines().count() == 1, "{error}");
}

//! What is typed less often: generators and their flags, forms of output, watches, dry runs, and what is refused because no kind for
//! it is served. A Deployment `hello-world` is there.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use super::Kubectl;

pub(super) async fn drive(kubectl: &Kubectl<'_>) {
    exposing(kubectl).await;
    running(kubectl).await;
    output(kubectl).await;
    dry_runs(kubectl).await;
    watching(kubectl).await;
    collections(kubectl).await;
    rollouts(kubectl).await;
    parts(kubectl).await;
    discovery(kubectl).await;
    not_served(kubectl).await;
}

async fn exposing(kubectl: &Kubectl<'_>) {
    // Without `--port`: the ports of the containers.
    kubectl.good("expose deployment hello-world --name=bare", &["service/bare exposed"]).await;
    let ports = "{.spec.ports[0].port}/{.spec.ports[0].targetPort}/{.spec.selector.app}";
    kubectl.good(&format!("get svc bare -o jsonpath={ports}"), &["8080/8080/hello-world"]).await;
    let flags = "--name=every --type=LoadBalancer --protocol=UDP --port=53 --target-port=dns --labels=a=b,c=d \
        --selector=of=every --session-affinity=ClientIP --load-balancer-ip=192.0.2.7";
    kubectl.good(&format!("expose deployment hello-world {flags}"), &["service/every exposed"]).await;
    let fields = "{.spec.type}/{.spec.ports[0].protocol}/{.spec.ports[0].targetPort}/{.metadata.labels.c}/\
        {.spec.selector.of}/{.spec.sessionAffinity}/{.spec.loadBalancerIP}";
    let expected = "LoadBalancer/UDP/dns/d/every/ClientIP/192.0.2.7";
    kubectl.good(&format!("get svc every -o jsonpath={fields}"), &[expected]).await;
    let headless = "expose service bare --name=headless --cluster-ip=None --port=80 --target-port=8080";
    kubectl.good(headless, &["service/headless exposed"]).await;
    kubectl.good("get svc headless -o jsonpath={.spec.clusterIP}", &["None"]).await;
    kubectl.bad_with("expose svc every --name=bare --port=80", "", "services \"bare\" already exists").await;
    kubectl.good("set selector svc bare app=other", &["selector updated"]).await;
    kubectl.good("get svc bare -o wide", &["SELECTOR", "app=other"]).await;
    kubectl.good("delete svc bare every headless --timeout=20s", &["deleted"]).await;
}

async fn running(kubectl: &Kubectl<'_>) {
    let run = "run lone --image=stead.local/busybox --port=80 --env=A=b --labels=of=run --restart=Never";
    kubectl.good(run, &["pod/lone created"]).await;
    let fields =
        "{.spec.containers[0].ports[0].containerPort}/{.spec.containers[0].env[0].value}/{.spec.restartPolicy}";
    kubectl.good(&format!("get pod lone -o jsonpath={fields}"), &["80/b/Never"]).await;
    kubectl.good("expose pod lone --port=80", &["service/lone exposed"]).await;
    kubectl.good("describe pod lone", &["Status:", "Pending", "stead.local/busybox"]).await;
    kubectl.good("delete pod,svc lone --force --grace-period=0 --timeout=20s", &["\"lone\" "]).await;
    kubectl.good(&format!("{run} --expose"), &["service/lone created", "pod/lone created"]).await;
    kubectl.good("delete pod,svc lone --force --grace-period=0 --timeout=20s", &["\"lone\" "]).await;
}

async fn output(kubectl: &Kubectl<'_>) {
    for (form, expected) in [
        ("name", "service/kubernetes"),
        ("wide", "SELECTOR"),
        ("json", "\"clusterIP\": \"10.96.0.1\""),
        ("yaml", "clusterIP: 10.96.0.1"),
        ("jsonpath={.items[*].spec.ports[0].name}", "https"),
        ("go-template={{range.items}}{{.metadata.name}};{{end}}", "kubernetes;"),
        ("custom-columns=NAME:.metadata.name,IP:.spec.clusterIP", "10.96.0.1"),
    ] {
        kubectl.good(&format!("get svc -o {form}"), &[expected]).await;
    }
    kubectl.good("get svc --show-labels", &["LABELS", "component=apiserver,provider=kubernetes"]).await;
    kubectl.good("get svc -L provider", &["PROVIDER", "kubernetes"]).await;
    let sorted = kubectl.run(&["get", "ns", "--sort-by=.metadata.name", "-o", "name"], "").await;
    let names = sorted.out.lines().collect::<Vec<_>>();
    assert!(sorted.good && names.len() > 3 && names.is_sorted(), "{}{}", sorted.out, sorted.err);
    let only = kubectl.run(&["get", "ns", "--field-selector=metadata.name=kube-system", "-o", "name"], "").await;
    assert_eq!(only.out, "namespace/kube-system\n", "{}", only.err);
    kubectl.bad_with("get svc --field-selector=spec.nothing=x", "", "field label not supported: spec.nothing").await;
    kubectl.good("get svc -A --chunk-size=1", &["kubernetes"]).await;
}

async fn dry_runs(kubectl: &Kubectl<'_>) {
    let create = "create service clusterip imagined --tcp=80";
    kubectl.good(&format!("{create} --dry-run=client"), &["created (dry run)"]).await;
    kubectl.good(&format!("{create} --dry-run=server"), &["created (server dry run)"]).await;
    kubectl.bad_with("get svc imagined", "", "services \"imagined\" not found").await;
    let ip = format!("{create} --dry-run=client -o yaml --clusterip=10.96.3.4");
    kubectl.good(&ip, &["clusterIP: 10.96.3.4"]).await;
    let bad = "create service nodeport imagined --tcp=80 --node-port=80 --dry-run=server";
    kubectl.bad_with(bad, "", "provided port is not in the valid range").await;
    kubectl.good("delete svc kubernetes --dry-run=server", &["deleted", "(server dry run)"]).await;
    kubectl.good("get svc kubernetes", &["443/TCP"]).await;
}

/// `--watch` prints what was there, then each change until it is ended.
async fn watching(kubectl: &Kubectl<'_>) {
    let mut child = Command::new(&kubectl.program)
        .arg("--kubeconfig")
        .arg(kubectl.directory.join("kubeconfig"))
        .args(["get", "cm", "-l", "seen=yes", "--watch", "--output-watch-events"])
        .env("HOME", kubectl.directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async |start: &str| {
        let wait = Duration::from_secs(60);
        let line = tokio::time::timeout(wait, lines.next_line()).await.unwrap_or_else(|_| panic!("no {start}"));
        let line = line.unwrap().expect("the watch goes on");
        assert!(line.starts_with(start), "{line:?} instead of {start}");
    };
    kubectl.good("create cm watched --from-literal=a=b", &["created"]).await;
    kubectl.good("label cm watched seen=yes", &["labeled"]).await;
    line("EVENT").await;
    line("ADDED").await;
    kubectl.good("annotate cm watched a=b", &["annotated"]).await;
    line("MODIFIED").await;
    kubectl.good("delete cm watched", &["deleted"]).await;
    line("DELETED").await;
    child.kill().await.unwrap();
}

async fn collections(kubectl: &Kubectl<'_>) {
    kubectl.good("create ns many", &["created"]).await;
    for name in ["a", "b"] {
        kubectl.good(&format!("-n many create cm {name}"), &["created"]).await;
    }
    let raw = "delete --raw /api/v1/namespaces/many/configmaps?labelSelector=none";
    kubectl.good(raw, &["ConfigMapList"]).await;
    kubectl.good("-n many delete cm --all", &["\"a\" deleted", "\"b\" deleted"]).await;
    kubectl.good("-n many create service externalname e --external-name=e.example.org", &["created"]).await;
    let patch = "[{\"op\":\"test\",\"path\":\"/spec/type\",\"value\":\"NodePort\"}]";
    kubectl.bad_with(&format!("-n many patch svc e --type=json -p {patch}"), "", "The request is invalid").await;
    let patch = "[{\"op\":\"replace\",\"path\":\"/spec/externalName\",\"value\":\"f.example.org\"}]";
    kubectl.good(&format!("-n many patch svc e --type=json -p {patch}"), &["patched"]).await;
    kubectl.good("-n many get svc", &["f.example.org"]).await;
}

/// No controller runs here: what is asked of the API alone.
async fn rollouts(kubectl: &Kubectl<'_>) {
    kubectl.good("rollout restart deployment hello-world", &["restarted"]).await;
    kubectl.good("rollout pause deployment hello-world", &["paused"]).await;
    kubectl.good("rollout resume deployment hello-world", &["resumed"]).await;
    kubectl.good("rollout history deployment hello-world", &["hello-world"]).await;
    kubectl.bad_with("rollout undo deployment hello-world", "", "no rollout history found").await;
    kubectl.good("set serviceaccount deployment hello-world default", &["serviceaccount updated"]).await;
}

/// Nodes that take no more pods, and views of parts of objects.
async fn parts(kubectl: &Kubectl<'_>) {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: parted}\n";
    kubectl.good_with("create -f -", node, &["node/parted created"]).await;
    kubectl.good("cordon parted", &["node/parted cordoned"]).await;
    kubectl.good("get node parted", &["SchedulingDisabled"]).await;
    kubectl.good("get nodes --field-selector=spec.unschedulable=true", &["parted"]).await;
    kubectl.good("drain parted --disable-eviction --ignore-daemonsets --timeout=30s", &["already cordoned"]).await;
    kubectl.good("uncordon parted", &["node/parted uncordoned"]).await;
    kubectl.good("delete node parted", &["deleted"]).await;
    if kubectl.minor >= 24 {
        kubectl.good("get deployment hello-world --subresource=status", &["READY", "hello-world"]).await;
        kubectl.good("get deployment hello-world --subresource=scale -o jsonpath={.kind}", &["Scale"]).await;
        let patch = "patch deployment hello-world --subresource=scale --type=merge -p {\"spec\":{\"replicas\":4}}";
        kubectl.good(patch, &["patched"]).await;
        kubectl.good("get deployment hello-world -o jsonpath={.spec.replicas}", &["4"]).await;
    }
}

async fn discovery(kubectl: &Kubectl<'_>) {
    let versions = ["apps/v1", "discovery.k8s.io/v1", "networking.k8s.io/v1", "v1"];
    kubectl.good("api-versions", &versions).await;
    kubectl.good("api-resources -o wide --verbs=watch", &["VERBS", "endpointslices", "Service"]).await;
    kubectl.good("api-resources --namespaced=false -o name", &["namespaces", "nodes"]).await;
    kubectl.good("explain deployment --recursive", &["progressDeadlineSeconds", "template"]).await;
    kubectl.good("cluster-info", &["is running at"]).await;
}

/// Kinds that are not served are refused in kubectl's own words for that.
async fn not_served(kubectl: &Kubectl<'_>) {
    let autoscale = "autoscale deployment hello-world --max=3";
    let refused = match kubectl.minor {
        ..36 => "could not find the requested resource",
        // It tries the older version of the kind too, and tells how that failed.
        36.. => "failed to create autoscaling/v2 HPA",
    };
    kubectl.bad_with(autoscale, "", refused).await;
    kubectl.bad_with("top nodes", "", "Metrics API not available").await;
    kubectl.bad_with("top pods", "", "Metrics API not available").await;
    kubectl.bad_with("get hpa", "", "the server doesn't have a resource type \"hpa\"").await;
}

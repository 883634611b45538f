//! The installed kubectl, and Debian's of 2020 beside it, against a served instance: TLS, client certificates, discovery, OpenAPI,
//! Tables, patches. Any since 1.20 will do: what a kubectl does not know yet is left out for it. `build/get-clients.sh` unpacks
//! the older one. `STEAD_KUBECTL` and `STEAD_KUBECTL_OLD` name others.

use std::{ffi::OsString, path::Path, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{clients::fetched, served::Served};

mod verbs;

/// To find out whether the server checks fields, or to check them itself, `kubectl` reads v2 of OpenAPI for it.
const LIST: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: listed}
  spec: {ports: [{port: 80, targetPort: http}], selector: {app: listed}}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: listed, labels: {of: list}}
  data: {a: b}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: listed}
  spec:
    selector: {matchLabels: {app: listed}}
    template:
      metadata: {labels: {app: listed}}
      spec: {containers: [{name: a, image: stead.local/hello-app:1.0, ports: [{containerPort: 80, name: http}]}]}
";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hello-world
spec:
  replicas: 2
  selector:
    matchLabels: {app: hello-world}
  template:
    metadata:
      labels: {app: hello-world}
    spec:
      containers:
      - name: hello-app
        image: stead.local/hello-app:1.0
        ports:
        - containerPort: 8080
";

const OLDER_SERVICE: &str = "
id: myapp
kind: Service
apiVersion: v1beta1
port: 80
containerPort: 8080
selector: {name: myapp}
";

const OLDER_CONTROLLER: &str = "
id: web
kind: ReplicationController
apiVersion: v1beta1
labels: {name: web}
desiredState:
  replicas: 2
  replicaSelector: {name: web}
  podTemplate:
    labels: {name: web}
    desiredState:
      manifest:
        version: v1beta1
        id: web
        containers: [{name: web, image: stead.local/hello-app:1.0, ports: [{containerPort: 8080}]}]
";

struct Kubectl<'a> {
    program: OsString,
    /// 32 of 1.32.
    minor: u32,
    directory: &'a Path,
}

/// What a command printed, and whether it succeeded.
struct Printed {
    good: bool,
    out: String,
    err: String,
}

impl Kubectl<'_> {
    async fn run(&self, arguments: &[&str], input: &str) -> Printed {
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(self.directory.join("kubeconfig"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory)
            .env("KUBE_EDITOR", "sed -i s/edited:.*/edited:\\ really/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = tokio::time::timeout(Duration::from_secs(90), child.wait_with_output());
        let output = output.await.unwrap_or_else(|_| panic!("kubectl {arguments:?} hangs")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Printed { good: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    fn check(printed: &Printed, arguments: &[&str], expected: &[&str]) {
        assert!(printed.good, "kubectl {arguments:?}: {}{}", printed.out, printed.err);
        for part in expected {
            assert!(printed.out.contains(part), "kubectl {arguments:?} lacks {part:?}: {}{}", printed.out, printed.err);
        }
    }

    async fn good(&self, arguments: &str, expected: &[&str]) {
        self.good_with(arguments, "", expected).await;
    }

    async fn good_with(&self, arguments: &str, input: &str, expected: &[&str]) {
        let arguments = arguments.split_whitespace().collect::<Vec<_>>();
        Self::check(&self.run(&arguments, input).await, &arguments, expected);
    }

    async fn bad_with(&self, arguments: &str, input: &str, expected: &str) {
        let arguments = arguments.split_whitespace().collect::<Vec<_>>();
        let printed = self.run(&arguments, input).await;
        assert!(!printed.good, "kubectl {arguments:?} succeeded: {}", printed.out);
        assert!(printed.err.contains(expected), "kubectl {arguments:?} lacks {expected:?}: {}", printed.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_drives_a_served_cluster() {
    drive_with(std::env::var_os("STEAD_KUBECTL").unwrap_or_else(|| "kubectl".into())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_of_2020_drives_a_served_cluster() {
    let older = std::env::var_os("STEAD_KUBECTL_OLD");
    drive_with(older.unwrap_or_else(|| fetched("kubectl-older/usr/bin/kubectl").into())).await;
}

/// What `version --client` says: 32 for 1.32.
fn minor_version(program: &OsString) -> u32 {
    let output = std::process::Command::new(program).args(["version", "--client", "-o", "json"]).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    version["clientVersion"]["minor"].as_str().unwrap().trim_end_matches('+').parse().unwrap()
}

async fn drive_with(program: OsString) {
    let minor = minor_version(&program);
    let served = Served::new().await;
    drive(&Kubectl { program, minor, directory: served.directory() }).await;
    served.end().await;
}

async fn exposes_with_every_flag(kubectl: &Kubectl<'_>) {
    let flags = "--port=80 --target-port=http --protocol=UDP --type=LoadBalancer --load-balancer-ip=192.0.2.9 \
        --cluster-ip=10.96.9.9 --session-affinity=ClientIP --selector=a=b --labels=c=d --save-config \
        --overrides={\"spec\":{\"publishNotReadyAddresses\":true}}";
    let exposed = format!("expose deployment hello-world --name=every {flags}");
    kubectl.good(&format!("{exposed} --dry-run=client"), &["service/every exposed (dry run)"]).await;
    kubectl.good(&exposed, &["service/every exposed"]).await;
    let fields =
        ["clusterIP", "loadBalancerIP", "type", "sessionAffinity", "publishNotReadyAddresses", "ports[0].targetPort"];
    let fields: String = fields.iter().map(|field| format!("{{.spec.{field}}}/")).collect();
    let expected = ["10.96.9.9/192.0.2.9/LoadBalancer/ClientIP/true/http/"];
    kubectl.good(&format!("get svc every -o jsonpath={fields}"), &expected).await;
    kubectl
        .good("get svc every -o jsonpath={.spec.selector.a}{.metadata.labels.c}{.spec.ports[0].protocol}", &["bdUDP"])
        .await;
    kubectl.good("get svc every -o yaml", &["kubectl.kubernetes.io/last-applied-configuration"]).await;
    let outside = "expose deployment hello-world --name=outside --port=80 --external-ip=192.0.2.1";
    kubectl.good(&format!("{outside} --dry-run=client -o jsonpath={{.spec.externalIPs[0]}}"), &["192.0.2.1"]).await;
    kubectl.bad_with(outside, "", "--allow-external-ips").await;
    kubectl.good_with("expose -f - --name=file --port=80,443", DEPLOYMENT, &["service/file exposed"]).await;
    kubectl.good("get svc file -o jsonpath={.spec.ports[*].name}", &["port-1 port-2"]).await;
    kubectl.good("delete svc every file", &["\"every\" deleted", "\"file\" deleted"]).await;
}

async fn drive(kubectl: &Kubectl<'_>) {
    kubectl.good("version", &["Server Version: ", "v1.36.2"]).await;
    kubectl.good("get svc", &["NAME", "CLUSTER-IP", "kubernetes", "10.96.0.1", "443/TCP"]).await;
    kubectl.good("get namespaces", &["STATUS", "kube-system", "Active"]).await;
    kubectl.good("api-resources", &["deployments", "endpointslices", "svc"]).await;
    kubectl.good_with("apply -f -", DEPLOYMENT, &["deployment.apps/hello-world created"]).await;
    kubectl.good_with("apply -f -", DEPLOYMENT, &["deployment.apps/hello-world unchanged"]).await;
    let three = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
    kubectl.good_with("apply -f -", &three, &["deployment.apps/hello-world configured"]).await;
    kubectl.good_with("diff -f -", &three, &[]).await;
    kubectl.good("get deployment hello-world", &["READY", "0/3"]).await;
    kubectl.good("expose deployment hello-world --port=80 --target-port=8080", &["exposed"]).await;
    exposes_with_every_flag(kubectl).await;
    kubectl.good("get svc hello-world", &["ClusterIP", "80/TCP"]).await;
    kubectl.good("get all", &["service/hello-world", "deployment.apps/hello-world"]).await;
    kubectl.good("scale deployment hello-world --replicas=5", &["scaled"]).await;
    kubectl.good("get deploy hello-world -o jsonpath={.spec.replicas}", &["5"]).await;
    kubectl.good("set image deployment hello-world *=stead.local/hello-app:2.0", &["image updated"]).await;
    kubectl.good("patch svc hello-world -p {\"spec\":{\"type\":\"NodePort\"}}", &["patched"]).await;
    kubectl.good("get svc hello-world", &["NodePort", "80:3"]).await;
    kubectl.good("describe svc hello-world", &["Type:", "NodePort", "IP:", "10.96."]).await;
    kubectl.good("describe deployment hello-world", &["Replicas:", "5 desired"]).await;
    kubectl.good("get svc hello-world -o yaml", &["clusterIPs:", "kind: Service"]).await;
    kubectl.good("label svc hello-world tier=front", &["labeled"]).await;
    kubectl.good("get svc -l tier=front", &["hello-world"]).await;
    kubectl.good("annotate svc hello-world a=b", &["annotated"]).await;
    kubectl.good("explain service.spec.ports", &["nodePort", "ports <[]", "ServicePort contains"]).await;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: b}\n";
    kubectl.good_with("create -f -", map, &["created"]).await;
    kubectl.good("get configmap cm -o jsonpath={.data.a}", &["b"]).await;
    kubectl.good("get events,pods,endpoints,endpointslices,nodes,rs,leases,sa -A", &["kubernetes"]).await;
    let extra = "apiVersion: v1\nkind: Namespace\nmetadata: {name: extra}\n";
    kubectl.good_with("create -f -", extra, &["created"]).await;
    kubectl.good_with("-n extra create -f -", map, &["created"]).await;
    kubectl.good_with("replace -f -", map, &["replaced"]).await;
    kubectl.good("-n extra delete configmap --all --timeout=20s", &["deleted"]).await;
    lists(kubectl).await;
    messages(kubectl).await;
    older(kubectl).await;
    ranges(kubectl).await;
    server_side(kubectl).await;
    rights(kubectl).await;
    others(kubectl).await;
    verbs::drive(kubectl).await;
    refusals(kubectl).await;
    kubectl.good("delete svc hello-world --timeout=20s", &["deleted"]).await;
    kubectl.good("delete deployment hello-world --timeout=20s", &["deleted"]).await;
    kubectl.bad_with("get svc hello-world", "", "services \"hello-world\" not found").await;
}

async fn lists(kubectl: &Kubectl<'_>) {
    let all = ["service/listed created", "configmap/listed created", "deployment.apps/listed created"];
    kubectl.good_with("create -f -", LIST, &all).await;
    kubectl.good_with("delete --timeout=20s -f -", LIST, &["\"listed\" deleted"]).await;
    kubectl.good_with("apply -f -", LIST, &all).await;
    kubectl.good_with("apply -f -", LIST, &["service/listed unchanged", "deployment.apps/listed unchanged"]).await;
    let changed = LIST.replace("data: {a: b}", "data: {a: c}");
    kubectl.good_with("apply -f -", &changed, &["service/listed unchanged", "configmap/listed configured"]).await;
    kubectl.bad_with("create -f -", &LIST.replace("data:", "dat:"), "unknown field \"dat\"").await;
    kubectl.good_with("delete --timeout=20s -f -", LIST, &["\"listed\" deleted"]).await;
}

/// Where virtual IPs come from, and warnings about what is stored and not acted on.
async fn ranges(kubectl: &Kubectl<'_>) {
    kubectl.good("get servicecidr", &["NAME", "CIDRS", "AGE", "kubernetes", "10.96.0.0/16"]).await;
    kubectl.good("get servicecidr,ip -o wide", &["PARENTREF", "10.96.0.1", "services/default/kubernetes"]).await;
    kubectl.good("get ipaddress 10.96.0.1 -o jsonpath={.spec.parentRef.name}", &["kubernetes"]).await;
    kubectl.good("explain servicecidr.spec.cidrs", &["cidrs <[]string>"]).await;
    let range =
        "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\nspec: {cidrs: [10.97.0.0/24]}\n";
    kubectl.good_with("apply -f -", range, &["servicecidr.networking.k8s.io/more created"]).await;
    let moved = range.replace("10.97", "10.98");
    kubectl.bad_with("apply -f -", &moved, "spec.cidrs[0]: Invalid value: \"10.98.0.0/24\": field is immutable").await;
    kubectl.good("delete servicecidr more --timeout=20s", &["deleted"]).await;
    let local = "apiVersion: v1\nkind: Service\nmetadata: {name: local}\nspec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}\n";
    let printed = kubectl.run(&["create", "-f", "-"], local).await;
    assert!(printed.good, "{}", printed.err);
    let warning = "Warning: spec.type: not acted on by this version of Stead: there is no load balancer";
    assert!(printed.err.contains(warning), "{}", printed.err);
    kubectl.good("create service externalname db --external-name=db.example.org", &["service/db created"]).await;
    kubectl.good("get svc db", &["ExternalName", "db.example.org"]).await;
    kubectl.good("delete svc local db --timeout=20s", &["deleted"]).await;
    kubectl.good("describe servicecidr kubernetes", &["Name:", "kubernetes", "10.96.0.0/16"]).await;
    kubectl.good("describe ipaddress 10.96.0.1", &["10.96.0.1", "services", "kubernetes"]).await;
}

/// Generators and `drain` send Protocol Buffers.
async fn messages(kubectl: &Kubectl<'_>) {
    kubectl
        .good("create deployment made --image=stead.local/hello-app:1.0 --replicas=3 --port=8080", &["made created"])
        .await;
    let template = "{.spec.replicas}{.spec.template.spec.containers[0].ports[0].containerPort}{.metadata.labels.app}";
    kubectl.good(&format!("get deployment made -o jsonpath={template}"), &["38080made"]).await;
    kubectl.good("create namespace made", &["namespace/made created"]).await;
    kubectl.good("create configmap made --from-literal=a=b", &["configmap/made created"]).await;
    kubectl.good("get configmap made -o jsonpath={.data}", &[r#"{"a":"b"}"#]).await;
    kubectl.good("create serviceaccount made", &["serviceaccount/made created"]).await;
    kubectl.good("create service clusterip made-ip --tcp=80:8080 --clusterip=None", &["service/made-ip created"]).await;
    kubectl.good("get service made-ip -o jsonpath={.spec.clusterIP}{.spec.ports[0].targetPort}", &["None8080"]).await;
    kubectl.good("create service nodeport made-port --tcp=80 --node-port=31234", &["service/made-port created"]).await;
    kubectl.good("get service made-port", &["NodePort", "80:31234/TCP"]).await;
    kubectl.good("create service loadbalancer made-lb --tcp=80", &["service/made-lb created"]).await;
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: made}\n";
    kubectl.good_with("create -f -", node, &["node/made created"]).await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: made}
spec: {nodeName: made, containers: [{name: a, image: b}]}\n";
    kubectl.good_with("create -f -", pod, &["pod/made created"]).await;
    let drain = "drain made --force --grace-period=0 --timeout=30s";
    // The older one evicts only where the group `policy` is served too, and deletes elsewhere.
    let (went, drained) = match kubectl.minor {
        ..24 => ("pod/made deleted", "node/made deleted"),
        24.. => ("pod/made evicted", "node/made drained"),
    };
    kubectl.good(drain, &["node/made cordoned", went, drained]).await;
    kubectl.good("get node made", &["SchedulingDisabled"]).await;
    kubectl.good("uncordon made", &["uncordoned"]).await;
    kubectl.good("delete node,deployment,configmap,serviceaccount made", &["deleted"]).await;
    kubectl.good("delete service made-ip made-port made-lb", &["deleted"]).await;
}

/// What was written for 2014 is created, read, changed and deleted by the kubectl of today.
async fn older(kubectl: &Kubectl<'_>) {
    kubectl.good("api-versions", &["v1beta1", "v1beta3"]).await;
    kubectl.good_with("create -f -", OLDER_SERVICE, &["service/myapp created"]).await;
    kubectl.good("get svc myapp", &["ClusterIP", "80/TCP"]).await;
    kubectl.good("get --raw /api/v1beta1/services/myapp", &["\"containerPort\":8080"]).await;
    kubectl.bad_with("create -f -", OLDER_SERVICE, "services \"myapp\" already exists").await;
    let misspelt = OLDER_SERVICE.replace("containerPort", "contanerPort");
    kubectl.bad_with("create -f -", &misspelt, "unknown field \"contanerPort\"").await;
    // Where kubectl itself needs the name, before it asks, it looks for it where it is today.
    let named = format!("{OLDER_SERVICE}metadata: {{name: myapp}}\n");
    kubectl.good_with("delete --timeout=20s -f -", &named, &["\"myapp\" deleted"]).await;
    kubectl.good_with("apply -f -", &named, &["service/myapp created"]).await;
    let moved = named.replace("8080", "8081");
    kubectl.good_with("apply -f -", &moved, &["service/myapp configured"]).await;
    kubectl.good("get svc myapp -o jsonpath={.spec.ports[0].targetPort}", &["8081"]).await;
    let third =
        "apiVersion: v1beta3\nkind: Service\nmetadata: {name: third}\nspec: {ports: [{port: 80}], selector: {a: b}}\n";
    kubectl.good_with("create -f -", third, &["service/third created"]).await;
    kubectl.good("delete svc myapp third --timeout=20s", &["\"myapp\" deleted"]).await;
    kubectl.good_with("create -f -", OLDER_CONTROLLER, &["replicationcontroller/web created"]).await;
    kubectl.good("get rc", &["DESIRED", "CURRENT", "READY", "web"]).await;
    kubectl.good("get rc web -o wide", &["CONTAINERS", "IMAGES", "SELECTOR", "name=web"]).await;
    kubectl.good("get all", &["replicationcontroller/web"]).await;
    kubectl.good("scale rc web --replicas=3", &["scaled"]).await;
    kubectl.good("describe rc web", &["Replicas:", "3 desired"]).await;
    kubectl.good("expose rc web --port=80 --target-port=8080", &["exposed"]).await;
    kubectl.good("get svc web -o jsonpath={.spec.selector.name}", &["web"]).await;
    kubectl.good("delete rc,svc web --timeout=20s", &["\"web\" deleted"]).await;
}

/// Server-side apply, also of what was applied by the client before.
async fn server_side(kubectl: &Kubectl<'_>) {
    let map = |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ssa}}\ndata: {{a: {value}}}\n");
    kubectl.good_with("apply --server-side -f -", &map("one"), &["configmap/ssa serverside-applied"]).await;
    kubectl.good_with("diff --server-side -f -", &map("one"), &[]).await;
    let show = if kubectl.minor < 21 { "" } else { " --show-managed-fields" };
    kubectl.good(&format!("get cm ssa -o yaml{show}"), &["operation: Apply", "f:a: {}", "manager: kubectl"]).await;
    kubectl.good("patch cm ssa --type=merge -p {\"data\":{\"a\":\"two\"}}", &["patched"]).await;
    let conflict = "conflict with \"kubectl-patch\" using v1: .data.a";
    kubectl.bad_with("apply --server-side -f -", &map("three"), conflict).await;
    kubectl.good_with("apply --server-side --force-conflicts -f -", &map("three"), &["serverside-applied"]).await;
    kubectl.good("get cm ssa -o jsonpath={.data.a}", &["three"]).await;
    kubectl.good_with("apply --server-side --dry-run=server -f -", &map("four"), &["(server dry run)"]).await;
    kubectl.good("get cm ssa -o jsonpath={.data.a}", &["three"]).await;
    let client = map("one").replace("ssa", "csa");
    kubectl.good_with("apply -f -", &client, &["configmap/csa created"]).await;
    let changed = client.replace("one", "two");
    kubectl.good_with("apply --server-side -f -", &changed, &["configmap/csa serverside-applied"]).await;
    kubectl.good("get cm csa -o jsonpath={.data.a}", &["two"]).await;
    let removed = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: csa}\n";
    kubectl.good_with("apply --server-side -f -", removed, &["serverside-applied"]).await;
    let kept = kubectl.run(&["get", "cm", "csa", "-o", "jsonpath={.data}"], "").await;
    assert!(kept.good && !kept.out.contains("two"), "{}", kept.out);
    let force = "apply --server-side --force-conflicts -f -";
    kubectl.bad_with("apply --server-side -f -", DEPLOYMENT, "with subresource \"scale\" using apps/v1").await;
    kubectl.good_with(force, &DEPLOYMENT.replace("replicas: 2", "replicas: 5"), &["serverside-applied"]).await;
    kubectl.good("delete cm ssa csa", &["deleted"]).await;
}

async fn rights(kubectl: &Kubectl<'_>) {
    kubectl.good("auth can-i delete secrets", &["yes"]).await;
    kubectl.good("auth can-i --list", &["*.*", "[*]"]).await;
    kubectl.good("create serviceaccount bot", &["created"]).await;
    let as_bot = "--as=system:serviceaccount:default:bot";
    if kubectl.minor >= 24 {
        let token = kubectl.run(&["create", "token", "bot", "--duration=20m"], "").await;
        assert!(token.good && token.out.matches('.').count() == 2, "{}{}", token.out, token.err);
    }
    if kubectl.minor >= 28 {
        kubectl.good("auth whoami", &["kubernetes-admin", "system:masters"]).await;
        let bot = ["system:serviceaccount:default:bot", "system:serviceaccounts"];
        kubectl.good(&format!("auth whoami {as_bot}"), &bot).await;
    }
    kubectl.bad_with(&format!("get secrets {as_bot}"), "", "cannot list resource \"secrets\"").await;
    let no = kubectl.run(&["auth", "can-i", "get", "pods", as_bot], "").await;
    assert_eq!((no.good, no.out.trim()), (false, "no"), "{}", no.err);
    kubectl.good("create secret generic hidden --from-literal=a=b", &["secret/hidden created"]).await;
    kubectl.good("get secrets", &["TYPE", "Opaque", "hidden"]).await;
    kubectl.good("describe secret hidden", &["a:  1 bytes"]).await;
    kubectl.good("get secret hidden -o jsonpath={.data.a}", &["Yg=="]).await;
    kubectl
        .bad_with("create secret tls bad --cert=/dev/null --key=/dev/null", "", "tls: failed to find any PEM data")
        .await;
    kubectl.good("delete secret hidden", &["deleted"]).await;
    kubectl.good("delete serviceaccount bot", &["deleted"]).await;
}

/// Commands that go by ways of their own.
async fn others(kubectl: &Kubectl<'_>) {
    if kubectl.minor >= 23 {
        let five = "wait --for=jsonpath={.spec.replicas}=5 deployment/hello-world --timeout=20s";
        kubectl.good(five, &["condition met"]).await;
        kubectl.good("events", &[]).await;
    }
    kubectl.good("set env deployment/hello-world A=b", &["env updated"]).await;
    kubectl.good("set resources deployment/hello-world --limits=cpu=200m", &["resource requirements updated"]).await;
    kubectl.good("label deployment hello-world a=b --overwrite", &["labeled"]).await;
    kubectl.good("annotate deployment hello-world note=x", &["annotated"]).await;
    kubectl.good("get all -A", &["service/kubernetes"]).await;
    kubectl.good("get deployment hello-world -o custom-columns=N:.metadata.name", &["hello-world"]).await;
    for kind in
        ["pods", "services", "secrets", "rc", "endpointslices", "leases", "nodes", "events", "rs", "ns", "sa", "cm"]
    {
        kubectl.good(&format!("explain {kind}"), &["KIND:", "VERSION:", "metadata"]).await;
    }
    kubectl.good("explain tokenreview.spec", &["token"]).await;
    let list = "apiVersion: v1\nkind: ServiceList\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: typed}
  spec: {ports: [{port: 80}]}\n";
    kubectl.good_with("create -f -", list, &["service/typed created"]).await;
    kubectl.good("patch service typed --type=json -p [{\"op\":\"add\",\"path\":\"/metadata/labels\",\"value\":{\"a\":\"b\"}}]", &["patched"]).await;
    kubectl.good("annotate service typed edited=no", &["annotated"]).await;
    kubectl.good("edit service typed", &["service/typed edited"]).await;
    kubectl.good("get service typed -o jsonpath={.metadata.annotations.edited}", &["really"]).await;
    kubectl.good("delete service -l a=b", &["\"typed\" deleted"]).await;
}

async fn refusals(kubectl: &Kubectl<'_>) {
    let service = |spec: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{name: bad}}\nspec: {spec}\n");
    for (spec, expected) in [
        (
            "{ports: [{port: 70000}]}",
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        ("{ports: [{port: 80}], foo: 1}", "unknown field \""),
        ("{ports: [{port: 80}, {port: 81}]}", "spec.ports[0].name: Required value"),
        ("{clusterIP: 1.2.3.4, ports: [{port: 80}]}", "failed to allocate IP 1.2.3.4"),
        ("{type: NodePort, ports: [{port: 80, nodePort: 80}]}", "provided port is not in the valid range"),
    ] {
        kubectl.bad_with("create -f -", &service(spec), expected).await;
    }
    kubectl.bad_with("get svc nothing", "", "services \"nothing\" not found").await;
}

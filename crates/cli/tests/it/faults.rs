//! Killing the parts of a lab, one by one and under load. `STEAD_KILLS` says how often (a few in CI, hundreds in `make soak`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use stead_client::{Change, Query, write};

use crate::{
    lab::{Lab, PATIENCE, alive, eventually, ok},
    load::Load,
};

const MANIFEST: &str = include_str!("../../../../examples/hello-world.yaml");

/// New connections to a node's Service while its processes are killed.
const PER_SECOND: u32 = 300;

fn kills() -> usize {
    std::env::var("STEAD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

fn sigkill(pid: u32) {
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
}

fn revision(object: &ConfigMap) -> u64 {
    object.metadata.resource_version.as_deref().unwrap().parse().unwrap()
}

/// Creates ConfigMaps until told to stop; what was acknowledged, in order, with its revision.
async fn write_until(client: kube::Client, stop: Arc<AtomicBool>, written: Arc<AtomicUsize>) -> Vec<(String, u64)> {
    let mut acknowledged = Vec::new();
    let path = "/api/v1/namespaces/default/configmaps";
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("fault-{number:06}");
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": number.to_string()}});
        if let Ok(created) = write::create::<_, ConfigMap>(&client, path, &body).await {
            acknowledged.push((name, revision(&created)));
            written.fetch_add(1, Ordering::Relaxed);
        } else {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    acknowledged
}

/// Names seen by a watch that lasts until `last` has come by.
async fn watch_until(client: kube::Client, last: tokio::sync::oneshot::Receiver<String>) -> BTreeSet<String> {
    let query = Query::all("/api/v1/namespaces/default/configmaps");
    let mut changes = Box::pin(stead_client::watch::<ConfigMap>(client, query));
    let mut seen = BTreeSet::new();
    let mut last = std::pin::pin!(last);
    let mut wanted: Option<String> = None;
    loop {
        tokio::select! {
            name = &mut last, if wanted.is_none() => wanted = name.ok(),
            change = changes.next() => {
                if let Some(Change::InitApply(object) | Change::Apply(object)) = change {
                    seen.extend(object.metadata.name);
                }
            }
        }
        if wanted.as_ref().is_some_and(|name| seen.contains(name)) {
            return seen;
        }
    }
}

#[test]
fn a_server_killed_under_writes_loses_nothing_it_acknowledged() {
    let lab = Lab::up("server", 1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = stead_client::connect(&lab.kubeconfig()).await.unwrap();
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (tell_last, last) = tokio::sync::oneshot::channel();
        let writer = tokio::spawn(write_until(client.clone(), stop.clone(), written.clone()));
        let watcher = tokio::spawn(watch_until(client.clone(), last));
        for _ in 0..kills() {
            let before = written.load(Ordering::Relaxed);
            tokio::task::block_in_place(|| {
                eventually("writes to go on", || (written.load(Ordering::Relaxed) > before + 20).then_some(()));
                let pid = lab.pid("server").unwrap();
                sigkill(pid);
                eventually("the server to be started again", || lab.pid("server").filter(|new| *new != pid));
            });
        }
        stop.store(true, Ordering::Relaxed);
        let acknowledged = writer.await.unwrap();
        let ascending = acknowledged.windows(2).all(|pair| pair[0].1 < pair[1].1);
        assert!(ascending, "revisions went back: {acknowledged:?}");
        tell_last.send(acknowledged.last().unwrap().0.clone()).unwrap();
        let seen = tokio::time::timeout(PATIENCE, watcher).await.expect("the watch ends").unwrap();
        for (name, at) in &acknowledged {
            let path = format!("/api/v1/namespaces/default/configmaps/{name}");
            let stored: ConfigMap =
                write::get(&client, &path).await.unwrap_or_else(|error| panic!("{name} is lost: {error}"));
            assert_eq!(revision(&stored), *at, "{name}");
            assert!(seen.contains(name), "the watch missed {name}");
        }
    });
}

#[test]
fn a_node_killed_under_connections_fails_none_and_adopts_its_containers() {
    let lab = Lab::up("node", 1);
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], MANIFEST));
    lab.kubectl_ok("expose deployment hello-world --port=80 --target-port=8080");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    let vip = lab.kubectl_ok("get svc hello-world -o jsonpath={.spec.clusterIP}");
    let target: SocketAddr = format!("{vip}:80").parse().unwrap();
    eventually("the virtual IP to answer", || lab.curl("node1", &format!("http://{vip}")));
    let containers = r"jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{'\n'}{end}";
    let before = ok("pods", lab.kubectl_words(&["get", "pods", "-o", containers], ""));

    let client = Load::start(&lab, "node1", target, PER_SECOND);
    for _ in 0..kills().min(20) {
        let before = client.asked();
        eventually("connections to go on", || (client.asked() > before + 50).then_some(()));
        let pid = lab.pid("node1").unwrap();
        sigkill(pid);
        eventually("the node to be started again", || lab.pid("node1").filter(|new| *new != pid));
    }
    // Whatever the new process did to kernel and containers on its way up has happened once it reports again.
    lab.kubectl_ok("scale deployment hello-world --replicas=3");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    client.stop().assert_none_failed("node1", PER_SECOND);

    let after = ok("pods", lab.kubectl_words(&["get", "pods", "-o", containers], ""));
    for line in before.lines() {
        assert!(after.contains(line), "{line} is not among\n{after}");
        lab.kubectl_ok(&format!("logs {}", line.split(' ').next().unwrap()));
    }
}

#[test]
fn a_killed_supervisor_takes_everything_along() {
    let before = machine();
    let mut lab = Lab::up("supervisor", 2);
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], MANIFEST));
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    let descendants = processes_of(&lab.name);
    assert!(descendants.len() >= 5, "server, two nodes and two shims: {descendants:?}");
    let second = Lab::up("beside", 1);
    assert_same(&before, &machine());

    lab.kill_supervisor();
    eventually("every process of the lab to be gone", || descendants.iter().all(|pid| !alive(*pid)).then_some(()));
    eventually("its control groups to be gone", || cgroups_of(&lab.name).is_empty().then_some(()));
    assert!(second.kubectl("get nodes").status.success(), "a lab of another name lives on");

    lab.up_again(2);
    let pods = lab.kubectl_ok("get deployments");
    assert!(pods.contains("hello-world"), "--data keeps objects: {pods}");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    lab.down();
    lab.up_again(1);
    assert!(!lab.kubectl_ok("get nodes").contains("node2"), "a node that this lab has not");
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    lab.down();
    let left = cgroups_of(&lab.name);
    assert!(left.is_empty(), "control groups remain: {left:?}");
    assert!(!Path::new("/run/stead").join(&lab.name).exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&lab.name), "a mount remains: {mounts}");
    assert_same(&before, &machine());
}

/// Links, addresses, routes, firewall and network settings of the machine itself: each by what it is called.
fn machine() -> BTreeMap<String, String> {
    let shown = |command: &str| {
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        (command.to_owned(), String::from_utf8(output.stdout).unwrap())
    };
    let commands = [
        "ip -brief link",
        "ip -brief address",
        "ip rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "nft --stateless list ruleset",
    ];
    let mut state: BTreeMap<_, _> = commands.into_iter().map(shown).collect();
    let mut folders = vec![PathBuf::from("/proc/sys/net")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(value) = fs::read_to_string(&path) {
                state.insert(path.display().to_string(), value);
            }
        }
    }
    state
}

/// Loading a kernel's module adds settings, and connections are counted.
fn assert_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    for (what, state) in before.iter().filter(|(what, _)| !what.ends_with("_count")) {
        assert_eq!(after.get(what), Some(state), "{what}");
    }
}

#[test]
fn a_lab_whose_first_process_is_killed_ends_says_so_and_starts_again() {
    let mut lab = Lab::up("anchor", 1);
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], MANIFEST));
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    let descendants = processes_of(&lab.name);
    let anchor = format!("\0anchor\0{}\0", lab.name);
    let anchors = processes(|arguments| arguments.ends_with(&anchor));
    let [anchor] = anchors[..] else { panic!("{anchors:?}") };

    sigkill(anchor);
    let (is_well, said) = lab.ended();
    let expect = format!(
        "stead: the lab's first process (`stead anchor {0}`) was killed, and every process of the lab with it: `stead up --name {0}` starts it again\n",
        lab.name
    );
    assert_eq!((is_well, said), (false, expect));
    assert!(descendants.iter().all(|pid| !alive(*pid)), "{descendants:?}");
    let left = cgroups_of(&lab.name);
    assert!(left.is_empty(), "control groups remain: {left:?}");
    assert!(!lab.kubeconfig().exists(), "a kubeconfig that leads nowhere");

    lab.up_again(1);
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");
    lab.down();
}

fn cgroups_of(lab: &str) -> Vec<std::path::PathBuf> {
    // Each of version 1 has a directory there; version 2 is mounted there itself.
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).chain([root.to_owned()]);
    hierarchies.map(|hierarchy| hierarchy.join("stead").join(lab)).filter(|path| path.exists()).collect()
}

/// Processes whose arguments name the lab's directory.
fn processes_of(lab: &str) -> Vec<u32> {
    let needle = format!("/run/stead/{lab}/");
    processes(|arguments| arguments.contains(&needle))
}

/// Those whose arguments, each with a NUL at its end, are the wanted ones.
fn processes(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| wanted(&String::from_utf8_lossy(&text)))
    })
    .collect()
}

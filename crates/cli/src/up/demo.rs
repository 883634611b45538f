//! `--demo`: what the README shows, done by the lab itself: `hello-app` deployed twice, exposed, and asked through its virtual IP.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::Client;
use serde_json::{Value, json};
use stead_client::write;
use stead_sys::namespace::Namespace;

use super::prepare::Prepared;
use crate::console::say;

/// Not that of the README's session, which may follow in the same lab.
const NAME: &str = "hello-demo";
const PORT: u16 = 80;
/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(2);
/// For both pods to have answered, and after the deletion for none to.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);

pub(super) async fn run(client: &Client, prepared: &Prepared, node: Namespace, check: bool) -> Result<()> {
    let vip = deploy(client).await?;
    say(&format!("\nDeployed {NAME} with two replicas; its Service has the virtual IP {vip}. From node1:\n\n"));
    let target = SocketAddr::new(vip, PORT);
    let answers = tokio::task::spawn_blocking({
        let node = node.try_clone().context("keeping a namespace")?;
        move || node.run(|| ask_until_all_answered(target))
    });
    let answers = answers.await.context("asking the virtual IP")?.context("entering the node's network")??;
    for answer in &answers {
        say(&format!("  $ curl http://{vip}\n  {}\n", answer.trim_end().replace('\n', "\n  ")));
    }
    if !check {
        say("\nThe lab keeps running: `kubectl get all -o wide` says what is there.\n");
        return Ok(());
    }
    say(&format!("\n  ok    both pods answered through {target}\n"));
    let path = format!("/api/v1/namespaces/default/services/{NAME}");
    write::delete(client, &path, &write::DeleteOptions::default()).await.context("deleting the Service")?;
    let refused = tokio::task::spawn_blocking(move || node.run(|| ask_until_refused(target)));
    refused.await.context("asking the virtual IP")?.context("entering the node's network")??;
    say("  ok    refused after the Service was deleted\n");
    say(&format!("  ok    lab {} checked\n", prepared.topology.name));
    Ok(())
}

/// The virtual IP of the exposed deployment.
async fn deploy(client: &Client) -> Result<IpAddr> {
    let labels = json!({"app": NAME});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{
                    "name": "hello-app", "image": "stead.local/hello-app:1.0", "ports": [{"containerPort": 8080}],
                }]},
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "labels": labels},
        "spec": {"selector": labels, "ports": [{"port": PORT, "targetPort": 8080}]},
    });
    let _: Deployment = create(client, "/apis/apps/v1/namespaces/default/deployments", &deployment).await?;
    let service: Service = create(client, "/api/v1/namespaces/default/services", &service).await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).context("the Service got no virtual IP")?;
    address.parse().with_context(|| format!("virtual IP {address}"))
}

/// Creates, or with `--data` finds what an earlier demo left.
async fn create<T: serde::de::DeserializeOwned>(client: &Client, path: &str, object: &Value) -> Result<T> {
    match write::create(client, path, object).await {
        Err(error) if error.is_already_exists() => {
            write::get(client, &format!("{path}/{NAME}")).await.context("reading what is there")
        }
        result => result.with_context(|| format!("creating under {path}")),
    }
}

/// One answer of each pod, in the order they came.
fn ask_until_all_answered(target: SocketAddr) -> Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut seen, mut answers) = (BTreeSet::new(), Vec::new());
    while seen.len() < 2 {
        match get(target) {
            Ok(answer) => {
                let host = answer.lines().find(|line| line.starts_with("Hostname: ")).map(str::to_owned);
                if seen.insert(host.with_context(|| format!("an answer names no pod: {answer:?}"))?) {
                    answers.push(answer);
                }
            }
            Err(error) => {
                ensure!(
                    Instant::now() < deadline,
                    "{} of 2 pods answered through {target}; last: {error:#}",
                    seen.len()
                );
                std::thread::sleep(STEP);
            }
        }
        ensure!(Instant::now() < deadline, "only {} of 2 pods answered through {target}", seen.len());
    }
    Ok(answers)
}

fn ask_until_refused(target: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(&target, TIMEOUT) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(()),
            _ if Instant::now() >= deadline => bail!("{target} is not refused after the Service was deleted"),
            _ => std::thread::sleep(STEP),
        }
    }
}

/// The body of an HTTP answer.
fn get(target: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.take(64 * 1024).read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "answered {:?}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}

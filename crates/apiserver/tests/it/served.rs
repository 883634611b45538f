//! A server on loopback, as other programs reach it: over TLS, with a kubeconfig of the administrator. It can be restarted, with
//! its history gone, under programs that go on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use stead_apiserver::{
    Config, ExternalRange, Server,
    pki::{kubeconfig, write_private},
};
use stead_store::Model;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::support::{Cluster, DEADLINE, config};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) struct Served {
    pub(crate) cluster: Cluster,
    directory: TempDir,
    /// Stays open over a restart, so that a client which comes meanwhile waits.
    listener: std::net::TcpListener,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn new() -> Self {
        // Clients write the address of a load balancer.
        let cluster = Cluster::with(Arc::new(Model::new()), |config| config.external_ips = balancers()).await;
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let admin = cluster.pki.issue_client("kubernetes-admin", &["system:masters"]).unwrap();
        let config = kubeconfig(&url, cluster.pki.ca_pem(), &admin);
        write_private(&directory.path().join("kubeconfig"), &config).unwrap();
        let (stop, serving) = serve(&cluster, &listener);
        Self { cluster, directory, listener, stop, serving }
    }

    /// A place for what the client leaves, with the file `kubeconfig` in it.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Ends every connection. While nobody looks the ConfigMap `gone` goes and `come` comes, and all history is dropped; then it
    /// serves again, where it did.
    pub(crate) async fn restart(&mut self) {
        let _ = std::mem::replace(&mut self.stop, oneshot::channel().0).send(());
        tokio::time::timeout(DEADLINE, &mut self.serving).await.unwrap().unwrap();
        let admin = self.cluster.admin();
        admin.delete(&format!("{MAPS}/gone")).await.expect(200);
        admin.post(MAPS, &json!({"metadata": {"name": "come"}})).await.expect(201);
        let store = self.cluster.store.clone();
        store.compact(store.revision().await.unwrap()).await.unwrap();
        self.cluster.server =
            Server::new(store, Config { external_ips: balancers(), ..config(&self.cluster.pki) }).await.unwrap();
        (self.stop, self.serving) = serve(&self.cluster, &self.listener);
    }

    /// Stops serving, which connections that are left must not hold up.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(DEADLINE, self.serving).await.unwrap().unwrap();
    }
}

fn balancers() -> Vec<ExternalRange> {
    vec!["192.0.2.9/32".parse().unwrap()]
}

fn serve(cluster: &Cluster, listener: &std::net::TcpListener) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let (server, tls) = (cluster.server.clone(), cluster.serving());
    let listener = TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
    let serving = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        server.serve(vec![listener], tls, stopped).await;
    });
    (stop, serving)
}

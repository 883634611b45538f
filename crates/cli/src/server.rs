//! `stead server`: the API server, its store and the controllers, in one process.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use stead_apiserver::{
    SealingKeys, Server, TokenKey,
    auth::Identity,
    config::Config,
    pki::{self, Pki, kubeconfig, write_private},
    tls,
};
use stead_store::{Embedded, OpenError};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    args::ServerArgs,
    config::{Config as File, ServerSection},
    log, rights,
};

/// The read-only port of 2014.
const READ_ONLY_PORT: u16 = 7080;

pub(crate) fn run(args: &ServerArgs) -> Result<()> {
    log::start();
    let mut section = File::load(args.config.as_deref())?.server;
    section.set(&args.services);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(serve(args, section))
}

async fn serve(args: &ServerArgs, section: ServerSection) -> Result<()> {
    let pki = in_data(args, Pki::load_or_create(&args.data.join("pki")))?;
    let read_only = section.read_only_service;
    let controllers = stead_controllers::Config {
        root_ca: pki.ca_pem().into(),
        endpoints_per_slice: u16::from(section.max_endpoints_per_slice).into(),
    };
    let config = Config {
        advertise: args.listen,
        service_ranges: section.service_ranges,
        node_ports: section.node_ports.0,
        external_ips: section.allow_external_ips.unwrap_or_default(),
        pod_ranges: section.pod_ranges,
        cluster_domain: section.cluster_domain.into(),
        read_only: read_only.then(|| SocketAddr::new(args.listen.ip(), READ_ONLY_PORT)),
        agent_tls: tls::agent_client_config(&pki)?,
        token_key: Arc::new(in_data(args, TokenKey::load_or_create(&args.data.join("pki")))?),
        sealing_keys: Arc::new(in_data(args, SealingKeys::load_or_create(&args.data.join("secrets.key")))?),
    };
    config.validate()?;
    let tls = serving_certificate(&pki, &config)?;
    let listeners = listen(args).await?;
    let read_only = listen_read_only(config.read_only).await?;
    in_data(args, write_admin_kubeconfig(&pki, &args.data, &config))?;

    let store = in_data(args, Embedded::open(&args.data.join("store")).map_err(with_remedy))?;
    let server = Server::new(Arc::new(store), config.clone()).await?;
    let client =
        stead_client::in_process(server.as_identity(Identity::control_plane("system:kube-controller-manager")));
    // A task of its own: what runs in `block_on` runs on a thread beside the runtime's, which has to be woken for each change.
    let controllers = tokio::spawn(stead_controllers::run(client, controllers));
    tracing::info!(address = %args.listen, "serving");
    let reading = async {
        match read_only {
            Some(listener) => server.serve_read_only(listener).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = server.serve(listeners, tls, ended()) => {}
        () = reading => {}
        ended = controllers => match ended {
            Ok(never) => match never {},
            Err(error) => return Err(error).context("the controllers ended"),
        },
    }
    Ok(())
}

/// What is lost is not all.
fn with_remedy(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::NotAStore { .. } | OpenError::Log { .. } | OpenError::NoLog { .. } => {
            anyhow!("{error}; `stead store export` prints what can be read of it")
        }
        error => error.into(),
    }
}

fn in_data<T, E: Into<anyhow::Error>>(args: &ServerArgs, outcome: Result<T, E>) -> Result<T> {
    rights::in_directory(outcome, "--data", &args.data)
}

fn serving_certificate(pki: &Pki, config: &Config) -> Result<Arc<rustls::ServerConfig>> {
    let names = pki::api_server_names(&config.cluster_domain);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut addresses: Vec<IpAddr> =
        vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into(), config.advertise.ip()];
    addresses.extend(Server::service_address(config));
    Ok(tls::server_config(pki.ca_pem(), &pki.issue_server(&names, &addresses)?)?)
}

async fn listen(args: &ServerArgs) -> Result<Vec<TcpListener>> {
    let own = TcpListener::bind(args.listen).await.with_context(|| cannot_listen(args.listen))?;
    let mut listeners = vec![own];
    if let Some(number) = args.listen_fd {
        let inherited = stead_sys::inherit::listener(number).with_context(|| format!("inherited socket {number}"))?;
        inherited.set_nonblocking(true).context("inherited socket")?;
        listeners.push(TcpListener::from_std(inherited).context("inherited socket")?);
    }
    Ok(listeners)
}

/// Said of an address that is not this machine's, of a port that somebody has, and of one that only root may take.
fn cannot_listen(address: SocketAddr) -> String {
    let remedy =
        if address.port() < 1024 { "run it with sudo, or choose a port from 1024 on" } else { "choose another" };
    format!("--listen {address} cannot be taken ({remedy})")
}

async fn listen_read_only(address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    Ok(Some(listener.with_context(|| format!("--read-only-service: {address} cannot be taken"))?))
}

/// For a server that stands alone: `DATA/admin.kubeconfig`, by its own address.
fn write_admin_kubeconfig(pki: &Pki, data: &Path, config: &Config) -> Result<()> {
    let admin = pki.issue_client("kubernetes-admin", &["system:masters"])?;
    let url = format!("https://{}", config.advertise);
    Ok(write_private(&data.join("admin.kubeconfig"), &kubeconfig(&url, pki.ca_pem(), &admin))?)
}

async fn ended() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

//! Which API server a verb talks to, as whom, and in which namespace.

use std::path::{Path, PathBuf};

use clap::Args;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};

use crate::{api::Api, duration::Span, error::VerbError, kinds::segment};

/// Where `stead up` leaves the kubeconfig of the lab that has no name of its own.
const LAB_KUBECONFIG: &str = "/run/stead/stead/kubeconfig";

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Connection {
    /// Credentials for the API server (default: what KUBECONFIG names, ~/.kube/config, the running lab `stead`)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig (default: its current one)
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// The namespace (default: the context's)
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Ask as this user instead
    #[arg(long = "as", value_name = "USER", help_heading = HEADING)]
    pub(crate) user: Option<String>,
    /// With --as: as a member of these groups
    #[arg(long = "as-group", value_name = "GROUP", requires = "user", help_heading = HEADING)]
    pub(crate) groups: Vec<String>,
    /// With --as: with this uid
    #[arg(long = "as-uid", value_name = "UID", requires = "user", help_heading = HEADING)]
    pub(crate) uid: Option<String>,
    /// The cluster of the kubeconfig (default: the context's)
    #[arg(long, help_heading = HEADING)]
    pub(crate) cluster: Option<String>,
    /// The user of the kubeconfig (default: the context's)
    #[arg(long = "user", value_name = "NAME", help_heading = HEADING)]
    pub(crate) login: Option<String>,
    /// The API server's address, as https://10.0.0.1:6443 (default: the cluster's)
    #[arg(long, short, value_name = "URL", help_heading = HEADING)]
    pub(crate) server: Option<String>,
    /// A bearer token for the API server
    #[arg(long, help_heading = HEADING)]
    pub(crate) token: Option<String>,
    /// A file with the certificates of the API server's authority
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    pub(crate) certificate_authority: Option<String>,
    /// A file with the certificate to show to the API server
    #[arg(long, value_name = "FILE", requires = "client_key", help_heading = HEADING)]
    pub(crate) client_certificate: Option<String>,
    /// A file with its key
    #[arg(long, value_name = "FILE", requires = "client_certificate", help_heading = HEADING)]
    pub(crate) client_key: Option<String>,
    /// The name in the API server's certificate (default: that of its address)
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub(crate) tls_server_name: Option<String>,
    /// Talk to whoever is at the API server's address
    #[arg(long, conflicts_with = "certificate_authority", help_heading = HEADING)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// How long to wait for each answer, as 30s or 5m (0: for ever)
    #[arg(long, value_name = "TIME", default_value = "0", help_heading = HEADING)]
    pub(crate) request_timeout: Span,
}

/// A list of a kubeconfig.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Contexts,
    Clusters,
    Users,
}

const HEADING: &str = "Connection";

impl Connection {
    /// Nothing is sent yet: a server that is not up shows in the first request.
    pub(crate) async fn open(&self) -> Result<Api, VerbError> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.login.clone(),
        };
        let client = stead_client::connect_with(self.read()?, &options).await?;
        let said = self.namespace.clone().filter(|said| !said.is_empty());
        let namespace = said.unwrap_or_else(|| client.default_namespace().to_owned());
        segment("namespace", &namespace)?;
        Ok(Api::new(client, namespace, self.request_timeout.limit()))
    }

    /// What flags say besides, in the place of what any cluster has.
    fn adjust_cluster(&self, cluster: &mut Cluster) {
        if let Some(server) = &self.server {
            let has_scheme = server.contains("://");
            cluster.server = Some(if has_scheme { server.clone() } else { format!("http://{server}") });
        }
        if let Some(file) = &self.certificate_authority {
            (cluster.certificate_authority, cluster.certificate_authority_data) = (Some(file.clone()), None);
        }
        if self.insecure_skip_tls_verify {
            cluster.insecure_skip_tls_verify = Some(true);
            (cluster.certificate_authority, cluster.certificate_authority_data) = (None, None);
        }
        cluster.tls_server_name = self.tls_server_name.clone().or(cluster.tls_server_name.take());
    }

    /// The same for any user.
    fn adjust_login(&self, login: &mut AuthInfo) {
        login.impersonate = self.user.clone().or(login.impersonate.take());
        login.impersonate_uid = self.uid.clone().or(login.impersonate_uid.take());
        if !self.groups.is_empty() {
            login.impersonate_groups = Some(self.groups.clone());
        }
        if let Some(token) = &self.token {
            *login = AuthInfo {
                impersonate: login.impersonate.take(),
                impersonate_uid: login.impersonate_uid.take(),
                impersonate_groups: login.impersonate_groups.take(),
                token: Some(token.clone().into()),
                ..AuthInfo::default()
            };
        }
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            (login.client_certificate, login.client_certificate_data) = (Some(certificate.clone()), None);
            (login.client_key, login.client_key_data) = (Some(key.clone()), None);
        }
    }

    /// The address of the API server.
    pub(crate) fn address(&self) -> Result<String, VerbError> {
        let config = self.read()?;
        let context = self.context.as_ref().or(config.current_context.as_ref());
        let context =
            config.contexts.iter().find(|one| Some(&one.name) == context).and_then(|one| one.context.as_ref());
        let cluster = context.and_then(|context| config.clusters.iter().find(|one| one.name == context.cluster));
        let server = cluster.and_then(|one| one.cluster.as_ref()).and_then(|cluster| cluster.server.clone());
        server.ok_or(VerbError::NoKubeconfig)
    }

    /// What of the kubeconfig may be chosen.
    pub(crate) fn names(&self, part: Part) -> Result<Vec<String>, VerbError> {
        let config = self.find()?;
        Ok(match part {
            Part::Contexts => config.contexts.into_iter().map(|one| one.name).collect(),
            Part::Clusters => config.clusters.into_iter().map(|one| one.name).collect(),
            Part::Users => config.auth_infos.into_iter().map(|one| one.name).collect(),
        })
    }

    /// The kubeconfig with what flags say.
    fn read(&self) -> Result<Kubeconfig, VerbError> {
        let mut config = match self.find() {
            Err(VerbError::NoKubeconfig) if self.server.is_some() => nowhere(),
            found => found?,
        };
        config.clusters.iter_mut().filter_map(|one| one.cluster.as_mut()).for_each(|one| self.adjust_cluster(one));
        config.auth_infos.iter_mut().filter_map(|one| one.auth_info.as_mut()).for_each(|one| self.adjust_login(one));
        Ok(config)
    }

    fn find(&self) -> Result<Kubeconfig, VerbError> {
        if let Some(path) = &self.kubeconfig {
            return Kubeconfig::read_from(path).map_err(VerbError::Kubeconfig);
        }
        if let Some(merged) = Kubeconfig::from_env().map_err(VerbError::Kubeconfig)? {
            return Ok(merged);
        }
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
        let first = home.into_iter().chain([PathBuf::from(LAB_KUBECONFIG)]).find(|path| path.exists());
        Kubeconfig::read_from(first.ok_or(VerbError::NoKubeconfig)?).map_err(VerbError::Kubeconfig)
    }
}

/// A kubeconfig of one context that says nothing, for flags to say all.
fn nowhere() -> Kubeconfig {
    let name = || "flags".to_owned();
    let context = Context { cluster: name(), user: Some(name()), ..Context::default() };
    let (cluster, login) = (Cluster::default(), AuthInfo::default());
    Kubeconfig {
        clusters: vec![NamedCluster { name: name(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: name(), auth_info: Some(login), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: name(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(name()),
        ..Kubeconfig::default()
    }
}

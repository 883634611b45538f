//! Which API server a verb talks to, as whom, and in which namespace.

use std::path::{Path, PathBuf};

use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::{api::Api, error::VerbError, kinds::segment};

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
    #[arg(long = "as", value_name = "USER")]
    pub(crate) user: Option<String>,
    /// With --as: as a member of these groups
    #[arg(long = "as-group", value_name = "GROUP", requires = "user")]
    pub(crate) groups: Vec<String>,
}

impl Connection {
    /// Nothing is sent yet: a server that is not up shows in the first request.
    pub(crate) async fn open(&self) -> Result<Api, VerbError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = self.read()?;
        for login in config.auth_infos.iter_mut().filter_map(|one| one.auth_info.as_mut()) {
            login.impersonate = self.user.clone().or(login.impersonate.take());
            if !self.groups.is_empty() {
                login.impersonate_groups = Some(self.groups.clone());
            }
        }
        let client = stead_client::connect_with(config, &options).await?;
        let said = self.namespace.clone().filter(|said| !said.is_empty());
        let namespace = said.unwrap_or_else(|| client.default_namespace().to_owned());
        segment("namespace", &namespace)?;
        Ok(Api::new(client, namespace))
    }

    /// The address of the API server.
    pub(crate) fn server(&self) -> Result<String, VerbError> {
        let config = self.read()?;
        let context = self.context.as_ref().or(config.current_context.as_ref());
        let context =
            config.contexts.iter().find(|one| Some(&one.name) == context).and_then(|one| one.context.as_ref());
        let cluster = context.and_then(|context| config.clusters.iter().find(|one| one.name == context.cluster));
        let server = cluster.and_then(|one| one.cluster.as_ref()).and_then(|cluster| cluster.server.clone());
        server.ok_or(VerbError::NoKubeconfig)
    }

    fn read(&self) -> Result<Kubeconfig, VerbError> {
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

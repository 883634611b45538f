//! Secrets from flags, one generator for each type that people make by hand.

use std::{fs, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Common, generate::Sources};
use crate::error::VerbError;

#[derive(Debug, Subcommand)]
pub(super) enum SecretGenerator {
    /// Of files and literal values
    Generic(Generic),
    /// Of a certificate and its key
    Tls(Tls),
    /// For a registry of images
    DockerRegistry(DockerRegistry),
}

#[derive(Debug, Args)]
pub(super) struct Generic {
    /// The name of the Secret
    name: String,
    /// The type (default: Opaque)
    #[arg(long = "type", value_name = "TYPE")]
    secret_type: Option<String>,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Tls {
    /// The name of the Secret
    name: String,
    /// The certificate, in PEM
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DockerRegistry {
    /// The name of the Secret
    name: String,
    /// The registry
    #[arg(long, value_name = "ADDRESS", default_value = "https://index.docker.io/v1/")]
    docker_server: String,
    /// Who one is there
    #[arg(long, value_name = "NAME")]
    docker_username: String,
    /// The password
    #[arg(long, value_name = "PASSWORD")]
    docker_password: String,
    /// An address for mail
    #[arg(long, value_name = "ADDRESS")]
    docker_email: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl SecretGenerator {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Generic(generic) => &generic.common,
            Self::Tls(tls) => &tls.common,
            Self::DockerRegistry(registry) => &registry.common,
        }
    }

    pub(super) fn object(&self) -> Result<Value, VerbError> {
        let (name, secret_type, data) = match self {
            Self::Generic(generic) => {
                let data = generic.sources.read()?.into_iter().collect();
                (&generic.name, generic.secret_type.as_deref(), data)
            }
            Self::Tls(tls) => {
                let read =
                    |path: &PathBuf| fs::read(path).map_err(|source| VerbError::Read { path: path.clone(), source });
                let data = vec![("tls.crt".to_owned(), read(&tls.cert)?), ("tls.key".to_owned(), read(&tls.key)?)];
                (&tls.name, Some("kubernetes.io/tls"), data)
            }
            Self::DockerRegistry(registry) => {
                let file = registry.file().to_string().into_bytes();
                let data = vec![(".dockerconfigjson".to_owned(), file)];
                (&registry.name, Some("kubernetes.io/dockerconfigjson"), data)
            }
        };
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        if let Some(secret_type) = secret_type {
            secret["type"] = secret_type.into();
        }
        let data: Vec<(String, Vec<u8>)> = data;
        for (key, bytes) in data {
            secret["data"][key] = BASE64_STANDARD.encode(bytes).into();
        }
        Ok(secret)
    }
}

impl DockerRegistry {
    /// As the program `docker` keeps it.
    fn file(&self) -> Value {
        let (name, password) = (&self.docker_username, &self.docker_password);
        let mut entry = json!({
            "username": name, "password": password, "auth": BASE64_STANDARD.encode(format!("{name}:{password}")),
        });
        if let Some(email) = &self.docker_email {
            entry["email"] = email.as_str().into();
        }
        json!({"auths": {self.docker_server.as_str(): entry}})
    }
}

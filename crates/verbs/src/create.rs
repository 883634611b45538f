//! `stead create -f FILE`, and the generators that need no file.

mod generate;
mod secret;
mod token;

use clap::{Args, Subcommand};
use http::Method;

use crate::{
    connection::Connection,
    error::{VerbError, told},
    generated,
    kinds::Kinds,
    manifest::Files,
    raw, write,
    write::WriteOptions,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CreateArgs {
    #[command(flatten)]
    files: Files,
    /// Of what the files have, only what has these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Send the file to this path of the API server, and print the answer as it is
    #[arg(long, value_name = "PATH", requires = "filename")]
    raw: Option<String>,
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    generator: Option<Generator>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) options: WriteOptions,
}

#[derive(Debug, Subcommand)]
enum Generator {
    /// A Service of one type
    #[command(subcommand, visible_alias = "svc")]
    Service(generate::ServiceGenerator),
    /// A Deployment of one or more images
    #[command(visible_alias = "deploy")]
    Deployment(generate::DeploymentGenerator),
    /// A Namespace
    #[command(visible_alias = "ns")]
    Namespace(generate::Named),
    /// A ServiceAccount
    #[command(visible_alias = "sa")]
    Serviceaccount(generate::Named),
    /// A ConfigMap of files and literal values
    #[command(visible_alias = "cm")]
    Configmap(generate::DataGenerator),
    /// A Secret
    #[command(subcommand)]
    Secret(secret::SecretGenerator),
    /// A token for a ServiceAccount, printed
    Token(token::TokenArgs),
}

impl Generator {
    /// How kubectl begins to tell that the server refused it; `None`: it tells the refusal as it is.
    fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Service(generator) => Some(generator.failure()),
            Self::Deployment(_) => Some("failed to create deployment:"),
            Self::Serviceaccount(_) => Some("failed to create serviceaccount:"),
            Self::Configmap(_) => Some("failed to create configmap:"),
            Self::Secret(_) => Some("failed to create secret"),
            Self::Namespace(_) | Self::Token(_) => None,
        }
    }
}

pub(crate) async fn run(args: &CreateArgs) -> Result<(), VerbError> {
    if let Some(path) = &args.raw {
        return raw::ask(&args.common.connection, Method::POST, path, &args.files).await;
    }
    let (common, objects) = match &args.generator {
        None => (&args.common, args.files.read_chosen(&[], args.selector.as_ref()).await?),
        Some(Generator::Service(generator)) => (generator.common(), vec![generator.object()?]),
        Some(Generator::Deployment(generator)) => (&generator.common, vec![generator.object()]),
        Some(Generator::Namespace(named)) => (&named.common, vec![named.object("Namespace")]),
        Some(Generator::Serviceaccount(named)) => (&named.common, vec![named.object("ServiceAccount")]),
        Some(Generator::Configmap(generator)) => (&generator.common, vec![generator.config_map()?]),
        Some(Generator::Secret(generator)) => (generator.common(), vec![generator.object()?]),
        Some(Generator::Token(args)) => return token::run(args).await,
    };
    let namespace = common.connection.namespace.as_deref();
    let objects = match &args.generator {
        None => objects,
        Some(_) => objects.into_iter().map(|object| generated::shaped(object, namespace)).collect(),
    };
    let api = common.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut problems = Vec::new();
    for object in objects {
        let said = common.connection.namespace.as_deref();
        let created = write::create(&api, &kinds, object, said, &common.options).await;
        problems.extend(created.err().map(|error| match args.generator.as_ref().and_then(Generator::failure) {
            Some(failed) => error.into_cause_of(failed),
            None => error,
        }));
    }
    told(problems)
}

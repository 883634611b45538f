//! `stead version`: this program's version, and the server's.

use clap::Args;
use serde_json::json;

use crate::{connection::Connection, error::VerbError, print::to_yaml};

#[derive(Debug, Args)]
pub struct VersionArgs {
    #[command(flatten)]
    connection: Connection,
    /// Only this program's
    #[arg(long)]
    client: bool,
    /// json or yaml
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    output: Option<Form>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    Json,
    Yaml,
}

pub(crate) async fn run(args: &VersionArgs) -> Result<(), VerbError> {
    let own = concat!("v", env!("CARGO_PKG_VERSION"));
    let server = match args.client {
        true => None,
        false => Some(args.connection.open().await?.get("/version").await?),
    };
    let Some(form) = args.output else {
        println!("Client Version: {own}");
        if let Some(server) = server {
            println!("Server Version: {}", server["gitVersion"].as_str().unwrap_or_default());
        }
        return Ok(());
    };
    let mut versions = json!({"clientVersion": {"gitVersion": own}});
    if let Some(server) = server {
        versions["serverVersion"] = server;
    }
    match form {
        Form::Json => println!("{versions:#}"),
        Form::Yaml => print!("{}", to_yaml(&versions)),
    }
    Ok(())
}

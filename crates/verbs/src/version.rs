//! `stead version`: this program's version, and the server's.

use clap::Args;

use crate::{connection::Connection, error::VerbError};

#[derive(Debug, Args)]
pub struct VersionArgs {
    #[command(flatten)]
    connection: Connection,
    /// Only this program's
    #[arg(long)]
    client: bool,
}

pub(crate) async fn run(args: &VersionArgs) -> Result<(), VerbError> {
    println!("Client Version: v{}", env!("CARGO_PKG_VERSION"));
    if !args.client {
        let answer = args.connection.open().await?.get("/version").await?;
        println!("Server Version: {}", answer["gitVersion"].as_str().unwrap_or_default());
    }
    Ok(())
}

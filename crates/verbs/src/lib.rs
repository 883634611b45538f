//! The client verbs of `stead`: what people do with kubectl, in its words and with its output, for those who have none.
//!
//! Owns their arguments, requests and printing. Knows no server, node or kernel: it talks to any Kubernetes API through
//! `stead-client` and learns from discovery what kinds there are. What an object may be is the server's to say; what a
//! verb prints is put together by pure modules (`print`, `describe`) and goes to standard output.

mod api;
mod apply;
mod connection;
mod create;
mod delete;
mod describe;
mod error;
mod exec;
mod explain;
mod expose;
mod get;
mod kinds;
mod logs;
mod manifest;
mod older;
mod pods;
mod port_forward;
mod print;
mod run;
mod scale;
mod selection;
mod streaming;
mod terminal;
mod write;

use std::process::ExitCode;

use clap::Subcommand;

pub use error::VerbError;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show objects
    Get(get::GetArgs),
    /// Tell all about objects, and what happened to them
    Describe(describe::DescribeArgs),
    /// Create objects from manifests, or from flags
    Create(create::CreateArgs),
    /// Make objects as manifests say
    Apply(apply::ApplyArgs),
    /// Delete objects, and wait until they are gone
    Delete(delete::DeleteArgs),
    /// Give what runs a Service
    Expose(expose::ExposeArgs),
    /// Run an image as a pod
    Run(run::RunArgs),
    /// Set how many replicas there are
    Scale(scale::ScaleArgs),
    /// Show what a pod's containers wrote
    Logs(logs::LogsArgs),
    /// Run a command in a container
    Exec(exec::ExecArgs),
    /// Bring ports of a pod to this machine
    PortForward(port_forward::PortForwardArgs),
    /// Tell what the fields of a type mean
    Explain(explain::ExplainArgs),
}

/// Does it, and tells what went wrong on standard error.
pub fn run(verb: &Verb) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(carry_out(verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ VerbError::Exited(code)) => {
            eprintln!("{error}");
            ExitCode::from(code)
        }
        Err(VerbError::Told) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}", stead_client::error_text(&error));
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(verb: &Verb) -> Result<(), VerbError> {
    match verb {
        Verb::Get(args) => get::run(args).await,
        Verb::Describe(args) => describe::run(args).await,
        Verb::Create(args) => create::run(args).await,
        Verb::Apply(args) => apply::run(args).await,
        Verb::Delete(args) => delete::run(args).await,
        Verb::Expose(args) => expose::run(args).await,
        Verb::Run(args) => run::run(args).await,
        Verb::Scale(args) => scale::run(args).await,
        Verb::Logs(args) => logs::run(args).await,
        Verb::Exec(args) => exec::run(args).await,
        Verb::PortForward(args) => port_forward::run(args).await,
        Verb::Explain(args) => explain::run(args).await,
    }
}

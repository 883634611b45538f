//! The client verbs of `stead`: what people do with kubectl, in its words and with its output, for those who have none.
//!
//! Owns their arguments, requests and printing. Knows no server, node or kernel: it talks to any Kubernetes API through
//! `stead-client` and learns from discovery what kinds there are. What an object may be is the server's to say; what a
//! verb prints is put together by pure modules (`print`, `describe`) and goes to standard output.

mod api;
mod api_resources;
mod apply;
mod auth;
mod chosen;
mod cluster_info;
pub mod completion;
mod connection;
mod create;
mod delete;
mod describe;
mod diff;
mod difference;
mod duration;
mod edit;
mod error;
mod events;
mod exec;
mod explain;
mod expose;
mod following;
mod generated;
mod get;
mod kinds;
mod label;
mod logs;
mod manifest;
mod nodes;
mod older;
mod pairs;
mod patch;
mod pods;
mod port_forward;
mod print;
mod raw;
mod replace;
mod rollout;
mod run;
mod scale;
mod selection;
mod set;
mod streaming;
mod terminal;
mod version;
mod wait;
mod write;

use std::process::ExitCode;

use clap::Subcommand;

pub use error::VerbError;

use self::{label::Field, nodes::Scheduling};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show objects
    Get(get::GetArgs),
    /// Tell all about objects, and what happened to them
    Describe(describe::DescribeArgs),
    /// Create objects from manifests, or from flags
    Create(Box<create::CreateArgs>),
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
    /// Watch, go back on, or hold what a new template sets off
    Rollout(rollout::RolloutArgs),
    /// Change images, variables and selectors
    Set(set::SetArgs),
    /// Change labels
    Label(label::LabelArgs),
    /// Change annotations
    Annotate(label::LabelArgs),
    /// Change fields by a patch
    Patch(patch::PatchArgs),
    /// Change objects in an editor
    Edit(edit::EditArgs),
    /// Make objects what manifests say, whole
    Replace(replace::ReplaceArgs),
    /// Show what applying manifests would change
    Diff(diff::DiffArgs),
    /// Wait until objects are as wanted
    Wait(wait::WaitArgs),
    /// Show what happened
    Events(events::EventsArgs),
    /// Join what a container writes from now on
    Attach(exec::AttachArgs),
    /// Give a node no new pods
    Cordon(nodes::CordonArgs),
    /// Give a node new pods again
    Uncordon(nodes::CordonArgs),
    /// Take all pods from a node
    Drain(nodes::DrainArgs),
    /// Tell who one is, and what one may do
    Auth(auth::AuthArgs),
    /// Show which kinds the server has
    ApiResources(api_resources::ApiResourcesArgs),
    /// Show which versions the server has
    ApiVersions(api_resources::ApiVersionsArgs),
    /// Show where the control plane answers
    ClusterInfo(cluster_info::ClusterInfoArgs),
    /// Show this program's version and the server's
    Version(version::VersionArgs),
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
        Err(VerbError::Told | VerbError::Differs) => ExitCode::FAILURE,
        Err(VerbError::Failed { code, text }) => {
            eprintln!("{text}");
            ExitCode::from(code)
        }
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
        Verb::Rollout(args) => rollout::run(args).await,
        Verb::Set(args) => set::run(args).await,
        Verb::Label(args) => label::run(args, Field::Labels).await,
        Verb::Annotate(args) => label::run(args, Field::Annotations).await,
        Verb::Patch(args) => patch::run(args).await,
        Verb::Edit(args) => edit::run(args).await,
        Verb::Replace(args) => replace::run(args).await,
        Verb::Diff(args) => diff::run(args).await,
        Verb::Wait(args) => wait::run(args).await,
        Verb::Events(args) => events::run(args).await,
        Verb::Attach(args) => exec::attach(args).await,
        Verb::Cordon(args) => nodes::run(args, Scheduling::Cordoned).await,
        Verb::Uncordon(args) => nodes::run(args, Scheduling::Open).await,
        Verb::Drain(args) => nodes::drain(args).await,
        Verb::Auth(args) => auth::run(args).await,
        Verb::ApiResources(args) => api_resources::run(args).await,
        Verb::ApiVersions(args) => api_resources::run_versions(args).await,
        Verb::ClusterInfo(args) => cluster_info::run(args).await,
        Verb::Version(args) => version::run(args).await,
    }
}

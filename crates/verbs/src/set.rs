//! `stead set`: images and variables of pod templates, and selectors of Services.

mod env;
mod image;
mod selector;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{
    chosen::{Choice, Reach},
    connection::Connection,
    error::VerbError,
    write::WriteOptions,
};

#[derive(Debug, Args)]
pub struct SetArgs {
    #[command(subcommand)]
    command: Set,
}

#[derive(Debug, Subcommand)]
enum Set {
    /// Change images of containers
    Image(image::ImageArgs),
    /// Change variables of containers, or show them
    Env(env::EnvArgs),
    /// Change which pods a Service has
    Selector(selector::SelectorArgs),
}

/// What all of them take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

pub(crate) async fn run(args: &SetArgs) -> Result<(), VerbError> {
    match &args.command {
        Set::Image(args) => image::run(args).await,
        Set::Env(args) => env::run(args).await,
        Set::Selector(args) => selector::run(args).await,
    }
}

impl Common {
    fn demand_objects(&self, words: &[String]) -> Result<(), VerbError> {
        if words.is_empty() && self.choice.files.is_empty() {
            let problem = "one or more resources must be specified as <resource> <name> or <resource>/<name>";
            return Err(VerbError::usage(problem));
        }
        Ok(())
    }
}

/// Where an object's pod spec is; `None` for kinds that have none.
fn pod_spec(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("/spec"),
        "Deployment" | "ReplicaSet" | "ReplicationController" | "DaemonSet" | "StatefulSet" | "Job" => {
            Some("/spec/template/spec")
        }
        _ => None,
    }
}

/// `value` below the path `pointer`, for a patch.
fn nested(pointer: &str, value: Value) -> Value {
    pointer.rsplit('/').filter(|key| !key.is_empty()).fold(value, |value, key| serde_json::json!({key: value}))
}

/// Names of the containers in the list `key` of a pod spec.
fn containers<'a>(spec: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    spec[key].as_array().into_iter().flatten()
}

const LISTS: [&str; 2] = ["initContainers", "containers"];

//! `stead rollout`: how a Deployment's new template spreads, which it had before, and the way back.
//!
//! Each subcommand is one module, but pause, resume and restart, which are a patch and a word each.

mod history;
mod status;
mod undo;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    api::{Api, MERGE_PATCH},
    chosen::{Choice, Chosen, Reach, Read},
    connection::Connection,
    error::{VerbError, told},
    write::WriteOptions,
};

const REVISION: &str = "deployment.kubernetes.io/revision";

#[derive(Debug, Args)]
pub struct RolloutArgs {
    #[command(subcommand)]
    command: Rollout,
}

#[derive(Debug, Subcommand)]
enum Rollout {
    /// Watch a rollout until it is done
    Status(status::StatusArgs),
    /// Show which templates there were
    History(history::HistoryArgs),
    /// Go back to a template that there was
    Undo(undo::UndoArgs),
    /// Make all pods anew
    Restart(Simple),
    /// Hold further changes of the template back
    Pause(Simple),
    /// Let held changes go on
    Resume(Simple),
}

/// Which objects a subcommand is about.
#[derive(Debug, Args)]
pub(crate) struct About {
    /// TYPE NAME…, TYPE/NAME…, or TYPE for all of it
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Simple {
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    options: WriteOptions,
}

impl About {
    async fn read(&self) -> Result<(Api, Read), VerbError> {
        if self.words.is_empty() && self.choice.files.is_empty() {
            return Err(VerbError::usage("required resource not specified"));
        }
        self.choice.read(&self.words, &Reach::everything(), &self.connection).await
    }
}

pub(crate) async fn run(args: &RolloutArgs) -> Result<(), VerbError> {
    match &args.command {
        Rollout::Status(args) => status::run(args).await,
        Rollout::History(args) => history::run(args).await,
        Rollout::Undo(args) => undo::run(args).await,
        Rollout::Restart(args) => change(args, &Change::Restart).await,
        Rollout::Pause(args) => change(args, &Change::Pause).await,
        Rollout::Resume(args) => change(args, &Change::Resume).await,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Restart,
    Pause,
    Resume,
}

impl Change {
    fn done(self) -> &'static str {
        match self {
            Self::Restart => "restarted",
            Self::Pause => "paused",
            Self::Resume => "resumed",
        }
    }

    /// The patch, or why there is none.
    fn patch(self, one: &Chosen, now: Timestamp) -> Result<Value, &'static str> {
        let is_paused = one.object["spec"]["paused"] == true;
        if one.kind.kind != "Deployment" {
            return Err(match self {
                Self::Restart => "restarting is not supported",
                Self::Pause => "pausing is not supported",
                Self::Resume => "resuming is not supported",
            });
        }
        match self {
            Self::Restart if is_paused => Err("can't restart paused deployment (run rollout resume first)"),
            Self::Pause if is_paused => Err("is already paused"),
            Self::Resume if !is_paused => Err("is not paused"),
            Self::Restart => {
                let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
                Ok(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}))
            }
            Self::Pause => Ok(json!({"spec": {"paused": true}})),
            Self::Resume => Ok(json!({"spec": {"paused": null}})),
        }
    }
}

async fn change(args: &Simple, change: &Change) -> Result<(), VerbError> {
    let (api, read) = args.about.read().await?;
    if read.objects.is_empty() && read.problems.is_empty() {
        eprintln!("No resources found in {} namespace.", api.namespace);
    }
    let mut problems = read.problems;
    for one in &read.objects {
        let patch = match change.patch(one, Timestamp::now()) {
            Ok(patch) => patch,
            Err(problem) => {
                problems.push(VerbError::usage(format!("{} {problem}", one.title())));
                continue;
            }
        };
        let path = format!("{}?{}", one.path()?, args.options.query());
        match api.patch(&path, MERGE_PATCH, &patch).await {
            Ok(after) => args.options.report(&one.kind, after, change.done())?,
            Err(error) => problems.push(error),
        }
    }
    told(problems)
}

/// The ReplicaSets that a Deployment keeps, each with its revision, oldest first.
async fn revisions(api: &Api, one: &Chosen) -> Result<Vec<(u64, Value)>, VerbError> {
    let path = format!("/apis/apps/v1/namespaces/{}/replicasets", one.namespace);
    let uid = stead_api::meta::uid(&one.object);
    let is_owned = |set: &Value| {
        let owners = set["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.into_iter().any(|owner| owner["controller"] == true && owner["uid"] == uid)
    };
    let sets = crate::chosen::items(api.get(&path).await?).into_iter().filter(is_owned);
    let mut revisions: Vec<(u64, Value)> = sets.filter_map(|set| Some((revision(&set)?, set))).collect();
    revisions.sort_by_key(|(revision, _)| *revision);
    Ok(revisions)
}

fn revision(object: &Value) -> Option<u64> {
    stead_api::meta::annotation(object, REVISION)?.parse().ok()
}

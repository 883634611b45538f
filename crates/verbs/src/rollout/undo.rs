//! `stead rollout undo`: a Deployment gets the template back that an older revision had.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{About, REVISION, revisions};
use crate::{
    api::{Api, JSON_PATCH},
    chosen::Chosen,
    describe::template_text,
    error::{VerbError, told},
    write::{DryRun, WriteOptions},
};

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    about: About,
    /// Back to this revision (0: the one before)
    #[arg(long, value_name = "N", default_value_t = 0)]
    to_revision: u64,
    #[command(flatten)]
    options: WriteOptions,
}

/// Annotations that are the Deployment's own, and stay.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];
const HASH: &str = "pod-template-hash";

pub(super) async fn run(args: &UndoArgs) -> Result<(), VerbError> {
    let (api, read) = args.about.read().await?;
    let mut problems = read.problems;
    for one in &read.objects {
        problems.extend(undo(args, &api, one).await.err());
    }
    told(problems)
}

async fn undo(args: &UndoArgs, api: &Api, one: &Chosen) -> Result<(), VerbError> {
    if one.kind.kind != "Deployment" {
        let kind = format!("{}.{}", one.kind.kind, one.kind.group);
        let problem = format!("no rollbacker has been implemented for {:?}", kind.trim_end_matches('.'));
        return Err(VerbError::Usage(problem));
    }
    let sets = revisions(api, one).await?;
    let wanted = match args.to_revision {
        0 => sets
            .len()
            .checked_sub(2)
            .map(|at| &sets[at].1)
            .ok_or_else(|| VerbError::usage(format!("no rollout history found for deployment {:?}", one.name())))?,
        number => sets
            .iter()
            .find(|(revision, _)| *revision == number)
            .map(|(_, set)| set)
            .ok_or_else(|| VerbError::usage(format!("unable to find specified revision {number} in history")))?,
    };
    let template = without_hash(&wanted["spec"]["template"]);
    if args.options.dry_run == DryRun::Client {
        return args.options.report(&one.kind, one.object.clone(), &template_text(&wanted["spec"]["template"]));
    }
    if one.object["spec"]["paused"] == true {
        let problem =
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again";
        return Err(VerbError::usage(problem));
    }
    if template == one.object["spec"]["template"] {
        let done = format!("skipped rollback (current template already matches revision {})", args.to_revision);
        return args.options.report(&one.kind, one.object.clone(), &done);
    }
    let patch = json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": annotations(&one.object, wanted)},
    ]);
    let after = api.patch(&format!("{}?{}", one.path()?, args.options.query()), JSON_PATCH, &patch).await?;
    args.options.report(&one.kind, after, "rolled back")
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    template
}

/// The Deployment's own annotations, and else those of the revision.
fn annotations(deployment: &Value, set: &Value) -> Map<String, Value> {
    let of = |object: &Value| object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let is_own = |key: &String| OWN.contains(&key.as_str());
    let kept = of(deployment).into_iter().filter(|(key, _)| is_own(key));
    kept.chain(of(set).into_iter().filter(|(key, _)| !is_own(key))).collect()
}

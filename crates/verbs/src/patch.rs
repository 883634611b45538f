//! `stead patch`: fields of objects, changed by a patch that is given.

use std::{fs, path::PathBuf};

use clap::Args;
use serde_json::Value;
use stead_api::patch::{apply_json_patch, apply_merge_patch, apply_strategic_merge_patch};

use crate::{
    api::{Api, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH},
    chosen::{Choice, Chosen, Reach},
    connection::Connection,
    error::{VerbError, told},
    kinds::Kind,
    manifest::Files,
    write::{DryRun, WriteOptions},
};

#[derive(Debug, Args)]
pub struct PatchArgs {
    /// TYPE NAME… or TYPE/NAME…
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// The patch, in JSON or YAML
    #[arg(long, short, conflicts_with = "patch_file")]
    patch: Option<String>,
    /// A file that has it
    #[arg(long, value_name = "FILE")]
    patch_file: Option<PathBuf>,
    /// strategic (lists are merged by their keys), merge (RFC 7386) or json (RFC 6902)
    #[arg(long = "type", value_enum, default_value_t)]
    form: Form,
    /// A part of the object with a path of its own: status, scale
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

/// How a patch says what changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    Json,
    Merge,
    #[default]
    Strategic,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON_PATCH,
            Self::Merge => MERGE_PATCH,
            Self::Strategic => STRATEGIC_PATCH,
        }
    }

    /// What becomes of the object, where nothing is sent.
    pub(crate) fn apply(self, kind: &Kind, object: &Value, patch: &Value) -> Result<Value, VerbError> {
        let patched = match self {
            Self::Json => apply_json_patch(object, patch),
            Self::Merge => apply_merge_patch(object, patch),
            Self::Strategic => {
                let known = stead_api::kinds::find(&kind.group, &kind.version, &kind.plural).ok_or_else(|| {
                    let name = format!("{}, Kind={}", kind.api_version(), kind.kind);
                    VerbError::usage(format!(
                        "strategic merge patch is not supported for {name} locally, try --type merge"
                    ))
                })?;
                apply_strategic_merge_patch(object, patch, known.definition)
            }
        };
        patched.map_err(|error| VerbError::usage(error.to_string()))
    }
}

pub(crate) async fn run(args: &PatchArgs) -> Result<(), VerbError> {
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            fs::read_to_string(path).map_err(|source| VerbError::Read { path: path.clone(), source })?
        }
        (None, None) => {
            return Err(VerbError::usage("must specify --patch or --patch-file containing the contents of the patch"));
        }
    };
    let patch: Value = serde_saphyr::from_str(&text)
        .map_err(|error| VerbError::usage(format!("unable to parse {text:?}: {}", first_line(&error.to_string()))))?;
    let choice = Choice { files: args.files.clone(), selector: None };
    let (api, read) = choice.read(&args.words, &Reach::default(), &args.connection).await?;
    let mut problems = read.problems;
    for one in &read.objects {
        problems.extend(change(args, &api, one, &patch).await.err());
    }
    told(problems)
}

async fn change(args: &PatchArgs, api: &Api, one: &Chosen, patch: &Value) -> Result<(), VerbError> {
    let after = if args.options.dry_run == DryRun::Client {
        args.form.apply(&one.kind, &one.object, patch)?
    } else {
        let part = args.subresource.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        let path = format!("{}{part}?{}", one.path()?, args.options.query());
        api.patch(&path, args.form.content_type(), patch).await?
    };
    let done = if after == one.object { "patched (no change)" } else { "patched" };
    // A subresource may be of another kind.
    let mut shown = one.kind.clone();
    if let (Some(kind), Some(version)) = (after["kind"].as_str(), after["apiVersion"].as_str())
        && kind != shown.kind
    {
        shown.group = version.split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default();
        shown.singular = kind.to_ascii_lowercase();
    }
    args.options.report(&shown, after, done)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

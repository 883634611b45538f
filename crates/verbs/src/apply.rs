//! `stead apply -f`: server-side apply, told in the words of kubectl's own apply.

use clap::Args;
use serde_json::Value;

use crate::{
    api::{APPLY_PATCH, Api},
    connection::Connection,
    error::{VerbError, told},
    kinds::Kinds,
    manifest::Files,
    older,
    write::{DryRun, WriteOptions, namespace_of},
};

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
    /// Take fields over that others have set to something else
    #[arg(long)]
    force_conflicts: bool,
    /// It is the server that applies in any case; this tells so for each object, as kubectl does
    #[arg(long)]
    server_side: bool,
    /// Only those with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
}

pub(crate) async fn run(args: &ApplyArgs) -> Result<(), VerbError> {
    let objects = args.files.read_chosen(&[], args.selector.as_ref()).await?;
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut problems = Vec::new();
    for object in objects {
        problems.extend(apply(args, &api, &kinds, object).await.err());
    }
    told(problems)
}

async fn apply(args: &ApplyArgs, api: &Api, kinds: &Kinds, object: Value) -> Result<(), VerbError> {
    let object = older::in_v1(kinds, object)?;
    let kind = kinds.of_object(&object)?;
    let name = stead_api::meta::name(&object).to_owned();
    let prefix = stead_api::meta::generate_name_prefix(&object);
    if name.is_empty() && !prefix.is_empty() {
        return Err(VerbError::usage(format!("from {prefix}: cannot use generate name with apply")));
    }
    let path = kind.object(&namespace_of(api, &object, args.connection.namespace.as_deref())?, &name)?;
    let before = match api.get(&path).await {
        Ok(before) => Some(before),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    if args.options.dry_run == DryRun::Client {
        return args.options.report(kind, object, if before.is_some() { "configured" } else { "created" });
    }
    let force = if args.force_conflicts { "&force=true" } else { "" };
    let query = args.options.query();
    let after = api.patch(&format!("{path}?{query}{force}"), APPLY_PATCH, &object).await?;
    let done = match before {
        _ if args.server_side => "serverside-applied",
        None => "created",
        Some(before) if stead_api::meta::resource_version(&before) == stead_api::meta::resource_version(&after) => {
            "unchanged"
        }
        Some(_) => "configured",
    };
    args.options.report(kind, after, done)
}

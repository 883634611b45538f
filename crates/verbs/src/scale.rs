//! `stead scale --replicas=N TYPE/NAME…`.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    api::{Api, MERGE_PATCH, Next},
    chosen::{Choice, Chosen, Reach},
    connection::Connection,
    duration::Span,
    error::{VerbError, told},
    following::{Followed, Seen, follow},
    write::{DryRun, WriteOptions},
};

#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// TYPE NAME… or TYPE/NAME…
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// How many there are to be
    #[arg(long)]
    replicas: u32,
    /// Only if there are to be this many now (-1: however many)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    current_replicas: Option<i64>,
    /// Only if this is the object's resourceVersion
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    /// How long to wait until there are that many, as 30s or 5m (0: not at all)
    #[arg(long, value_name = "TIME", default_value = "0s")]
    timeout: Span,
    /// All of the type in the namespace
    #[arg(long, conflicts_with = "selector")]
    all: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

pub(crate) async fn run(args: &ScaleArgs) -> Result<(), VerbError> {
    let reach = Reach { all: args.all, ..Reach::default() };
    let (api, read) = args.choice.read(&args.words, &reach, &args.connection).await?;
    if read.objects.len() > 1 && args.resource_version.is_some() {
        return Err(VerbError::usage("cannot use --resource-version with multiple resources"));
    }
    let failed = |error: VerbError| match error.is_not_found() {
        true => error.into_cause_of("no objects passed to scale"),
        false => error,
    };
    let mut problems: Vec<VerbError> = read.problems.into_iter().map(failed).collect();
    if read.objects.is_empty() && problems.is_empty() {
        return Err(VerbError::usage("no objects passed to scale"));
    }
    for one in read.objects {
        match scale(args, &api, &one).await {
            Ok(()) => args.options.report(&one.kind, one.object, "scaled")?,
            Err(error) => problems.push(error),
        }
    }
    told(problems)
}

async fn scale(args: &ScaleArgs, api: &Api, one: &Chosen) -> Result<(), VerbError> {
    let path = format!("{}/scale", one.path()?);
    let now = api.get(&path).await?;
    let mut patch = json!({"spec": {"replicas": args.replicas}});
    let mut revision = args.resource_version.as_deref().filter(|version| !version.is_empty());
    if let Some(version) = revision
        && version != stead_api::meta::resource_version(&now)
    {
        let now = stead_api::meta::resource_version(&now);
        return Err(VerbError::usage(format!("Expected resource version to be {version}, was {now}")));
    }
    if let Some(expected) = args.current_replicas.filter(|count| *count >= 0) {
        let count = now["spec"]["replicas"].as_i64().unwrap_or_default();
        if count != expected {
            return Err(VerbError::usage(format!("Expected replicas to be {expected}, was {count}")));
        }
        revision = Some(stead_api::meta::resource_version(&now));
    }
    if let Some(revision) = revision {
        patch["metadata"] = json!({"resourceVersion": revision});
    }
    if args.options.dry_run == DryRun::Client {
        return Ok(());
    }
    api.patch(&format!("{path}?{}", args.options.query()), MERGE_PATCH, &patch).await?;
    match args.timeout.limit() {
        Some(limit) if args.options.dry_run == DryRun::None => wait(args, api, one, limit).await,
        _ => Ok(()),
    }
}

/// Until there are as many as wanted, or others are wanted by somebody else.
async fn wait(args: &ScaleArgs, api: &Api, one: &Chosen, limit: std::time::Duration) -> Result<(), VerbError> {
    let count = |object: &Value, part: &str| object[part]["replicas"].as_u64().unwrap_or_default();
    let wanted = u64::from(args.replicas);
    let followed = follow(api, &one.kind, &one.namespace, one.name(), Some(limit), |seen| match seen {
        Seen::Object(object) if count(object, "spec") == wanted && count(object, "status") != wanted => Ok(Next::More),
        Seen::Object(_) | Seen::Gone => Ok(Next::Stop),
    });
    match followed.await? {
        Followed::Stopped => Ok(()),
        Followed::TimedOut => Err(VerbError::TimedOut(format!("{:?} to be scaled", one.name()))),
    }
}

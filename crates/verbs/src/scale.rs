//! `stead scale --replicas=N TYPE/NAME…`.

use clap::Args;
use serde_json::json;

use crate::{
    api::MERGE_PATCH,
    connection::Connection,
    error::{VerbError, told},
    kinds::Kinds,
    selection,
    write::{DryRun, WriteOptions},
};

#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// TYPE NAME… or TYPE/NAME…
    #[arg(value_name = "TYPE", required = true)]
    words: Vec<String>,
    /// How many there are to be
    #[arg(long)]
    replicas: u32,
    /// Only if there are to be this many now
    #[arg(long, value_name = "N")]
    current_replicas: Option<i64>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

pub(crate) async fn run(args: &ScaleArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut problems = Vec::new();
    for target in selection::parse(&args.words, &kinds)? {
        if target.names.is_empty() {
            return Err(VerbError::argument("NAME", "name what is to be scaled"));
        }
        for name in &target.names {
            let mut patch = json!({"spec": {"replicas": args.replicas}});
            let scaled = async {
                let path = format!("{}/scale", target.kind.object(&api.namespace, name)?);
                let now = match api.get(&path).await {
                    Err(error) if error.is_not_found() => return Err(error.into_cause_of("no objects passed to scale")),
                    read => read?,
                };
                if let Some(expected) = args.current_replicas {
                    let count = now["spec"]["replicas"].as_i64().unwrap_or_default();
                    if count != expected {
                        return Err(VerbError::usage(format!("Expected replicas to be {expected}, was {count}")));
                    }
                    patch["metadata"] = json!({"resourceVersion": stead_api::meta::resource_version(&now)});
                }
                if args.options.dry_run == DryRun::Client {
                    return Ok(now);
                }
                api.patch(&format!("{path}?{}", args.options.query()), MERGE_PATCH, &patch).await
            };
            match scaled.await {
                Ok(scale) => args.options.report(&target.kind, scale, "scaled")?,
                Err(error) => problems.push(error),
            }
        }
    }
    told(problems)
}

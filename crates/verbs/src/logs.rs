//! `stead logs POD`: what a pod's containers wrote.

use std::io::{self, Write as _};

use clap::Args;
use futures::TryStreamExt as _;
use http::Method;
use http_body_util::BodyExt as _;

use crate::{
    api::{Api, Ask, JSON, escape},
    connection::Connection,
    error::VerbError,
    kinds::Kinds,
    pods,
};

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// POD, or TYPE/NAME of what has pods: its first one is taken
    #[arg(value_name = "POD")]
    pod: String,
    /// The container (default: the first)
    #[arg(long, short)]
    container: Option<String>,
    /// All containers, one after the other
    #[arg(long, conflicts_with = "container")]
    all_containers: bool,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// Of the run before this one
    #[arg(long, short)]
    previous: bool,
    /// Only the last N lines (-1: all)
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    tail: i64,
    /// Only lines of the last so many seconds
    #[arg(long, value_name = "SECONDS")]
    since: Option<u64>,
    /// Before each line its time
    #[arg(long)]
    timestamps: bool,
    /// Not more than so many bytes
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: &LogsArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let pod = pods::find(&api, &kinds, &args.pod).await?;
    let name = stead_api::meta::name(&pod).to_owned();
    let containers: Vec<Option<String>> = if args.all_containers {
        let all = pod["spec"]["containers"].as_array().into_iter().flatten();
        all.map(|one| one["name"].as_str().map(str::to_owned)).collect()
    } else {
        vec![args.container.clone().or_else(|| pods::default_container(&pod))]
    };
    for container in containers {
        copy(args, &api, &name, container.as_deref()).await?;
    }
    Ok(())
}

async fn copy(args: &LogsArgs, api: &Api, pod: &str, container: Option<&str>) -> Result<(), VerbError> {
    let mut query = Vec::new();
    query.extend(container.map(|name| format!("container={}", escape(name))));
    query.extend(args.follow.then(|| "follow=true".to_owned()));
    query.extend(args.previous.then(|| "previous=true".to_owned()));
    query.extend((args.tail >= 0).then(|| format!("tailLines={}", args.tail)));
    query.extend(args.since.map(|seconds| format!("sinceSeconds={seconds}")));
    query.extend(args.timestamps.then(|| "timestamps=true".to_owned()));
    query.extend(args.limit_bytes.map(|bytes| format!("limitBytes={bytes}")));
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", api.namespace, query.join("&"));
    let ask = Ask { method: Method::GET, path: &path, accept: "*/*", content_type: JSON, body: Vec::new() };
    let mut chunks = api.open(ask).await?.into_body().into_data_stream();
    let mut out = io::stdout();
    loop {
        match chunks.try_next().await {
            Ok(Some(chunk)) => {
                out.write_all(&chunk)?;
                out.flush()?;
            }
            Ok(None) => return Ok(()),
            Err(source) => return Err(VerbError::Body { request: format!("GET {path}"), source }),
        }
    }
}

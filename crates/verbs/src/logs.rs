//! `stead logs POD`: what a pod's containers wrote.

use std::io::{self, Write as _};

use clap::Args;
use futures::TryStreamExt as _;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::{
    api::{Api, Ask, JSON, escape},
    chosen::items,
    connection::Connection,
    error::VerbError,
    kinds::Kinds,
    pods, selection,
};

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// POD, or TYPE/NAME of what has pods: its first one is taken
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// Of all pods with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Before each line the pod and the container that wrote it
    #[arg(long)]
    prefix: bool,
    /// With --selector and --follow: not more containers than this at once
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_log_requests: usize,
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
    /// Only the last N lines (-1: all, or 10 of each with --selector)
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

/// How many lines of each pod are shown where many are chosen.
const TAIL: i64 = 10;

pub(crate) async fn run(args: &LogsArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let pods = match (&args.pod, selection::given(args.selector.as_ref())) {
        (Some(pod), None) => vec![pods::find(&api, &kinds, pod).await?],
        (None, Some(selector)) => {
            let path = kinds.find("pods")?.collection(Some(&api.namespace));
            items(api.get(&format!("{path}?labelSelector={}", escape(selector))).await?)
        }
        (Some(_), Some(_)) => return Err(VerbError::usage("only a selector (-l) or a POD name is allowed")),
        (None, None) => return Err(VerbError::usage("name a pod, or choose pods by --selector")),
    };
    if pods.is_empty() {
        eprintln!("No resources found in {} namespace.", api.namespace);
    }
    let sources: Vec<Source> = pods.iter().flat_map(|pod| args.sources(pod)).collect();
    if !args.follow || sources.len() == 1 {
        for source in &sources {
            copy(args, &api, source).await?;
        }
        return Ok(());
    }
    if sources.len() > args.max_log_requests {
        return Err(VerbError::usage(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use \
             --max-log-requests to increase the limit",
            sources.len(),
            args.max_log_requests
        )));
    }
    futures::future::try_join_all(sources.iter().map(|source| copy(args, &api, source))).await?;
    Ok(())
}

/// A container of a pod.
struct Source {
    pod: String,
    container: Option<String>,
}

impl LogsArgs {
    fn sources(&self, pod: &Value) -> Vec<Source> {
        let name = stead_api::meta::name(pod).to_owned();
        let containers: Vec<Option<String>> = if self.all_containers {
            let all = pod["spec"]["containers"].as_array().into_iter().flatten();
            all.map(|one| one["name"].as_str().map(str::to_owned)).collect()
        } else {
            vec![self.container.clone().or_else(|| pods::default_container(pod))]
        };
        containers.into_iter().map(|container| Source { pod: name.clone(), container }).collect()
    }

    fn tail(&self) -> i64 {
        if self.tail < 0 && self.selector.is_some() { TAIL } else { self.tail }
    }
}

/// Whole lines, so that what several containers write does not mix.
async fn copy(args: &LogsArgs, api: &Api, source: &Source) -> Result<(), VerbError> {
    let Source { pod, container } = source;
    let container = container.as_deref();
    let mut query = Vec::new();
    query.extend(container.map(|name| format!("container={}", escape(name))));
    query.extend(args.follow.then(|| "follow=true".to_owned()));
    query.extend(args.previous.then(|| "previous=true".to_owned()));
    query.extend((args.tail() >= 0).then(|| format!("tailLines={}", args.tail())));
    query.extend(args.since.map(|seconds| format!("sinceSeconds={seconds}")));
    query.extend(args.timestamps.then(|| "timestamps=true".to_owned()));
    query.extend(args.limit_bytes.map(|bytes| format!("limitBytes={bytes}")));
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", api.namespace, query.join("&"));
    let ask = Ask { method: Method::GET, path: &path, accept: "*/*", content_type: JSON, body: Vec::new() };
    let mut chunks = api.open(ask).await?.into_body().into_data_stream();
    let prefix = match args.prefix {
        true => format!("[pod/{pod}/{}] ", container.unwrap_or_default()),
        false => String::new(),
    };
    let mut waiting = Vec::new();
    loop {
        match chunks.try_next().await {
            Ok(Some(chunk)) => {
                waiting.extend_from_slice(&chunk);
                let end = waiting.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                let rest = waiting.split_off(end);
                write(&prefix, &std::mem::replace(&mut waiting, rest))?;
            }
            Ok(None) => return write(&prefix, &waiting),
            Err(source) => return Err(VerbError::Body { request: format!("GET {path}"), source }),
        }
    }
}

fn write(prefix: &str, lines: &[u8]) -> Result<(), VerbError> {
    let mut out = io::stdout().lock();
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        out.write_all(prefix.as_bytes())?;
        out.write_all(line)?;
    }
    Ok(out.flush()?)
}

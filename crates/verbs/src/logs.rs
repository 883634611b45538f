//! `stead logs POD`: what a pod's containers wrote.

use std::io::{self, Write as _};

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    api::{Api, Ask, JSON, escape},
    chosen::items,
    connection::Connection,
    duration::Span,
    error::VerbError,
    kinds::Kinds,
    pods, selection,
};

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// POD, or TYPE/NAME of what has pods: its first one is taken
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// As --container
    #[arg(value_name = "CONTAINER", conflicts_with_all = ["container", "all_containers", "selector"])]
    inline: Option<String>,
    /// Of all pods with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// With TYPE/NAME: of all its pods, with --prefix
    #[arg(long)]
    all_pods: bool,
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
    /// Only the last N lines (-1: all; by default all, or 10 of each with --selector)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only lines that are not older than this, as 5s, 2m or 3h
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
    /// Only lines from then on, as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "DATE", conflicts_with = "since")]
    since_time: Option<Timestamp>,
    /// Before each line its time
    #[arg(long)]
    timestamps: bool,
    /// Not more than so many bytes
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// Of what cannot be read say so, and go on with the others
    #[arg(long)]
    ignore_errors: bool,
    /// Let the API server trust whatever certificate the node shows
    #[arg(long)]
    insecure_skip_tls_verify_backend: bool,
    /// With TYPE/NAME: how long to wait for a pod, as 20s or 5m
    #[arg(long, value_name = "TIME", default_value = "20s")]
    pod_running_timeout: Span,
    #[command(flatten)]
    connection: Connection,
}

/// How many lines of each pod are shown where many are chosen.
const TAIL: i64 = 10;

pub(crate) async fn run(args: &LogsArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let pods = match (&args.pod, selection::given(args.selector.as_ref())) {
        (Some(word), None) => args.pods_of(&api, &kinds, word).await?,
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
    // One after the other, or all at once where they may never end.
    let at_once = if args.follow { sources.len().max(1) } else { 1 };
    if at_once > args.max_log_requests {
        return Err(VerbError::usage(format!(
            "you are attempting to follow {at_once} log streams, but maximum allowed concurrency is {}, use \
             --max-log-requests to increase the limit",
            args.max_log_requests
        )));
    }
    let copies = sources.iter().map(|source| async {
        match copy(&api, source, &args.query()).await {
            Err(error @ VerbError::Output(_)) => Err(error),
            Err(error) if args.ignore_errors => {
                println!("{}", stead_client::error_text(&error));
                Ok(())
            }
            ended => ended,
        }
    });
    stream::iter(copies).buffered(at_once).try_collect().await
}

/// Shows what the first container of a pod wrote so far.
pub(crate) async fn show(api: &Api, pod: &Value) -> Result<(), VerbError> {
    let container = pods::default_container(pod);
    let source = Source { pod: stead_api::meta::name(pod).to_owned(), container, prefix: String::new() };
    copy(api, &source, &[]).await
}

/// A container of a pod, and what stands before each of its lines.
struct Source {
    pod: String,
    container: Option<String>,
    prefix: String,
}

impl LogsArgs {
    async fn pods_of(&self, api: &Api, kinds: &Kinds, word: &str) -> Result<Vec<Value>, VerbError> {
        let first = pods::find(api, kinds, word, self.pod_running_timeout).await;
        let first = first.map_err(|error| match error {
            VerbError::Server { reason, message, .. } => {
                let namespace = &api.namespace;
                VerbError::usage(format!("error from server ({reason}): {message} in namespace {namespace:?}"))
            }
            other => other,
        })?;
        let all = pods::of(api, kinds, word).await?;
        if self.all_pods && !all.is_empty() {
            return Ok(all);
        }
        if all.len() > 1 {
            eprintln!("Found {} pods, using pod/{}", all.len(), stead_api::meta::name(&first));
        }
        Ok(vec![first])
    }

    fn sources(&self, pod: &Value) -> Vec<Source> {
        let name = stead_api::meta::name(pod).to_owned();
        let containers: Vec<Option<String>> = if self.all_containers {
            let all = pod["spec"]["containers"].as_array().into_iter().flatten();
            all.map(|one| one["name"].as_str().map(str::to_owned)).collect()
        } else {
            let named = self.container.clone().or_else(|| self.inline.clone());
            vec![named.or_else(|| pods::default_container(pod))]
        };
        let prefix = |container: &Option<String>| match self.prefix || self.all_pods {
            true => format!("[pod/{name}/{}] ", container.as_deref().unwrap_or_default()),
            false => String::new(),
        };
        let source = |container| Source { prefix: prefix(&container), pod: name.clone(), container };
        containers.into_iter().map(source).collect()
    }

    /// What is asked of each container's log.
    fn query(&self) -> Vec<String> {
        let tail = self.tail.or(self.selector.is_some().then_some(TAIL)).filter(|lines| *lines >= 0);
        let since = self.since.and_then(Span::limit).map(|time| time.as_secs_f64().ceil() as u64);
        let parts = [
            self.follow.then(|| "follow=true".to_owned()),
            self.previous.then(|| "previous=true".to_owned()),
            tail.map(|lines| format!("tailLines={lines}")),
            since.map(|seconds| format!("sinceSeconds={seconds}")),
            self.since_time.map(|time| format!("sinceTime={}", escape(&time.to_string()))),
            self.timestamps.then(|| "timestamps=true".to_owned()),
            self.limit_bytes.filter(|bytes| *bytes > 0).map(|bytes| format!("limitBytes={bytes}")),
            self.insecure_skip_tls_verify_backend.then(|| "insecureSkipTLSVerifyBackend=true".to_owned()),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// Whole lines, so that what several containers write does not mix.
async fn copy(api: &Api, source: &Source, query: &[String]) -> Result<(), VerbError> {
    let Source { pod, container, prefix } = source;
    let container = container.as_ref().map(|name| format!("container={}", escape(name)));
    let query: Vec<&str> = container.iter().chain(query).map(String::as_str).collect();
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", api.namespace, query.join("&"));
    let ask = Ask { method: Method::GET, path: &path, accept: "*/*", content_type: JSON, body: Vec::new() };
    let mut chunks = api.open(ask).await?.into_body().into_data_stream();
    let mut waiting = Vec::new();
    loop {
        match chunks.try_next().await {
            Ok(Some(chunk)) => {
                waiting.extend_from_slice(&chunk);
                let end = waiting.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                let rest = waiting.split_off(end);
                write(prefix, &std::mem::replace(&mut waiting, rest))?;
            }
            Ok(None) => return write(prefix, &waiting),
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

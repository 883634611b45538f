//! `stead get`: objects as Tables of the server's making, or whole.

mod tables;
mod whole;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::{
    api::{Api, TABLE, escape},
    connection::Connection,
    error::VerbError,
    kinds::{Kind, Kinds},
    manifest::Files,
    older::OutputVersion,
    print::Output,
    raw,
    selection::{self, Place, Target},
};

#[derive(Debug, Args)]
pub struct GetArgs {
    /// TYPE, TYPE1,TYPE2, TYPE NAME…, or TYPE/NAME…
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// Over all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// wide, json, yaml, name, jsonpath=TEMPLATE, or custom-columns=HEADER:PATH,…
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Output>,
    /// v1, v1beta1 or v1beta3: the version that objects and tables are shown in
    #[arg(long, value_name = "VERSION")]
    output_version: Option<OutputVersion>,
    /// Only objects with these labels, as `app=web,tier!=db`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only objects with these fields, as `spec.type=NodePort`
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Order by this path, as `.metadata.creationTimestamp`
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Go on with changes as they come
    #[arg(long, short)]
    watch: bool,
    /// Only changes, not what is there already
    #[arg(long)]
    watch_only: bool,
    /// A column with all labels
    #[arg(long)]
    show_labels: bool,
    /// A column for each of these labels
    #[arg(long, short = 'L', value_delimiter = ',', value_name = "LABEL,…")]
    label_columns: Vec<String>,
    /// Before each name its type
    #[arg(long)]
    show_kind: bool,
    /// No line of headings
    #[arg(long)]
    no_headers: bool,
    /// With -o json or yaml: who set which field
    #[arg(long)]
    show_managed_fields: bool,
    /// Say nothing about what is not there
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    files: Files,
    /// How many objects to ask for at a time (0: all at once)
    #[arg(long, value_name = "N", default_value_t = 500, allow_negative_numbers = true)]
    chunk_size: i64,
    /// With --watch: before each object what happened to it
    #[arg(long)]
    output_watch_events: bool,
    /// A part of the object with a path of its own: status, scale
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// Ask for this path of the API server, and print the answer as it is
    #[arg(long, value_name = "PATH", conflicts_with_all = ["words", "filename", "output", "watch", "watch_only"])]
    raw: Option<String>,
}

pub(crate) async fn run(args: &GetArgs) -> Result<(), VerbError> {
    if let Some(path) = &args.raw {
        return raw::ask(&args.connection, Method::GET, path, &args.files).await;
    }
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut wanted = Wanted::of(args, &api, &kinds).await?;
    if args.output_version.is_some() {
        // What is shown in a version is made of v1.
        wanted.iter_mut().for_each(|one| one.kind = kinds.in_v1(&one.kind).clone());
    }
    if args.output_watch_events && !args.watch && !args.watch_only {
        return Err(VerbError::usage("--output-watch-events option can only be used with --watch or --watch-only"));
    }
    if args.subresource.is_some() && wanted.iter().any(|one| one.names.is_empty()) {
        return Err(VerbError::argument("--subresource", "name the objects whose part is to be shown"));
    }
    if args.all_namespaces && wanted.iter().any(|one| !one.names.is_empty()) {
        return Err(VerbError::argument(
            "--all-namespaces",
            "a resource cannot be retrieved by name across all namespaces",
        ));
    }
    if (args.watch || args.watch_only) && wanted.len() != 1 {
        return Err(VerbError::argument("--watch", "you may only specify a single resource type"));
    }
    if OutputVersion::older(args.output_version).is_some() && (args.watch || args.watch_only) {
        return Err(VerbError::argument("--output-version", "changes are shown in v1 only"));
    }
    match &args.output {
        None | Some(Output::Wide) if OutputVersion::older(args.output_version).is_some() => {
            whole::run_older_tables(args, &api, &wanted).await
        }
        None | Some(Output::Wide) => tables::run(args, &api, &wanted).await,
        Some(output) => whole::run(args, &api, &wanted, output).await,
    }
}

/// One kind in one namespace (or over all, or in none), and the names in it.
struct Wanted {
    kind: Kind,
    namespace: Option<String>,
    names: Vec<String>,
}

impl Wanted {
    async fn of(args: &GetArgs, api: &Api, kinds: &Kinds) -> Result<Vec<Self>, VerbError> {
        let places =
            selection::places(&args.words, &args.files, args.selector.as_ref(), (&args.connection, api, kinds)).await?;
        let wanted = places.into_iter().map(|Place { target: Target { kind, names }, namespace }| {
            let namespace = (!args.all_namespaces).then_some(namespace);
            Self { kind, namespace, names }
        });
        Ok(wanted.collect())
    }

    /// Paths of what is wanted: an object each, or one collection.
    fn paths(&self, args: &GetArgs) -> Vec<Result<String, VerbError>> {
        if self.names.is_empty() {
            return vec![Ok(format!("{}?{}", self.kind.collection(self.namespace.as_deref()), self.query(args)))];
        }
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let part = args.subresource.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        self.names.iter().map(|name| Ok(format!("{}{part}?", self.kind.object(namespace, name)?))).collect()
    }

    /// The path of a watch from `revision` on.
    fn watch_path(&self, args: &GetArgs, revision: &str) -> String {
        let collection = self.kind.collection(self.namespace.as_deref());
        let name = self
            .names
            .first()
            .map(|name| format!("&fieldSelector=metadata.name%3D{}", escape(name)))
            .unwrap_or_default();
        format!("{collection}?watch=true&resourceVersion={revision}&{}{name}", self.query(args))
    }

    fn query(&self, args: &GetArgs) -> String {
        let selector =
            |key: &str, value: &Option<String>| value.as_ref().map(|value| format!("{key}={}", escape(value)));
        let parts = [selector("labelSelector", &args.selector), selector("fieldSelector", &args.field_selector)];
        parts.into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

/// All pages of a list, or the one answer of an object, in the form that `accept` names.
async fn pages(args: &GetArgs, api: &Api, path: &str, accept: &str) -> Result<Vec<Value>, VerbError> {
    let limit = if args.chunk_size > 0 { format!("&limit={}", args.chunk_size) } else { String::new() };
    let include = if args.sort_by.is_some() && accept == TABLE { "&includeObject=Object" } else { "" };
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let more = if token.is_empty() { String::new() } else { format!("&continue={}", escape(&token)) };
        let page = api.get_as(&format!("{path}{limit}{include}{more}"), accept).await?;
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        pages.push(page);
        if token.is_empty() {
            return Ok(pages);
        }
    }
}

/// Says that nothing was found, as kubectl does.
fn say_nothing(args: &GetArgs, wanted: &[Wanted]) {
    let namespace = wanted.iter().find(|one| one.kind.is_namespaced).and_then(|one| one.namespace.as_deref());
    if args.ignore_not_found {
        return;
    }
    match namespace {
        Some(namespace) => eprintln!("No resources found in {namespace} namespace."),
        None => eprintln!("No resources found"),
    }
}

//! `stead events`: what happened, oldest first.

use std::io;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    api::{Api, JSON, Next, escape},
    chosen::items,
    connection::Connection,
    describe::interval,
    error::VerbError,
    kinds::Kinds,
    print::{self, Form, Found, Output, table},
};

#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    connection: Connection,
    /// Over all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only what happened to this: TYPE/NAME
    #[arg(long = "for", value_name = "TYPE/NAME")]
    about: Option<String>,
    /// Only these types: Normal, Warning
    #[arg(long, value_delimiter = ',', value_name = "TYPE,…")]
    types: Vec<String>,
    /// Go on with what comes
    #[arg(long, short)]
    watch: bool,
    /// No line of headings
    #[arg(long)]
    no_headers: bool,
    /// json, yaml, name, jsonpath=TEMPLATE, or custom-columns=HEADER:PATH,…
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Output>,
}

pub(crate) async fn run(args: &EventsArgs) -> Result<(), VerbError> {
    if args.types.iter().any(|one| !["normal", "warning"].contains(&one.to_lowercase().as_str())) {
        return Err(VerbError::usage("valid --types are Normal or Warning"));
    }
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let kind = kinds.find("events.v1")?;
    let within = (!args.all_namespaces).then_some(api.namespace.as_str());
    let path = format!("{}?{}", kind.collection(within), selector(args, &kinds)?);
    let list = api.get(&path).await?;
    let revision = stead_api::meta::resource_version(&list).to_owned();
    let mut events: Vec<Value> = items(list).into_iter().filter(|event| args.wants(event)).collect();
    events.sort_by_cached_key(time);
    if events.is_empty() && !args.watch {
        match within {
            Some(namespace) => eprintln!("No events found in {namespace} namespace."),
            None => eprintln!("No events found."),
        }
        return Ok(());
    }
    if let Some(output) = &args.output {
        let objects: Vec<_> =
            events.into_iter().map(|event| (kind.clone(), print::without_managed_fields(event))).collect();
        return print::objects(&mut io::stdout().lock(), output, &Found { objects: &objects, form: Form::List });
    }
    let mut widths = Vec::new();
    let mut rows = if args.no_headers { Vec::new() } else { vec![args.headers()] };
    rows.extend(events.iter().map(|event| args.row(event)));
    table::print_rows(&mut io::stdout().lock(), &rows, &mut widths)?;
    if args.watch {
        watch(args, &api, &format!("{path}&watch=true&resourceVersion={revision}"), &mut widths).await?;
    }
    Ok(())
}

async fn watch(args: &EventsArgs, api: &Api, path: &str, widths: &mut Vec<usize>) -> Result<(), VerbError> {
    let on_event = |kind: &str, event: Value| {
        if !matches!(kind, "BOOKMARK" | "DELETED") && args.wants(&event) {
            table::print_rows(&mut io::stdout().lock(), &[args.row(&event)], widths)?;
        }
        Ok(Next::More)
    };
    api.watch(path, JSON, on_event).await?;
    Ok(())
}

/// What `--for` means as a selector.
fn selector(args: &EventsArgs, kinds: &Kinds) -> Result<String, VerbError> {
    let Some(about) = &args.about else { return Ok(String::new()) };
    let Some((kind, name)) = about.split_once('/').filter(|(_, name)| !name.is_empty() && !name.contains('/')) else {
        return Err(VerbError::usage("--for must be in resource/name form"));
    };
    let kind = kinds.find(kind)?;
    let fields = format!(
        "involvedObject.kind={},involvedObject.name={name},involvedObject.apiVersion={}",
        kind.kind,
        kind.api_version()
    );
    Ok(format!("fieldSelector={}", escape(&fields)))
}

/// When it happened last.
fn time(event: &Value) -> Option<Timestamp> {
    let keys = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    keys.into_iter().find_map(|value| value.as_str()?.parse().ok())
}

impl EventsArgs {
    fn wants(&self, event: &Value) -> bool {
        let own = event["type"].as_str().unwrap_or_default();
        self.types.is_empty() || self.types.iter().any(|one| one.eq_ignore_ascii_case(own))
    }

    fn headers(&self) -> Vec<String> {
        let namespace: &[&str] = if self.all_namespaces { &["NAMESPACE"] } else { &[] };
        let rest = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
        namespace.iter().chain(&rest).map(|&header| header.to_owned()).collect()
    }

    fn row(&self, event: &Value) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = &event["involvedObject"];
        let mut row = vec![
            interval(event, Timestamp::now()),
            text(&event["type"]),
            text(&event["reason"]),
            format!("{}/{}", text(&about["kind"]), text(&about["name"])),
            text(&event["message"]).trim().to_owned(),
        ];
        if self.all_namespaces {
            row.insert(0, stead_api::meta::namespace(event).to_owned());
        }
        row
    }
}

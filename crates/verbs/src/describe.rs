//! `stead describe`: one page for each object, with what belongs to it and what happened to it.
//!
//! This module asks for the objects that a page needs; the pages themselves are pure, one module for each family of kinds.

mod allocated;
mod endpoints;
mod events;
mod generic;
mod node;
mod page;
mod pod;
mod service;
mod simple;
mod workload;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use self::{events::interval, page::Page};
use crate::{
    api::{Api, escape},
    chosen::items,
    connection::Connection,
    error::{VerbError, told},
    kinds::{Kind, Kinds},
    manifest::Files,
    older::{self, OutputVersion},
    selection::{self, Place, Target},
};

#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// TYPE, TYPE NAME…, or TYPE/NAME…; where nothing has that name, all whose names begin so
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    connection: Connection,
    /// Over all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only objects with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// v1, v1beta1 or v1beta3: Services as they were described then
    #[arg(long, value_name = "VERSION")]
    output_version: Option<OutputVersion>,
    /// Whether to show what happened to them
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    show_events: bool,
    /// How many objects to ask for at a time (0: all)
    #[arg(long, value_name = "N", default_value_t = 500, allow_negative_numbers = true)]
    chunk_size: i64,
}

pub(crate) async fn run(args: &DescribeArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut problems = Vec::new();
    let mut described = 0;
    let wanted = selection::places(&args.words, &args.files, args.selector.as_ref(), (&args.connection, &api, &kinds));
    for Place { target: Target { kind, names }, namespace } in wanted.await? {
        // Pages are made of v1.
        let kind = kinds.in_v1(&kind);
        let found = objects(args, &api, kind, &namespace, &names, &mut problems).await?;
        // What only begins as the name does is told of with a line behind each.
        let is_begun = matches!(names.as_slice(), [name] if found.iter().any(|one| stead_api::meta::name(one) != name));
        for object in found {
            match page(args, &api, kind, &object).await {
                Ok(text) if is_begun => {
                    described += 1;
                    println!("{text}");
                }
                Ok(text) => {
                    if described > 0 {
                        println!("\n");
                    }
                    described += 1;
                    print!("{text}");
                }
                Err(error) => problems.push(error),
            }
        }
    }
    if described == 0 && problems.is_empty() {
        eprintln!("No resources found in {} namespace.", api.namespace);
    }
    told(problems)
}

/// Those named, or all that the selector chooses. What is not there is a problem, not an end.
async fn objects(
    args: &DescribeArgs,
    api: &Api,
    kind: &Kind,
    namespace: &str,
    names: &[String],
    problems: &mut Vec<VerbError>,
) -> Result<Vec<Value>, VerbError> {
    let within = (!args.all_namespaces).then_some(namespace);
    let selector = args.selector.as_ref().map(|text| format!("labelSelector={}", escape(text)));
    let all = || list(args, api, kind, within, selector.as_deref().unwrap_or_default());
    if names.is_empty() {
        return all().await;
    }
    let mut found = Vec::new();
    for name in names {
        match kind.read(api, namespace, name).await {
            Ok(object) => found.push(object),
            Err(error) if error.is_not_found() && names.len() == 1 && args.files.is_empty() => {
                found = all().await?;
                found.retain(|object| stead_api::meta::name(object).starts_with(name));
                if found.is_empty() {
                    problems.push(error);
                }
            }
            Err(error) => problems.push(error),
        }
    }
    Ok(found)
}

/// All pages of a collection.
async fn list(
    args: &DescribeArgs,
    api: &Api,
    kind: &Kind,
    namespace: Option<&str>,
    query: &str,
) -> Result<Vec<Value>, VerbError> {
    let limit = if args.chunk_size > 0 { format!("&limit={}", args.chunk_size) } else { String::new() };
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let more = if token.is_empty() { String::new() } else { format!("&continue={}", escape(&token)) };
        let page = api.get(&format!("{}?{query}{limit}{more}", kind.collection(namespace))).await?;
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        found.extend(items(page));
        if token.is_empty() {
            return Ok(found);
        }
    }
}

async fn page(args: &DescribeArgs, api: &Api, kind: &Kind, object: &Value) -> Result<String, VerbError> {
    if OutputVersion::older(args.output_version).is_none() {
        return Ok(describe(args, api, kind, object).await?.render());
    }
    if kind.kind != "Service" {
        return Err(VerbError::argument("--output-version", "only Services are described as they were then"));
    }
    let events = if args.show_events { events_of(api, object).await? } else { Vec::new() };
    Ok(older::describe_service(object, &events))
}

async fn describe(args: &DescribeArgs, api: &Api, kind: &Kind, object: &Value) -> Result<Page, VerbError> {
    let now = Timestamp::now();
    let namespace = stead_api::meta::namespace(object);
    let name = stead_api::meta::name(object);
    let mut page = Page::default();
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Service") => {
            let label = escape(&format!("kubernetes.io/service-name={name}"));
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={label}");
            service::describe(&mut page, object, &items(api.get(&path).await?));
        }
        ("", "Endpoints") => endpoints::describe(&mut page, object),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::describe_slice(&mut page, object),
        ("", "Pod") => pod::describe(&mut page, object, now),
        ("", "Node") => {
            let lease =
                api.get(&format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}")).await;
            let selector = escape(&format!("spec.nodeName={name},status.phase!=Failed,status.phase!=Succeeded"));
            let pods = items(api.get(&format!("/api/v1/pods?fieldSelector={selector}")).await?);
            node::describe(&mut page, object, lease.ok().as_ref(), &pods, now);
        }
        ("apps", "Deployment") => {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
            workload::describe_deployment(&mut page, object, &items(api.get(&path).await?));
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            let pods = items(api.get(&format!("/api/v1/namespaces/{namespace}/pods")).await?);
            workload::describe_set(&mut page, object, &pods);
        }
        ("", "Namespace") => simple::describe_namespace(&mut page, object),
        ("", "ConfigMap") => simple::describe_config_map(&mut page, object),
        ("", "Secret") => simple::describe_secret(&mut page, object),
        ("", "ServiceAccount") => simple::describe_service_account(&mut page, object),
        ("networking.k8s.io", "ServiceCIDR") => simple::describe_service_cidr(&mut page, object),
        ("networking.k8s.io", "IPAddress") => simple::describe_ip_address(&mut page, object),
        _ => generic::describe(&mut page, object),
    }
    let has_events = !matches!(kind.kind.as_str(), "Namespace" | "Secret");
    if args.show_events && has_events {
        events::describe(&mut page, &events_of(api, object).await?, now);
    }
    Ok(page)
}

/// A template of pods as it stands in a page, without its columns brought into line.
pub(crate) fn template_text(template: &Value) -> String {
    let mut page = Page::default();
    pod::describe_template(&mut page, template);
    page.unaligned()
}

/// The Events about an object; those of cluster-scoped ones are in `default`.
async fn events_of(api: &Api, object: &Value) -> Result<Vec<Value>, VerbError> {
    let own = stead_api::meta::namespace(object);
    let namespace = if own.is_empty() { "default" } else { own };
    let mut fields = vec![
        format!("involvedObject.name={}", stead_api::meta::name(object)),
        format!("involvedObject.kind={}", object["kind"].as_str().unwrap_or_default()),
    ];
    // Events about a Node carry its name for its uid.
    if !own.is_empty() {
        fields.push(format!("involvedObject.namespace={own}"));
        fields.push(format!("involvedObject.uid={}", stead_api::meta::uid(object)));
    }
    let selector = escape(&fields.join(","));
    Ok(items(api.get(&format!("/api/v1/namespaces/{namespace}/events?fieldSelector={selector}")).await?))
}

//! `stead replace -f`: objects become what manifests say, whole.

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use stead_api::meta;

use crate::{
    api::{Api, Next},
    connection::Connection,
    error::{VerbError, told},
    following::{Seen, follow},
    kinds::Kinds,
    manifest::Files,
    raw, write,
    write::{DryRun, WriteOptions, namespace_of},
};

#[derive(Debug, Args)]
pub struct ReplaceArgs {
    #[command(flatten)]
    files: Files,
    /// Delete each object first, and make it anew
    #[arg(long)]
    force: bool,
    /// A part of the object with a path of its own: status, scale
    #[arg(long, value_name = "NAME", conflicts_with = "force")]
    subresource: Option<String>,
    /// Put the file at this path of the API server, and print the answer as it is
    #[arg(long, value_name = "PATH", conflicts_with = "force")]
    raw: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

pub(crate) async fn run(args: &ReplaceArgs) -> Result<(), VerbError> {
    if let Some(path) = &args.raw {
        return raw::ask(&args.connection, Method::PUT, path, &args.files).await;
    }
    let objects = args.files.read().await?;
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut problems = Vec::new();
    for object in objects {
        let replaced = if args.force && args.options.dry_run == DryRun::None {
            anew(args, &api, &kinds, object).await
        } else {
            replace(args, &api, &kinds, object).await
        };
        problems.extend(replaced.err());
    }
    told(problems)
}

async fn replace(args: &ReplaceArgs, api: &Api, kinds: &Kinds, mut object: Value) -> Result<(), VerbError> {
    let kind = kinds.of_object(&object)?;
    if args.options.dry_run == DryRun::Client {
        return args.options.report(kind, object, "replaced");
    }
    let namespace = namespace_of(api, &object, args.connection.namespace.as_deref())?;
    let part = args.subresource.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
    let path = format!("{}{part}", kind.object(&namespace, meta::name(&object))?);
    if meta::resource_version(&object).is_empty() {
        let now = api.get(&path).await?;
        meta::set(&mut object, "resourceVersion", meta::resource_version(&now));
    }
    let after = api.send(Method::PUT, &format!("{path}?{}", args.options.query()), &object).await?;
    args.options.report(kind, after, "replaced")
}

async fn anew(args: &ReplaceArgs, api: &Api, kinds: &Kinds, mut object: Value) -> Result<(), VerbError> {
    let kind = kinds.of_object(&object)?;
    let said = args.connection.namespace.as_deref();
    let namespace = namespace_of(api, &object, said)?;
    let name = meta::name(&object).to_owned();
    let deletion = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    match api.send(Method::DELETE, &kind.object(&namespace, &name)?, &deletion).await {
        Ok(_) => println!("{} {name:?} deleted", kind.full_name()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    follow(api, kind, &namespace, &name, None, |seen| match seen {
        Seen::Object(_) => Ok(Next::More),
        Seen::Gone => Ok(Next::Stop),
    })
    .await?;
    meta::unset(&mut object, "resourceVersion");
    write::create_as(api, kinds, object, said, &args.options, "replaced").await
}

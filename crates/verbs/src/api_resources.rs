//! `stead api-resources` and `stead api-versions`: what the server serves.

use std::io;

use clap::Args;

use crate::{
    api::Api,
    connection::Connection,
    error::VerbError,
    kinds::{Kind, Kinds},
    print::table,
};

#[derive(Debug, Args)]
pub struct ApiResourcesArgs {
    #[command(flatten)]
    connection: Connection,
    /// wide (verbs and categories too) or name
    #[arg(long, short, value_name = "FORMAT", value_parser = ["wide", "name"])]
    output: Option<String>,
    /// Only those of this group; empty for the core
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only those that live in namespaces, or only those that do not
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    namespaced: Option<bool>,
    /// Only those with all of these verbs
    #[arg(long, value_delimiter = ',', value_name = "VERB,…")]
    verbs: Vec<String>,
    /// Only those of all of these categories
    #[arg(long, value_delimiter = ',', value_name = "CATEGORY,…")]
    categories: Vec<String>,
    /// name or kind (default: the group, then the name)
    #[arg(long, value_name = "COLUMN", value_parser = ["name", "kind"])]
    sort_by: Option<String>,
    /// No line of headings
    #[arg(long)]
    no_headers: bool,
}

#[derive(Debug, Args)]
pub struct ApiVersionsArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: &ApiResourcesArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut shown: Vec<&Kind> = kinds.preferred().into_iter().filter(|kind| args.wants(kind)).collect();
    match args.sort_by.as_deref() {
        Some("kind") => shown.sort_by_key(|kind| (&kind.kind, &kind.plural)),
        Some(_) => shown.sort_by_key(|kind| &kind.plural),
        None => shown.sort_by_key(|kind| (&kind.group, &kind.plural)),
    }
    let is_wide = args.output.as_deref() == Some("wide");
    if args.output.as_deref() == Some("name") {
        shown.iter().for_each(|kind| println!("{}", kind.full_plural()));
        return Ok(());
    }
    let mut rows = Vec::new();
    if !args.no_headers {
        let wide: &[&str] = if is_wide { &["VERBS", "CATEGORIES"] } else { &[] };
        let headers = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        rows.push(headers.iter().chain(wide).map(|&header| header.to_owned()).collect());
    }
    rows.extend(shown.iter().map(|kind| {
        let mut row = vec![
            kind.plural.clone(),
            kind.short_names.join(","),
            kind.api_version(),
            kind.is_namespaced.to_string(),
            kind.kind.clone(),
        ];
        if is_wide {
            row.extend([kind.verbs.join(","), kind.categories.join(",")]);
        }
        row
    }));
    Ok(table::print_rows(&mut io::stdout().lock(), &rows, &mut Vec::new())?)
}

impl ApiResourcesArgs {
    fn wants(&self, kind: &Kind) -> bool {
        let has_all = |wanted: &[String], there: &[String]| wanted.iter().all(|one| there.contains(one));
        !kind.verbs.is_empty()
            && self.api_group.as_ref().is_none_or(|group| *group == kind.group)
            && self.namespaced.is_none_or(|namespaced| namespaced == kind.is_namespaced)
            && has_all(&self.verbs, &kind.verbs)
            && has_all(&self.categories, &kind.categories)
    }
}

pub(crate) async fn run_versions(args: &ApiVersionsArgs) -> Result<(), VerbError> {
    let api: Api = args.connection.open().await?;
    let (core, groups) = tokio::try_join!(api.get("/api"), api.get("/apis"))?;
    let texts = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let mut versions: Vec<String> = core["versions"].as_array().into_iter().flatten().filter_map(texts).collect();
    for group in groups["groups"].as_array().into_iter().flatten() {
        let of_group = group["versions"].as_array().into_iter().flatten();
        versions.extend(of_group.filter_map(|one| texts(&one["groupVersion"])));
    }
    versions.sort();
    versions.iter().for_each(|version| println!("{version}"));
    Ok(())
}

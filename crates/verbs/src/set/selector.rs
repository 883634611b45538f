//! `stead set selector`: which pods a Service has.

use clap::Args;
use serde_json::json;

use super::Common;
use crate::{
    api::JSON_PATCH,
    error::{VerbError, told},
    expose::labels_of,
    write::DryRun,
};

#[derive(Debug, Args)]
pub(crate) struct SelectorArgs {
    /// TYPE NAME or TYPE/NAME, then KEY=VALUE,…
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: &SelectorArgs) -> Result<(), VerbError> {
    let Some((text, objects)) = args.words.split_last().filter(|(last, _)| last.contains('=')) else {
        return Err(VerbError::usage("one selector is required"));
    };
    args.common.demand_objects(objects)?;
    let selector = labels_of("SELECTOR", text)?;
    let common = &args.common;
    let (api, read) = common.choice.read(objects, &common.reach, &common.connection).await?;
    let mut problems = read.problems;
    for one in &read.objects {
        if one.kind.kind != "Service" {
            problems.push(VerbError::usage("setting a selector is only supported for Services"));
            continue;
        }
        let mut object = one.object.clone();
        object["spec"]["selector"] = selector.clone();
        if common.options.dry_run == DryRun::Client {
            common.options.report(&one.kind, object, "selector updated")?;
            continue;
        }
        // The selector as a whole: a merge would keep labels that it names no more.
        let patch = json!([{"op": "add", "path": "/spec/selector", "value": selector}]);
        match api.patch(&format!("{}?{}", one.path()?, common.options.query()), JSON_PATCH, &patch).await {
            Ok(after) => common.options.report(&one.kind, after, "selector updated")?,
            Err(error) => problems.push(error),
        }
    }
    told(problems)
}

//! `stead rollout history`: the templates that a Deployment had, by revision.

use clap::Args;
use serde_json::Value;

use super::{About, revisions};
use crate::{
    chosen::Chosen,
    describe::{Page, template_text},
    error::{VerbError, told},
    print::{self, Form, Found, Output},
};

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    about: About,
    /// The template of this one (0: a line for each)
    #[arg(long, value_name = "N", default_value_t = 0)]
    revision: u64,
    /// Their ReplicaSets: json, yaml, name, jsonpath=TEMPLATE, custom-columns=…
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Output>,
}

const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

pub(super) async fn run(args: &HistoryArgs) -> Result<(), VerbError> {
    let (api, read) = args.about.read().await?;
    let mut problems = read.problems;
    for one in &read.objects {
        if one.kind.kind != "Deployment" {
            let kind = format!("{}.{}", one.kind.kind, one.kind.group);
            let problem = format!("no history viewer has been implemented for {:?}", kind.trim_end_matches('.'));
            problems.push(VerbError::Usage(problem));
            continue;
        }
        let shown = show(args, one, revisions(&api, one).await?);
        problems.extend(shown.err());
    }
    told(problems)
}

fn show(args: &HistoryArgs, one: &Chosen, mut sets: Vec<(u64, Value)>) -> Result<(), VerbError> {
    if args.revision > 0 {
        sets.retain(|(revision, _)| *revision == args.revision);
        if sets.is_empty() {
            return Err(VerbError::usage("unable to find the specified revision"));
        }
    }
    if let Some(output) = &args.output {
        for (_, set) in sets {
            let objects = [(one.kind.clone(), print::without_managed_fields(set))];
            print::objects(&mut std::io::stdout().lock(), output, &Found { objects: &objects, form: Form::One })?;
        }
        return Ok(());
    }
    let (with, text) = match sets.as_slice() {
        [(revision, set)] if args.revision > 0 => {
            (format!("with revision #{revision}"), template_text(&with_cause(set)))
        }
        [] => (String::new(), "No rollout history found.".to_owned()),
        _ => (String::new(), lines(&sets)),
    };
    println!("{}/{} {with}\n{text}", one.kind.full_name(), one.name());
    Ok(())
}

/// A revision's template, with the reason that its ReplicaSet has.
fn with_cause(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    if let Some(cause) = stead_api::meta::annotation(set, CHANGE_CAUSE) {
        template["metadata"]["annotations"][CHANGE_CAUSE] = cause.into();
    }
    template
}

fn lines(sets: &[(u64, Value)]) -> String {
    let mut page = Page::default();
    page.line(0, "REVISION\tCHANGE-CAUSE");
    for (revision, set) in sets {
        let cause = stead_api::meta::annotation(set, CHANGE_CAUSE).unwrap_or("<none>");
        page.line(0, format_args!("{revision}\t{cause}"));
    }
    page.render()
}

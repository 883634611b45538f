//! `stead rollout status`: a line at each change until all pods have the new template.

use clap::Args;
use serde_json::Value;

use super::{About, revision};
use crate::{
    api::Next,
    duration::Span,
    error::{VerbError, told},
    following::{Followed, Seen, follow},
};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    about: About,
    /// Whether to go on until it is done
    #[arg(long, short, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    watch: bool,
    /// How long to wait, as 30s or 5m (0: for ever)
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true)]
    timeout: Span,
    /// Only while this is the newest revision (0: whichever is)
    #[arg(long, value_name = "N", default_value_t = 0)]
    revision: u64,
}

pub(super) async fn run(args: &StatusArgs) -> Result<(), VerbError> {
    let (api, read) = args.about.read().await?;
    if read.objects.is_empty() && read.problems.is_empty() {
        eprintln!("No resources found in {} namespace.", api.namespace);
    }
    let mut problems = read.problems;
    for one in &read.objects {
        if one.kind.kind != "Deployment" {
            let kind = [one.kind.kind.as_str(), one.kind.group.as_str()].join(".");
            let kind = kind.trim_end_matches('.');
            problems.push(VerbError::usage(format!("no status viewer has been implemented for {kind}")));
            continue;
        }
        let followed = follow(&api, &one.kind, &one.namespace, one.name(), args.timeout.limit(), |seen| {
            let Seen::Object(object) = seen else { return Err(VerbError::usage("object has been deleted")) };
            let state = state(object, args.revision).map_err(VerbError::Usage)?;
            println!("{}", state.text());
            Ok(if matches!(state, State::Done(_)) || !args.watch { Next::Stop } else { Next::More })
        });
        match followed.await {
            Ok(Followed::Stopped) => {}
            Ok(Followed::TimedOut) => problems.push(VerbError::TimedOut("the condition".to_owned())),
            Err(error) => problems.push(error),
        }
    }
    told(problems)
}

/// How far a rollout is, in kubectl's words.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    UnderWay(String),
    Done(String),
}

impl State {
    fn text(&self) -> &str {
        match self {
            Self::UnderWay(text) | Self::Done(text) => text,
        }
    }
}

fn state(deployment: &Value, wanted: u64) -> Result<State, String> {
    let name = stead_api::meta::name(deployment);
    if let Some(running) = revision(deployment).filter(|running| wanted > 0 && *running != wanted) {
        return Err(format!("desired revision ({wanted}) is different from the running revision ({running})"));
    }
    let status = &deployment["status"];
    let count = |key: &str| status[key].as_i64().unwrap_or_default();
    if deployment["metadata"]["generation"].as_i64().unwrap_or_default() > count("observedGeneration") {
        return Ok(State::UnderWay("Waiting for deployment spec update to be observed...".to_owned()));
    }
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    if conditions.any(|one| one["type"] == "Progressing" && one["reason"] == "ProgressDeadlineExceeded") {
        return Err(format!("deployment {name:?} exceeded its progress deadline"));
    }
    let desired = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let (all, updated, available) = (count("replicas"), count("updatedReplicas"), count("availableReplicas"));
    let lacking = if updated < desired {
        format!("{updated} out of {desired} new replicas have been updated...")
    } else if all > updated {
        format!("{} old replicas are pending termination...", all - updated)
    } else if available < updated {
        format!("{available} of {updated} updated replicas are available...")
    } else {
        return Ok(State::Done(format!("deployment {name:?} successfully rolled out")));
    };
    Ok(State::UnderWay(format!("Waiting for deployment {name:?} rollout to finish: {lacking}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_step_has_its_line() {
        let check = |status: Value, wanted: u64, expect: Result<&str, &str>| {
            let deployment = json!({
                "metadata": {"name": "web", "generation": 2, "annotations": {"deployment.kubernetes.io/revision": "3"}},
                "spec": {"replicas": 3},
                "status": status,
            });
            let told = state(&deployment, wanted);
            assert_eq!(told.as_ref().map(State::text).map_err(String::as_str), expect);
        };
        let seen = |updated: i64, all: i64, available: i64| json!({"observedGeneration": 2, "updatedReplicas": updated, "replicas": all, "availableReplicas": available});
        check(json!({"observedGeneration": 1}), 0, Ok("Waiting for deployment spec update to be observed..."));
        let waiting = "Waiting for deployment \"web\" rollout to finish:";
        let line = |text: &str| format!("{waiting} {text}");
        check(seen(1, 3, 3), 0, Ok(&line("1 out of 3 new replicas have been updated...")));
        check(seen(3, 4, 3), 0, Ok(&line("1 old replicas are pending termination...")));
        check(seen(3, 3, 2), 0, Ok(&line("2 of 3 updated replicas are available...")));
        check(seen(3, 3, 3), 3, Ok("deployment \"web\" successfully rolled out"));
        check(seen(3, 3, 3), 2, Err("desired revision (2) is different from the running revision (3)"));
        let mut late = seen(3, 4, 3);
        late["conditions"] = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]);
        check(late, 0, Err("deployment \"web\" exceeded its progress deadline"));
    }
}

//! `stead wait`: until objects are there, gone, or as a condition or path says.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;

use crate::{
    api::{Api, Next},
    chosen::{Choice, Chosen, Reach, Read},
    connection::Connection,
    duration::Span,
    error::{VerbError, told},
    following::{Followed, Seen, follow},
    print::{self, Form, Found, Output, json_path},
};

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// TYPE NAME…, TYPE/NAME…, or TYPE with --selector or --all
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// create, delete, condition=NAME[=VALUE] (VALUE: true), or jsonpath={PATH}[=VALUE]
    #[arg(long = "for", value_name = "WHAT", required = true)]
    condition: Condition,
    /// How long to wait, as 30s or 5m (0: look once; negative: a week)
    #[arg(long, value_name = "TIME", default_value = "30s", allow_hyphen_values = true)]
    timeout: Span,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    connection: Connection,
    /// How to show each: json, yaml, name, jsonpath=TEMPLATE, custom-columns=…
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Create,
    Delete,
    Status { name: String, value: String },
    Path { path: String, value: Option<String> },
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two looks for what is not there yet: its kind may have no watch by that name.
const LOOK: Duration = Duration::from_millis(200);

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("condition=") {
            let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
            return Ok(Self::Status { name: name.to_owned(), value: value.to_owned() });
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            let (path, value) = split_path(rest)?;
            json_path::first(&path, &Value::Null).map_err(|error| error.to_string())?;
            return Ok(Self::Path { path, value });
        }
        match text.to_ascii_lowercase().as_str() {
            "create" => Ok(Self::Create),
            "delete" => Ok(Self::Delete),
            _ => Err(format!("unrecognized condition: {text:?}")),
        }
    }
}

/// The path, and what follows the first `=` that stands alone (`==` is part of a filter).
fn split_path(text: &str) -> Result<(String, Option<String>), String> {
    let letters = text.as_bytes();
    let alone =
        |&at: &usize| letters[at] == b'=' && letters.get(at + 1) != Some(&b'=') && (at == 0 || letters[at - 1] != b'=');
    let (path, value) = match (0..letters.len()).find(alone) {
        None => (text, None),
        Some(at) => (&text[..at], Some(text[at + 1..].trim_matches(['\'', '"']))),
    };
    match value {
        Some("") => Err("jsonpath wait has to have a value after equal sign, like \
                         --for=jsonpath='{.status.readyReplicas}'=3"
            .to_owned()),
        _ => Ok((path.to_owned(), value.map(str::to_owned))),
    }
}

impl Condition {
    /// Whether the object is as wanted.
    fn holds(&self, object: &Value) -> Result<bool, VerbError> {
        match self {
            Self::Create => Ok(true),
            Self::Delete => Ok(false),
            Self::Status { name, value } => Ok(status_holds(object, name, value)),
            Self::Path { path, value } => {
                let found = json_path::all(path, object)?;
                match (found.as_slice(), value) {
                    ([], _) => Ok(false),
                    ([_, _, ..], _) => Err(VerbError::usage("given jsonpath expression matches more than one value")),
                    ([_], None) => Ok(true),
                    ([Value::Object(_) | Value::Array(_)], Some(_)) => {
                        Err(VerbError::usage("jsonpath leads to a nested object or list which is not supported"))
                    }
                    ([one], Some(value)) => Ok(json_path::plain(one).trim() == value.trim()),
                }
            }
        }
    }
}

/// A condition counts once it was made from the object as it is.
fn status_holds(object: &Value, name: &str, value: &str) -> bool {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_lowercase();
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let Some(condition) = conditions.find(|one| text(one, "type") == name.to_lowercase()) else { return false };
    let observed = condition["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
    let is_old = match (observed, object["metadata"]["generation"].as_i64()) {
        (Some(observed), Some(generation)) => observed < generation,
        _ => false,
    };
    !is_old && text(condition, "status") == value.to_lowercase()
}

pub(crate) async fn run(args: &WaitArgs) -> Result<(), VerbError> {
    let until = Instant::now()
        + match args.timeout {
            Span::Negative => WEEK,
            Span::Positive(time) => time,
        };
    let (api, read) = find(args, until).await?;
    let mut problems = read.problems;
    if args.condition == Condition::Delete {
        problems.retain(|problem| !problem.is_not_found());
        if read.objects.is_empty() && problems.is_empty() && !args.words.is_empty() && args.choice.selector.is_none() {
            return Ok(());
        }
    }
    if read.objects.is_empty() && problems.is_empty() {
        return Err(VerbError::usage("no matching resources found"));
    }
    for one in read.objects {
        match wait(args, &api, &one, until).await {
            Ok(object) => show(args, &one, object)?,
            Err(error) => problems.push(error),
        }
    }
    told(problems)
}

/// What is to be waited for; with `--for=create` once it is there.
async fn find(args: &WaitArgs, until: Instant) -> Result<(Api, Read), VerbError> {
    loop {
        let (api, read) = args.choice.read(&args.words, &args.reach, &args.connection).await?;
        let is_missing = read.problems.iter().any(VerbError::is_not_found) || read.objects.is_empty();
        if args.condition != Condition::Create || !is_missing {
            return Ok((api, read));
        }
        if Instant::now() >= until {
            return Err(VerbError::TimedOut("the condition".to_owned()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The object as it was when it was as wanted.
async fn wait(args: &WaitArgs, api: &Api, one: &Chosen, until: Instant) -> Result<Value, VerbError> {
    let condition = &args.condition;
    let unmet = || VerbError::usage(format!("condition not met for {}/{}", one.kind.plural, one.name()));
    if args.timeout == Span::Positive(Duration::ZERO) {
        return if condition.holds(&one.object)? { Ok(one.object.clone()) } else { Err(unmet()) };
    }
    let uid = stead_api::meta::uid(&one.object);
    let mut last = one.object.clone();
    let limit = until.saturating_duration_since(Instant::now());
    let followed = follow(api, &one.kind, &one.namespace, one.name(), Some(limit), |seen| {
        let is_met = match seen {
            Seen::Object(object) if *condition == Condition::Delete => stead_api::meta::uid(object) != uid,
            Seen::Object(object) => {
                last = object.clone();
                condition.holds(object)?
            }
            Seen::Gone => *condition == Condition::Delete,
        };
        Ok(if is_met { Next::Stop } else { Next::More })
    });
    match followed.await? {
        Followed::Stopped => Ok(last),
        Followed::TimedOut => Err(VerbError::TimedOut(format!("the condition on {}/{}", one.kind.plural, one.name()))),
    }
}

fn show(args: &WaitArgs, one: &Chosen, object: Value) -> Result<(), VerbError> {
    let Some(output) = &args.output else {
        println!("{}/{} condition met", one.kind.full_name(), one.name());
        return Ok(());
    };
    let objects = [(one.kind.clone(), print::without_managed_fields(object))];
    print::objects(&mut std::io::stdout().lock(), output, &Found { objects: &objects, form: Form::One })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_once_they_are_of_the_object_as_it_is() {
        let object = json!({
            "metadata": {"generation": 2},
            "spec": {"ports": [{"port": 80}]},
            "status": {"observedGeneration": 2, "readyReplicas": 3, "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1}]},
        });
        let check = |text: &str, expect: Option<bool>| {
            let holds = text.parse::<Condition>().ok().and_then(|condition| condition.holds(&object).ok());
            assert_eq!(holds, expect, "{text}");
        };
        check("create", Some(true));
        check("Delete", Some(false));
        check("condition=Ready", Some(true));
        check("condition=ready=false", Some(false));
        check("condition=Old", Some(false));
        check("condition=None", Some(false));
        check("jsonpath={.status.readyReplicas}=3", Some(true));
        check("jsonpath={.status.readyReplicas}=4", Some(false));
        check("jsonpath={.status.readyReplicas}", Some(true));
        check("jsonpath={.status.nothing}", Some(false));
        check("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", Some(true));
        check("jsonpath={.spec.ports}=x", None);
        check("jsonpath={.status.readyReplicas}=", None);
        check("ready", None);
    }
}

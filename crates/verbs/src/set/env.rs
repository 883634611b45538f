//! `stead set env`: variables of containers, by value or from a ConfigMap or Secret.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, LISTS, containers, nested, pod_spec};
use crate::{
    api::{Api, STRATEGIC_PATCH},
    chosen::{Choice, Chosen, Reach},
    error::{VerbError, told},
    pairs::{self, Changes},
    write::DryRun,
};

#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// TYPE NAME… or TYPE/NAME…, then KEY=VALUE to set and KEY- to take away
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// KEY=VALUE, as one more word
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Which containers; `*` stands for any letters
    #[arg(long, short, value_name = "PATTERN", default_value = "*")]
    containers: String,
    /// A variable for each key of this: configmap/NAME or secret/NAME
    #[arg(long, value_name = "TYPE/NAME")]
    from: Option<String>,
    /// With --from: only these keys
    #[arg(long, value_delimiter = ',', requires = "from", value_name = "KEY,…")]
    keys: Vec<String>,
    /// With --from: before each variable's name
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Whether to replace values that are there already
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    overwrite: bool,
    /// Show what there is
    #[arg(long, conflicts_with = "output")]
    list: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: &EnvArgs) -> Result<(), VerbError> {
    let (objects, words) = pairs::split(&args.words, "environment")?;
    args.common.demand_objects(objects)?;
    let words: Vec<String> = words.iter().chain(&args.env).cloned().collect();
    let changes = pairs::parse(&words, "environment variable")?;
    let common = &args.common;
    let mut variables: Vec<Value> =
        changes.set.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    if let Some(from) = &args.from {
        variables.extend(imported(args, from).await?);
    }
    let (api, read) = common.choice.read(objects, &common.reach, &common.connection).await?;
    let mut problems = read.problems;
    for one in &read.objects {
        problems.extend(change(args, &api, one, &variables, &changes).await.err());
    }
    told(problems)
}

/// A variable for each key of a ConfigMap or Secret.
async fn imported(args: &EnvArgs, from: &str) -> Result<Vec<Value>, VerbError> {
    let words: Vec<String> = from.split_whitespace().map(str::to_owned).collect();
    let (_, read) = Choice::default().read(&words, &Reach::default(), &args.common.connection).await?;
    told(read.problems)?;
    let mut variables = Vec::new();
    for one in &read.objects {
        let source = match one.kind.kind.as_str() {
            "ConfigMap" => "configMapKeyRef",
            "Secret" => "secretKeyRef",
            _ => return Err(VerbError::usage("unsupported resource specified in --from")),
        };
        let keys = one.object["data"].as_object().into_iter().flatten().map(|(key, _)| key);
        for key in keys.filter(|key| args.keys.is_empty() || args.keys.contains(key)) {
            let name = variable_name(key);
            if name != *key {
                eprintln!("Warning: key {key} transferred to {name}");
            }
            let reference = json!({"name": one.name(), "key": key});
            variables.push(json!({"name": format!("{}{name}", args.prefix), "valueFrom": {source: reference}}));
        }
    }
    Ok(variables)
}

/// `ca.crt` as `CA_CRT`.
fn variable_name(key: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    key.chars().map(letter).collect()
}

async fn change(
    args: &EnvArgs,
    api: &Api,
    one: &Chosen,
    variables: &[Value],
    changes: &Changes,
) -> Result<(), VerbError> {
    let kind = &one.kind.kind;
    let Some(place) = pod_spec(kind) else {
        let problem = format!("{} the object is not a pod or does not have a pod template: {kind}", one.title());
        return Err(VerbError::Usage(problem));
    };
    let mut object = one.object.clone();
    let (mut patch, mut count) = (json!({}), 0);
    for list in LISTS {
        let spec = one.object.pointer(place).unwrap_or(&Value::Null);
        let chosen = containers(spec, list).filter(|one| matches(&args.containers, &name(one)));
        for container in chosen {
            count += 1;
            let new = changed(args, one, container, variables, changes)?;
            if args.list {
                show(one, container, &new);
            }
            if new == container["env"].as_array().cloned().unwrap_or_default() {
                continue;
            }
            let order: Vec<Value> = new.iter().map(|one| json!({"name": one["name"]})).collect();
            let entry = json!({
                "name": container["name"], "env": patch_of(variables, changes), "$setElementOrder/env": order,
            });
            match patch[list].as_array_mut() {
                Some(entries) => entries.push(entry),
                None => patch[list] = json!([entry]),
            }
            let containers = object.pointer_mut(&format!("{place}/{list}")).and_then(Value::as_array_mut);
            for one in containers.into_iter().flatten().filter(|one| one["name"] == container["name"]) {
                one["env"] = new.clone().into();
            }
        }
    }
    if count == 0 {
        eprintln!("Warning: {kind}/{} does not have any containers matching {:?}", one.name(), args.containers);
    }
    if args.list || object == one.object {
        return Ok(());
    }
    let options = &args.common.options;
    if options.dry_run == DryRun::Client {
        return options.report(&one.kind, object, "env updated");
    }
    let path = format!("{}?{}", one.path()?, options.query());
    let after = api.patch(&path, STRATEGIC_PATCH, &nested(place, patch)).await?;
    options.report(&one.kind, after, "env updated")
}

fn name(value: &Value) -> String {
    value["name"].as_str().unwrap_or_default().to_owned()
}

/// A container's variables afterwards: those that stay in their order, new ones behind them.
fn changed(
    args: &EnvArgs,
    of: &Chosen,
    container: &Value,
    variables: &[Value],
    changes: &Changes,
) -> Result<Vec<Value>, VerbError> {
    let mut env = container["env"].as_array().cloned().unwrap_or_default();
    env.retain(|one| !changes.unset.contains(&name(one)));
    for variable in variables {
        match env.iter_mut().find(|one| one["name"] == variable["name"]) {
            Some(one) if !args.overwrite && one != variable => {
                let (name, value) = (name(one), one["value"].as_str().unwrap_or_default());
                let object = format!("{}/{}", of.kind.plural, of.name());
                let problem = format!("{object} '{name}' already has a value ({value}), and --overwrite is false");
                return Err(VerbError::Usage(problem));
            }
            Some(one) => one.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    Ok(env)
}

fn patch_of(variables: &[Value], changes: &Changes) -> Vec<Value> {
    let replaced = variables.iter().map(|one| {
        let mut one = one.clone();
        // What was by value may come from elsewhere now, and the other way round.
        let other = if one.get("value").is_some() { "valueFrom" } else { "value" };
        one[other] = Value::Null;
        one
    });
    replaced.chain(changes.unset.iter().map(|name| json!({"name": name, "$patch": "delete"}))).collect()
}

fn show(one: &Chosen, container: &Value, env: &[Value]) {
    let kind = &one.kind.kind;
    println!("# {kind} {}, container {}", one.name(), name(container));
    for variable in env {
        let from = &variable["valueFrom"];
        let reference = |key: &str| {
            let text = |part: &str| from[key][part].as_str().unwrap_or_default().to_owned();
            (text("key"), text("name"))
        };
        let name = name(variable);
        if from.is_null() {
            println!("{name}={}", variable["value"].as_str().unwrap_or_default());
        } else if !from["configMapKeyRef"].is_null() {
            let (key, of) = reference("configMapKeyRef");
            println!("# {name} from configmap {of}, key {key}");
        } else if !from["secretKeyRef"].is_null() {
            let (key, of) = reference("secretKeyRef");
            println!("# {name} from secret {of}, key {key}");
        } else if !from["fieldRef"].is_null() {
            println!("# {name} from field path {}", from["fieldRef"]["fieldPath"].as_str().unwrap_or_default());
        } else {
            println!("# {name} from invalid valueFrom");
        }
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for any letters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_chosen_by_pattern() {
        for (pattern, text, expect) in
            [("*", "web", true), ("web", "web", true), ("w*b", "web", true), ("w*", "db", false), ("*b*", "abc", true)]
        {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        }
        assert_eq!(variable_name("ca.crt"), "CA_CRT");
    }
}

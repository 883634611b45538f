//! `stead label` and `stead annotate`: keys of objects' metadata, set by `KEY=VALUE` and taken away by `KEY-`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    api::{Api, MERGE_PATCH},
    chosen::{Choice, Chosen, Reach},
    connection::Connection,
    error::{VerbError, told},
    pairs::{self, Changes},
    write::{DryRun, WriteOptions},
};

#[derive(Debug, Args)]
pub struct LabelArgs {
    /// TYPE NAME… or TYPE/NAME…, then KEY=VALUE to set and KEY- to take away
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    reach: Reach,
    /// Replace values that are there already
    #[arg(long)]
    overwrite: bool,
    /// Show what there is
    #[arg(long, conflicts_with = "output")]
    list: bool,
    /// Only if this is the object's version now
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

/// Which keys a verb changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Labels,
    Annotations,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Annotations => "annotations",
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Labels => "label",
            Self::Annotations => "annotation",
        }
    }

    /// What is said of an object afterwards.
    fn done(self, changes: &Changes, old: &Map<String, Value>, new: &Map<String, Value>) -> &'static str {
        match self {
            Self::Annotations => "annotated",
            Self::Labels if old == new => "not labeled",
            Self::Labels if changes.set.is_empty() => "unlabeled",
            Self::Labels => "labeled",
        }
    }

    /// Refuses to replace values, in kubectl's words.
    fn check_overwrites(self, changes: &Changes, old: &Map<String, Value>) -> Result<(), VerbError> {
        let taken = changes.set.iter().filter_map(|(key, value)| {
            let now = old.get(key).and_then(Value::as_str)?;
            (now != value && key != CHANGE_CAUSE).then(|| format!("'{key}' already has a value ({now})"))
        });
        let taken: Vec<String> = taken.collect();
        match (self, taken.as_slice()) {
            (_, []) => Ok(()),
            (Self::Labels, _) => Err(VerbError::usage(
                taken.iter().map(|one| format!("{one}, and --overwrite is false")).collect::<Vec<_>>().join(", "),
            )),
            (Self::Annotations, _) => Err(VerbError::usage(format!(
                "--overwrite is false but found the following declared annotation(s): {}",
                taken.join("; ")
            ))),
        }
    }
}

/// May always be replaced.
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

pub(crate) async fn run(args: &LabelArgs, field: Field) -> Result<(), VerbError> {
    let (objects, changes) = pairs::split(&args.words, field.one())?;
    let changes = pairs::parse(changes, field.one())?;
    if objects.is_empty() && args.choice.files.is_empty() {
        let problem = "one or more resources must be specified as <resource> <name> or <resource>/<name>";
        return Err(VerbError::usage(problem));
    }
    if changes == Changes::default() && !args.list {
        return Err(VerbError::usage(format!("at least one {} update is required", field.one())));
    }
    let (api, read) = args.choice.read(objects, &args.reach, &args.connection).await?;
    if args.resource_version.is_some() && !read.is_one {
        return Err(VerbError::usage("--resource-version may only be used with a single resource"));
    }
    let mut problems = read.problems;
    for one in &read.objects {
        problems.extend(change(args, field, &changes, &api, one, read.is_one).await.err());
    }
    told(problems)
}

async fn change(
    args: &LabelArgs,
    field: Field,
    changes: &Changes,
    api: &Api,
    one: &Chosen,
    is_one: bool,
) -> Result<(), VerbError> {
    let old = one.object["metadata"][field.name()].as_object().cloned().unwrap_or_default();
    if !args.overwrite {
        field.check_overwrites(changes, &old)?;
    }
    let new = changed(&old, changes);
    if args.list {
        list(field, one, &new, is_one);
        return Ok(());
    }
    let done = field.done(changes, &old, &new);
    if args.options.dry_run == DryRun::Client {
        let mut object = one.object.clone();
        object["metadata"][field.name()] = new.into();
        return args.options.report(&one.kind, object, done);
    }
    if field == Field::Labels {
        for key in changes.unset.iter().filter(|key| !old.contains_key(*key)) {
            println!("label {key:?} not found.");
        }
    }
    let mut patch = json!({"metadata": {(field.name()): patch(changes)}});
    if let Some(version) = &args.resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    let after = api.patch(&format!("{}?{}", one.path()?, args.options.query()), MERGE_PATCH, &patch).await?;
    args.options.report(&one.kind, after, done)
}

fn changed(old: &Map<String, Value>, changes: &Changes) -> Map<String, Value> {
    let mut new = old.clone();
    new.extend(changes.set.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
    new.retain(|key, _| !changes.unset.contains(key));
    new
}

fn patch(changes: &Changes) -> Map<String, Value> {
    let set = changes.set.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    set.chain(changes.unset.iter().map(|key| (key.clone(), Value::Null))).collect()
}

fn list(field: Field, one: &Chosen, values: &Map<String, Value>, is_one: bool) {
    if !is_one {
        println!("Listing {} for {}.{}/{}:", field.name(), one.kind.kind, one.kind.group, one.name());
    }
    let indent = if is_one { "" } else { " " };
    for (key, value) in values {
        println!("{indent}{key}={}", value.as_str().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_as_kubectl_tells_it() {
        let old = json!({"a": "1", "b": "2"}).as_object().cloned().unwrap();
        let check = |words: &[&str], expect: &str| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let changes = pairs::parse(&words, "label").unwrap();
            let new = changed(&old, &changes);
            assert_eq!(Field::Labels.done(&changes, &old, &new), expect, "{words:?}");
        };
        check(&["c=3"], "labeled");
        check(&["a-"], "unlabeled");
        check(&["x-"], "not labeled");
        check(&["a=1"], "not labeled");
        check(&["a=2", "b-"], "labeled");
    }

    #[test]
    fn values_are_replaced_only_when_asked() {
        let old = json!({"a": "1", CHANGE_CAUSE: "x"}).as_object().cloned().unwrap();
        let refused = |word: &str, field: Field| {
            let changes = pairs::parse(&[word.to_owned()], "label").unwrap();
            field.check_overwrites(&changes, &old).err().map(|error| error.to_string())
        };
        let labels = "error: 'a' already has a value (1), and --overwrite is false";
        assert_eq!(refused("a=2", Field::Labels).as_deref(), Some(labels));
        let annotations =
            "error: --overwrite is false but found the following declared annotation(s): 'a' already has a value (1)";
        assert_eq!(refused("a=2", Field::Annotations).as_deref(), Some(annotations));
        assert_eq!(refused("a=1", Field::Labels), None);
        assert_eq!(refused(&format!("{CHANGE_CAUSE}=y"), Field::Annotations), None);
    }
}

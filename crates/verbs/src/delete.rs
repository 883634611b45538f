//! `stead delete`: by name, by selector, or what a manifest names; it waits until they are gone.

use std::io::{self, BufRead as _, Read as _, Write as _};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, Next, escape},
    connection::Connection,
    duration::Span,
    error::{VerbError, told},
    following::{Followed, Seen, follow},
    kinds::{Kind, Kinds},
    manifest::Files,
    print::Output,
    raw,
    selection::{self, Target},
    write::{DryRun, namespace_of},
};

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// TYPE NAME…, TYPE/NAME…, or TYPE with --selector or --all
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    connection: Connection,
    /// Those with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// All of the type in the namespace
    #[arg(long, conflicts_with = "selector")]
    all: bool,
    /// Those with these fields, as `metadata.name=web`
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Seconds that a pod has for its end (negative: the pod's own; 0: with --force only, else 1)
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// As --grace-period=1
    #[arg(long)]
    now: bool,
    /// At once, without waiting for what runs
    #[arg(long)]
    force: bool,
    /// background, foreground, or orphan: what happens to what they own
    #[arg(long, value_enum, default_value_t)]
    cascade: Cascade,
    /// Whether to wait until they are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    wait: bool,
    /// How long to wait for each, as 30s or 5m (0: for ever)
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true)]
    timeout: Span,
    /// Say nothing about what is not there
    #[arg(long)]
    ignore_not_found: bool,
    /// none, client (nothing is sent) or server (everything but the deletion is done)
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
    /// `name`: only TYPE/NAME of each
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Output>,
    /// Say what is to be deleted, and ask whether to go on
    #[arg(long, short)]
    interactive: bool,
    /// Delete at this path of the API server, and print the answer as it is
    #[arg(long, value_name = "PATH", conflicts_with_all = ["words", "selector", "all", "interactive", "output"])]
    raw: Option<String>,
}

/// A longer line is no answer.
const MAX_ANSWER: u64 = 1000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Cascade {
    #[default]
    Background,
    Foreground,
    Orphan,
}

pub(crate) async fn run(args: &DeleteArgs) -> Result<(), VerbError> {
    if let Some(path) = &args.raw {
        return raw::ask(&args.connection, Method::DELETE, path, &args.files).await;
    }
    let body = args.body()?;
    if args.force {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. \
             The resource may continue to run on the cluster indefinitely."
        );
    }
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let victims = victims(args, &api, &kinds).await?;
    if victims.is_empty() && !args.ignore_not_found {
        println!("No resources found");
    }
    if args.interactive && !victims.is_empty() && !is_confirmed(&victims)? {
        println!("deletion is cancelled");
        return Ok(());
    }
    let mut problems = Vec::new();
    let mut going = Vec::new();
    for (kind, namespace, name) in victims {
        let answer = match kind.object(&namespace, &name) {
            Ok(_) if args.dry_run == DryRun::Client => Ok(Value::Null),
            Ok(path) => api.send(Method::DELETE, &path, &body).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => {
                args.tell(&kind, &name);
                let uid = uid(&answer);
                going.push((kind, namespace, name, uid));
            }
            Err(error) if error.is_not_found() && args.ignore_not_found => {}
            Err(error) => problems.push(error),
        }
    }
    if args.wait && !args.force && args.dry_run == DryRun::None {
        for (kind, namespace, name, uid) in &going {
            problems.extend(wait_until_gone(args, &api, kind, namespace, name, uid).await.err());
        }
    }
    told(problems)
}

/// Of what goes: an answer is the object, or a Status with its details.
fn uid(answer: &Value) -> String {
    let of_status = answer["details"]["uid"].as_str();
    of_status.unwrap_or_else(|| stead_api::meta::uid(answer)).to_owned()
}

impl DeleteArgs {
    fn body(&self) -> Result<Value, VerbError> {
        let policy = format!("{:?}", self.cascade);
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        if let Some(seconds) = self.grace()? {
            body["gracePeriodSeconds"] = seconds.into();
        }
        if self.dry_run == DryRun::Server {
            body["dryRun"] = json!(["All"]);
        }
        if !matches!(self.output, None | Some(Output::Name)) {
            return Err(VerbError::usage("unexpected -o output mode. We only support '-o name'"));
        }
        Ok(body)
    }

    /// The seconds that are asked for. None at all is what only `--force` may give.
    fn grace(&self) -> Result<Option<i64>, VerbError> {
        match (self.grace_period, self.now, self.force) {
            (0.., true, _) => Err(VerbError::usage("--now and --grace-period cannot be specified together")),
            (1.., false, true) => {
                Err(VerbError::usage("--force and --grace-period greater than 0 cannot be specified together"))
            }
            (_, true, _) | (0, false, false) => Ok(Some(1)),
            (_, false, true) => Ok(Some(0)),
            (seconds @ 1.., false, false) => Ok(Some(seconds)),
            (_, false, false) => Ok(None),
        }
    }

    fn tell(&self, kind: &Kind, name: &str) {
        if self.output.is_some() {
            println!("{}/{name}", kind.full_name());
            return;
        }
        let force = if self.force { " force" } else { "" };
        println!("{} {name:?}{force} deleted{}", kind.full_name(), self.dry_run.note());
    }
}

/// Kind, namespace and name of everything that is to go.
async fn victims(args: &DeleteArgs, api: &Api, kinds: &Kinds) -> Result<Vec<(Kind, String, String)>, VerbError> {
    if !args.files.is_empty() {
        let said = args.connection.namespace.as_deref();
        let named = |object: &Value| {
            let name = stead_api::meta::name(object).to_owned();
            Ok((kinds.of_object(object)?.clone(), namespace_of(api, object, said)?, name))
        };
        let chosen = args.files.read_chosen(&args.words, args.selector.as_ref()).await?;
        return chosen.iter().map(named).collect();
    }
    let selector = selection::given(args.selector.as_ref());
    let targets = selection::parse(&args.words, kinds)?;
    let fields = selection::given(args.field_selector.as_ref());
    if selector.is_some() || fields.is_some() || args.all {
        selection::refuse_names(&targets)?;
    }
    if args.all_namespaces && targets.iter().any(|target| !target.names.is_empty()) {
        return Err(VerbError::usage("a resource cannot be retrieved by name across all namespaces"));
    }
    let mut victims = Vec::new();
    for Target { kind, names } in targets {
        if !names.is_empty() {
            victims.extend(names.into_iter().map(|name| (kind.clone(), api.namespace.clone(), name)));
            continue;
        }
        if selector.is_none() && fields.is_none() && !args.all {
            return Err(VerbError::usage("resource(s) were provided, but no name was specified"));
        }
        let query = [("labelSelector", selector), ("fieldSelector", fields)];
        let query = query.into_iter().filter_map(|(key, text)| Some(format!("{key}={}", escape(text?))));
        let within = (!args.all_namespaces).then_some(api.namespace.as_str());
        let path = format!("{}?{}", kind.collection(within), query.collect::<Vec<_>>().join("&"));
        let list = api.get(&path).await?;
        victims.extend(list["items"].as_array().into_iter().flatten().map(|item| {
            let (namespace, name) = (stead_api::meta::namespace(item), stead_api::meta::name(item));
            (kind.clone(), namespace.to_owned(), name.to_owned())
        }));
    }
    Ok(victims)
}

/// Asks whoever is at standard input.
fn is_confirmed(victims: &[(Kind, String, String)]) -> io::Result<bool> {
    println!("You are about to delete the following {} resource(s):", victims.len());
    for (kind, _, name) in victims {
        println!("{}/{name}", kind.full_name());
    }
    print!("Do you want to continue? (y/n): ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(MAX_ANSWER).read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

async fn wait_until_gone(
    args: &DeleteArgs,
    api: &Api,
    kind: &Kind,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<(), VerbError> {
    let followed = follow(api, kind, namespace, name, args.timeout.limit(), |seen| match seen {
        Seen::Object(object) if stead_api::meta::uid(object) == uid => Ok(Next::More),
        // Another one of that name is not the one that was to go.
        Seen::Object(_) | Seen::Gone => Ok(Next::Stop),
    });
    match followed.await? {
        Followed::Stopped => Ok(()),
        Followed::TimedOut => Err(VerbError::TimedOut(format!("the condition on {}/{name}", kind.plural))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        delete: DeleteArgs,
    }

    #[test]
    fn only_force_leaves_no_time() {
        let check = |flags: &str, expect: Option<Option<i64>>| {
            let words = ["delete", "cm"].into_iter().chain(flags.split_whitespace());
            assert_eq!(Line::try_parse_from(words).unwrap().delete.grace().ok(), expect, "{flags}");
        };
        check("", Some(None));
        check("--grace-period=-1", Some(None));
        check("--grace-period=0", Some(Some(1)));
        check("--grace-period=9", Some(Some(9)));
        check("--now", Some(Some(1)));
        check("--force", Some(Some(0)));
        check("--force --grace-period=0", Some(Some(0)));
        check("--force --grace-period=1", None);
        check("--now --grace-period=1", None);
    }
}

//! `stead delete`: by name, by selector, or what a manifest names; it waits until they are gone.

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
    selection,
    write::namespace_of,
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
    /// Seconds that a pod has for its end (default: the pod's own)
    #[arg(long, value_name = "SECONDS", conflicts_with = "force")]
    grace_period: Option<u32>,
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
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Cascade {
    #[default]
    Background,
    Foreground,
    Orphan,
}

pub(crate) async fn run(args: &DeleteArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let victims = victims(args, &api, &kinds).await?;
    if victims.is_empty() && !args.ignore_not_found {
        println!("No resources found");
    }
    let mut problems = Vec::new();
    let mut going = Vec::new();
    for (kind, namespace, name) in victims {
        let answer = match kind.object(&namespace, &name) {
            Ok(path) => api.send(Method::DELETE, &path, &args.body()).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => {
                let force = if args.force { " force" } else { "" };
                println!("{} {name:?}{force} deleted", kind.full_name());
                let uid = uid(&answer);
                going.push((kind, namespace, name, uid));
            }
            Err(error) if error.is_not_found() && args.ignore_not_found => {}
            Err(error) => problems.push(error),
        }
    }
    if args.wait && !args.force {
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
    fn body(&self) -> Value {
        let policy = format!("{:?}", self.cascade);
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        if let Some(seconds) = self.grace_period.or(self.force.then_some(0)) {
            body["gracePeriodSeconds"] = seconds.into();
        }
        body
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
    if selector.is_some() || args.all {
        selection::refuse_names(&targets)?;
    }
    let mut victims = Vec::new();
    for target in targets {
        let mut names = target.names;
        if names.is_empty() {
            if selector.is_none() && !args.all {
                return Err(VerbError::usage("resource(s) were provided, but no name was specified"));
            }
            let query = selector.map(|text| format!("?labelSelector={}", escape(text))).unwrap_or_default();
            let path = format!("{}{query}", target.kind.collection(Some(&api.namespace)));
            let list = api.get(&path).await?;
            names = list["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| stead_api::meta::name(item).to_owned())
                .collect();
        }
        victims.extend(names.into_iter().map(|name| (target.kind.clone(), api.namespace.clone(), name)));
    }
    Ok(victims)
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

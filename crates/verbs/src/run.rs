//! `stead run NAME --image=IMAGE`: a pod, and with `--expose` its Service. With `--stdin` or `--attach` this process's standard streams
//! are then joined with the pod's, and its end is this one's.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    api::{Api, Next},
    connection::Connection,
    duration::Span,
    error::VerbError,
    exec::{self, Wishes},
    expose::labels_of,
    following::{Followed, Seen, follow},
    generated,
    kinds::Kinds,
    logs,
    patch::Form,
    pods,
    write::{self, DryRun, WriteOptions},
};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The name of the pod
    name: String,
    /// The image of its container
    #[arg(long)]
    image: String,
    /// Always, IfNotPresent or Never
    #[arg(long, value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// The port that it listens on
    #[arg(long)]
    port: Option<u16>,
    /// A Service for --port as well
    #[arg(long, requires = "port")]
    expose: bool,
    /// KEY=VALUE for its environment
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// KEY=VALUE,… (default: run=NAME)
    #[arg(long, short = 'l', value_name = "KEY=VALUE,…")]
    labels: Option<String>,
    /// KEY=VALUE for its annotations
    #[arg(long, value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Always, OnFailure or Never
    #[arg(long, default_value = "Always", value_parser = ["Always", "OnFailure", "Never"])]
    restart: String,
    /// What follows `--` is the command, not its arguments
    #[arg(long)]
    command: bool,
    /// All privileges of the node
    #[arg(long)]
    privileged: bool,
    /// A patch, in JSON, for the pod before it is created
    #[arg(long, value_name = "PATCH")]
    overrides: Option<String>,
    /// What kind of patch that is: strategic, merge or json
    #[arg(long, value_enum, default_value = "merge", requires = "overrides")]
    override_type: Form,
    /// Pass standard input on to the program
    #[arg(long, short = 'i')]
    stdin: bool,
    /// Give the program a terminal
    #[arg(long, short)]
    tty: bool,
    /// Show what the program writes until it ends (default: with --stdin)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    attach: Option<bool>,
    /// Keep the program's standard input open when this one ends
    #[arg(long)]
    leave_stdin_open: bool,
    /// When it has ended, delete the pod (and what --expose made)
    #[arg(long)]
    rm: bool,
    /// Show nothing but what the program writes
    #[arg(long, short)]
    quiet: bool,
    /// How long to wait until the pod runs, as 20s or 5m
    #[arg(long, value_name = "TIME", default_value = "1m0s")]
    pod_running_timeout: Span,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
    /// Arguments of the image's command
    #[arg(last = true, value_name = "ARG")]
    arguments: Vec<String>,
}

pub(crate) async fn run(args: &RunArgs) -> Result<(), VerbError> {
    if args.tty && !args.stdin {
        return Err(VerbError::usage("-i/--stdin is required for containers with -t/--tty=true"));
    }
    let attaches = args.attach.unwrap_or(args.stdin);
    if args.rm && !attaches {
        return Err(VerbError::usage("--rm should only be used for attached containers"));
    }
    if attaches && args.options.dry_run != DryRun::None {
        return Err(VerbError::usage(
            "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)",
        ));
    }
    let labels = match &args.labels {
        Some(text) => labels_of("--labels", text)?,
        None => json!({"run": args.name}),
    };
    let namespace = args.connection.namespace.as_deref();
    let mut api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let mut pod = generated::shaped(args.pod(&labels)?, namespace);
    if let Some(overrides) = &args.overrides {
        let patch = serde_json::from_str(overrides)
            .map_err(|error| VerbError::argument("--overrides", format!("it is no JSON: {error}")))?;
        pod = args.override_type.apply(kinds.find("pods")?, &pod, &patch)?;
    }
    if args.expose {
        let ports = json!([{"port": args.port, "targetPort": args.port, "protocol": "TCP"}]);
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": args.name},
            "spec": {"selector": labels, "ports": ports}});
        write::create(&api, &kinds, generated::shaped(service, namespace), None, &args.options).await?;
    }
    if !attaches {
        return write::create(&api, &kinds, pod, None, &args.options).await;
    }
    api.namespace = write::namespace_of(&api, &pod, namespace)?;
    let path = format!("{}?{}", kinds.find("pods")?.collection(Some(&api.namespace)), args.options.query());
    api.send(http::Method::POST, &path, &pod).await?;
    let ended = accompany(args, &api, &kinds).await;
    if args.rm {
        remove(args, &api, &kinds).await?;
    }
    ended
}

/// Joins the pod once it is ready, or shows what it wrote where it has ended, and ends as it does.
async fn accompany(args: &RunArgs, api: &Api, kinds: &Kinds) -> Result<(), VerbError> {
    let is_over = |pod: &Value| matches!(phase(pod), "Succeeded" | "Failed");
    let pod = pod_when(args, api, kinds, |pod| is_over(pod) || pods::is_ready(pod)).await?;
    let wishes = Wishes { stdin: args.stdin, tty: args.tty, quiet: args.quiet };
    let container = pod["spec"]["containers"][0]["name"].as_str();
    if is_over(&pod) {
        logs::show(api, &pod).await?;
    } else if let Err(error) = exec::join_program(api, &pod, container, wishes).await {
        let name = &args.name;
        eprintln!("warning: couldn't attach to pod/{name}, falling back to streaming logs: {error}");
        logs::show(api, &pod).await?;
    }
    if args.leave_stdin_open || args.restart == "Always" {
        return Ok(());
    }
    let has_ended = |pod: &Value| phase(pod) == "Succeeded" || phase(pod) == "Failed" && args.restart == "Never";
    let pod = pod_when(args, api, kinds, has_ended).await?;
    match phase(&pod) {
        "Failed" => Err(failure(&pod)),
        _ => Ok(()),
    }
}

/// The pod as soon as it is like that.
async fn pod_when(
    args: &RunArgs,
    api: &Api,
    kinds: &Kinds,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value, VerbError> {
    let kind = kinds.find("pods")?;
    let mut found = Value::Null;
    let limit = args.pod_running_timeout.limit();
    let followed = follow(api, kind, &api.namespace, &args.name, limit, |seen| match seen {
        Seen::Object(pod) if is_so(pod) => {
            found = pod.clone();
            Ok(Next::Stop)
        }
        Seen::Object(_) => Ok(Next::More),
        Seen::Gone => Err(VerbError::usage(format!("pod {:?} was deleted", args.name))),
    });
    match followed.await? {
        Followed::Stopped => Ok(found),
        Followed::TimedOut => Err(VerbError::TimedOut("the condition".to_owned())),
    }
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

/// As the program ended, so does this one.
fn failure(pod: &Value) -> VerbError {
    let name = format!("{}/{}", stead_api::meta::namespace(pod), stead_api::meta::name(pod));
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    match ended["exitCode"].as_i64() {
        None | Some(0) => VerbError::usage(format!("pod {name} failed with unknown exit code")),
        Some(code) => {
            let [reason, message] = ["reason", "message"].map(|key| ended[key].as_str().unwrap_or_default());
            let text = format!("pod {name} terminated ({reason})\n{message}");
            // What a process can exit with is a byte here.
            VerbError::Failed { code: u8::try_from(code).unwrap_or(u8::MAX), text: text.trim_end().to_owned() }
        }
    }
}

/// Deletes what was made, without waiting until it is gone.
async fn remove(args: &RunArgs, api: &Api, kinds: &Kinds) -> Result<(), VerbError> {
    let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    for made in ["pods", "services"].iter().take(if args.expose { 2 } else { 1 }) {
        let kind = kinds.find(made)?;
        match api.send(http::Method::DELETE, &kind.object(&api.namespace, &args.name)?, &body).await {
            Ok(_) if args.quiet => {}
            Ok(_) => println!("{} {:?} deleted", kind.full_name(), args.name),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl RunArgs {
    fn pod(&self, labels: &Value) -> Result<Value, VerbError> {
        let mut container = json!({"name": self.name, "image": self.image});
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if !self.arguments.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.arguments);
        }
        let variable = |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(json!({"name": name, "value": value})),
            _ => Err(VerbError::argument("--env", format!("invalid env: {text}"))),
        };
        let env = self.env.iter().map(variable).collect::<Result<Vec<_>, _>>()?;
        if !env.is_empty() {
            container["env"] = env.into();
        }
        for (field, is_set) in
            [("stdin", self.stdin), ("stdinOnce", self.stdin && !self.leave_stdin_open), ("tty", self.tty)]
        {
            if is_set {
                container[field] = true.into();
            }
        }
        if self.privileged {
            container["securityContext"] = json!({"privileged": true});
        }
        let mut metadata = json!({"name": self.name, "labels": labels});
        for pair in &self.annotations {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| VerbError::argument("--annotations", format!("unexpected annotation: {pair}")))?;
            metadata["annotations"][key] = value.into();
        }
        let spec = json!({"containers": [container], "restartPolicy": self.restart});
        Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    }
}

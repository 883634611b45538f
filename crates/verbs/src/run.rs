//! `stead run NAME --image=IMAGE`: a pod, and with `--expose` its Service.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    connection::Connection, error::VerbError, expose::labels_of, generated, kinds::Kinds, write, write::WriteOptions,
};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The name of the pod
    name: String,
    /// The image of its container
    #[arg(long)]
    image: String,
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
    /// Always, OnFailure or Never
    #[arg(long, default_value = "Always", value_parser = ["Always", "OnFailure", "Never"])]
    restart: String,
    /// What follows `--` is the command, not its arguments
    #[arg(long)]
    command: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
    /// Arguments of the image's command
    #[arg(last = true, value_name = "ARG")]
    arguments: Vec<String>,
}

pub(crate) async fn run(args: &RunArgs) -> Result<(), VerbError> {
    let labels = match &args.labels {
        Some(text) => labels_of("--labels", text)?,
        None => json!({"run": args.name}),
    };
    let pod = args.pod(&labels)?;
    let namespace = args.connection.namespace.as_deref();
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    if args.expose {
        let ports = json!([{"port": args.port, "targetPort": args.port, "protocol": "TCP"}]);
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": args.name},
            "spec": {"selector": labels, "ports": ports}});
        write::create(&api, &kinds, generated::shaped(service, namespace), None, &args.options).await?;
    }
    write::create(&api, &kinds, generated::shaped(pod, namespace), None, &args.options).await
}

impl RunArgs {
    fn pod(&self, labels: &Value) -> Result<Value, VerbError> {
        let mut container = json!({"name": self.name, "image": self.image});
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
        let metadata = json!({"name": self.name, "labels": labels});
        let spec = json!({"containers": [container], "restartPolicy": self.restart});
        Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    }
}

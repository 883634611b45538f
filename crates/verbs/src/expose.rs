//! `stead expose TYPE/NAME`: a Service for what runs already.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    connection::Connection,
    error::VerbError,
    generated,
    kinds::Kinds,
    manifest::Files,
    patch, selection, write,
    write::{WriteOptions, create_as},
};

#[derive(Debug, Args)]
pub struct ExposeArgs {
    /// TYPE NAME or TYPE/NAME: a pod, Service, Deployment, ReplicaSet or ReplicationController
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// The Service's port, or ports (default: those of the containers)
    #[arg(long, value_name = "PORT,…", value_delimiter = ',')]
    port: Vec<u32>,
    /// Number or name of the containers' port (default: as --port)
    #[arg(long, value_name = "PORT")]
    target_port: Option<String>,
    /// The Service's name (default: that of what is exposed)
    #[arg(long)]
    name: Option<String>,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName
    #[arg(long = "type", value_name = "TYPE")]
    service_type: Option<String>,
    /// TCP, UDP or SCTP
    #[arg(long)]
    protocol: Option<String>,
    /// KEY=VALUE,… of the pods (default: what it selects itself)
    #[arg(long, value_name = "KEY=VALUE,…")]
    selector: Option<String>,
    /// KEY=VALUE,… for the Service itself (default: as what is exposed)
    #[arg(long, short = 'l', value_name = "KEY=VALUE,…")]
    labels: Option<String>,
    /// The virtual IP, or None for a headless Service
    #[arg(long, value_name = "IP")]
    cluster_ip: Option<String>,
    /// One more address that the Service answers at
    #[arg(long, value_name = "IP")]
    external_ip: Option<String>,
    /// The address that a load balancer is asked for
    #[arg(long, value_name = "IP")]
    load_balancer_ip: Option<String>,
    /// None or ClientIP
    #[arg(long, value_name = "AFFINITY")]
    session_affinity: Option<String>,
    /// A patch that the Service is changed by before it is made, in JSON
    #[arg(long, value_name = "PATCH")]
    overrides: Option<String>,
    /// What kind of patch that is
    #[arg(long, value_enum, default_value = "merge")]
    override_type: patch::Form,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

pub(crate) async fn run(args: &ExposeArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let (kind, name, namespace) = if args.files.is_empty() {
        let targets = selection::parse(&args.words, &kinds)?;
        match targets.as_slice() {
            [target] if target.names.len() == 1 => {
                (target.kind.clone(), target.names[0].clone(), api.namespace.clone())
            }
            _ => return Err(VerbError::argument("TYPE/NAME", "name one object to expose")),
        }
    } else {
        let objects = args.files.read().await?;
        let [object] = objects.as_slice() else {
            return Err(VerbError::argument("--filename", "name one object to expose"));
        };
        let namespace = write::namespace_of(&api, object, args.connection.namespace.as_deref())?;
        (kinds.of_object(object)?.clone(), stead_api::meta::name(object).to_owned(), namespace)
    };
    let exposed = kind.read(&api, &namespace, &name).await?;
    let service = generated::shaped(args.service(&kind.kind, &exposed)?, None);
    let service = args.overridden(&kinds, service)?;
    create_as(&api, &kinds, service, None, &args.options, "exposed").await
}

impl ExposeArgs {
    /// The Service as `--overrides` changes it.
    fn overridden(&self, kinds: &Kinds, service: Value) -> Result<Value, VerbError> {
        let Some(text) = &self.overrides else { return Ok(service) };
        let patch = serde_json::from_str(text)
            .map_err(|error| VerbError::argument("--overrides", format!("invalid JSON: {error}")))?;
        self.override_type.apply(kinds.of_object(&service)?, &service, &patch)
    }

    /// The Service for `object`, which is of `kind`.
    fn service(&self, kind: &str, object: &Value) -> Result<Value, VerbError> {
        let selector = match &self.selector {
            Some(text) => labels_of("--selector", text)?,
            None => selector_of(kind, object)?,
        };
        let labels = match &self.labels {
            Some(text) => labels_of("--labels", text)?,
            None => object["metadata"]["labels"].clone(),
        };
        let name = self.name.as_deref().unwrap_or_else(|| stead_api::meta::name(object));
        let mut metadata = json!({"name": name, "namespace": stead_api::meta::namespace(object)});
        if !labels.is_null() {
            metadata["labels"] = labels;
        }
        let mut spec = json!({"selector": selector, "ports": self.ports(kind, object)?});
        let mut set = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                spec[key] = value.as_str().into();
            }
        };
        set("type", &self.service_type);
        set("clusterIP", &self.cluster_ip);
        set("loadBalancerIP", &self.load_balancer_ip);
        set("sessionAffinity", &self.session_affinity);
        if let Some(ip) = &self.external_ip {
            spec["externalIPs"] = json!([ip]);
        }
        Ok(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))
    }

    fn ports(&self, kind: &str, object: &Value) -> Result<Vec<Value>, VerbError> {
        let target = |port: &Value| match &self.target_port {
            Some(text) => text.parse::<i32>().map_or_else(|_| Value::from(text.as_str()), Value::from),
            None => port.clone(),
        };
        let protocol = |own: &Value| self.protocol.as_deref().map_or_else(|| own.clone(), Value::from);
        let declared = match self.port.as_slice() {
            [] => declared_ports(kind, object),
            given => given.iter().map(|&port| (port.into(), "TCP".into())).collect(),
        };
        if declared.is_empty() && self.cluster_ip.as_deref() != Some("None") {
            return Err(VerbError::argument("--port", "couldn't find port via --port flag or introspection"));
        }
        let is_many = declared.len() > 1;
        let port = |(at, (port, own)): (usize, (Value, Value))| {
            let mut entry = json!({"port": port, "targetPort": target(&port), "protocol": protocol(&own)});
            if is_many {
                entry["name"] = format!("port-{}", at + 1).into();
            }
            entry
        };
        Ok(declared.into_iter().enumerate().map(port).collect())
    }
}

/// What an object's pods are found by.
fn selector_of(kind: &str, object: &Value) -> Result<Value, VerbError> {
    let spec = &object["spec"];
    let selector = match kind {
        "Pod" => &object["metadata"]["labels"],
        "Service" | "ReplicationController" => &spec["selector"],
        "Deployment" | "ReplicaSet" => {
            if spec["selector"]["matchExpressions"].as_array().is_some_and(|list| !list.is_empty()) {
                return Err(VerbError::argument(
                    "--selector",
                    "couldn't convert expressions to a Service's selector: give one",
                ));
            }
            &spec["selector"]["matchLabels"]
        }
        _ => return Err(VerbError::usage(format!("cannot expose a {kind}"))),
    };
    match selector.as_object() {
        Some(labels) if !labels.is_empty() => Ok(selector.clone()),
        _ => Err(VerbError::argument("--selector", "couldn't retrieve selectors via --selector flag or introspection")),
    }
}

/// Port and protocol of each port that an object's containers, or a Service, declare.
fn declared_ports(kind: &str, object: &Value) -> Vec<(Value, Value)> {
    let spec = &object["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (ports, key): (Vec<Value>, &str) = match kind {
        "Service" => (list(&spec["ports"]), "port"),
        "Pod" => (list(&spec["containers"]).iter().flat_map(|one| list(&one["ports"])).collect(), "containerPort"),
        _ => {
            let containers = list(&spec["template"]["spec"]["containers"]);
            (containers.iter().flat_map(|one| list(&one["ports"])).collect(), "containerPort")
        }
    };
    let entry = |port: Value| (port[key].clone(), port.get("protocol").cloned().unwrap_or_else(|| "TCP".into()));
    ports.into_iter().map(entry).collect()
}

/// `a=b,c=d` as labels.
pub(crate) fn labels_of(flag: &'static str, text: &str) -> Result<Value, VerbError> {
    let mut labels = Map::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| VerbError::argument(flag, format!("unexpected label spec {part:?}: expected KEY=VALUE")))?;
        labels.insert(key.to_owned(), value.into());
    }
    Ok(Value::Object(labels))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        expose: ExposeArgs,
    }

    #[test]
    fn a_service_is_made_of_flags_and_of_what_runs() {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "labels": {"tier": "front"}},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": [
                {"name": "a", "ports": [{"containerPort": 8080, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]}]}}},
        });
        let check = |flags: &str, expect: Result<Value, &str>| {
            let words = ["expose", "deploy/web"].into_iter().chain(flags.split_whitespace());
            let args = Line::try_parse_from(words).unwrap().expose;
            match (args.service("Deployment", &deployment), expect) {
                (Ok(service), Ok(spec)) => assert_eq!(service["spec"], spec, "{flags}"),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (made, expect) => panic!("{flags}: {made:?}, not {expect:?}"),
            }
        };
        let selector = json!({"app": "web"});
        check(
            "--port=80 --target-port=8080",
            Ok(json!({"selector": selector, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]})),
        );
        check(
            "",
            Ok(json!({"selector": selector, "ports": [
                {"name": "port-1", "port": 8080, "targetPort": 8080, "protocol": "TCP"},
                {"name": "port-2", "port": 53, "targetPort": 53, "protocol": "UDP"}]})),
        );
        check(
            "--port=80 --target-port=99999",
            Ok(json!({"selector": selector, "ports": [{"port": 80, "targetPort": 99_999, "protocol": "TCP"}]})),
        );
        check(
            "--port=80 --target-port=http --type=NodePort --selector=a=b --external-ip=192.168.56.9",
            Ok(json!({"selector": {"a": "b"}, "type": "NodePort", "externalIPs": ["192.168.56.9"],
                "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]})),
        );
        check(
            "--port=80,443 --target-port=8080",
            Ok(json!({"selector": selector, "ports": [
                {"name": "port-1", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                {"name": "port-2", "port": 443, "targetPort": 8080, "protocol": "TCP"}]})),
        );
        check("--selector=a", Err("expected KEY=VALUE"));
    }

    #[test]
    fn a_service_is_overridden_by_any_patch() {
        let kinds = crate::kinds::tests::kinds();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}});
        let check = |flags: &[&str], expect: Option<Value>| {
            let args = Line::try_parse_from([&["expose", "svc/a"], flags].concat()).unwrap().expose;
            let made = args.overridden(&kinds, service.clone()).ok();
            assert_eq!(made.map(|made| made["spec"].clone()), expect, "{flags:?}");
        };
        let node_port = json!({"type": "NodePort"});
        check(&[], Some(json!({})));
        check(&["--overrides={\"spec\":{\"type\":\"NodePort\"}}"], Some(node_port.clone()));
        let patch = "--overrides=[{\"op\":\"add\",\"path\":\"/spec/type\",\"value\":\"NodePort\"}]";
        check(&[patch, "--override-type=json"], Some(node_port.clone()));
        check(&["--overrides={\"spec\":{\"type\":\"NodePort\"}}", "--override-type=strategic"], Some(node_port));
        check(&["--overrides={\"sp"], None);
    }
}

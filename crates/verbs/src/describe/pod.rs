//! The page of a pod, and what it shares with the template of those who make pods: containers and volumes.

use jiff::Timestamp;
use serde_json::Value;
use stead_api::table::age;

use super::page::{Page, controller, date, joined, list, map, or_none, plain};

pub(super) fn describe(page: &mut Page, pod: &Value, now: Timestamp) {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let metadata = &pod["metadata"];
    page.field("Name", plain(&metadata["name"]));
    page.field("Namespace", plain(&metadata["namespace"]));
    page.maybe("Priority", &spec["priority"]);
    page.maybe("Priority Class Name", &spec["priorityClassName"]);
    page.maybe("Runtime Class Name", &spec["runtimeClassName"]);
    page.maybe("Service Account", &spec["serviceAccountName"]);
    match plain(&spec["nodeName"]) {
        node if node.is_empty() => page.field("Node", "<none>"),
        node => page.field("Node", format_args!("{node}/{}", plain(&status["hostIP"]))),
    }
    if !status["startTime"].is_null() {
        page.field("Start Time", date(&status["startTime"]));
    }
    page.labels("Labels", &metadata["labels"]);
    page.annotations("Annotations", &metadata["annotations"]);
    let phase = plain(&status["phase"]);
    let is_over = matches!(phase.as_str(), "Failed" | "Succeeded");
    match stead_api::meta::deletion_timestamp(pod) {
        Some(end) if !is_over => {
            page.field("Status", format_args!("Terminating (lasts {})", age(Some(end), now)));
            page.field("Termination Grace Period", format_args!("{}s", plain(&metadata["deletionGracePeriodSeconds"])));
        }
        _ => page.field("Status", phase),
    }
    page.maybe("Reason", &status["reason"]);
    page.maybe("Message", &status["message"]);
    page.field("IP", plain(&status["podIP"]));
    if list(&status["podIPs"]).next().is_none() {
        page.field("IPs", "<none>");
    } else {
        page.line(0, "IPs:");
    }
    for ip in list(&status["podIPs"]) {
        page.field_at(1, "IP", plain(&ip["ip"]));
    }
    if let Some(controller) = controller(pod) {
        page.field("Controlled By", controller);
    }
    if list(&spec["initContainers"]).next().is_some() {
        describe_containers(page, "Init Containers", &spec["initContainers"], &status["initContainerStatuses"], "");
    }
    describe_containers(page, "Containers", &spec["containers"], &status["containerStatuses"], "");
    describe_conditions(page, pod);
    describe_volumes(page, &spec["volumes"], "");
    page.field("QoS Class", qos_class(pod));
    page.labels("Node-Selectors", &spec["nodeSelector"]);
    describe_tolerations(page, "Tolerations", &spec["tolerations"]);
}

/// What ReplicaSets, Deployments and the like make pods of.
pub(super) fn describe_template(page: &mut Page, template: &Value) {
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    page.line(0, "Pod Template:");
    page.labels_at("  ", "Labels", &metadata["labels"]);
    if map(&metadata["annotations"]).next().is_some() {
        page.annotations("  Annotations", &metadata["annotations"]);
    }
    if !plain(&spec["serviceAccountName"]).is_empty() {
        page.field_at(1, "Service Account", plain(&spec["serviceAccountName"]));
    }
    if list(&spec["initContainers"]).next().is_some() {
        describe_containers(page, "Init Containers", &spec["initContainers"], &Value::Null, "  ");
    }
    describe_containers(page, "Containers", &spec["containers"], &Value::Null, "  ");
    describe_volumes(page, &spec["volumes"], "  ");
    page.labels_at("  ", "Node-Selectors", &spec["nodeSelector"]);
    describe_tolerations(page, "  Tolerations", &spec["tolerations"]);
}

fn describe_conditions(page: &mut Page, pod: &Value) {
    let status_of = |kind: &Value| {
        let found = list(&pod["status"]["conditions"]).find(|one| one["type"] == *kind);
        found.map_or_else(|| "<none>".to_owned(), |one| plain(&one["status"]))
    };
    if list(&pod["spec"]["readinessGates"]).next().is_some() {
        page.line(0, "Readiness Gates:\n  Type\tStatus");
    }
    for gate in list(&pod["spec"]["readinessGates"]) {
        let kind = &gate["conditionType"];
        page.line(1, format_args!("{} \t{} ", plain(kind), status_of(kind)));
    }
    if list(&pod["status"]["conditions"]).next().is_some() {
        page.line(0, "Conditions:\n  Type\tStatus");
    }
    for condition in list(&pod["status"]["conditions"]) {
        page.line(1, format_args!("{} \t{} ", plain(&condition["type"]), plain(&condition["status"])));
    }
}

/// `indent` is that of the whole section; containers inside a template stand one blank further in, as kubectl has them.
fn describe_containers(page: &mut Page, title: &str, containers: &Value, statuses: &Value, indent: &str) {
    let none = if list(containers).next().is_none() { " <none>" } else { "" };
    page.line(0, format_args!("{indent}{title}:{none}"));
    for container in list(containers) {
        let further = if indent.is_empty() { "" } else { " " };
        page.line(1, format_args!("{further}{}:", plain(&container["name"])));
        let status = list(statuses).find(|status| status["name"] == container["name"]);
        describe_container(page, container, status);
    }
}

fn describe_container(page: &mut Page, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        page.field_at(2, "Container ID", plain(&status["containerID"]));
    }
    page.field_at(2, "Image", plain(&container["image"]));
    if let Some(status) = status {
        page.field_at(2, "Image ID", plain(&status["imageID"]));
    }
    for (title, key) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let ports: Vec<String> = list(&container["ports"]).map(|port| port_text(port, key)).collect();
        let plural = if ports.len() > 1 { "s" } else { "" };
        page.line(2, format_args!("{title}{plural}:\t{}", or_none(&ports.join(", "))));
    }
    for (title, key) in [("Command", "command"), ("Args", "args")] {
        if list(&container[key]).next().is_some() {
            page.line(2, format_args!("{title}:"));
        }
        for word in list(&container[key]) {
            plain(word).split('\n').for_each(|line| page.line(3, line));
        }
    }
    if let Some(status) = status {
        describe_state(page, "State", &status["state"]);
        if !status["lastState"]["terminated"].is_null() {
            describe_state(page, "Last State", &status["lastState"]);
        }
        page.field_at(2, "Ready", if status["ready"] == true { "True" } else { "False" });
        page.field_at(2, "Restart Count", status["restartCount"].as_i64().unwrap_or_default());
    }
    for (title, key) in [("Limits", "limits"), ("Requests", "requests")] {
        if map(&container["resources"][key]).next().is_some() {
            page.line(2, format_args!("{title}:"));
        }
        for (resource, amount) in map(&container["resources"][key]) {
            page.field_at(3, resource, plain(amount));
        }
    }
    for (title, key) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")] {
        if !container[key].is_null() {
            page.field_at(2, title, probe(&container[key]));
        }
    }
    describe_environment(page, container);
    describe_mounts(page, container);
}

fn port_text(port: &Value, key: &str) -> String {
    format!("{}/{}", port[key].as_i64().unwrap_or_default(), plain(&port["protocol"]))
}

fn describe_state(page: &mut Page, title: &str, state: &Value) {
    let (running, ended) = (&state["running"], &state["terminated"]);
    if !running.is_null() {
        page.field_at(2, title, "Running");
        page.field_at(3, "Started", date(&running["startedAt"]));
    } else if !ended.is_null() {
        page.field_at(2, title, "Terminated");
        for (title, key) in [("Reason", "reason"), ("Message", "message")] {
            if !plain(&ended[key]).is_empty() {
                page.field_at(3, title, plain(&ended[key]));
            }
        }
        page.field_at(3, "Exit Code", ended["exitCode"].as_i64().unwrap_or_default());
        if ended["signal"].as_i64().unwrap_or_default() > 0 {
            page.field_at(3, "Signal", plain(&ended["signal"]));
        }
        page.field_at(3, "Started", date(&ended["startedAt"]));
        page.field_at(3, "Finished", date(&ended["finishedAt"]));
    } else {
        page.field_at(2, title, "Waiting");
        let reason = plain(&state["waiting"]["reason"]);
        if !reason.is_empty() {
            page.field_at(3, "Reason", reason);
        }
    }
}

fn probe(probe: &Value) -> String {
    let number = |key: &str| probe[key].as_i64().unwrap_or_default();
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    );
    let (http, tcp, exec, grpc) = (&probe["httpGet"], &probe["tcpSocket"], &probe["exec"], &probe["grpc"]);
    if !http.is_null() {
        let scheme = plain(&http["scheme"]).to_ascii_lowercase();
        let path = plain(&http["path"]);
        return format!("http-get {scheme}://{}:{}{path} {attributes}", plain(&http["host"]), plain(&http["port"]));
    }
    if !tcp.is_null() {
        return format!("tcp-socket {}:{} {attributes}", plain(&tcp["host"]), plain(&tcp["port"]));
    }
    if !exec.is_null() {
        return format!("exec [{}] {attributes}", joined(&exec["command"], " "));
    }
    if !grpc.is_null() {
        return format!("grpc <pod>:{} {} {attributes}", plain(&grpc["port"]), plain(&grpc["service"]));
    }
    format!("unknown {attributes}")
}

fn describe_environment(page: &mut Page, container: &Value) {
    if list(&container["envFrom"]).next().is_some() {
        page.line(2, "Environment Variables from:");
    }
    for source in list(&container["envFrom"]) {
        let is_map = !source["configMapRef"].is_null();
        let (kind, reference) =
            if is_map { ("ConfigMap", &source["configMapRef"]) } else { ("Secret", &source["secretRef"]) };
        let prefix = plain(&source["prefix"]);
        let prefix = if prefix.is_empty() { String::new() } else { format!(" with prefix '{prefix}'") };
        let optional = reference["optional"] == true;
        page.line(3, format_args!("{}\t{kind}{prefix}\tOptional: {optional}", plain(&reference["name"])));
    }
    page.line(2, if list(&container["env"]).next().is_none() { "Environment:\t<none>" } else { "Environment:" });
    for variable in list(&container["env"]) {
        let name = plain(&variable["name"]);
        let from = &variable["valueFrom"];
        let key =
            |reference: &Value| (plain(&reference["key"]), plain(&reference["name"]), reference["optional"] == true);
        if !from["fieldRef"].is_null() {
            let field = &from["fieldRef"];
            page.field_at(3, &name, format_args!(" ({}:{})", plain(&field["apiVersion"]), plain(&field["fieldPath"])));
        } else if !from["resourceFieldRef"].is_null() {
            page.field_at(3, &name, format_args!(" ({})", plain(&from["resourceFieldRef"]["resource"])));
        } else if !from["secretKeyRef"].is_null() {
            let (key, of, optional) = key(&from["secretKeyRef"]);
            page.field_at(3, &name, format_args!("<set to the key '{key}' in secret '{of}'>\tOptional: {optional}"));
        } else if !from["configMapKeyRef"].is_null() {
            let (key, of, optional) = key(&from["configMapKeyRef"]);
            page.field_at(
                3,
                &name,
                format_args!("<set to the key '{key}' of config map '{of}'>\tOptional: {optional}"),
            );
        } else {
            let value = plain(&variable["value"]);
            let mut lines = value.split('\n');
            page.field_at(3, &name, lines.next().unwrap_or_default());
            lines.for_each(|line| page.line(3, format_args!("\t{line}")));
        }
    }
}

fn describe_mounts(page: &mut Page, container: &Value) {
    let mut mounts: Vec<&Value> = list(&container["volumeMounts"]).collect();
    mounts.sort_by_key(|mount| plain(&mount["mountPath"]));
    page.line(2, if mounts.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    for mount in mounts {
        let mut flags = if mount["readOnly"] == true { "ro".to_owned() } else { "rw".to_owned() };
        let below = plain(&mount["subPath"]);
        if !below.is_empty() {
            flags.push_str(&format!(",path={below:?}"));
        }
        page.line(3, format_args!("{} from {} ({flags})", plain(&mount["mountPath"]), plain(&mount["name"])));
    }
}

fn describe_volumes(page: &mut Page, volumes: &Value, indent: &str) {
    if list(volumes).next().is_none() {
        page.line(0, format_args!("{indent}Volumes:\t<none>"));
        return;
    }
    page.line(0, format_args!("{indent}Volumes:"));
    for volume in list(volumes) {
        let further = if indent.is_empty() { "" } else { " " };
        page.line(1, format_args!("{further}{}:", plain(&volume["name"])));
        let (path, empty, config) = (&volume["hostPath"], &volume["emptyDir"], &volume["configMap"]);
        if !path.is_null() {
            page.field_at(2, "Type", "HostPath (bare host directory volume)");
            page.field_at(2, "Path", plain(&path["path"]));
            page.field_at(2, "HostPathType", or_none_if_absent(&path["type"]));
        } else if !empty.is_null() {
            page.field_at(2, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
            page.field_at(2, "Medium", plain(&empty["medium"]));
            let limit = plain(&empty["sizeLimit"]);
            page.field_at(2, "SizeLimit", if limit.is_empty() { "<unset>" } else { &limit });
        } else if !config.is_null() {
            page.field_at(2, "Type", "ConfigMap (a volume populated by a ConfigMap)");
            page.field_at(2, "Name", plain(&config["name"]));
            page.field_at(2, "Optional", config["optional"] == true);
        } else if !volume["secret"].is_null() {
            let secret = &volume["secret"];
            page.field_at(2, "Type", "Secret (a volume populated by a Secret)");
            page.field_at(2, "SecretName", plain(&secret["secretName"]));
            page.field_at(2, "Optional", secret["optional"] == true);
        } else {
            page.line(1, "<unknown>");
        }
    }
}

fn or_none_if_absent(value: &Value) -> String {
    if value.is_null() { "<none>".to_owned() } else { plain(value) }
}

fn describe_tolerations(page: &mut Page, title: &str, tolerations: &Value) {
    let mut sorted: Vec<&Value> = list(tolerations).collect();
    sorted.sort_by_key(|one| plain(&one["key"]));
    let text = |one: &&Value| {
        let [key, value, effect] = ["key", "value", "effect"].map(|field| plain(&one[field]));
        let mut text = key.clone();
        if !value.is_empty() {
            text.push_str(&format!("={value}"));
        }
        if !effect.is_empty() {
            text.push_str(&format!(":{effect}"));
        }
        if one["operator"] == "Exists" && value.is_empty() {
            let is_all = key.is_empty() && effect.is_empty();
            text.push_str(if is_all { "op=Exists" } else { " op=Exists" });
        }
        if let Some(seconds) = one["tolerationSeconds"].as_i64() {
            text.push_str(&format!(" for {seconds}s"));
        }
        text
    };
    let lines: Vec<String> = sorted.iter().map(text).collect();
    page.column(title, &lines);
}

/// What the node would do to the pod first when memory runs short: the status says it, or the resources do.
fn qos_class(pod: &Value) -> String {
    let said = plain(&pod["status"]["qosClass"]);
    if !said.is_empty() {
        return said;
    }
    let resources = || list(&pod["spec"]["containers"]).map(|one| &one["resources"]);
    let has_any = |key: &str| resources().any(|one| map(&one[key]).next().is_some());
    if !has_any("limits") && !has_any("requests") {
        return "BestEffort".to_owned();
    }
    let is_whole = |one: &Value| {
        ["cpu", "memory"].iter().all(|resource| {
            let limit = &one["limits"][resource];
            !limit.is_null() && (one["requests"][resource].is_null() || one["requests"][resource] == *limit)
        })
    };
    if resources().all(is_whole) { "Guaranteed".to_owned() } else { "Burstable".to_owned() }
}

//! Defaults of a pod's spec, as upstream's.

use serde_json::Value;

use super::{
    super::value::{child, count, fill, fill_zero, is_set, is_true, items_mut, set, text},
    volumes,
};

/// Defaults of the template in a Deployment or ReplicaSet.
pub(crate) fn default_template(template: &mut Value) {
    child(template, "metadata");
    default_spec(child(template, "spec"));
}

pub(super) fn default_spec(spec: &mut Value) {
    fill(spec, "restartPolicy", "Always");
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "schedulerName", "default-scheduler");
    if !is_set(spec, "/terminationGracePeriodSeconds") {
        set(spec, "terminationGracePeriodSeconds", 30);
    }
    child(spec, "securityContext");
    default_service_account(spec);
    volumes::default_volumes(spec);
    if is_true(spec, "/hostNetwork") {
        default_host_ports(spec);
    }
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, containers) {
            default_container(container);
        }
    }
}

/// What upstream's defaulting gives a pod, and not its template.
pub(super) fn default_pod(pod: &mut Value) {
    let spec = child(pod, "spec");
    if !is_set(spec, "/enableServiceLinks") {
        set(spec, "enableServiceLinks", true);
    }
    for containers in ["initContainers", "containers"] {
        for container in items_mut(spec, containers) {
            default_requests(container);
        }
    }
    default_spec(spec);
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always shown.
fn default_service_account(spec: &mut Value) {
    let name = match (text(spec, "/serviceAccountName"), text(spec, "/serviceAccount")) {
        ("", "") => return,
        ("", deprecated) => deprecated.to_owned(),
        (name, _) => name.to_owned(),
    };
    set(spec, "serviceAccountName", name.clone());
    set(spec, "serviceAccount", name);
}

fn default_host_ports(spec: &mut Value) {
    for containers in ["initContainers", "containers"] {
        for container in items_mut(spec, containers) {
            for port in items_mut(container, "ports") {
                let number = count(port, "/containerPort");
                fill_zero(port, "hostPort", number);
            }
        }
    }
}

fn default_container(container: &mut Value) {
    let policy = pull_policy(text(container, "/image"));
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    child(container, "resources");
    for port in items_mut(container, "ports") {
        fill(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            fill(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            default_probe(probe);
        }
    }
    for hook in ["/lifecycle/postStart/httpGet", "/lifecycle/preStop/httpGet"] {
        if let Some(action) = container.pointer_mut(hook) {
            default_http_get(action);
        }
    }
}

/// What is limited and not requested is requested at its limit.
fn default_requests(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else { return };
    let requests = child(child(container, "resources"), "requests");
    for (resource, limit) in limits {
        if !is_set(requests, &format!("/{}", resource.replace('~', "~0").replace('/', "~1"))) {
            set(requests, &resource, limit);
        }
    }
}

fn default_probe(probe: &mut Value) {
    for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        fill_zero(probe, key, value);
    }
    if let Some(action) = probe.get_mut("httpGet") {
        default_http_get(action);
    }
    if let Some(action) = probe.get_mut("grpc")
        && !is_set(action, "/service")
    {
        set(action, "service", "");
    }
}

fn default_http_get(action: &mut Value) {
    fill(action, "path", "/");
    fill(action, "scheme", "HTTP");
}

/// `Always` for an image whose tag is `latest`, or that has neither tag nor digest.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let has_digest = name.contains('@');
    let tag = name.split('@').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
    match tag {
        Some("latest") => "Always",
        None if !has_digest => "Always",
        _ => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn latest_is_pulled_always() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.29", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
            ("", "Always"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_pod_gets_what_upstream_gives_it() {
        let mut pod = json!({"spec": {"containers": [{
            "name": "web",
            "image": "stead.local/hello-app:1.0",
            "ports": [{"containerPort": 8080}],
            "resources": {"limits": {"cpu": "1"}},
            "readinessProbe": {"httpGet": {"port": 8080}},
        }]}});
        default_pod(&mut pod);
        let once = pod.clone();
        assert_eq!(
            pod,
            json!({"spec": {
                "containers": [{
                    "name": "web",
                    "image": "stead.local/hello-app:1.0",
                    "imagePullPolicy": "IfNotPresent",
                    "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                    "readinessProbe": {
                        "httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    },
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst",
                "enableServiceLinks": true,
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30,
            }})
        );
        default_pod(&mut pod);
        assert_eq!(pod, once);
    }
}

//! Objects that verbs make of flags, in the shape in which kubectl shows and sends them: with the empty parts that Go's types write.

use serde_json::{Value, json};

/// The object with those parts, in `namespace` where the command line names one.
pub(crate) fn shaped(mut object: Value, namespace: Option<&str>) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    object["metadata"]["creationTimestamp"] = Value::Null;
    if let Some(namespace) = namespace.filter(|_| kind != "Namespace") {
        object["metadata"]["namespace"] = namespace.into();
    }
    match kind.as_str() {
        "Service" => object["status"] = json!({"loadBalancer": {}}),
        "Namespace" => (object["spec"], object["status"]) = (json!({}), json!({})),
        "Deployment" => {
            object["spec"]["strategy"] = json!({});
            object["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
            complete(&mut object["spec"]["template"]["spec"]);
            object["status"] = json!({});
        }
        "Pod" => {
            object["spec"]["dnsPolicy"] = "ClusterFirst".into();
            complete(&mut object["spec"]);
            object["status"] = json!({});
        }
        _ => {}
    }
    object
}

fn complete(pod_spec: &mut Value) {
    for container in pod_spec["containers"].as_array_mut().into_iter().flatten() {
        container["resources"] = json!({});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_writes_empty_parts() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a"}]}});
        let expect = json!({
            "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "creationTimestamp": null},
            "spec": {"containers": [{"name": "a", "resources": {}}], "dnsPolicy": "ClusterFirst"}, "status": {},
        });
        assert_eq!(shaped(pod, Some("n")), expect);
        let namespace = json!({"kind": "Namespace", "metadata": {"name": "a"}});
        assert_eq!(shaped(namespace, Some("n"))["metadata"], json!({"name": "a", "creationTimestamp": null}));
    }
}

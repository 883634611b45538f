use serde_json::json;

use super::*;

fn check(spec: Value, expect: &[&str]) {
    let pod = json!({"spec": spec});
    assert_eq!(of_pod(&pod, ""), expect, "{spec}");
}

fn check_container(container: Value, expect: &[&str]) {
    check(json!({"containers": [container]}), expect);
}

#[test]
fn variables_that_hide_others_are_named() {
    const HIDES: &str = "hides previous definition of \"A\", which may be dropped when using apply";
    let variable = |value: &str| json!({"name": "A", "value": value});
    let field = json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    check_container(
        json!({"env": [variable("1"), variable("2"), variable("$(A)"), variable("x$(A)"), field]}),
        &[1, 2, 4].map(|index| format!("spec.containers[0].env[{index}]: {HIDES}")).each_ref().map(String::as_str),
    );
}

#[test]
fn what_stands_twice_is_named() {
    check(
        json!({"hostAliases": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}, {"ip": "192.0.2.1"}]}),
        &["spec.hostAliases[2].ip: duplicate ip \"192.0.2.1\""],
    );
    check(
        json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {"name": ""}, {}]}),
        &[
            "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.imagePullSecrets[3].name: duplicate name \"\"",
            "spec.imagePullSecrets[2].name: invalid empty name \"\"",
            "spec.imagePullSecrets[3].name: invalid empty name \"\"",
        ],
    );
    let port = |number: u16, protocol: &str| json!({"containerPort": number, "protocol": protocol});
    check(
        json!({"containers": [{"ports": [port(80, "TCP"), port(80, "UDP")]}, {"ports": [port(80, "TCP")]}]}),
        &["spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]"],
    );
    check_container(
        json!({"ports": [
            port(80, "TCP"),
            {"containerPort": 80, "protocol": "TCP", "hostIP": "192.0.2.1", "name": "p"},
        ]}),
        &[
            "spec.containers[0].ports[1]: hostIP set without hostPort: {Name:p HostPort:0 ContainerPort:80 \
             Protocol:TCP HostIP:192.0.2.1}",
            "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
        ],
    );
}

#[test]
fn files_in_each_others_places_are_named() {
    let check = |paths: &[&str], expect: &[&str]| {
        let items: Vec<Value> = paths.iter().map(|path| json!({"key": "k", "path": path})).collect();
        let expect: Vec<String> =
            expect.iter().map(|pair| format!("volume \"v\" (ConfigMap \"m\"): overlapping paths: {pair}")).collect();
        let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
        super::tests::check(json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": items}}]}), &expect);
    };
    check(&["b", "bc", "./b"], &[]);
    check(&["a", "b", "a", "a"], &["\"a\" with \"a\""]);
    check(&["b/c", "b/d", "b"], &["\"b\" with \"b/c\"", "\"b\" with \"b/d\""]);
    check(&["b", "b//c"], &["\"b//c\" with \"b\""]);
    check(&["b", "b/"], &["\"b\" with \"b\""]);
}

#[test]
fn bytes_are_whole() {
    let fractional = |field: &str| {
        format!("spec.containers[0].resources.{field}: fractional byte value \"500m\" is invalid, must be an integer")
    };
    check_container(
        json!({"resources": {"limits": {"memory": "500m", "cpu": "500m"}, "requests": {"memory": "500m"}}}),
        &[&fractional("limits[memory]"), &fractional("requests[memory]")],
    );
}

#[test]
fn old_names_bring_the_new_ones() {
    check(
        json!({"nodeSelector": {"beta.kubernetes.io/os": "linux", "kubernetes.io/os": "linux"}}),
        &["spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"],
    );
    check(
        json!({"topologySpreadConstraints": [{"topologyKey": "beta.kubernetes.io/arch"}]}),
        &[
            "spec.topologySpreadConstraints[0].topologyKey: beta.kubernetes.io/arch is deprecated since v1.14; use \
             \"kubernetes.io/arch\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ],
    );
    let pod = json!({
        "metadata": {"annotations": {
            "container.apparmor.security.beta.kubernetes.io/c": "runtime/default",
            "container.seccomp.security.alpha.kubernetes.io/c": "runtime/default",
            "scheduler.alpha.kubernetes.io/critical-pod": "",
            "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
        }},
        "spec": {"containers": [{"name": "c"}, {"name": "d"}], "terminationGracePeriodSeconds": -1},
    });
    assert_eq!(
        of_pod(&pod, "spec.template."),
        [
            "spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; \
             use the \"priorityClassName\" field instead",
            "spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; \
             use the \"seccompProfile\" field instead",
            "spec.template.metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in \
             v1.27+; use the \"seccompProfile\" field instead",
            "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since \
             v1.30; use the \"appArmorProfile\" field instead",
            "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be \
             treated as 1",
        ]
    );
}

#[test]
fn a_name_that_is_no_host_name_is_named() {
    let of = |name: &str| of_name(&json!({"metadata": {"name": name}}), "the Pod's hostname");
    assert_eq!(of("a-b"), None);
    assert_eq!(
        of("a.b").unwrap(),
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
         recommended: [must not contain dots]"
    );
}

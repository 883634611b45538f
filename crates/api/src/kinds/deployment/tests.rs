use serde_json::{Value, json};

use super::RESOURCE;
use crate::kinds::{replica_set, scale};

fn deployment(change: impl Fn(&mut Value)) -> Value {
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    change(&mut deployment);
    RESOURCE.strategy.default(&mut deployment);
    RESOURCE.strategy.prepare_create(&mut deployment);
    deployment
}

fn check(change: impl Fn(&mut Value), expect: &[&str]) {
    let errors = RESOURCE.strategy.validate_create(&deployment(change));
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
}

#[test]
fn defaults_are_upstreams() {
    let deployment = deployment(|_| {});
    let mut spec = deployment["spec"].clone();
    spec["template"] = Value::Null;
    assert_eq!(
        spec,
        json!({
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": null,
        })
    );
    assert_eq!(
        deployment["spec"]["template"]["spec"],
        json!({
            "containers": [{
                "name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30,
        })
    );
    assert_eq!(deployment["metadata"]["generation"], 1);
}

#[test]
fn selector_and_template_fit() {
    check(|_| {}, &[]);
    check(
        |d| d["spec"]["selector"] = Value::Null,
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
        ],
    );
    check(
        |d| {
            d["spec"]["selector"] = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
            d["spec"]["template"]["spec"]["containers"] = json!([]);
        },
        &[
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\"}]}: invalid label selector",
        ],
    );
    check(
        |d| d["spec"]["selector"] = json!({}),
        &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
    );
    check(
        |d| d["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"}),
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
        ],
    );
    check(
        |d| d["spec"]["template"]["spec"]["restartPolicy"] = "Never".into(),
        &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    check(
        |d| d["spec"]["template"]["spec"]["hostNetwork"] = true.into(),
        &[
            "spec.template.spec.hostNetwork: Forbidden: hostNetwork is not served by this version of Stead: a pod has a network namespace of its own",
        ],
    );
}

#[test]
fn the_template_is_looked_at_as_a_pod_is() {
    check(
        |d| d["spec"]["template"]["metadata"]["annotations"] = json!({"a b": "", "kubernetes.io/config.mirror": "x"}),
        &[
            "spec.template.annotations: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' \
             or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
             regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "spec.template.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror \
             pod annotation is set",
        ],
    );
    let resources = |d: &mut Value| {
        d["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"limits": {"memory": "-1"}, "requests": {"memory": "500m"}});
    };
    const CONTAINER: &str = "spec.template.spec.containers[0]";
    check(
        resources,
        &[
            &format!("{CONTAINER}.resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0"),
            &format!(
                "{CONTAINER}.resources.requests: Invalid value: \"500m\": must be less than or equal to memory limit of -1"
            ),
        ],
    );
    // What was stored by other rules can be reported on all the same.
    let old = deployment(resources);
    let mut new = old.clone();
    new["status"]["replicas"] = 1.into();
    assert_eq!(RESOURCE.strategy.validate_update(&new, &old), []);
}

#[test]
fn warnings_come_with_every_change_of_the_spec() {
    let old = deployment(|d| d["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = (-1).into());
    let expect = "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be \
                  treated as 1";
    assert_eq!(RESOURCE.strategy.warnings(&old, None), [expect]);
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    RESOURCE.strategy.prepare_update(&mut new, &old);
    assert_eq!(RESOURCE.strategy.warnings(&new, Some(&old)), [] as [&str; 0]);
    new["spec"]["replicas"] = 2.into();
    RESOURCE.strategy.prepare_update(&mut new, &old);
    assert_eq!(RESOURCE.strategy.warnings(&new, Some(&old)), [expect]);
}

#[test]
fn numbers_make_sense() {
    check(
        |d| d["spec"]["replicas"] = (-1).into(),
        &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        |d| d["spec"]["minReadySeconds"] = 600.into(),
        &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
    );
}

#[test]
fn rolling_updates_can_go_on() {
    let rolling = |surge: Value, unavailable: Value| {
        move |d: &mut Value| {
            d["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        }
    };
    check(rolling(json!(1), json!(0)), &[]);
    check(
        rolling(json!(0), json!("0%")),
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"],
    );
    check(
        rolling(json!(1), json!("101%")),
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"],
    );
    check(
        rolling(json!("many"), json!(-1)),
        &[
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
            "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"many\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ],
    );
    check(
        |d| d["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}}),
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    check(
        |d| d["spec"]["strategy"] = json!({"type": "Canary"}),
        &["spec.strategy.type: Unsupported value: \"Canary\": supported values: \"Recreate\", \"RollingUpdate\""],
    );
}

#[test]
fn the_selector_is_for_ever_and_the_generation_follows_the_spec() {
    let old = deployment(|_| {});
    let mut new = old.clone();
    new["spec"]["replicas"] = 3.into();
    new["status"] = json!({"replicas": 7});
    RESOURCE.strategy.prepare_update(&mut new, &old);
    assert_eq!((&new["metadata"]["generation"], &new["status"]), (&json!(2), &json!({})));
    assert_eq!(RESOURCE.strategy.validate_update(&new, &old), []);
    new["spec"]["selector"]["matchLabels"]["tier"] = "a".into();
    new["spec"]["template"]["metadata"]["labels"]["tier"] = "a".into();
    let errors = RESOURCE.strategy.validate_update(&new, &old);
    assert_eq!(
        errors[0].to_string(),
        "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"tier\":\"a\"}}: field is immutable"
    );
    let mut status = old.clone();
    status["status"] = json!({"replicas": 7});
    RESOURCE.strategy.prepare_status_update(&mut status, &old);
    assert_eq!((&status["status"]["replicas"], &status["metadata"]["generation"]), (&json!(7), &json!(1)));
}

#[test]
fn a_scale_is_another_view_of_replicas() {
    let mut deployment = deployment(|d| d["metadata"]["uid"] = "u".into());
    deployment["status"] = json!({"replicas": 2});
    let mut scale = scale::of(&deployment);
    assert_eq!(
        scale,
        json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"replicas": 1},
            "status": {"replicas": 2, "selector": "app=web"},
        })
    );
    scale["spec"]["replicas"] = 5.into();
    assert_eq!(scale::validate(&scale, &deployment), []);
    scale::apply(&mut deployment, &scale);
    assert_eq!(deployment["spec"]["replicas"], 5);
    scale["spec"]["replicas"] = (-1).into();
    assert_eq!(
        scale::validate(&scale, &deployment)[0].to_string(),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
}

#[test]
fn replica_sets_share_the_rules() {
    let mut set = deployment(|_| {});
    set["kind"] = "ReplicaSet".into();
    replica_set::RESOURCE.strategy.default(&mut set);
    assert_eq!(replica_set::RESOURCE.strategy.validate_create(&set), []);
    set["spec"]["selector"] = Value::Null;
    assert_eq!(replica_set::RESOURCE.strategy.validate_create(&set)[0].to_string(), "spec.selector: Required value");
}

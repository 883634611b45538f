use serde_json::json;

use super::*;

fn check(resources: Value, expect: &[&str]) {
    let mut errors = Errors::default();
    validate(&resources, &BTreeSet::new(), "r", &mut errors);
    let errors = errors.into_vec();
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{resources}");
}

#[test]
fn amounts_are_not_below_nothing() {
    for good in ["0", "1n", "500m", "1", "1e3", "1Gi"] {
        check(json!({"limits": {"cpu": good, "memory": good, "ephemeral-storage": good}}), &[]);
    }
    check(
        json!({"limits": {"cpu": "-100m", "memory": "-512Mi"}, "requests": {"memory": "-1Gi"}}),
        &[
            "r.limits[cpu]: Invalid value: \"-100m\": must be greater than or equal to 0",
            "r.limits[memory]: Invalid value: \"-512Mi\": must be greater than or equal to 0",
            "r.requests[memory]: Invalid value: \"-1Gi\": must be greater than or equal to 0",
        ],
    );
}

#[test]
fn names_are_known_or_qualified() {
    const STANDARD_OR_QUALIFIED: &str = "must be a standard resource type or fully qualified";
    const OF_CONTAINERS: &str = "must be a standard resource for containers";
    const EXTENDED: &str = "doesn't follow extended resource name standard";
    let check = |name: &str, expect: &[&str]| {
        let mut errors = Errors::default();
        validate(&json!({"limits": {name: "2", "cpu": "1"}}), &BTreeSet::new(), "r", &mut errors);
        let errors = errors.into_vec();
        assert!(errors.iter().all(|error| error.field == format!("r.limits[{name}]")), "{errors:?}");
        assert_eq!(errors.len(), expect.len(), "{errors:?}");
        for (error, end) in errors.iter().zip(expect) {
            assert!(error.message.contains(end), "{error}");
        }
    };
    for good in ["memory", "ephemeral-storage", "a.b/c", "kubernetes.io/x", "x.kubernetes.io/y"] {
        check(good, &[]);
    }
    check("foo", &[STANDARD_OR_QUALIFIED, OF_CONTAINERS]);
    check("attachable-volumes-x", &[STANDARD_OR_QUALIFIED, OF_CONTAINERS]);
    for elsewhere in ["pods", "storage", "requests.cpu", "limits.memory", "requests.hugepages-2Mi", "configmaps"] {
        check(elsewhere, &[OF_CONTAINERS]);
    }
    check("", &["name part must be non-empty", "name part must consist of", OF_CONTAINERS]);
    check("a b", &["name part must consist of", OF_CONTAINERS]);
    check("a/b/c", &["a valid label key must consist of", EXTENDED]);
    check("/cpu", &["prefix part must be non-empty", EXTENDED]);
    check("A.B/c", &["prefix part a lowercase RFC 1123 subdomain", EXTENDED]);
    check("requests.a.b/c", &[EXTENDED]);
}

#[test]
fn what_cannot_be_lent_is_whole_and_limited() {
    check(json!({"limits": {"a.b/c": "2k"}, "requests": {"a.b/c": "2000"}}), &[]);
    check(json!({"limits": {"a.b/c": "1500m"}}), &["r.limits[a.b/c]: Invalid value: \"1500m\": must be an integer"]);
    check(
        json!({"requests": {"a.b/c": "2"}}),
        &["r.limits: Required value: Limit must be set for non overcommitable resources"],
    );
    check(
        json!({"limits": {"a.b/c": "2"}, "requests": {"a.b/c": "1"}}),
        &["r.requests: Invalid value: \"1\": must be equal to a.b/c limit of 2"],
    );
}

#[test]
fn requests_are_within_limits() {
    check(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}), &[]);
    check(
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "2", "memory": "1536Mi"}}),
        &[
            "r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "r.requests: Invalid value: \"1536Mi\": must be less than or equal to memory limit of 1Gi",
        ],
    );
}

#[test]
fn huge_pages_are_whole_pages_beside_cpu_or_memory() {
    check(json!({"limits": {"hugepages-2Mi": "4Mi", "cpu": "1"}}), &[]);
    check(json!({"limits": {"hugepages-2Mi": "4Mi"}}), &["r: Forbidden: HugePages require cpu or memory"]);
    for (name, amount) in [("hugepages-2Mi", "3Mi"), ("hugepages-x", "2Mi"), ("hugepages-0.5", "2Mi")] {
        let expect = format!(
            "r.limits[{name}]: Invalid value: \"{amount}\": {amount} is not positive integer multiple of {name}"
        );
        check(json!({"limits": {name: amount, "cpu": "1"}}), &[&expect]);
    }
    check(
        json!({"limits": {"hugepages-2Mi": "2Mi", "cpu": "1"}, "requests": {"hugepages-2Mi": "4Mi"}}),
        &["r.requests: Invalid value: \"4Mi\": must be equal to hugepages-2Mi limit of 2Mi"],
    );
}

#[test]
fn claims_are_the_pods() {
    check(
        json!({"claims": [{"name": "a"}, {"name": "a"}, {"name": ""}]}),
        &[
            "r.claims[0]: Not found: \"a\": must be one of the names in pod.spec.resourceClaims which is empty",
            "r.claims[1]: Duplicate value: \"a\"",
            "r.claims[1]: Not found: \"a\": must be one of the names in pod.spec.resourceClaims which is empty",
            "r.claims[2]: Required value",
        ],
    );
}

#[test]
fn containers_fit_into_their_pod() {
    let check = |of_pod: Value, expect: &[&str]| {
        let container = json!({"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}});
        let spec = json!({"resources": of_pod, "containers": [container]});
        let mut errors = Errors::default();
        validate_of_pod(&spec, &BTreeSet::new(), "spec", &mut errors);
        let errors = errors.into_vec();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{of_pod}");
    };
    check(json!({"limits": {"cpu": "2", "hugepages-2Mi": "2Mi"}}), &[]);
    check(
        json!({"limits": {"ephemeral-storage": "1", "foo": "1"}}),
        &[
            "spec.resources.limits[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \
             \"cpu\", \"hugepages-\", \"memory\"",
            "spec.resources.limits[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified",
        ],
    );
    check(
        json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "1"}}),
        &[
            "spec.resources.requests: Invalid value: \"1\": must be less than or equal to cpu limit of 500m",
            "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container \
             requests of 2",
            "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits \
             of 500m",
        ],
    );
}

#[test]
fn resizing_is_said_once_for_each_resource() {
    let check = |policies: Value, restart_policy: &str, expect: &[&str]| {
        let mut errors = Errors::default();
        validate_resize_policy(&json!({"resizePolicy": policies}), restart_policy, "c", &mut errors);
        let errors = errors.into_vec();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{policies}");
    };
    let restart = json!({"resourceName": "cpu", "restartPolicy": "RestartContainer"});
    check(json!([restart]), "Always", &[]);
    check(
        json!([restart]),
        "Never",
        &[
            "c.resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'",
        ],
    );
    check(
        json!([restart, {"resourceName": "x", "restartPolicy": "Foo"}, {"resourceName": "cpu"}]),
        "Always",
        &[
            "c.resizePolicy: Unsupported value: \"x\": supported values: \"cpu\", \"memory\"",
            "c.resizePolicy: Unsupported value: \"Foo\": supported values: \"NotRequired\", \"RestartContainer\"",
            "c.resizePolicy[2]: Duplicate value: \"cpu\"",
            "c.resizePolicy: Required value",
        ],
    );
}

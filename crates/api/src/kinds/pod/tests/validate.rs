use serde_json::{Value, json};

use super::super::RESOURCE;

fn pod(change: impl Fn(&mut Value)) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    });
    change(&mut pod);
    RESOURCE.strategy.default(&mut pod);
    RESOURCE.strategy.prepare_create(&mut pod);
    pod
}

fn check(change: impl Fn(&mut Value), expect: &[&str]) {
    let errors = RESOURCE.strategy.validate_create(&pod(change));
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
}

/// As [`check`], with a change of the first container.
fn check_container(fields: Value, expect: &[&str]) {
    let change = |pod: &mut Value| {
        let container = pod["spec"]["containers"][0].as_object_mut().unwrap();
        container.extend(fields.as_object().unwrap().clone());
    };
    check(change, expect);
}

fn check_update(change: impl Fn(&mut Value), expect: &[&str]) {
    let old = pod(|_| {});
    let mut new = old.clone();
    change(&mut new);
    RESOURCE.strategy.default(&mut new);
    RESOURCE.strategy.prepare_update(&mut new, &old);
    let errors = RESOURCE.strategy.validate_update(&new, &old);
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), expect.len(), "{errors:?}");
    for (error, start) in errors.iter().zip(expect) {
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn containers_have_names_and_images() {
    check(|_| {}, &[]);
    check(|pod| pod["spec"]["containers"] = json!([]), &["spec.containers: Required value"]);
    check(
        |pod| pod["spec"]["containers"] = json!([{}]),
        &["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
    );
    check(
        |pod| pod["spec"]["containers"] = json!([{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]),
        &["spec.containers[1].name: Duplicate value: \"a\""],
    );
    check_container(
        json!({"image": " web"}),
        &["spec.containers[0].image: Invalid value: \" web\": must not have leading or trailing whitespace"],
    );
    check_container(
        json!({"imagePullPolicy": "Sometimes"}),
        &[
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ],
    );
}

#[test]
fn container_ports_are_ports() {
    check_container(json!({"ports": [{"containerPort": 8080, "name": "http"}]}), &[]);
    check_container(json!({"ports": [{}]}), &["spec.containers[0].ports[0].containerPort: Required value"]);
    check_container(
        json!({"ports": [{"containerPort": 70000}]}),
        &["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    );
    check_container(
        json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
        &["spec.containers[0].ports[1].name: Duplicate value: \"a\""],
    );
    check_container(
        json!({"ports": [{"containerPort": 1, "hostPort": 1}]}),
        &[
            "spec.containers[0].ports[0].hostPort: Forbidden: hostPort is not served by this version of Stead: a Service of type NodePort is the way in",
        ],
    );
}

#[test]
fn variables_come_from_one_place() {
    check_container(json!({"env": [{"name": "A", "value": "$(B)"}]}), &[]);
    check_container(
        json!({"env": [{"name": "A=B"}]}),
        &[
            "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ],
    );
    check_container(
        json!({"env": [{"name": "A", "valueFrom": {}}]}),
        &[
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ],
    );
    check_container(
        json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
        &["spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"],
    );
    check_container(
        json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
        &[
            "spec.containers[0].env[0].valueFrom.secretKeyRef: Forbidden: secretKeyRef is not served by this version of Stead: nodes may not read Secrets",
        ],
    );
}

#[test]
fn probes_ask_one_question() {
    let probe = |probe: Value| json!({"readinessProbe": probe});
    check_container(probe(json!({"httpGet": {"port": "http"}})), &[]);
    check_container(
        probe(json!({})),
        &["spec.containers[0].readinessProbe: Required value: must specify a handler type"],
    );
    check_container(
        probe(json!({"tcpSocket": {"port": 0}, "periodSeconds": -1})),
        &[
            "spec.containers[0].readinessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    check_container(
        probe(json!({"httpGet": {"port": 80}, "tcpSocket": {"port": 80}})),
        &["spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    );
    check_container(
        json!({"livenessProbe": {"tcpSocket": {"port": 80}, "successThreshold": 2}}),
        &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    );
}

#[test]
fn the_spec_is_checked() {
    check(
        |pod| pod["spec"]["restartPolicy"] = "Sometimes".into(),
        &[
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    let hasty = |pod: &mut Value| pod["spec"]["terminationGracePeriodSeconds"] = (-1).into();
    check(hasty, &[]);
    assert_eq!(pod(hasty)["spec"]["terminationGracePeriodSeconds"], 1);
    check(
        |pod| pod["spec"]["hostAliases"] = json!([{"ip": "x", "hostnames": ["a"]}]),
        &[
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
    check(
        |pod| pod["spec"]["volumes"] = json!([{"name": "a", "flocker": {"datasetName": "s"}}]),
        &[
            "spec.volumes[0].flocker: Forbidden: flocker is not served by this version of Stead: volumes are emptyDir, hostPath and configMap",
        ],
    );
    check(
        |pod| pod["spec"]["securityContext"] = json!({"runAsUser": 0}),
        &[
            "spec.securityContext.runAsUser: Forbidden: runAsUser is not served by this version of Stead: containers run as their image says, with the runtime's default privileges",
        ],
    );
}

#[test]
fn what_does_no_harm_brings_a_warning() {
    let pod = pod(|pod| {
        pod["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 80}});
        pod["spec"]["subdomain"] = "web".into();
    });
    assert_eq!(RESOURCE.strategy.validate_create(&pod), []);
    assert_eq!(
        RESOURCE.strategy.warnings(&pod, None),
        [
            "spec.containers[0].livenessProbe: not acted on by this version of Stead: a container that hangs is not restarted",
            "spec.subdomain: not acted on by this version of Stead: there is no DNS server yet",
        ]
    );
}

#[test]
fn a_pod_is_what_it_was_made() {
    check_update(|_| {}, &[]);
    check_update(|pod| pod["spec"]["containers"][0]["image"] = "web:2".into(), &[]);
    check_update(|pod| pod["metadata"]["labels"] = json!({"a": "b"}), &[]);
    check_update(|pod| pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]), &[]);
    check_update(
        |pod| pod["spec"]["nodeName"] = "node2".into(),
        &["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"],
    );
    check_update(
        |pod| pod["spec"]["containers"][0]["args"] = json!(["x"]),
        &["spec: Forbidden: pod updates may not change fields other than"],
    );
    check_update(
        |pod| pod["spec"]["containers"] = json!([]),
        &[
            "spec.containers: Forbidden: pod updates may not add or remove containers",
            "spec.containers: Required value",
        ],
    );
}

#[test]
fn generation_follows_the_spec_and_the_class_the_resources() {
    let old = pod(|_| {});
    assert_eq!((&old["metadata"]["generation"], &old["status"]["qosClass"]), (&json!(1), &json!("BestEffort")));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "web:2".into();
    RESOURCE.strategy.prepare_update(&mut new, &old);
    assert_eq!(new["metadata"]["generation"], 2);
    let class = |resources: Value| {
        pod(|pod| pod["spec"]["containers"][0]["resources"] = resources.clone())["status"]["qosClass"].clone()
    };
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable");
}

#[test]
fn volumes_have_one_kind_and_places_their_volume() {
    let volumes = |volumes: Value, expect: &[&str]| check(|pod| pod["spec"]["volumes"] = volumes.clone(), expect);
    volumes(
        json!([{"name": "a"}, {"name": "b", "hostPath": {"path": "/data"}}, {"name": "c", "configMap": {"name": "m"}}]),
        &[],
    );
    volumes(
        json!([{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}, {"emptyDir": {}}]),
        &["spec.volumes[1].name: Duplicate value: \"a\"", "spec.volumes[2].name: Required value"],
    );
    volumes(
        json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    );
    volumes(
        json!([{"name": "a", "hostPath": {"path": ""}}, {"name": "b", "hostPath": {"path": "/a/../b", "type": "Dir"}}]),
        &[
            "spec.volumes[0].hostPath.path: Required value",
            "spec.volumes[1].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.volumes[1].hostPath.type: Unsupported value: \"Dir\": supported values: \"\", \"BlockDevice\", \
             \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            "spec.volumes[1].hostPath.type: Forbidden: type Dir is not served by this version of Stead: containers get no \
             devices of the machine",
        ],
    );
    let mounts = |mounts: Value, expect: &[&str]| {
        let change = |pod: &mut Value| {
            pod["spec"]["volumes"] = json!([{"name": "a", "emptyDir": {}}]);
            pod["spec"]["containers"][0]["volumeMounts"] = mounts.clone();
        };
        check(change, expect);
    };
    mounts(json!([{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/b", "subPath": "x/y"}]), &[]);
    mounts(
        json!([{"name": "b", "mountPath": "/a"}, {"name": "a", "mountPath": "/a"}, {"name": "a"}]),
        &[
            "spec.containers[0].volumeMounts[0].name: Not found: \"b\"",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            "spec.containers[0].volumeMounts[2].mountPath: Required value",
        ],
    );
    mounts(
        json!([{"name": "a", "mountPath": "/a", "subPath": "/x"}, {"name": "a", "mountPath": "/b", "subPath": "../x"}]),
        &[
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/x\": must be a relative path",
            "spec.containers[0].volumeMounts[1].subPath: Invalid value: \"../x\": must not contain '..'",
        ],
    );
}

#[test]
fn variables_are_taken_from_fields_that_there_are() {
    let field = |path: &str, expect: &[&str]| {
        let variable = json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        check_container(json!({"env": [variable]}), expect);
    };
    for path in [
        "metadata.name",
        "metadata.labels['app.kubernetes.io/name']",
        "metadata.annotations['Example.com/A']",
        "spec.serviceAccountName",
        "status.podIPs",
        "status.hostIPs",
    ] {
        field(path, &[]);
    }
    field(
        "metadata.labels",
        &["spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported \
           values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
           \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\""],
    );
    field(
        "spec.hostname",
        &[
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.hostname\": error converting \
           fieldPath: field label not supported: spec.hostname",
        ],
    );
    field(
        "spec.nodeName['x']",
        &[
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nodeName\": does not support \
           subscript",
        ],
    );
    check_container(
        json!({"envFrom": [{"prefix": "A_", "configMapRef": {"name": "m"}}, {"prefix": "B_"}]}),
        &["spec.containers[0].envFrom[1]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"],
    );
}

#[test]
fn resources_are_looked_at_for_pods_and_the_pod_as_a_whole() {
    check_container(
        json!({"resources": {"limits": {"memory": "-1"}}, "resizePolicy": [{"resourceName": "cpu"}]}),
        &[
            "spec.containers[0].resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.containers[0].resizePolicy: Required value",
        ],
    );
    check(
        |pod| pod["spec"]["resources"] = json!({"limits": {"foo": "1"}}),
        &["spec.resources.limits[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified"],
    );
    check(
        |pod| pod["spec"]["overhead"] = json!({"cpu": "-1"}),
        &["spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
    );
}

#[test]
fn hooks_do_one_thing() {
    let hook = |hook: Value, expect: &[&str]| check_container(json!({"lifecycle": {"preStop": hook}}), expect);
    const FIELD: &str = "spec.containers[0].lifecycle.preStop";
    hook(json!({"exec": {"command": ["a"]}}), &[]);
    hook(json!({"sleep": {"seconds": 0}}), &[]);
    hook(json!({}), &[&format!("{FIELD}: Required value: must specify a handler type")]);
    hook(json!({"exec": {}}), &[&format!("{FIELD}.exec.command: Required value")]);
    hook(
        json!({"exec": {"command": ["a"]}, "httpGet": {"port": 80}}),
        &[&format!("{FIELD}.httpGet: Forbidden: may not specify more than 1 handler type")],
    );
    hook(
        json!({"httpGet": {"port": 0, "scheme": "x"}}),
        &[
            &format!("{FIELD}.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive"),
            &format!("{FIELD}.httpGet.scheme: Unsupported value: \"x\": supported values: \"HTTP\", \"HTTPS\""),
        ],
    );
    for seconds in [-1, 31] {
        let problem = "must be non-negative and less than terminationGracePeriodSeconds (30)";
        hook(json!({"sleep": {"seconds": seconds}}), &[&format!("{FIELD}.sleep: Invalid value: {seconds}: {problem}")]);
    }
}

#[test]
fn names_are_looked_up_where_there_is_something_to_ask() {
    let dns = |policy: &str, config: Value, expect: &[&str]| {
        let change = |pod: &mut Value| {
            pod["spec"]["dnsPolicy"] = policy.into();
            pod["spec"]["dnsConfig"] = config.clone();
        };
        check(change, expect);
    };
    dns(
        "None",
        json!({"nameservers": ["192.0.2.1"], "searches": [".", "a_b.", "_a.b"], "options": [{"name": "x"}]}),
        &[],
    );
    dns("None", Value::Null, &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]);
    dns(
        "None",
        json!({"searches": ["a"]}),
        &[
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ],
    );
    dns(
        "Default",
        json!({"nameservers": ["a", "192.0.2.1", "192.0.2.2", "192.0.2.3"], "options": [{}]}),
        &[
            "spec.dnsConfig.nameservers: Invalid value: [\"a\",\"192.0.2.1\",\"192.0.2.2\",\"192.0.2.3\"]: must not have \
             more than 3 nameservers",
            "spec.dnsConfig.nameservers[0]: Invalid value: \"a\": must be a valid IP address, (e.g. 10.9.8.7 or \
             2001:db8::ffff)",
            "spec.dnsConfig.options[0]: Required value: must not be empty",
        ],
    );
}

#[test]
fn spreading_is_said_in_full() {
    let spread = |constraints: Value, expect: &[&str]| {
        check(|pod| pod["spec"]["topologySpreadConstraints"] = constraints.clone(), expect);
    };
    let good = || json!({"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}});
    const FIELD: &str = "spec.topologySpreadConstraints[0]";
    spread(json!([good()]), &[]);
    spread(
        json!([{}]),
        &[
            &format!("{FIELD}.maxSkew: Invalid value: 0: must be greater than zero"),
            &format!("{FIELD}.topologyKey: Required value: can not be empty"),
            &format!(
                "{FIELD}.whenUnsatisfiable: Unsupported value: \"\": supported values: \"DoNotSchedule\", \
                 \"ScheduleAnyway\""
            ),
        ],
    );
    spread(
        json!([good(), good()]),
        &[&format!("{FIELD}.{{topologyKey, whenUnsatisfiable}}: Duplicate value: \"{{a, ScheduleAnyway}}\"")],
    );
    let mut odd = good();
    odd["minDomains"] = 0.into();
    odd["nodeTaintsPolicy"] = "y".into();
    odd["matchLabelKeys"] = json!(["b"]);
    odd["labelSelector"] = Value::Null;
    spread(
        json!([odd]),
        &[
            &format!("{FIELD}.minDomains: Invalid value: 0: must be greater than zero"),
            &format!(
                "{FIELD}.minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not \
                 ScheduleAnyway"
            ),
            &format!("{FIELD}.nodeTaintsPolicy: Unsupported value: \"y\": supported values: \"Honor\", \"Ignore\""),
            &format!("{FIELD}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"),
        ],
    );
}

#[test]
fn preferences_are_well_formed() {
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let affinity = |kind: &str, term: Value, expect: &[&str]| {
        let root = format!("spec.affinity.{kind}.{PREFERRED}[0].");
        let expect: Vec<String> = expect.iter().map(|end| format!("{root}{end}")).collect();
        let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
        check(|pod| pod["spec"]["affinity"] = json!({kind: {PREFERRED: [term]}}), &expect);
    };
    affinity("podAffinity", json!({"weight": 1, "podAffinityTerm": {"topologyKey": "a", "labelSelector": {}}}), &[]);
    let expressions = json!([
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a", "operator": "Gt", "values": ["1", "2"]},
        {"key": "a", "operator": "Foo"},
        {"key": "a", "operator": "In", "values": ["no value of a label"]},
    ]);
    let fields =
        json!([{"key": "x", "operator": "Exists"}, {"key": "metadata.name", "operator": "In", "values": ["a", "b"]}]);
    affinity(
        "nodeAffinity",
        json!({"weight": 0, "preference": {"matchExpressions": expressions, "matchFields": fields}}),
        &[
            "weight: Invalid value: 0: must be in the range 1-100",
            "preference.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "preference.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or \
             'DoesNotExist'",
            "preference.matchExpressions[2].values: Required value: must be specified single value when `operator` is 'Lt' \
             or 'Gt'",
            "preference.matchExpressions[3].operator: Invalid value: \"Foo\": not a valid selector operator",
            "preference.matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
            "preference.matchFields[0].key: Invalid value: \"x\": not a valid field selector key",
            "preference.matchFields[1].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' \
             for node field selector",
        ],
    );
    affinity(
        "podAntiAffinity",
        json!({"weight": 101, "podAffinityTerm": {
            "topologyKey": "a", "matchLabelKeys": ["b"], "mismatchLabelKeys": ["b"],
            "labelSelector": {"matchExpressions": [{"key": "c", "operator": "In"}]},
        }}),
        &[
            "weight: Invalid value: 101: must be in the range 1-100",
            "podAffinityTerm.labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` \
             is 'In' or 'NotIn'",
            "podAffinityTerm.matchLabelKeys[0]: Invalid value: \"b\": exists in both matchLabelKeys and mismatchLabelKeys",
        ],
    );
}

#[test]
fn annotations_that_mean_something_are_well_formed() {
    let annotation = |key: &str, value: &str, expect: &[&str]| {
        check(|pod| pod["metadata"]["annotations"] = json!({key: value}), expect);
    };
    annotation("controller.kubernetes.io/pod-deletion-cost", "-5", &[]);
    annotation("seccomp.security.alpha.kubernetes.io/pod", "localhost/a/b", &[]);
    annotation(
        "controller.kubernetes.io/pod-deletion-cost",
        "x",
        &[
            "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"x\": must be a 32bit integer",
        ],
    );
    check_update(
        |pod| pod["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "x"}),
        &["metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"x\": must be a 32bit"],
    );
    annotation(
        "kubernetes.io/config.mirror",
        "x",
        &[
            "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod \
           annotation is set",
        ],
    );
    annotation(
        "container.seccomp.security.alpha.kubernetes.io/web",
        "x",
        &[
            "metadata.annotations.container.seccomp.security.alpha.kubernetes.io/web: Invalid value: \"x\": must be a valid \
           seccomp profile",
        ],
    );
}

#[test]
fn who_makes_a_pod_is_warned_and_who_changes_it_is_not() {
    let made = pod(|pod| {
        pod["metadata"]["name"] = "a.b".into();
        pod["spec"]["hostAliases"] = json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.1"}]);
    });
    let warnings = RESOURCE.strategy.warnings(&made, None);
    assert!(warnings[0].starts_with("metadata.name: this is used in the Pod's hostname, "), "{warnings:?}");
    assert_eq!(warnings[1..], ["spec.hostAliases[1].ip: duplicate ip \"192.0.2.1\""]);
    assert_eq!(RESOURCE.strategy.warnings(&made, Some(&made)), [] as [&str; 0]);
}

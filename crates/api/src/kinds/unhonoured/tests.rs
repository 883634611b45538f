use serde_json::{Value, json};

use super::*;

fn refused(table: &[Unhonoured], object: Value) -> Vec<String> {
    refusals(table, &object, "").iter().map(ToString::to_string).collect()
}

fn warned(table: &[Unhonoured], object: Value) -> Vec<String> {
    warnings(table, &object, None, "")
}

#[test]
fn what_would_mislead_is_refused_by_name() {
    for (spec, expect) in [
        (json!({"hostNetwork": true}), "hostNetwork: Forbidden: hostNetwork is not served by this version of Stead: "),
        (
            json!({"containers": [{}, {"securityContext": {"privileged": true}}]}),
            "containers[1].securityContext.privileged: Forbidden: privileged is not served by this version of Stead: ",
        ),
    ] {
        let refused = refused(POD_SPEC, spec);
        assert!(matches!(refused.as_slice(), [only] if only.starts_with(expect)), "{refused:?}");
    }
}

/// The page says of each field what becomes of it, in a row with the same reason.
#[test]
fn the_page_of_differences_has_a_row_for_each_field_of_pods() {
    let page = include_str!("../../../../../docs/compatibility.md");
    for rule in POD_SPEC {
        let path = rule.path.join(".").replace(".*", "[]");
        let verdict = if rule.verdict == Verdict::Refuse { "refused, 422" } else { "stored, with a warning" };
        let end = format!(" | {verdict} | {} |", rule.reason);
        let row = page.lines().find(|line| line.ends_with(&end) && line.contains(&format!("`{path}`")));
        assert!(row.is_some(), "no row for {path} that ends with {end:?}");
    }
}

/// Fields whose traffic rule is not there yet.
#[test]
fn fields_of_a_service_are_accepted_with_a_warning_that_names_them() {
    assert_eq!(
        refused(SERVICE, json!({"spec": {"type": "ExternalName", "externalIPs": ["192.0.2.1"]}})),
        [] as [&str; 0]
    );
    for (spec, field) in
        [(json!({"type": "ExternalName"}), "spec.type"), (json!({"type": "LoadBalancer"}), "spec.type")]
    {
        let warned = warned(SERVICE, json!({"spec": spec}));
        let expect = format!("{field}: not acted on by this version of Stead: ");
        assert!(matches!(warned.as_slice(), [only] if only.starts_with(&expect)), "{warned:?}");
    }
}

#[test]
fn what_does_no_harm_is_stored_with_a_warning() {
    assert_eq!(
        warned(SERVICE, json!({"spec": {"loadBalancerClass": "example.com/lb"}})),
        ["spec.loadBalancerClass: not acted on by this version of Stead: there is no load balancer of any class"]
    );
    let annotations = json!({"metadata": {"annotations": {"service.kubernetes.io/topology-aware-hints": "Auto"}}});
    let field = "metadata.annotations[service.kubernetes.io/topology-aware-hints]: ";
    assert!(warned(SERVICE, annotations)[0].starts_with(field));
    let honoured = json!({
        "externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["192.0.2.0/24"], "trafficDistribution": "PreferSameZone",
    });
    assert_eq!(warned(SERVICE, json!({"spec": honoured})), [] as [&str; 0]);
}

#[test]
fn nobody_is_warned_twice() {
    let old = json!({"priority": 1});
    let new = json!({"priority": 1, "subdomain": "web"});
    assert_eq!(
        warnings(POD_SPEC, &new, Some(&old), "spec"),
        ["spec.subdomain: not acted on by this version of Stead: there is no DNS server yet"]
    );
    assert_eq!(warnings(POD_SPEC, &new, Some(&new), "spec"), [] as [&str; 0]);
}

#[test]
fn requests_that_defaults_copied_from_limits_are_not_warned_about() {
    let check = |resources: Value, expect: &[&str]| {
        let spec = json!({"containers": [{"name": "a", "image": "i", "resources": resources}]});
        let mut pod = json!({"metadata": {"name": "a"}, "spec": spec});
        let strategy = crate::kinds::pod::RESOURCE.strategy;
        strategy.default(&mut pod);
        let warnings = strategy.warnings(&pod, None);
        let fields = warnings.iter().filter_map(|warning| warning.split(": ").next()?.rsplit('.').next());
        assert_eq!(fields.collect::<Vec<_>>(), expect, "{warnings:?}");
    };
    check(json!({"limits": {"cpu": "1", "memory": "64Mi"}}), &[]);
    check(json!({"limits": {"cpu": "1", "ephemeral-storage": "1Gi"}}), &["limits"]);
    check(json!({"requests": {"cpu": "1"}}), &["requests"]);
    check(json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}), &["requests"]);
    check(json!({"limits": {"cpu": "2"}, "requests": {"memory": "64Mi"}}), &["requests"]);
}

#[test]
fn values_without_effect_are_served() {
    let spec = json!({
        "hostNetwork": false,
        "securityContext": {"runAsNonRoot": false},
        "volumes": [],
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "containers": [{
            "securityContext": {"privileged": false, "allowPrivilegeEscalation": true, "capabilities": {}},
            "resources": {},
            "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "terminationMessagePath": "/dev/termination-log",
        }],
    });
    assert_eq!(refused(POD_SPEC, spec.clone()), [] as [&str; 0]);
    assert_eq!(warned(POD_SPEC, spec), [] as [&str; 0]);
}

#[test]
fn fields_inside_lists_are_named_with_their_place() {
    let spec = json!({"containers": [{}, {"env": [{}, {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]});
    let errors = refusals(POD_SPEC, &spec, "spec.template.spec");
    assert_eq!(errors[0].field, "spec.template.spec.containers[1].env[1].valueFrom.secretKeyRef");
}

#[test]
fn what_needs_a_secret_is_refused_by_name() {
    let spec = json!({
        "volumes": [{"name": "s", "secret": {"secretName": "s"}}],
        "containers": [{
            "envFrom": [{"secretRef": {"name": "s"}}],
            "env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        }],
    });
    let errors = refusals(POD_SPEC, &spec, "spec");
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    let expect = [
        "spec.volumes[0].secret",
        "spec.containers[0].envFrom[0].secretRef",
        "spec.containers[0].env[0].valueFrom.secretKeyRef",
    ];
    assert_eq!(fields, expect);
    assert!(errors.iter().all(|error| error.message.contains("nodes may not read Secrets")), "{errors:?}");
}

/// What is honoured, or describes what needs no acting on. Together with the tables this is every field there is.
const HONOURED: &[(&str, &[&str])] = &[
    (
        "ServiceSpec",
        &[
            "allocateLoadBalancerNodePorts",
            "clusterIP",
            "clusterIPs",
            "externalIPs",
            "externalName",
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "internalTrafficPolicy",
            "ipFamilies",
            "ipFamilyPolicy",
            "loadBalancerSourceRanges",
            "ports",
            "publishNotReadyAddresses",
            "selector",
            "sessionAffinity",
            "sessionAffinityConfig",
            "trafficDistribution",
        ],
    ),
    (
        "PodSpec",
        &[
            "containers",
            "enableServiceLinks",
            "hostAliases",
            "hostname",
            "nodeName",
            "nodeSelector",
            "restartPolicy",
            "serviceAccount",
            "terminationGracePeriodSeconds",
        ],
    ),
    (
        "Container",
        &[
            "args",
            "command",
            "env",
            "image",
            "imagePullPolicy",
            "name",
            "ports",
            "readinessProbe",
            "stdin",
            "stdinOnce",
            "tty",
            "workingDir",
        ],
    ),
    ("Volume", &["configMap", "emptyDir", "hostPath", "name"]),
    ("VolumeMount", &["mountPath", "name", "readOnly", "subPath"]),
    ("EmptyDirVolumeSource", &[]),
    ("HostPathVolumeSource", &["path"]),
    ("EnvFromSource", &["configMapRef", "prefix"]),
    ("PodSecurityContext", &["fsGroupChangePolicy", "seLinuxChangePolicy", "supplementalGroupsPolicy"]),
    ("SecurityContext", &[]),
    ("EnvVarSource", &["configMapKeyRef", "fieldRef"]),
];

/// Fields that are not looked at because a field beside them is refused whenever they matter.
const MOOT: &[&str] = &["restartPolicy"];

#[test]
fn every_field_is_honoured_or_in_a_table() {
    use k8s_openapi::api::core::v1::{
        Container, EmptyDirVolumeSource, EnvFromSource, EnvVarSource, HostPathVolumeSource, PodSecurityContext,
        PodSpec, SecurityContext, ServiceSpec, Volume, VolumeMount,
    };
    use schemars::schema_for;

    for (schema, table, prefix) in [
        (schema_for!(ServiceSpec), SERVICE, &["spec"] as &[&str]),
        (schema_for!(PodSpec), POD_SPEC, &[]),
        (schema_for!(Container), POD_SPEC, &["containers", "*"]),
        (schema_for!(PodSecurityContext), POD_SPEC, &["securityContext"]),
        (schema_for!(SecurityContext), POD_SPEC, &["containers", "*", "securityContext"]),
        (schema_for!(Volume), POD_SPEC, &["volumes", "*"]),
        (schema_for!(VolumeMount), POD_SPEC, &["containers", "*", "volumeMounts", "*"]),
        (schema_for!(EmptyDirVolumeSource), POD_SPEC, &["volumes", "*", "emptyDir"]),
        (schema_for!(HostPathVolumeSource), POD_SPEC, &["volumes", "*", "hostPath"]),
        (schema_for!(EnvFromSource), POD_SPEC, &["containers", "*", "envFrom", "*"]),
        (schema_for!(EnvVarSource), POD_SPEC, &["containers", "*", "env", "*", "valueFrom"]),
    ] {
        let schema = schema.to_value();
        let properties = schema["properties"].as_object().unwrap();
        let honoured = HONOURED
            .iter()
            .filter(|(title, _)| schema["title"].as_str().is_some_and(|full| full.rsplit('.').next() == Some(title)))
            .flat_map(|(_, fields)| *fields)
            .collect::<Vec<_>>();
        for field in properties.keys() {
            let is_in_table = table
                .iter()
                .any(|rule| rule.path.strip_prefix(prefix).and_then(|rest| rest.first()) == Some(&field.as_str()));
            let is_known = is_in_table || honoured.contains(&&field.as_str()) || MOOT.contains(&field.as_str());
            assert!(is_known, "{}.{field}: decide whether it is honoured", schema["title"]);
        }
        for rule in table {
            let known = rule.path.strip_prefix(prefix).and_then(|rest| rest.first()).filter(|name| **name != "*");
            let is_here = !prefix.is_empty() || rule.path[0] != "metadata";
            assert!(known.is_none_or(|name| !is_here || properties.contains_key(*name)), "no field {:?}", rule.path);
        }
    }
}

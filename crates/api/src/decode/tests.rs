use serde_json::json;

use super::*;

mod properties;

const SERVICE: &str = "io.k8s.api.core.v1.Service";
const POD: &str = "io.k8s.api.core.v1.Pod";

fn value(text: &str, definition: &str) -> Value {
    decode(text.as_bytes(), definition).unwrap_or_else(|e| panic!("{text}: {e}")).value
}

fn problems(text: &str, expected: &[&str]) {
    let decoded = decode(text.as_bytes(), SERVICE).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(decoded.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{text}");
}

fn error(text: &str, definition: &str, expected: &str) {
    let error = decode(text.as_bytes(), definition).map(|d| d.value).expect_err(text);
    assert!(error.to_string().starts_with(expected), "{text}: {error}");
}

#[test]
fn unknown_and_doubled_fields_are_reported_in_order() {
    problems(r#"{"spec":{"ports":[{"port":80},{"port":1,"port":2}]}}"#, &[r#"duplicate field "spec.ports[1].port""#]);
    problems(
        r#"{"foo":1,"spec":{"selector":{"a":"1","a":"2"},"ports":[{"foo":{"x":1},"port":80}],"Type":"x"}}"#,
        &[
            r#"unknown field "foo""#,
            r#"duplicate field "spec.selector.a""#,
            r#"unknown field "spec.ports[0].foo""#,
            r#"unknown field "spec.Type""#,
        ],
    );
    problems(r#"{"foo":1,"foo":2}"#, &[r#"unknown field "foo""#]);
    let decoded = decode(br#"{"spec":{"type":"A","type":"B","foo":1}}"#, SERVICE).unwrap();
    assert_eq!(decoded.value, json!({"spec": {"type": "B"}}), "the last one counts");
    assert_eq!(
        decoded.strict_error().as_deref(),
        Some(r#"strict decoding error: duplicate field "spec.type", unknown field "spec.foo""#)
    );
}

#[test]
fn reports_are_bounded() {
    let fields = (0..500).map(|i| format!(r#""f{i}":1"#)).collect::<Vec<_>>().join(",");
    assert_eq!(decode(format!("{{{fields}}}").as_bytes(), SERVICE).unwrap().problems.len(), 100);
}

#[test]
fn wrong_types_name_field_and_types() {
    for (text, expected) in [
        (
            r#"{"spec":{"ports":[{"port":"80"}]}}"#,
            "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"spec":{"ports":[{"port":70000000000}]}}"#,
            "json: cannot unmarshal number 70000000000 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"spec":{"ports":[{"port":1.5}]}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"spec":{"ports":[{"protocol":6}]}}"#,
            "json: cannot unmarshal number into Go struct field ServicePort.spec.ports.protocol of type v1.Protocol",
        ),
        (
            r#"{"spec":{"ports":{"port":80}}}"#,
            "json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        (r#"{"spec":[]}"#, "json: cannot unmarshal array into Go struct field Service.spec of type v1.ServiceSpec"),
        (
            r#"{"spec":{"selector":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ServiceSpec.spec.selector of type string",
        ),
        (
            r#"{"spec":{"selector":"a"}}"#,
            "json: cannot unmarshal string into Go struct field ServiceSpec.spec.selector of type map[string]string",
        ),
        (
            r#"{"metadata":{"labels":{"a":true}}}"#,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"spec":{"publishNotReadyAddresses":"yes"}}"#,
            "json: cannot unmarshal string into Go struct field ServiceSpec.spec.publishNotReadyAddresses of type bool",
        ),
        (
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.creationTimestamp of type v1.Time: parsing time \"yesterday\"",
        ),
        ("[]", "json: cannot unmarshal array into Go value of type v1.Service"),
        (r#""x""#, "json: cannot unmarshal string into Go value of type v1.Service"),
    ] {
        error(text, SERVICE, expected);
    }
    error(
        r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"much"}}}]}}"#,
        POD,
        "json: cannot unmarshal string into Go struct field ResourceRequirements.spec.containers.resources.limits of type \
         resource.Quantity: quantities must match",
    );
    let Err(DecodeError::Type(mismatch)) = decode(br#"{"spec":{"ports":[{},{"port":true}]}}"#, SERVICE) else {
        panic!("a port is no boolean");
    };
    assert_eq!(mismatch.field, "spec.ports[1].port");
}

#[test]
fn what_is_no_json() {
    error("", SERVICE, "EOF while parsing a value at line 1 column 0");
    error("{", SERVICE, "EOF while parsing an object at line 1 column 1");
    error("{} {}", SERVICE, "trailing characters at line 1 column 4");
    error("a: b", SERVICE, "expected value at line 1 column 1");
    error(r#"{"a" 1}"#, SERVICE, "expected `:`");
    let deep = format!(r#"{{"foo":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        decode(deep.as_bytes(), SERVICE).is_ok_and(|d| d.problems.len() == 1)
            || decode(deep.as_bytes(), SERVICE).is_err()
    );
    let deep =
        format!(r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{}{}}}]}}}}"#, "[".repeat(5000), "]".repeat(5000));
    error(&deep, SERVICE, "recursion limit exceeded");
    assert_eq!(
        decode(b"{}", "io.k8s.api.core.v1.Nothing"),
        Err(DecodeError::NoSchema { definition: "io.k8s.api.core.v1.Nothing".to_owned() })
    );
}

#[test]
fn canonical_form() {
    for (text, expected) in [
        ("null", json!({})),
        (
            r#"{"metadata":{"creationTimestamp":null,"labels":{},"annotations":null},"spec":{"ports":[]},"status":{}}"#,
            json!({"metadata": {}, "spec": {}, "status": {}}),
        ),
        (r#"{"metadata":{"name":"","generation":0}}"#, json!({"metadata": {}})),
        (
            r#"{"spec":{"ports":[{"name":"","nodePort":0,"port":0,"targetPort":0,"appProtocol":""}]}}"#,
            json!({"spec": {"ports": [{"port": 0, "targetPort": 0, "appProtocol": ""}]}}),
        ),
        (r#"{"spec":{"externalIPs":[null,"1.2.3.4"]}}"#, json!({"spec": {"externalIPs": ["", "1.2.3.4"]}})),
        (r#"{"spec":{"selector":{"a":null}}}"#, json!({"spec": {"selector": {"a": ""}}})),
        (r#"{"spec":{"ports":[{"targetPort":"http"}]}}"#, json!({"spec": {"ports": [{"targetPort": "http"}]}})),
        (
            r#"{"metadata":{"creationTimestamp":"2026-01-02T03:04:05.678+02:00"}}"#,
            json!({"metadata": {"creationTimestamp": "2026-01-02T01:04:05Z"}}),
        ),
        (r#"{"spec":{"type":"A","type":null}}"#, json!({"spec": {}})),
    ] {
        assert_eq!(value(text, SERVICE), expected, "{text}");
    }
    assert_eq!(
        value(
            r#"{"spec":{"hostNetwork":false,"volumes":[{"name":"v","emptyDir":{}}],"securityContext":{},
                "containers":[{"resources":{"requests":{"cpu":0.5,"memory":"1024Ki","x":2}},"env":[{"name":"A","value":""}]}]}}"#,
            POD
        ),
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {},
            "containers": [{"resources": {"requests": {"cpu": "500m", "memory": "1Mi", "x": "2"}}, "env": [{"name": "A"}]}]}})
    );
    assert_eq!(
        value(
            r#"{"ports":[{"name":"","port":1}],"endpoints":[],"addressType":""}"#,
            "io.k8s.api.discovery.v1.EndpointSlice"
        ),
        json!({"ports": [{"name": "", "port": 1}], "endpoints": [], "addressType": ""})
    );
    assert_eq!(
        value(r#"{"spec":{"renewTime":"2026-01-02T03:04:05.678Z"}}"#, "io.k8s.api.coordination.v1.Lease"),
        json!({"spec": {"renewTime": "2026-01-02T03:04:05.678000Z"}})
    );
    error(
        r#"{"binaryData":{"a":"?"}}"#,
        "io.k8s.api.core.v1.ConfigMap",
        "json: cannot unmarshal string into Go struct",
    );
}

#[test]
fn pruning_a_value_is_decoding_its_text() {
    let text = r#"{"metadata":{"name":"a","labels":{}},"spec":{"ports":[{"port":80,"foo":1}],"bar":null}}"#;
    let parsed: Value = serde_json::from_str(text).unwrap();
    let pruned = prune(parsed, SERVICE).unwrap();
    let mut decoded = decode(text.as_bytes(), SERVICE).unwrap();
    assert_eq!(pruned.value, decoded.value);
    decoded.problems.sort_by_key(ToString::to_string);
    let mut problems = pruned.problems;
    problems.sort_by_key(ToString::to_string);
    assert_eq!(problems, decoded.problems);
}

use jiff::Timestamp;
use serde_json::{Value, json};

use super::RESOURCE;

fn slice(fields: Value) -> Value {
    let mut slice = json!({"metadata": {"name": "web-x", "namespace": "default"}, "addressType": "IPv4"});
    slice.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    RESOURCE.strategy.default(&mut slice);
    RESOURCE.strategy.prepare_create(&mut slice);
    slice
}

fn check(fields: Value, expect: &[&str]) {
    let errors = RESOURCE.strategy.validate_create(&slice(fields));
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
}

#[test]
fn cells_count_all_endpoints() {
    let cells = |fields: Value| {
        let cells = RESOURCE.strategy.cells(&slice(fields), Timestamp::UNIX_EPOCH);
        format!("{} | {}", cells[2].as_str().unwrap(), cells[3].as_str().unwrap())
    };
    assert_eq!(cells(json!({})), "<unset> | <unset>");
    assert_eq!(cells(json!({"ports": [{"name": ""}]})), "<unset> | <unset>", "neither number nor name");
    assert_eq!(
        cells(json!({
            "ports": [{"port": 80}, {"name": "any"}, {"name": ""}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}],
        })),
        "80,any, | 10.0.0.1"
    );
    assert_eq!(cells(json!({"ports": [{"name": ""}]})), "<unset> | <unset>");
    assert_eq!(
        cells(json!({
            "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]}, {"addresses": ["10.0.0.3", "10.0.0.4", "10.0.0.5"]}],
        })),
        "80 | 10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."
    );
}

#[test]
fn generation_follows_content_and_labels() {
    let old = slice(json!({"endpoints": [{"addresses": ["10.0.0.1"]}]}));
    let generation = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        RESOURCE.strategy.prepare_update(&mut new, &old);
        new["metadata"]["generation"].as_i64()
    };
    assert_eq!(generation(|_| {}), Some(1));
    assert_eq!(generation(|slice| slice["metadata"]["annotations"] = json!({"a": "b"})), Some(1));
    assert_eq!(generation(|slice| slice["metadata"]["labels"] = json!({"a": "b"})), Some(2));
    assert_eq!(generation(|slice| slice["endpoints"] = json!([])), Some(2));
}

#[test]
fn addresses_are_of_the_slices_type() {
    let endpoint = |address: &str| json!({"endpoints": [{"addresses": [address]}]});
    check(endpoint("10.0.0.1"), &[]);
    check(endpoint("fd00::1"), &["endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address"]);
    let example = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    check(endpoint("web"), &[&format!("endpoints[0].addresses[0]: Invalid value: \"web\": {example}")]);
    check(
        endpoint("::1"),
        &[
            "endpoints[0].addresses: Invalid value: \"::1\": must be an IPv4 address",
            "endpoints[0].addresses[0]: Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ],
    );
    check(
        json!({"addressType": "IPv6", "endpoints": [{"addresses": ["2001:DB8::1"]}]}),
        &["endpoints[0].addresses[0]: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")"],
    );
    check(
        endpoint("127.0.0.1"),
        &[
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ],
    );
    check(
        json!({"addressType": "IPX"}),
        &["addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
    );
    check(json!({"endpoints": [{}]}), &["endpoints[0].addresses: Required value: must contain at least 1 address"]);
    check(
        json!({"endpoints": vec![json!({"addresses": ["10.0.0.1"]}); 1001]}),
        &["endpoints: Too many: 1001: must have at most 1000 items"],
    );
}

#[test]
fn names_have_two_labels_or_more() {
    let refused = |name: &str, shown: &str, words: &str| {
        let slice = json!({"addressType": "FQDN", "endpoints": [{"addresses": [name]}]});
        let (value, start) = (format!("Invalid value: {shown:?}: {words}"), "endpoints[0].addresses[0]: ");
        let found = RESOURCE.strategy.validate_create(&self::slice(slice));
        let found = Vec::from_iter(found.iter().map(ToString::to_string));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{start}{value}")), "{name}: {found:?}");
    };
    let domain = |name: &str| json!({"addressType": "FQDN", "endpoints": [{"addresses": [name]}]});
    for name in ["db.example.com", "db.example.com.", "1.2.3.4"] {
        check(domain(name), &[]);
    }
    check(domain(""), &["endpoints[0].addresses[0]: Required value"]);
    refused("a b", "a b", "a lowercase RFC 1123 subdomain must");
    refused("foo..", "foo.", "a lowercase RFC 1123 subdomain must");
    refused("foo", "foo", "should be a domain with at least two segments separated by dots");
    refused("foo.", "foo", "should be a domain with at least two segments separated by dots");
    let long = "x".repeat(64);
    refused(&format!("{long}.a"), &long, "must be no more than 63 characters");
}

#[test]
fn ports_and_hints_are_unique() {
    check(json!({"ports": [{"port": 80}, {"port": 81}]}), &["ports[1].name: Duplicate value: \"\""]);
    check(json!({"ports": [{"name": "all"}]}), &[]);
    check(
        json!({"endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}]}),
        &["endpoints[0].hints.forZones[1].name: Duplicate value: \"a\""],
    );
}

#[test]
fn the_type_is_for_ever() {
    let old = slice(json!({}));
    let new = slice(json!({"addressType": "IPv6"}));
    let errors = RESOURCE.strategy.validate_update(&new, &old);
    assert_eq!(errors[0].to_string(), "addressType: Invalid value: \"IPv6\": field is immutable");
}

#[test]
fn names_and_zones_of_an_endpoint_are_right_where_they_are_given() {
    let endpoint = |fields: Value| {
        let mut endpoint = json!({"addresses": ["10.0.0.1"]});
        endpoint.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"endpoints": [endpoint]})
    };
    let starts = |fields: Value, expect: &[&str]| {
        let errors = RESOURCE.strategy.validate_create(&slice(endpoint(fields)));
        assert_eq!(errors.len(), expect.len(), "{errors:?}");
        for (error, start) in errors.iter().zip(expect) {
            assert!(error.to_string().starts_with(start), "{error}");
        }
    };
    starts(json!({"nodeName": "node1", "hostname": "web-0", "zone": "anything at all"}), &[]);
    starts(json!({"nodeName": "No"}), &["endpoints[0].nodeName: Invalid value: \"No\""]);
    starts(json!({"nodeName": ""}), &["endpoints[0].nodeName: Invalid value: \"\""]);
    starts(json!({"hostname": "a.b"}), &["endpoints[0].hostname: Invalid value: \"a.b\""]);
    starts(json!({"hints": {"forZones": [{"name": ""}]}}), &[]);
    starts(
        json!({"hints": {"forZones": [{"name": "a b"}]}}),
        &["endpoints[0].hints.forZones[0].name: Invalid value: \"a b\""],
    );
    starts(
        json!({"hints": {"forNodes": [{"name": ""}]}}),
        &["endpoints[0].hints.forNodes[0].name: Invalid value: \"\""],
    );
    let many: Vec<_> = (0..9).map(|number| json!({"name": format!("z{number}")})).collect();
    starts(json!({"hints": {"forZones": many}}), &["endpoints[0].hints.forZones: Too many: 9"]);
    starts(json!({"hints": {"forNodes": many}}), &["endpoints[0].hints.forNodes: Too many: 9"]);
}

#[test]
fn limits_of_addresses_and_ports() {
    check(
        json!({"endpoints": [{"addresses": vec!["10.0.0.1"; 101]}]}),
        &["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
    );
    let ports: Vec<_> = (0..=20_000).map(|number| json!({"name": format!("p{number}")})).collect();
    check(json!({"ports": ports}), &["ports: Too many: 20001: must have at most 20000 items"]);
    check(
        json!({"ports": [{"protocol": "ICMP"}]}),
        &["ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""],
    );
    check(json!({"ports": [{"port": 80, "appProtocol": "kubernetes.io/h2c"}]}), &[]);
}

#[test]
fn old_topology_is_dropped() {
    let slice = slice(json!({"endpoints": [{"addresses": ["10.0.0.1"], "deprecatedTopology": {"a": "b"}}]}));
    assert_eq!(slice["endpoints"], json!([{"addresses": ["10.0.0.1"]}]));
}

#[test]
fn domain_names_and_odd_addresses_bring_a_warning() {
    let warnings = |fields: Value, old: Option<&Value>| RESOURCE.strategy.warnings(&slice(fields), old);
    let fqdn = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["db.example.com"]}]});
    assert_eq!(warnings(fqdn.clone(), None), ["spec.addressType: FQDN endpoints are deprecated"]);
    assert!(warnings(fqdn.clone(), Some(&slice(fqdn))).is_empty(), "only at first");
    let odd = json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1", "fd00:0::2"]}]});
    let expect =
        "endpoints[0].addresses[1]: IPv6 address \"fd00:0::2\" should be in RFC 5952 canonical format (\"fd00::2\")";
    assert_eq!(warnings(odd.clone(), None), [expect]);
    let mut ours = slice(odd);
    ours["metadata"]["labels"] = json!({"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    assert!(RESOURCE.strategy.warnings(&ours, None).is_empty());
}

#[test]
fn an_address_stored_before_the_rules_were_strict_may_stay() {
    let old = slice(json!({"endpoints": [{"addresses": ["010.0.0.1"]}]}));
    let problems = |address: &str| {
        let new = slice(json!({"endpoints": [{"addresses": [address]}, {"addresses": ["10.0.0.2"]}]}));
        RESOURCE.strategy.validate_update(&new, &old).len()
    };
    assert_eq!((problems("010.0.0.1"), problems("010.0.0.9")), (0, 1));
}

//! Addresses: virtual IPs, their families, external IPs.

use super::*;

#[test]
fn field_cluster_ip() {
    becomes(json!({}), "clusterIP", json!("10.96.0.100"));
    becomes(json!({"clusterIP": "10.96.0.9"}), "clusterIPs", json!(["10.96.0.9"]));
    becomes(json!({"clusterIP": "None"}), "clusterIPs", json!(["None"]));
    refused(
        json!({"clusterIP": "web"}),
        &["spec.clusterIPs[0]: Invalid value: \"web\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"],
    );
    for kind in ["NodePort", "LoadBalancer"] {
        refused(
            json!({"type": kind, "clusterIP": "None"}),
            &[&format!("spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for {kind} services")],
        );
    }
    updated(json!({"clusterIP": "10.96.0.9"}), json!({}), "clusterIP", json!("10.96.0.9"));
    update_refused(
        json!({"clusterIP": "10.96.0.9"}),
        json!({"clusterIP": "10.96.0.8"}),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"],
    );
    update_refused(
        json!({"clusterIP": "10.96.0.9"}),
        json!({"clusterIP": "None"}),
        &["spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set"],
    );
}

#[test]
fn field_cluster_ips() {
    let both =
        json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "ipFamilyPolicy": "RequireDualStack"});
    becomes(both.clone(), "ipFamilies", json!(["IPv4", "IPv6"]));
    for (cluster_ips, problem) in [
        (json!(["10.96.0.9", "10.96.0.8"]), "may specify no more than one IP for each IP family"),
        (json!(["10.96.0.9", "None"]), ""),
        (json!(["10.96.0.9", ""]), ""),
    ] {
        let spec = json!({"clusterIP": "10.96.0.9", "clusterIPs": cluster_ips, "ipFamilyPolicy": "RequireDualStack"});
        let (_, errors) = write(create(with_port(spec.clone())), None);
        assert!(errors[0].starts_with("spec.clusterIPs") && errors[0].ends_with(problem), "{spec}: {errors:?}");
    }
    refused(
        json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.9"], "ipFamilyPolicy": "RequireDualStack"}),
        &["spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.9\"]: 'None' must be the first and only value"],
    );
    updated(json!({"clusterIP": "10.96.0.9"}), both.clone(), "clusterIPs", json!(["10.96.0.9", "fd00::9"]));
    updated(both.clone(), json!({"ipFamilyPolicy": "SingleStack"}), "clusterIPs", json!(["10.96.0.9"]));
    update_refused(
        both,
        json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilyPolicy": "PreferDualStack"}),
        &[
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary cluster IP",
        ],
    );
}

#[test]
fn field_ip_families() {
    becomes(json!({}), "ipFamilies", json!(["IPv4"]));
    becomes(json!({"ipFamilies": ["IPv6"]}), "clusterIP", json!("fd00::100"));
    becomes(json!({"clusterIP": "None", "selector": {"a": "b"}}), "ipFamilies", json!(["IPv4"]));
    becomes(json!({"clusterIP": "None"}), "ipFamilies", json!(["IPv4", "IPv6"]));
    refused(json!({"ipFamilies": ["IPv4", "IPv4"]}), &["spec.ipFamilies[1]: Duplicate value: \"IPv4\""]);
    update_refused(
        json!({}),
        json!({"clusterIP": "", "ipFamilies": ["IPv6"]}),
        &["spec.clusterIPs[0]: Invalid value: \"10.96.0.100\": expected an IPv6 value as indicated by `ipFamilies[0]`"],
    );
    updated(
        json!({"clusterIP": "None"}),
        json!({"clusterIP": "None", "ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"}),
        "ipFamilies",
        json!(["IPv6"]),
    );
}

#[test]
fn field_ip_family_policy() {
    becomes(json!({}), "ipFamilyPolicy", json!("SingleStack"));
    becomes(json!({"clusterIP": "None"}), "ipFamilyPolicy", json!("RequireDualStack"));
    becomes(json!({"type": "ExternalName", "externalName": "a.example"}), "ipFamilyPolicy", Value::Null);
    becomes(json!({"ipFamilyPolicy": "PreferDualStack"}), "clusterIPs", json!(["10.96.0.100", "fd00::100"]));
    refused(
        json!({"ipFamilyPolicy": "Both"}),
        &[
            "spec.ipFamilyPolicy: Unsupported value: \"Both\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
        ],
    );
    refused(
        json!({"type": "ExternalName", "externalName": "a.example", "ipFamilyPolicy": "SingleStack"}),
        &["spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services"],
    );
    updated(
        json!({}),
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        "clusterIPs",
        json!(["10.96.0.100", "fd00::100"]),
    );
    updated(json!({"ipFamilyPolicy": "RequireDualStack"}), json!({}), "ipFamilyPolicy", json!("RequireDualStack"));
}

#[test]
fn field_external_ips() {
    becomes(json!({}), "externalIPs", Value::Null);
    becomes(json!({"externalIPs": ["192.0.2.1"]}), "externalTrafficPolicy", json!("Cluster"));
    for (address, problem) in [
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("web", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    ] {
        let expect = format!("spec.externalIPs[0]: Invalid value: {address:?}: {problem}");
        refused(json!({"externalIPs": [address]}), &[&expect]);
    }
    updated(json!({"externalIPs": ["192.0.2.1"]}), json!({}), "externalTrafficPolicy", Value::Null);
}

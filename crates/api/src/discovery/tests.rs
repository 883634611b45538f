use super::*;
use crate::sample::ALL;

mod rows;

#[test]
fn aggregated_documents() {
    let core = aggregated(Root::Core, &ALL);
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
    assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(core["items"][0]["metadata"], json!({}));
    let names: Vec<&Value> =
        core["items"][0]["versions"][0]["resources"].as_array().unwrap().iter().map(|r| &r["resource"]).collect();
    assert_eq!(names, ["namespaces", "pods", "services"]);
    assert_eq!(
        core["items"][0]["versions"][0]["resources"][2],
        json!({"resource": "services", "responseKind": {"group": "", "version": "v1", "kind": "Service"},
            "scope": "Namespaced", "singularResource": "service", "shortNames": ["svc"], "categories": ["all"],
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "subresources": [{"subresource": "status", "responseKind": {"group": "", "version": "v1", "kind": "Service"},
                "verbs": ["get", "patch", "update"]}]})
    );
    let groups = aggregated(Root::Groups, &ALL);
    assert_eq!(groups["items"][0]["metadata"]["name"], "apps");
    assert_eq!(
        groups["items"][0]["versions"][0]["resources"][0]["subresources"][0],
        json!({"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
            "verbs": ["get", "patch", "update"]})
    );
}

#[test]
fn legacy_documents() {
    assert_eq!(
        api_versions(&ALL, "10.0.0.1:6443"),
        json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"}]})
    );
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    let apps = json!({"name": "apps", "versions": [version], "preferredVersion": version});
    assert_eq!(api_group_list(&ALL), json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [apps]}));
    let mut group = apps;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    assert_eq!(api_group(&ALL, "apps"), Some(group));
    assert_eq!((api_group(&ALL, "batch"), api_group(&ALL, "")), (None, None));
}

#[test]
fn legacy_resource_lists_name_subresources() {
    let list = api_resource_list(&ALL, "", "v1").unwrap();
    let names: Vec<&str> = list["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "namespaces",
            "namespaces/finalize",
            "namespaces/status",
            "pods",
            "pods/binding",
            "pods/log",
            "pods/status",
            "services",
            "services/status"
        ]
    );
    let apps = api_resource_list(&ALL, "apps", "v1").unwrap();
    assert_eq!(apps["groupVersion"], "apps/v1");
    assert_eq!(
        apps["resources"][1],
        json!({"name": "deployments/scale", "singularName": "", "namespaced": true, "kind": "Scale",
            "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"]})
    );
    assert_eq!(api_resource_list(&ALL, "apps", "v2"), None);
}

/// As Kubernetes 1.36.2 has them: clients tell by them whether objects have to be stored anew.
#[test]
fn storage_version_hashes() {
    let mut found: Vec<String> = Vec::new();
    for (group, version) in [
        ("", "v1"),
        ("apps", "v1"),
        ("coordination.k8s.io", "v1"),
        ("discovery.k8s.io", "v1"),
        ("events.k8s.io", "v1"),
        ("networking.k8s.io", "v1"),
        ("authentication.k8s.io", "v1"),
    ] {
        let list = api_resource_list(kinds::ALL, group, version).unwrap();
        for resource in list["resources"].as_array().unwrap() {
            if let Some(hash) = resource["storageVersionHash"].as_str() {
                found.push(format!("{group} {} {hash}", resource["name"].as_str().unwrap()));
            }
        }
    }
    found.sort();
    let expect = [
        " configmaps qFsyl6wFWjQ=",
        " endpoints fWeeMqaN/OA=",
        " events r2yiGXH7wu8=",
        " namespaces Q3oi5N2YM8M=",
        " nodes XwShjMxG9Fs=",
        " pods xPOwRZ+Yhw8=",
        " replicationcontrollers Jond2If31h0=",
        " secrets S6u1pOWzb84=",
        " serviceaccounts pbx9ZvyFpBE=",
        " services 0/CO1lhkEBI=",
        "apps deployments 8aSe+NMegvE=",
        "apps replicasets P1RzHs8/mWQ=",
        "coordination.k8s.io leases gqkMMb/YqFM=",
        "discovery.k8s.io endpointslices qgS0xkrxYAI=",
        "events.k8s.io events r2yiGXH7wu8=",
        "networking.k8s.io ipaddresses 3f/plJFChNE=",
        "networking.k8s.io servicecidrs gNLvruQhW2g=",
    ];
    assert_eq!(found, expect);
}

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

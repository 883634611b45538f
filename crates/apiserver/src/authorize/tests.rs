use http::Method;

use super::*;
use crate::path::{Target, parse};

fn ask(identity: &Identity, method: &Method, text: &str) -> Result<Demand, String> {
    let Target::Resource(path) = parse(text) else { panic!("{text} is no resource") };
    let verb = Verb::of(method, &path).unwrap();
    resource(identity, verb, &path).map_err(|refusal| refusal.0.status.message)
}

fn node() -> Identity {
    Identity::new("system:node:node1", &[NODES])
}

fn account() -> Identity {
    Identity::new("system:serviceaccount:a:b", &["system:serviceaccounts", "system:serviceaccounts:a"])
}

#[test]
fn nodes_read_all_but_secrets_and_write_what_is_their_own() {
    let pods = Ok(Demand::PodOnNode("node1".into()));
    for (method, path, expected) in [
        (Method::GET, "/api/v1/pods", Ok(Demand::Nothing)),
        (Method::GET, "/api/v1/namespaces/a/configmaps/b", Ok(Demand::Nothing)),
        (Method::GET, "/api/v1/namespaces/a/pods/b/log", Ok(Demand::Nothing)),
        (Method::GET, "/api/v1/secrets", Err("cannot list resource \"secrets\"")),
        (Method::GET, "/api/v1/namespaces/a/secrets/b", Err("cannot get resource \"secrets\"")),
        (Method::PATCH, "/api/v1/nodes/node1/status", Ok(Demand::Nothing)),
        (Method::PATCH, "/api/v1/nodes/node2/status", Err("is not allowed to modify node")),
        (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1", Ok(Demand::Nothing)),
        (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node2", Err("same name")),
        (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/default/leases/node1", Err("can only access leases")),
        (Method::PATCH, "/api/v1/namespaces/a/pods/b/status", pods.clone()),
        (Method::DELETE, "/api/v1/namespaces/a/pods/b", pods.clone()),
        (Method::DELETE, "/api/v1/namespaces/a/pods", Err("cannot deletecollection")),
        (Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token", pods),
        (Method::POST, "/api/v1/namespaces/a/events", Ok(Demand::Nothing)),
        (Method::POST, "/api/v1/nodes", Ok(Demand::NamedAs("node1".into()))),
        (Method::POST, "/api/v1/namespaces/a/pods", Err("cannot create resource")),
        (Method::POST, "/api/v1/namespaces/a/pods/b/binding", Err("cannot create resource \"pods/binding\"")),
        (Method::DELETE, "/api/v1/nodes/node1", Err("cannot delete resource")),
        (Method::GET, "/api/v1/namespaces/a/services/b/proxy/", Err("cannot get resource \"services/proxy\"")),
        (Method::GET, "/api/v1/namespaces/a/pods/b/exec", Err("cannot get resource \"pods/exec\"")),
        (Method::POST, "/api/v1/namespaces/a/pods/b/exec", Err("cannot create resource \"pods/exec\"")),
        (Method::GET, "/api/v1/namespaces/a/pods/b/attach", Err("cannot get resource \"pods/attach\"")),
        (Method::POST, "/api/v1/namespaces/a/pods/b/portforward", Err("cannot create resource")),
        (Method::GET, "/api/v1/nodes/node1/proxy/", Err("cannot get resource \"nodes/proxy\"")),
        (Method::PUT, "/api/v1/namespaces/a/services/b", Err("in API group \"\" in the namespace \"a\"")),
        (Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", Ok(Demand::Nothing)),
        (Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", Err("cannot create resource \"tokenreviews\"")),
    ] {
        match (ask(&node(), &method, path), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{path}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{path}: {found}"),
            (found, _) => panic!("{method} {path}: {found:?}"),
        }
    }
}

#[test]
fn the_read_only_port_reads_objects_alone() {
    let check = |method: Method, path: &str, expected: bool| {
        let target = parse(path);
        let identity = Identity::read_only();
        let mut allowed = read_only(&identity, &target).is_ok();
        if let Target::Resource(path) = &target {
            let verb = Verb::of(&method, path).unwrap();
            allowed &= resource(&identity, verb, path).is_ok();
        }
        assert_eq!(allowed, expected, "{method} {path}");
    };
    for path in [
        "/api/v1/pods",
        "/api/v1/watch/services",
        "/api/v1/nodes/n/status",
        "/apis/apps/v1/deployments",
        "/api",
        "/version",
    ] {
        check(Method::GET, path, true);
    }
    check(Method::GET, "/api/v1/namespaces/a/pods/p/log", false);
    check(Method::GET, "/api/v1/secrets", false);
    check(Method::POST, "/api/v1/namespaces/a/pods", false);
    check(Method::DELETE, "/api/v1/namespaces/a/pods/p", false);
    check(Method::PATCH, "/api/v1/nodes/n", false);
}

#[test]
fn others_learn_who_they_are_and_administrators_may_all() {
    let itself = [
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
    ];
    for path in itself {
        assert_eq!(ask(&account(), &Method::POST, path), Ok(Demand::Nothing), "{path}");
        assert!(ask(&Identity::anonymous(), &Method::POST, path).unwrap_err().contains("Unauthorized"));
    }
    let expected = "services is forbidden: User \"system:serviceaccount:a:b\" cannot list resource \"services\" in API \
                    group \"\" at the cluster scope";
    assert_eq!(ask(&account(), &Method::GET, "/api/v1/services").unwrap_err(), expected);
    for kind in kinds::ALL.iter().filter(|kind| kind.verbs.contains(&"list")) {
        let path = format!("/{}/{}", if kind.group.is_empty() { "api" } else { "apis" }, kind.api_version());
        let path = format!("{path}/{}", kind.plural);
        assert!(ask(&account(), &Method::GET, &path).is_err(), "{path}");
        assert_eq!(ask(&Identity::control_plane("controllers"), &Method::GET, &path), Ok(Demand::Nothing), "{path}");
        let nodes = ask(&node(), &Method::GET, &path);
        assert_eq!(nodes.is_ok(), kind.plural != "secrets", "{path}: {nodes:?}");
    }
    assert_eq!(ask(&Identity::control_plane("x"), &Method::DELETE, "/api/v1/services"), Ok(Demand::Nothing));
    // The group alone makes no node.
    let nameless = Identity::new("system:node", &[NODES]);
    assert!(ask(&nameless, &Method::GET, "/api/v1/pods").is_err());
}

#[test]
fn paths_that_are_no_resources() {
    let check = |path: &str, expected: [bool; 4]| {
        let who = [Identity::anonymous(), account(), node(), Identity::control_plane("x")];
        assert_eq!(who.map(|identity| may_get(&identity, path)), expected, "{path}");
    };
    check("/healthz", [true; 4]);
    check("/readyz/ping", [true; 4]);
    check("/version", [true; 4]);
    check("/", [false, true, true, true]);
    check("/apis/apps/v1", [false, true, true, true]);
    check("/openapi/v3/api/v1", [false, true, true, true]);
    check("/openid/v1/jwks", [false, true, true, true]);
    check("/metrics", [false, false, false, true]);
}

#[test]
fn what_would_be_allowed_agrees_with_what_is() {
    let asks = |identity: &Identity, verb, resource, subresource, name, pod_node| {
        let namespace = if resource == "leases" { LEASE_NAMESPACE } else { "" };
        let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
        would_allow(identity, &Attributes { verb, group, resource, subresource, namespace, name }, pod_node)
    };
    assert!(asks(&node(), "list", "pods", "", "", None));
    assert!(!asks(&node(), "list", "secrets", "", "", None));
    assert!(!asks(&node(), "*", "*", "", "", None));
    assert!(asks(&node(), "patch", "pods", "status", "p", Some("node1")));
    assert!(!asks(&node(), "patch", "pods", "status", "p", Some("node2")));
    assert!(!asks(&node(), "patch", "pods", "status", "", None));
    assert!(asks(&node(), "update", "leases", "", "node1", None));
    assert!(!asks(&node(), "update", "leases", "", "node2", None));
    assert!(!asks(&account(), "get", "pods", "", "", None));
    assert!(asks(&Identity::control_plane("x"), "*", "*", "", "", None));
    assert!(rules(&account()).iter().all(|rule| rule["verbs"] == serde_json::json!(["create"])));
    assert_eq!(path_rules(&Identity::anonymous()).len(), 1);
}

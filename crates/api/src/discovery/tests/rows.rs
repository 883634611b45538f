//! Each kind that is served, as discovery of Kubernetes 1.36.2 shows it: a test for each row, in both forms.

use serde_json::Value;

use super::super::{Root, aggregated, api_resource_list};
use crate::kinds::{self, ALL_VERBS};

/// Subresources of upstream that nothing here acts on.
const NOT_SERVED: &[&str] = &["pods/ephemeralcontainers", "pods/resize"];

macro_rules! rows {
    ($($name:ident: $($line:literal),+;)*) => {
        $(#[test]
        fn $name() {
            check(&[$($line),+]);
        })*

        #[test]
        fn every_kind_has_a_row() {
            let rows: &[&str] = &[$([$($line),+][0]),*];
            for kind in kinds::ALL.iter().filter(|kind| kind.version == "v1") {
                let start = format!("{} {} {} ", kind.api_version(), kind.kind, kind.plural);
                assert!(rows.iter().any(|row| row.starts_with(&start)), "{start}");
            }
        }
    };
}

/// The first line: version, kind, plural, singular, scope, short names, categories, verbs; the others: a subresource, the version
/// and kind that it takes, its verbs.
fn check(expected: &[&str]) {
    let [api_version, _, plural, ..] = expected[0].split(' ').collect::<Vec<_>>()[..] else { panic!("{expected:?}") };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let served = |line: &&&str| {
        let name = format!("{plural}/{}", line.split(' ').next().unwrap_or_default());
        !NOT_SERVED.contains(&name.as_str())
    };
    let expected =
        expected.iter().filter(served).map(|line| line.replace("CRUD+", &ALL_VERBS.join(","))).collect::<Vec<_>>();
    assert_eq!(in_aggregated(group, version, plural), expected, "aggregated");
    assert_eq!(in_legacy(group, version, plural), expected, "legacy");
}

fn in_aggregated(group: &str, version: &str, plural: &str) -> Vec<String> {
    let root = if group.is_empty() { Root::Core } else { Root::Groups };
    let document = aggregated(root, kinds::ALL);
    let groups = list(&document["items"]);
    let group = groups.iter().find(|item| text(&item["metadata"]["name"]) == group).unwrap();
    let version = list(&group["versions"]).iter().find(|item| item["version"] == version).unwrap();
    let resource = list(&version["resources"]).iter().find(|item| item["resource"] == plural).unwrap();
    let kind = |kind: &Value| match text(&kind["group"]) {
        "" => format!("{} {}", text(&kind["version"]), text(&kind["kind"])),
        group => format!("{group}/{} {}", text(&kind["version"]), text(&kind["kind"])),
    };
    let own = format!(
        "{} {plural} {} {} [{}] [{}] {}",
        kind(&resource["responseKind"]),
        text(&resource["singularResource"]),
        text(&resource["scope"]),
        joined(&resource["shortNames"]),
        joined(&resource["categories"]),
        joined(&resource["verbs"]),
    );
    let subresources = list(&resource["subresources"]).iter();
    let subresources = subresources.map(|item| {
        format!("{} {} {}", text(&item["subresource"]), kind(&item["responseKind"]), joined(&item["verbs"]))
    });
    [own].into_iter().chain(subresources).collect()
}

fn in_legacy(group: &str, version: &str, plural: &str) -> Vec<String> {
    let document = api_resource_list(kinds::ALL, group, version).unwrap();
    let kind = |item: &Value| {
        let group = item["group"].as_str().unwrap_or(group);
        let version = item["version"].as_str().unwrap_or(version);
        let of = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        format!("{of} {}", text(&item["kind"]))
    };
    let line = |item: &Value| {
        let (of, name) = text(&item["name"]).split_once('/').unwrap_or((text(&item["name"]), ""));
        if of != plural {
            return None;
        }
        if !name.is_empty() {
            return Some(format!("{name} {} {}", kind(item), joined(&item["verbs"])));
        }
        let scope = if item["namespaced"] == true { "Namespaced" } else { "Cluster" };
        Some(format!(
            "{} {plural} {} {scope} [{}] [{}] {}",
            kind(item),
            text(&item["singularName"]),
            joined(&item["shortNames"]),
            joined(&item["categories"]),
            joined(&item["verbs"]),
        ))
    };
    list(&document["resources"]).iter().filter_map(line).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn joined(value: &Value) -> String {
    list(value).iter().map(text).collect::<Vec<_>>().join(",")
}

rows! {
    core_v1_configmaps:
        "v1 ConfigMap configmaps configmap Namespaced [cm] [] CRUD+";
    core_v1_endpoints:
        "v1 Endpoints endpoints endpoints Namespaced [ep] [] CRUD+";
    core_v1_events:
        "v1 Event events event Namespaced [ev] [] CRUD+";
    core_v1_namespaces:
        "v1 Namespace namespaces namespace Cluster [ns] [] create,delete,get,list,patch,update,watch",
        "finalize v1 Namespace update",
        "status v1 Namespace get,patch,update";
    core_v1_nodes:
        "v1 Node nodes node Cluster [no] [] CRUD+",
        "proxy v1 NodeProxyOptions create,delete,get,patch,update",
        "status v1 Node get,patch,update";
    core_v1_pods:
        "v1 Pod pods pod Namespaced [po] [all] CRUD+",
        "attach v1 PodAttachOptions create,get",
        "binding v1 Binding create",
        "ephemeralcontainers v1 Pod get,patch,update",
        "eviction policy/v1 Eviction create",
        "exec v1 PodExecOptions create,get",
        "log v1 Pod get",
        "portforward v1 PodPortForwardOptions create,get",
        "proxy v1 PodProxyOptions create,delete,get,patch,update",
        "resize v1 Pod get,patch,update",
        "status v1 Pod get,patch,update";
    core_v1_replicationcontrollers:
        "v1 ReplicationController replicationcontrollers replicationcontroller Namespaced [rc] [all] CRUD+",
        "scale autoscaling/v1 Scale get,patch,update",
        "status v1 ReplicationController get,patch,update";
    core_v1_secrets:
        "v1 Secret secrets secret Namespaced [] [] CRUD+";
    core_v1_serviceaccounts:
        "v1 ServiceAccount serviceaccounts serviceaccount Namespaced [sa] [] CRUD+",
        "token authentication.k8s.io/v1 TokenRequest create";
    core_v1_services:
        "v1 Service services service Namespaced [svc] [all] CRUD+",
        "proxy v1 ServiceProxyOptions create,delete,get,patch,update",
        "status v1 Service get,patch,update";
    core_v1_bindings:
        "v1 Binding bindings binding Namespaced [] [] create";
    apps_v1_deployments:
        "apps/v1 Deployment deployments deployment Namespaced [deploy] [all] CRUD+",
        "scale autoscaling/v1 Scale get,patch,update",
        "status apps/v1 Deployment get,patch,update";
    apps_v1_replicasets:
        "apps/v1 ReplicaSet replicasets replicaset Namespaced [rs] [all] CRUD+",
        "scale autoscaling/v1 Scale get,patch,update",
        "status apps/v1 ReplicaSet get,patch,update";
    coordination_v1_leases:
        "coordination.k8s.io/v1 Lease leases lease Namespaced [] [] CRUD+";
    discovery_v1_endpointslices:
        "discovery.k8s.io/v1 EndpointSlice endpointslices endpointslice Namespaced [] [] CRUD+";
    events_v1_events:
        "events.k8s.io/v1 Event events event Namespaced [ev] [] CRUD+";
    networking_v1_ipaddresses:
        "networking.k8s.io/v1 IPAddress ipaddresses ipaddress Cluster [ip] [] CRUD+";
    networking_v1_servicecidrs:
        "networking.k8s.io/v1 ServiceCIDR servicecidrs servicecidr Cluster [] [] CRUD+",
        "status networking.k8s.io/v1 ServiceCIDR get,patch,update";
    authentication_v1_selfsubjectreviews:
        "authentication.k8s.io/v1 SelfSubjectReview selfsubjectreviews selfsubjectreview Cluster [] [] create";
    authentication_v1_tokenreviews:
        "authentication.k8s.io/v1 TokenReview tokenreviews tokenreview Cluster [] [] create";
    authorization_v1_localsubjectaccessreviews:
        "authorization.k8s.io/v1 LocalSubjectAccessReview localsubjectaccessreviews localsubjectaccessreview Namespaced [] [] create";
    authorization_v1_selfsubjectaccessreviews:
        "authorization.k8s.io/v1 SelfSubjectAccessReview selfsubjectaccessreviews selfsubjectaccessreview Cluster [] [] create";
    authorization_v1_selfsubjectrulesreviews:
        "authorization.k8s.io/v1 SelfSubjectRulesReview selfsubjectrulesreviews selfsubjectrulesreview Cluster [] [] create";
    authorization_v1_subjectaccessreviews:
        "authorization.k8s.io/v1 SubjectAccessReview subjectaccessreviews subjectaccessreview Cluster [] [] create";
}

use std::collections::BTreeSet;

use super::*;
use crate::sample::ALL;

fn parse(document: &Document) -> Value {
    serde_json::from_slice(&document.text).unwrap()
}

fn documents() -> (OpenApi, Value, Value) {
    let all = OpenApi::new(&ALL, "v1.36.2");
    let core = parse(all.document("api/v1").unwrap());
    let apps = parse(all.document("apis/apps/v1").unwrap());
    (all, core, apps)
}

#[test]
fn the_index_names_each_document_and_its_hash() {
    let (all, ..) = documents();
    let index = parse(all.index());
    let paths = index["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), ["api/v1", "apis/apps/v1"]);
    let hash = &all.document("api/v1").unwrap().hash;
    assert_eq!(paths["api/v1"]["serverRelativeURL"], format!("/openapi/v3/api/v1?hash={hash}"));
    assert_eq!(hash.len(), 64);
    assert!(all.document("apis/batch/v1").is_none());
}

/// What `kubectl create --validate=strict` looks for.
#[test]
fn each_kind_has_a_patch_with_field_validation() {
    let (_, core, apps) = documents();
    for (document, group, kind) in [(&core, "", "Service"), (&core, "", "Namespace"), (&apps, "apps", "Deployment")] {
        let wanted = json!({"group": group, "version": "v1", "kind": kind});
        let found = document["paths"].as_object().unwrap().values().any(|path| {
            let patch = &path["patch"];
            patch["x-kubernetes-group-version-kind"] == wanted
                && patch["parameters"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|p| p["name"] == "fieldValidation" && p["in"] == "query")
        });
        assert!(found, "{kind}");
    }
}

/// What `kubectl apply` makes its patch of.
#[test]
fn definitions_have_kubernetes_extensions() {
    let (_, core, apps) = documents();
    let schemas = &core["components"]["schemas"];
    let service = &schemas["io.k8s.api.core.v1.Service"];
    assert_eq!(service["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Service"}]));
    assert_eq!(service["required"], Value::Null);
    assert_eq!(
        service["properties"]["spec"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.ServiceSpec"}])
    );
    let ports = &schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
    for (key, expected) in [
        ("x-kubernetes-patch-strategy", json!("merge")),
        ("x-kubernetes-patch-merge-key", json!("port")),
        ("x-kubernetes-list-type", json!("map")),
        ("x-kubernetes-list-map-keys", json!(["port", "protocol"])),
        ("items", json!({"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"})),
    ] {
        assert_eq!(ports[key], expected, "{key}");
    }
    assert_eq!(schemas["io.k8s.api.core.v1.ServicePort"]["required"], json!(["port"]));
    assert_eq!(schemas["io.k8s.api.core.v1.LocalObjectReference"]["required"], Value::Null);
    let schemas = &apps["components"]["schemas"];
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]["x-kubernetes-patch-strategy"],
        "retainKeys"
    );
    let int_or_string = &schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!(int_or_string["oneOf"], json!([{"type": "integer"}, {"type": "string"}]));
    assert_eq!(int_or_string["format"], "int-or-string");
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentList"]["x-kubernetes-group-version-kind"][0]["kind"],
        "DeploymentList"
    );
}

/// What `kubectl explain` looks for.
#[test]
fn each_resource_has_its_paths() {
    let (_, core, apps) = documents();
    let methods = |document: &Value, path: &str| -> Vec<String> {
        let path = document["paths"][path].as_object().unwrap_or_else(|| panic!("no {path}"));
        path.keys().filter(|key| *key != "parameters").cloned().collect()
    };
    assert_eq!(methods(&core, "/api/v1/services"), ["get"]);
    assert_eq!(methods(&core, "/api/v1/namespaces/{namespace}/services"), ["delete", "get", "post"]);
    assert_eq!(methods(&core, "/api/v1/namespaces/{namespace}/services/{name}"), ["delete", "get", "patch", "put"]);
    assert_eq!(methods(&core, "/api/v1/namespaces"), ["get", "post"]);
    assert_eq!(methods(&core, "/api/v1/namespaces/{name}/finalize"), ["put"]);
    assert_eq!(methods(&core, "/api/v1/namespaces/{namespace}/pods/{name}/log"), ["get"]);
    assert_eq!(methods(&core, "/api/v1/namespaces/{namespace}/pods/{name}/binding"), ["post"]);
    let scale = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale";
    assert_eq!(methods(&apps, scale), ["get", "patch", "put"]);
    assert_eq!(apps["paths"][scale]["patch"]["x-kubernetes-group-version-kind"]["kind"], "Scale");
    assert_eq!(apps["paths"][scale]["patch"]["operationId"], "patchAppsV1NamespacedDeploymentScale");
}

#[test]
fn documents_are_closed_and_ids_unique() {
    let (all, core, apps) = documents();
    let v2 = parse(all.v2());
    for (document, prefix, definitions) in [
        (&core, "#/components/schemas/", &core["components"]["schemas"]),
        (&apps, "#/components/schemas/", &apps["components"]["schemas"]),
        (&v2, "#/definitions/", &v2["definitions"]),
    ] {
        let mut references = BTreeSet::new();
        let mut ids = Vec::new();
        walk(document, &mut |key, value| match (key, value.as_str()) {
            ("$ref", Some(text)) => drop(references.insert(text.to_owned())),
            ("operationId", Some(text)) => ids.push(text.to_owned()),
            ("x-kubernetes-int-or-string", _) => panic!("left over"),
            _ => {}
        });
        let names: BTreeSet<String> =
            definitions.as_object().unwrap().keys().map(|name| format!("{prefix}{name}")).collect();
        assert_eq!(references, names, "what is referred to and what is defined");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}

#[test]
fn version_2_is_written_in_its_own_way() {
    let (all, ..) = documents();
    let v2 = parse(all.v2());
    assert_eq!(v2["swagger"], "2.0");
    let patch = &v2["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"];
    assert_eq!(patch["consumes"].as_array().map(Vec::len), Some(4));
    assert_eq!(patch["responses"]["200"]["schema"], json!({"$ref": "#/definitions/io.k8s.api.core.v1.Service"}));
    assert_eq!(
        v2["definitions"]["io.k8s.api.core.v1.Service"]["properties"]["spec"]["$ref"],
        "#/definitions/io.k8s.api.core.v1.ServiceSpec"
    );
    assert_eq!(v2["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["type"], "string");
}

fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                visit(key, value);
                walk(value, visit);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

#[test]
fn every_served_kind_is_in_the_schema() {
    let all = OpenApi::new(crate::kinds::ALL, "v1.36.2");
    for kind in crate::kinds::ALL {
        let document = parse(all.document(&path_of(kind)).unwrap());
        let definition = &document["components"]["schemas"][kind.definition];
        assert_eq!(definition["x-kubernetes-group-version-kind"][0]["kind"], kind.kind, "{}", kind.definition);
    }
}

//! The operations on each resource, before they are written in one of the versions of OpenAPI.

mod connect;

use super::definitions::{BINDING, DELETE_OPTIONS, EVICTION, PATCH, SCALE, STATUS, TOKEN_REQUEST, list_of};
use crate::patch::PatchType;
use crate::resource::{Resource, Subresource};

/// A path and what can be done at it.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) path: String,
    /// Names in braces in the path.
    pub(super) names: Vec<&'static str>,
    pub(super) operations: Vec<Operation>,
}

/// One method at a path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// Unique among all operations.
    pub(super) id: String,
    /// Group, version, kind.
    pub(super) kind: (String, String, String),
    /// Query parameters and their types.
    pub(super) parameters: Vec<(&'static str, &'static str)>,
    /// Definition of the body.
    pub(super) body: Option<String>,
    pub(super) body_types: &'static [&'static str],
    pub(super) answer: Answer,
}

#[derive(Debug)]
pub(super) enum Answer {
    Object(String),
    Text,
}

type Parameters = &'static [(&'static str, &'static str)];

const OBJECT_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const READ: Parameters = &[("pretty", "string"), ("resourceVersion", "string")];
const LIST: Parameters = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("pretty", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: Parameters =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("pretty", "string")];
const DELETE: Parameters = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("pretty", "string"),
    ("propagationPolicy", "string"),
];
const SELECT: Parameters = &[("fieldSelector", "string"), ("labelSelector", "string")];
const LOG: Parameters = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];

/// All paths of `resource`.
pub(super) fn paths(resource: &Resource) -> Vec<Path> {
    let root = format!("/{}", super::path_of(resource));
    let plural = resource.plural;
    let (base, names) = if resource.namespaced {
        (format!("{root}/namespaces/{{namespace}}/{plural}"), vec!["namespace"])
    } else {
        (format!("{root}/{plural}"), Vec::new())
    };
    let mut paths = Vec::new();
    if resource.namespaced {
        let operations = of_verbs(resource, &[("list", "ForAllNamespaces")]);
        paths.push(Path { path: format!("{root}/{plural}"), names: Vec::new(), operations });
    }
    let operations = of_verbs(resource, &[("list", ""), ("create", ""), ("deletecollection", "")]);
    paths.push(Path { path: base.clone(), names: names.clone(), operations });
    let mut named = names;
    named.push("name");
    let operations = of_verbs(resource, &[("get", ""), ("update", ""), ("patch", ""), ("delete", "")]);
    paths.push(Path { path: format!("{base}/{{name}}"), names: named.clone(), operations });
    for subresource in resource.subresources {
        let facts = subresource.facts(resource);
        if subresource.connects() {
            paths.extend(connect::paths(resource, *subresource, &base, &named));
            continue;
        }
        let operations = facts.verbs.iter().map(|verb| of_subresource(resource, *subresource, verb)).collect();
        paths.push(Path { path: format!("{base}/{{name}}/{}", facts.name), names: named.clone(), operations });
    }
    paths.retain(|path| !path.operations.is_empty());
    paths
}

/// Operations for those of `verbs` that the resource has, with a suffix for their ids.
fn of_verbs(resource: &Resource, verbs: &[(&'static str, &str)]) -> Vec<Operation> {
    let has = |verb: &str| resource.verbs.contains(&verb);
    let own = |suffix: &str| (own_kind(resource), resource.definition.to_owned(), suffix.to_owned());
    verbs.iter().filter(|(verb, _)| has(verb)).map(|(verb, suffix)| operation(resource, verb, own(suffix))).collect()
}

fn of_subresource(resource: &Resource, subresource: Subresource, verb: &'static str) -> Operation {
    let (definition, suffix) = match subresource {
        Subresource::Status => (resource.definition, "Status"),
        Subresource::Scale => (SCALE, "Scale"),
        Subresource::Log => (resource.definition, "Log"),
        Subresource::Binding => (BINDING, "Binding"),
        Subresource::Eviction => (EVICTION, "Eviction"),
        Subresource::Finalize => (resource.definition, "Finalize"),
        Subresource::Token => (TOKEN_REQUEST, "Token"),
        Subresource::Proxy | Subresource::Exec | Subresource::Attach | Subresource::PortForward => {
            unreachable!("what connects has operations of its own")
        }
    };
    let kind = subresource.facts(resource).kind.map(|(g, v, k)| (g.to_owned(), v.to_owned(), k.to_owned()));
    let kind = kind.unwrap_or_else(|| own_kind(resource));
    let mut operation = operation(resource, verb, (kind, definition.to_owned(), suffix.to_owned()));
    if subresource == Subresource::Log {
        operation.parameters = LOG.to_vec();
        operation.answer = Answer::Text;
    }
    operation
}

/// `of` has the kind, the definition of the object and the suffix of the id.
fn operation(resource: &Resource, verb: &'static str, of: ((String, String, String), String, String)) -> Operation {
    let (kind, definition, suffix) = of;
    let (method, action, name) = match verb {
        "list" => ("get", "list", "list"),
        "create" => ("post", "post", "create"),
        "update" => ("put", "put", "replace"),
        "patch" => ("patch", "patch", "patch"),
        "delete" => ("delete", "delete", "delete"),
        "deletecollection" => ("delete", "deletecollection", "deleteCollection"),
        _ => ("get", "get", "read"),
    };
    let parameters: Vec<(&str, &str)> = match verb {
        "list" => LIST.to_vec(),
        "create" | "update" => WRITE.to_vec(),
        "patch" => [WRITE, &[("force", "boolean")]].concat(),
        "delete" => DELETE.to_vec(),
        "deletecollection" => [DELETE, SELECT].concat(),
        _ => READ.to_vec(),
    };
    let (body, body_types) = match verb {
        "create" | "update" => (Some(definition.clone()), OBJECT_TYPES),
        "patch" => (Some(PATCH.to_owned()), &PatchType::MEDIA_TYPES[..]),
        "delete" | "deletecollection" => (Some(DELETE_OPTIONS.to_owned()), OBJECT_TYPES),
        _ => (None, OBJECT_TYPES),
    };
    let answer = match verb {
        "list" => list_of(&definition),
        "delete" if resource.delete_returns_object => definition,
        "delete" | "deletecollection" => STATUS.to_owned(),
        _ => definition,
    };
    Operation {
        method,
        action,
        id: format!("{name}{}{suffix}", id_of(resource)),
        kind,
        parameters,
        body,
        body_types,
        answer: Answer::Object(answer),
    }
}

fn own_kind(resource: &Resource) -> (String, String, String) {
    (resource.group.to_owned(), resource.version.to_owned(), resource.kind.to_owned())
}

/// `CoreV1NamespacedService`, `AppsV1NamespacedDeployment`, `CoreV1Node`.
fn id_of(resource: &Resource) -> String {
    let group = resource.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    format!("{}{}{scope}{}", capital(group), capital(resource.version), resource.kind)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

//! The operations of subresources that connect: `proxy`, `exec`, `attach`, `portforward`.
//!
//! They take no object and answer none; what passes through is between the client and whom it reaches.

use super::{Answer, Operation, Parameters, Path, capital, id_of};
use crate::resource::{Resource, Subresource};

const EXEC: Parameters = &[
    ("command", "string"),
    ("container", "string"),
    ("stderr", "boolean"),
    ("stdin", "boolean"),
    ("stdout", "boolean"),
    ("tty", "boolean"),
];
const PORT_FORWARD: Parameters = &[("ports", "integer")];
const PROXY: Parameters = &[("path", "string")];

/// The paths of `subresource`, which lies below `base` and a name.
pub(super) fn paths(
    resource: &Resource,
    subresource: Subresource,
    base: &str,
    names: &[&'static str],
) -> impl Iterator<Item = Path> {
    let (methods, parameters): (&[_], _) = match subresource {
        Subresource::Proxy => (&["get", "put", "post", "delete", "options", "head", "patch"], PROXY),
        Subresource::PortForward => (&["get", "post"], PORT_FORWARD),
        Subresource::Attach => (&["get", "post"], &EXEC[1..]),
        _ => (&["get", "post"], EXEC),
    };
    let facts = subresource.facts(resource);
    let (group, version, kind) = facts.kind.unwrap_or((resource.group, resource.version, resource.kind));
    let operations = |suffix: &str, parameters: Parameters| {
        let operation = |method: &&'static str| Operation {
            method,
            action: "connect",
            id: connect_id(resource, method, facts.name, suffix),
            kind: (group.to_owned(), version.to_owned(), kind.to_owned()),
            parameters: parameters.to_vec(),
            body: None,
            body_types: &[],
            answer: Answer::Text,
        };
        methods.iter().map(operation).collect()
    };
    let path = format!("{base}/{{name}}/{}", facts.name);
    let mut paths = Vec::new();
    if subresource == Subresource::Proxy {
        let names = [names, &["path"]].concat();
        paths.push(Path { path: format!("{path}/{{path}}"), names, operations: operations("WithPath", &[]) });
    }
    paths.push(Path { path, names: names.to_vec(), operations: operations("", parameters) });
    paths.into_iter()
}

/// `connectCoreV1GetNamespacedPodExec`.
fn connect_id(resource: &Resource, method: &str, name: &str, suffix: &str) -> String {
    let id = id_of(resource);
    let place = id.find("Namespaced").unwrap_or(id.len() - resource.kind.len());
    let (version, object) = id.split_at(place);
    format!("connect{version}{}{object}{}{suffix}", capital(method), capital(name))
}

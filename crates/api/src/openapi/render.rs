//! Operations as OpenAPI v2 and v3 write them.

use serde_json::{Map, Value, json};

use super::Form;
use super::operations::{self, Answer, Operation, Path};
use crate::resource::Resource;

/// The `paths` object of a document about `resources`.
pub(super) fn paths(resources: &[&Resource], form: Form) -> Value {
    let paths = resources.iter().flat_map(|resource| operations::paths(resource));
    paths.map(|path| (path.path.clone(), render_path(&path, form))).collect::<Map<_, _>>().into()
}

fn render_path(path: &Path, form: Form) -> Value {
    let mut rendered = Map::new();
    for operation in &path.operations {
        rendered.insert(operation.method.to_owned(), render_operation(operation, form));
    }
    if !path.names.is_empty() {
        let names = path.names.iter().map(|name| {
            let mut parameter = parameter(name, "path", "string", form);
            parameter["required"] = true.into();
            parameter
        });
        rendered.insert("parameters".to_owned(), names.collect());
    }
    Value::Object(rendered)
}

fn render_operation(operation: &Operation, form: Form) -> Value {
    let (group, version, kind) = &operation.kind;
    let mut parameters: Vec<Value> =
        operation.parameters.iter().map(|(name, ty)| parameter(name, "query", ty, form)).collect();
    let mut rendered = json!({
        "operationId": operation.id,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    });
    let (answer_type, answer) = match &operation.answer {
        Answer::Object(definition) => ("application/json", form.reference(definition)),
        Answer::Text => ("text/plain", json!({"type": "string"})),
    };
    match form {
        Form::V2 => {
            if let Some(body) = &operation.body {
                let required = operation.method != "delete";
                let schema = form.reference(body);
                parameters.push(json!({"in": "body", "name": "body", "required": required, "schema": schema}));
                rendered["consumes"] = json!(operation.body_types);
            }
            rendered["produces"] = json!([answer_type]);
            rendered["responses"] = json!({"200": {"description": "OK", "schema": answer}});
        }
        Form::V3 => {
            if let Some(body) = &operation.body {
                let content =
                    operation.body_types.iter().map(|ty| ((*ty).to_owned(), json!({"schema": form.reference(body)})));
                let content: Map<String, Value> = content.collect();
                rendered["requestBody"] = json!({"content": content});
            }
            let content = json!({answer_type: {"schema": answer}});
            rendered["responses"] = json!({"200": {"description": "OK", "content": content}});
        }
    }
    rendered["parameters"] = Value::Array(parameters);
    rendered
}

fn parameter(name: &str, place: &str, ty: &str, form: Form) -> Value {
    match form {
        Form::V2 => json!({"name": name, "in": place, "type": ty, "uniqueItems": true}),
        Form::V3 => json!({"name": name, "in": place, "schema": {"type": ty, "uniqueItems": true}}),
    }
}

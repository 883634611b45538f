//! `stead explain TYPE[.FIELD…]`: what the server's OpenAPI says about a kind or one of its fields, laid out as kubectl does.

mod schema;
mod wrap;

use clap::Args;
use serde_json::Value;

use self::schema::{Node, Schemas};
use crate::{
    connection::Connection,
    error::VerbError,
    kinds::{Kind, Kinds},
};

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A type, or a field of it: `svc`, `deploy.spec.strategy`
    #[arg(value_name = "TYPE[.FIELD…]")]
    path: String,
    /// The fields of fields too, without their descriptions
    #[arg(long)]
    recursive: bool,
    /// The version that is meant, as `events.k8s.io/v1` (default: the one that the server prefers)
    #[arg(long, value_name = "GROUP/VERSION")]
    api_version: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// How much is told of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Described,
    Tree,
}

pub(crate) async fn run(args: &ExplainArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let (word, fields) = args.path.split_once('.').unwrap_or((&args.path, ""));
    let kind = match &args.api_version {
        None => kinds.find(word)?,
        Some(version) => kinds.find_in(word, version)?,
    };
    let root = if kind.group.is_empty() { "api" } else { "apis" };
    let document = api.get(&format!("/openapi/v3/{root}/{}", kind.api_version())).await?;
    let fields: Vec<&str> = fields.split('.').filter(|field| !field.is_empty()).collect();
    let form = if args.recursive { Form::Tree } else { Form::Described };
    print!("{}", render(&document, kind, &fields, form)?);
    Ok(())
}

fn render(document: &Value, kind: &Kind, fields: &[&str], form: Form) -> Result<String, VerbError> {
    let schemas = Schemas::of(document);
    let whole = schemas.of_kind(kind).ok_or_else(|| VerbError::NoSchema(kind.full_name()))?;
    let mut out = String::new();
    if !kind.group.is_empty() {
        out += &format!("GROUP:      {}\n", kind.group);
    }
    out += &format!("KIND:       {}\nVERSION:    {}\n\n", kind.kind, kind.version);
    let mut node = whole;
    for field in fields {
        node = node.field(field).ok_or_else(|| {
            let last = fields.last().copied().unwrap_or_default();
            VerbError::Remote(format!("field {last:?} does not exist"))
        })?;
    }
    if let Some(last) = fields.last() {
        out += &format!("FIELD: {last} <{}>\n", node.type_name());
        if let Some(values) = node.values() {
            out += &format!("ENUM:\n    {}", values.join("\n    "));
        }
        out += "\n\n";
    }
    let description = node.descriptions().iter().map(|text| format!("{text}\n")).collect::<String>();
    let description = if description.is_empty() { "<empty>" } else { &description };
    out += &format!("DESCRIPTION:\n{}\n", wrap::indented(description, 76, 4));
    let list = fields_of(&node, 1, form, &mut Vec::new());
    if !list.is_empty() {
        out += "FIELDS:\n";
        out += &list;
    }
    out.push('\n');
    Ok(out)
}

/// The fields below `node`. `above` holds the references on the way here: where one comes again, the tree ends.
fn fields_of<'a>(node: &Node<'a>, level: usize, form: Form, above: &mut Vec<&'a str>) -> String {
    let depth = above.len();
    let Some(node) = node.resolve_into(above) else { return String::new() };
    let mut out = String::new();
    for (name, field) in node.properties() {
        out += &line(&node, name, &field, level);
        match form {
            Form::Described => {
                let description = field.description().unwrap_or("<no description>");
                out += &wrap::indented(description, 78 - 2 * level, 2 * level + 2);
                out += "\n\n";
            }
            Form::Tree => out += &fields_of(&field, level + 1, form, above),
        }
    }
    for part in node.parts() {
        out += &fields_of(&part, level, form, above);
    }
    above.truncate(depth);
    out
}

/// How many of a field's values are listed with it.
const FEW: usize = 4;

fn line(parent: &Node<'_>, name: &str, field: &Node<'_>, level: usize) -> String {
    let indent = " ".repeat(2 * level);
    let required = if parent.requires(name) { " -required-" } else { "" };
    let values = field.values().map(|values| {
        let more = if values.len() > FEW { ", ...." } else { "" };
        format!("\n{indent}enum: {}{more}", values[..values.len().min(FEW)].join(", "))
    });
    format!("{indent}{name}\t<{}>{required}{}\n", field.type_name(), values.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::tests::kinds;

    fn document() -> Value {
        json!({"components": {"schemas": {
            "core.v1.Service": {
                "description": "A Service.", "type": "object",
                "x-kubernetes-group-version-kind": [{"group": "", "kind": "Service", "version": "v1"}],
                "properties": {"spec": {"description": "Its spec.", "allOf": [{"$ref": "#/components/schemas/core.v1.Spec"}]}},
            },
            "core.v1.Spec": {
                "description": "What is wanted.", "type": "object", "required": ["ports"],
                "properties": {
                    "ports": {"description": "Its ports.", "type": "array", "items": {"$ref": "#/components/schemas/core.v1.Port"}},
                    "selector": {"type": "object", "additionalProperties": {"type": "string"}},
                    "type": {"description": "How.", "type": "string", "enum": ["", "A", "B", "C", "D"]},
                    "again": {"allOf": [{"$ref": "#/components/schemas/core.v1.Spec"}]},
                },
            },
            "core.v1.Port": {
                "description": "A port.", "type": "object",
                "properties": {"number": {"type": "integer"}, "at": {"allOf": [{"$ref": "#/components/schemas/v1.Time"}]}},
            },
            "v1.Time": {"type": "string", "format": "date-time"},
        }}})
    }

    fn check(fields: &str, form: Form, expect: &str) {
        let kinds = kinds();
        let fields: Vec<&str> = fields.split('.').filter(|field| !field.is_empty()).collect();
        let found = render(&document(), kinds.find("svc").unwrap(), &fields, form);
        assert_eq!(found.unwrap_or_else(|error| error.to_string()), expect, "{fields:?}");
    }

    #[test]
    fn fields_are_described() {
        let head = "KIND:       Service\nVERSION:    v1\n\n";
        let check = |fields: &str, expect: &str| check(fields, Form::Described, &format!("{head}{expect}"));
        check("", "DESCRIPTION:\n    A Service.\n    \nFIELDS:\n  spec\t<Spec>\n    Its spec.\n\n\n");
        check(
            "spec.ports",
            "FIELD: ports <[]Port>\n\n\nDESCRIPTION:\n    Its ports.\n    A port.\n    \nFIELDS:\n  \
             at\t<string>\n    <no description>\n\n  number\t<integer>\n    <no description>\n\n\n",
        );
        check("spec.selector", "FIELD: selector <map[string]string>\n\n\nDESCRIPTION:\n    <empty>\n\n");
        check(
            "spec.type",
            "FIELD: type <string>\nENUM:\n    \"\"\n    A\n    B\n    C\n    D\n\nDESCRIPTION:\n    How.\n    \n\n",
        );
    }

    #[test]
    fn a_tree_ends_where_it_would_begin_again() {
        check(
            "spec",
            Form::Tree,
            "KIND:       Service\nVERSION:    v1\n\nFIELD: spec <Spec>\n\n\nDESCRIPTION:\n    Its spec.\n    What is wanted.\n    \n\
             FIELDS:\n  again\t<Spec>\n  ports\t<[]Port> -required-\n    at\t<string>\n    number\t<integer>\n  \
             selector\t<map[string]string>\n  type\t<string>\n  enum: \"\", A, B, C, ....\n\n",
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        check("spec.nope", Form::Described, "error: field \"nope\" does not exist");
        check("spec.selector.x.y", Form::Described, "error: field \"y\" does not exist");
    }
}

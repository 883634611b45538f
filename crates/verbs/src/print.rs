//! How objects leave a verb: the words of `-o`, and one module for each form that needs more than a line.

pub(crate) mod columns;
pub(crate) mod json_path;
pub(crate) mod table;
mod yaml;

use std::{io::Write, str::FromStr};

use serde::Serialize as _;
use serde_json::{Value, json};

pub(crate) use self::yaml::render as to_yaml;
use self::{columns::CustomColumns, json_path::Template};
use crate::{error::VerbError, kinds::Kind};

/// The value of `-o`.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Wide,
    Json,
    Yaml,
    Name,
    JsonPath(Template),
    JsonPathAsJson(Template),
    Columns(CustomColumns),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, rest) = text.split_once('=').unwrap_or((text, ""));
        match form {
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            "jsonpath" if !rest.is_empty() => {
                Template::parse(rest).map(Self::JsonPath).map_err(|error| error.to_string())
            }
            "jsonpath-as-json" if !rest.is_empty() => {
                Template::parse(rest).map(Self::JsonPathAsJson).map_err(|error| error.to_string())
            }
            "custom-columns" if !rest.is_empty() => {
                CustomColumns::parse(rest).map(Self::Columns).map_err(|error| error.to_string())
            }
            _ => Err("allowed formats are: json, yaml, name, wide, jsonpath=TEMPLATE, jsonpath-as-json=TEMPLATE, custom-columns=HEADER:PATH,…"
                .to_owned()),
        }
    }
}

/// Prints whole objects in one of the forms that need them; `objects` are already without what is not to be shown.
pub(crate) fn objects(out: &mut impl Write, output: &Output, found: &Found<'_>) -> Result<(), VerbError> {
    match output {
        Output::Json => writeln!(out, "{}", to_json(&found.whole())?)?,
        Output::Yaml => write!(out, "{}", yaml::render(&found.whole()))?,
        Output::Name => {
            for (kind, object) in found.objects {
                writeln!(out, "{}/{}", kind.full_name(), stead_api::meta::name(object))?;
            }
        }
        Output::JsonPath(template) => write!(out, "{}", template.render(&found.whole())?)?,
        Output::JsonPathAsJson(template) => {
            for values in template.values(&found.whole())? {
                writeln!(out, "{}", to_json(&values.into())?)?;
            }
        }
        Output::Columns(columns) => columns.print(out, found.objects.iter().map(|(_, object)| object))?,
        Output::Wide => {}
    }
    Ok(())
}

/// What was found, and whether it was asked for as one object or as a list.
pub(crate) struct Found<'a> {
    pub(crate) objects: &'a [(Kind, Value)],
    pub(crate) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    One,
    List,
}

impl Found<'_> {
    fn whole(&self) -> Value {
        match (self.form, self.objects) {
            (Form::One, [(_, object)]) => object.clone(),
            _ => {
                let items: Vec<&Value> = self.objects.iter().map(|(_, object)| object).collect();
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
            }
        }
    }
}

/// JSON with four spaces of indentation, as kubectl writes it.
pub(crate) fn to_json(value: &Value) -> Result<String, VerbError> {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
    value.serialize(&mut serializer).map_err(std::io::Error::from)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The object without what a person seldom wants to see.
pub(crate) fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

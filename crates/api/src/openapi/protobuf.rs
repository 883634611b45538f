//! A v2 document as a message of Protocol Buffers: `openapi.v2.Document` of gnostic's `OpenAPIv2.proto`, whose numbers are here.
//!
//! `kubectl` reads v2 in this form only: before 1.27 to validate what it creates and to make three-way patches, later still for a
//! `List`. Extensions stand in it as YAML; JSON is YAML, so they are written as they are. What our documents do not contain
//! has no place here and would be left out: the test that reads the message back fails then.

use serde_json::{Map, Value};

use crate::wire::Message;

/// The whole document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    for (key, value) in entries(document) {
        match key.as_str() {
            "swagger" => text(&mut out, 1, value),
            "info" => out.message(2, |out| info(out, value)),
            "paths" => out.message(8, |out| named(out, 2, value, path_item)),
            "definitions" => out.message(9, |out| named(out, 1, value, schema)),
            _ => extension(&mut out, 16, key, value),
        }
    }
    out.into_bytes()
}

fn info(out: &mut Message, info: &Value) {
    for (key, value) in entries(info) {
        match key.as_str() {
            "title" => text(out, 1, value),
            "version" => text(out, 2, value),
            "description" => text(out, 3, value),
            _ => extension(out, 7, key, value),
        }
    }
}

fn path_item(out: &mut Message, item: &Value) {
    for (key, value) in entries(item) {
        match key.as_str() {
            "get" => out.message(2, |out| operation(out, value)),
            "put" => out.message(3, |out| operation(out, value)),
            "post" => out.message(4, |out| operation(out, value)),
            "delete" => out.message(5, |out| operation(out, value)),
            "options" => out.message(6, |out| operation(out, value)),
            "head" => out.message(7, |out| operation(out, value)),
            "patch" => out.message(8, |out| operation(out, value)),
            "parameters" => each(out, 9, value, parameter),
            _ => extension(out, 10, key, value),
        }
    }
}

fn operation(out: &mut Message, operation: &Value) {
    for (key, value) in entries(operation) {
        match key.as_str() {
            "description" => text(out, 3, value),
            "operationId" => text(out, 5, value),
            "produces" => texts(out, 6, value),
            "consumes" => texts(out, 7, value),
            "parameters" => each(out, 8, value, parameter),
            "responses" => out.message(9, |out| named(out, 1, value, response)),
            _ => extension(out, 13, key, value),
        }
    }
}

/// A `ParametersItem`, a choice of choices: a parameter, not a reference; of the body or not; and by its place.
fn parameter(out: &mut Message, parameter: &Value) {
    out.message(1, |out| match parameter["in"].as_str() {
        Some("body") => out.message(1, |out| body_parameter(out, parameter)),
        Some("query") => out.message(2, |out| out.message(3, |out| plain_parameter(out, parameter, 6))),
        Some("path") => out.message(2, |out| out.message(4, |out| plain_parameter(out, parameter, 5))),
        _ => {}
    });
}

fn body_parameter(out: &mut Message, parameter: &Value) {
    for (key, value) in entries(parameter) {
        match key.as_str() {
            "description" => text(out, 1, value),
            "name" => text(out, 2, value),
            "in" => text(out, 3, value),
            "required" => flag(out, 4, value),
            "schema" => out.message(5, |out| schema(out, value)),
            _ => extension(out, 6, key, value),
        }
    }
}

/// A parameter of the query or of the path. The messages differ in that the query's has one field more before its `type`.
fn plain_parameter(out: &mut Message, parameter: &Value, type_field: u32) {
    for (key, value) in entries(parameter) {
        match key.as_str() {
            "required" => flag(out, 1, value),
            "in" => text(out, 2, value),
            "description" => text(out, 3, value),
            "name" => text(out, 4, value),
            "type" => text(out, type_field, value),
            "uniqueItems" => flag(out, type_field + 14, value),
            _ => extension(out, type_field + 17, key, value),
        }
    }
}

/// A `ResponseValue`: a response, not a reference; its schema is a choice too: no file.
fn response(out: &mut Message, response: &Value) {
    out.message(1, |out| {
        for (key, value) in entries(response) {
            match key.as_str() {
                "description" => text(out, 1, value),
                "schema" => out.message(2, |out| out.message(1, |out| schema(out, value))),
                _ => extension(out, 5, key, value),
            }
        }
    });
}

fn schema(out: &mut Message, value: &Value) {
    for (key, value) in entries(value) {
        match key.as_str() {
            "$ref" => text(out, 1, value),
            "format" => text(out, 2, value),
            "description" => text(out, 4, value),
            "required" => texts(out, 19, value),
            "additionalProperties" => out.message(21, |out| out.message(1, |out| schema(out, value))),
            "type" => out.message(22, |out| text(out, 1, value)),
            "items" => out.message(23, |out| out.message(1, |out| schema(out, value))),
            "properties" => out.message(25, |out| named(out, 1, value, schema)),
            _ => extension(out, 31, key, value),
        }
    }
}

/// A `NamedAny`, if the key is an extension's.
fn extension(out: &mut Message, field: u32, key: &str, value: &Value) {
    if key.starts_with("x-") {
        out.message(field, |out| {
            out.text(1, key);
            out.message(2, |out| out.text(2, &value.to_string()));
        });
    }
}

/// A map as a repeated field of names and values.
fn named(out: &mut Message, field: u32, map: &Value, fill: fn(&mut Message, &Value)) {
    for (name, value) in entries(map) {
        out.message(field, |out| {
            out.text(1, name);
            out.message(2, |out| fill(out, value));
        });
    }
}

fn each(out: &mut Message, field: u32, list: &Value, fill: fn(&mut Message, &Value)) {
    for value in list.as_array().into_iter().flatten() {
        out.message(field, |out| fill(out, value));
    }
}

fn texts(out: &mut Message, field: u32, list: &Value) {
    for value in list.as_array().into_iter().flatten() {
        text(out, field, value);
    }
}

fn text(out: &mut Message, field: u32, value: &Value) {
    if let Some(value) = value.as_str() {
        out.text(field, value);
    }
}

fn flag(out: &mut Message, field: u32, value: &Value) {
    if let Some(value) = value.as_bool() {
        out.flag(field, value);
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

#[cfg(test)]
mod tests;

//! Small messages byte for byte, and the whole document read back by a reader that has the numbers from the other side.

use serde_json::json;

use super::*;
use crate::{kinds, openapi};

#[test]
fn small_documents_byte_for_byte() {
    let check = |document: Value, expected: &[u8]| assert_eq!(encode(&document), expected, "{document}");
    check(json!({}), b"");
    check(json!({"swagger": "2.0"}), b"\x0a\x032.0");
    check(json!({"info": {"title": "T", "version": "v"}}), b"\x12\x06\x0a\x01T\x12\x01v");
    check(
        json!({"definitions": {"D": {"type": "string"}}}),
        b"\x4a\x12\x0a\x10\x0a\x01D\x12\x0b\xb2\x01\x08\x0a\x06string",
    );
    check(
        json!({"definitions": {"D": {"x-a": ["b"]}}}),
        b"\x4a\x18\x0a\x16\x0a\x01D\x12\x11\xfa\x01\x0e\x0a\x03x-a\x12\x07\x12\x05[\"b\"]",
    );
    let long = "l".repeat(300);
    check(json!({"swagger": long}), &[b"\x0a\xac\x02", long.as_bytes()].concat());
}

#[test]
fn the_whole_document_can_be_read_back() {
    let resources = kinds::ALL;
    let mut written = openapi::v2(resources, "v1.36.2");
    let mut found = read(&openapi::v2_protobuf(resources, "v1.36.2").text, &DOCUMENT);
    forget_defaults(&mut written);
    forget_defaults(&mut found);
    for part in ["swagger", "info", "paths", "definitions"] {
        let keys = |document: &Value| entries(&document[part]).map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&written), "{part}");
        for key in keys(&written) {
            assert_eq!(found[part][&key], written[part][&key], "{part} {key}");
        }
    }
    assert_eq!(found, written);
}

/// A message does not tell a field that is false or has no values from one that is absent.
fn forget_defaults(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| *value != json!(false) && *value != json!([]));
            map.values_mut().for_each(forget_defaults);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_defaults),
        _ => {}
    }
}

/// What a field of a message is in the document.
#[derive(Clone, Copy)]
enum Is {
    Text(&'static str),
    Flag(&'static str),
    /// Repeated.
    Texts(&'static str),
    One(&'static str, Form),
    /// Repeated.
    Each(&'static str, Form),
    /// A message whose field of that number is repeated: names and values.
    Named(&'static str, u64, Form),
    /// The first text of a message.
    Within(&'static str),
    /// A choice, which the document does not show.
    Choice(Form),
    /// A name, and YAML in a message.
    Extension,
}

type Form = &'static Fields;

/// Numbers and what they are.
struct Fields(&'static [(u64, Is)]);

static DOCUMENT: Fields = Fields(&[
    (1, Is::Text("swagger")),
    (2, Is::One("info", &Fields(&[(1, Is::Text("title")), (2, Is::Text("version"))]))),
    (8, Is::Named("paths", 2, &PATH_ITEM)),
    (9, Is::Named("definitions", 1, &SCHEMA)),
]);
static PATH_ITEM: Fields = Fields(&[
    (2, Is::One("get", &OPERATION)),
    (3, Is::One("put", &OPERATION)),
    (4, Is::One("post", &OPERATION)),
    (5, Is::One("delete", &OPERATION)),
    (6, Is::One("options", &OPERATION)),
    (7, Is::One("head", &OPERATION)),
    (8, Is::One("patch", &OPERATION)),
    (9, Is::Each("parameters", &PARAMETER)),
]);
static OPERATION: Fields = Fields(&[
    (5, Is::Text("operationId")),
    (6, Is::Texts("produces")),
    (7, Is::Texts("consumes")),
    (8, Is::Each("parameters", &PARAMETER)),
    (9, Is::Named("responses", 1, &Fields(&[(1, Is::Choice(&RESPONSE))]))),
    (13, Is::Extension),
]);
static PARAMETER: Fields = Fields(&[(1, Is::Choice(&Fields(&[(1, Is::Choice(&BODY)), (2, Is::Choice(&NOT_BODY))])))]);
static BODY: Fields =
    Fields(&[(2, Is::Text("name")), (3, Is::Text("in")), (4, Is::Flag("required")), (5, Is::One("schema", &SCHEMA))]);
static NOT_BODY: Fields = Fields(&[(3, Is::Choice(&QUERY)), (4, Is::Choice(&IN_PATH))]);
static QUERY: Fields = Fields(&[
    (1, Is::Flag("required")),
    (2, Is::Text("in")),
    (4, Is::Text("name")),
    (6, Is::Text("type")),
    (20, Is::Flag("uniqueItems")),
]);
static IN_PATH: Fields = Fields(&[
    (1, Is::Flag("required")),
    (2, Is::Text("in")),
    (4, Is::Text("name")),
    (5, Is::Text("type")),
    (19, Is::Flag("uniqueItems")),
]);
static RESPONSE: Fields = Fields(&[(1, Is::Text("description")), (2, Is::One("schema", &A_SCHEMA))]);
static A_SCHEMA: Fields = Fields(&[(1, Is::Choice(&SCHEMA))]);
static SCHEMA: Fields = Fields(&[
    (1, Is::Text("$ref")),
    (2, Is::Text("format")),
    (4, Is::Text("description")),
    (19, Is::Texts("required")),
    (21, Is::One("additionalProperties", &A_SCHEMA)),
    (22, Is::Within("type")),
    (23, Is::One("items", &A_SCHEMA)),
    (25, Is::Named("properties", 1, &SCHEMA)),
    (31, Is::Extension),
]);

fn read(message: &[u8], form: Form) -> Value {
    let mut object = json!({});
    for (number, value) in fields(message) {
        let known = form.0.iter().find(|(known, _)| *known == number);
        let (_, is) = known.unwrap_or_else(|| panic!("unknown field {number}"));
        match (*is, value) {
            (Is::Flag(key), Field::Number(value)) => object[key] = json!(value != 0),
            (is, Field::Bytes(value)) => read_field(&mut object, is, value),
            _ => panic!("field {number} is of another type"),
        }
    }
    object
}

fn read_field(object: &mut Value, is: Is, value: &[u8]) {
    let text = |bytes: &[u8]| Value::from(std::str::from_utf8(bytes).unwrap());
    match is {
        Is::Text(key) => object[key] = text(value),
        Is::Texts(key) => push(&mut object[key], text(value)),
        Is::One(key, form) => object[key] = read(value, form),
        Is::Each(key, form) => push(&mut object[key], read(value, form)),
        Is::Named(key, number, form) => {
            object[key] = json!({});
            for (found, pair) in fields(value) {
                assert_eq!(found, number, "{key}");
                let [(1, name), (2, value)] = &fields(pair.bytes())[..] else { panic!("{key}: no pair") };
                object[key][text(name.bytes()).as_str().unwrap()] = read(value.bytes(), form);
            }
        }
        Is::Within(key) => {
            let [(1, inner)] = &fields(value)[..] else { panic!("{key}: no single text") };
            object[key] = text(inner.bytes());
        }
        Is::Choice(form) => object.as_object_mut().unwrap().extend(entries(&read(value, form)).map(owned)),
        Is::Extension => {
            let [(1, name), (2, any)] = &fields(value)[..] else { panic!("no pair") };
            let [(2, yaml)] = &fields(any.bytes())[..] else { panic!("no YAML") };
            object[text(name.bytes()).as_str().unwrap()] = serde_json::from_slice(yaml.bytes()).unwrap();
        }
        Is::Flag(key) => panic!("{key} is no flag"),
    }
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn push(list: &mut Value, value: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().unwrap().push(value);
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("{number} instead of bytes"),
        }
    }
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        let field = match tag & 7 {
            0 => Field::Number(value),
            2 => Field::Bytes(message.split_off(..usize::try_from(value).unwrap()).unwrap()),
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = *message.split_off_first().unwrap();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

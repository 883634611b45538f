//! OpenAPI documents of what the API server serves: v3, one for each group and version behind an index, and v2 in one, which
//! older clients read as a message of Protocol Buffers.
//!
//! `kubectl` reads them to explain fields, to find out whether the server validates fields, and to make three-way patches.
//! Everything is made of the list of resources and the [`Schema`](crate::schema::Schema), once; answering, compressing and
//! caching are the API server's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::resource::Resource;

mod definitions;
mod operations;
mod protobuf;
mod render;

/// All documents, as they are sent.
#[derive(Debug)]
pub struct OpenApi {
    index: Document,
    /// By path below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
    documents: BTreeMap<String, Document>,
    v2: Document,
}

/// One document.
#[derive(Debug)]
pub struct Document {
    /// JSON, or the message that [`v2_protobuf`] makes.
    pub text: Vec<u8>,
    /// Of the text, for `ETag` and for the `hash` parameter of its address.
    pub hash: String,
}

/// The two versions of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    V2,
    V3,
}

impl OpenApi {
    /// Takes some milliseconds. `version` is the server's, as `/version` tells it.
    pub fn new(resources: &[&Resource], version: &str) -> Self {
        let mut documents = BTreeMap::new();
        let mut addresses = Map::new();
        for first in resources {
            let path = path_of(first);
            if documents.contains_key(&path) {
                continue;
            }
            let same = |r: &&&Resource| r.group == first.group && r.version == first.version;
            let served: Vec<&Resource> = resources.iter().filter(same).copied().collect();
            let document = Document::new(&v3(&served, version));
            let address = format!("/openapi/v3/{path}?hash={}", document.hash);
            addresses.insert(path.clone(), json!({"serverRelativeURL": address}));
            documents.insert(path, document);
        }
        Self {
            index: Document::new(&json!({"paths": addresses})),
            documents,
            v2: Document::new(&v2(resources, version)),
        }
    }

    /// `/openapi/v3`.
    pub fn index(&self) -> &Document {
        &self.index
    }

    /// `/openapi/v3/PATH`, such as `api/v1` or `apis/apps/v1`.
    pub fn document(&self, path: &str) -> Option<&Document> {
        self.documents.get(path)
    }

    /// `/openapi/v2`.
    pub fn v2(&self) -> &Document {
        &self.v2
    }
}

/// `/openapi/v2` for a client that reads `application/com.github.proto-openapi.spec.v2.v1.0+protobuf`: what
/// [`OpenApi::v2`] says of the same resources and version. Takes some milliseconds, which most clients never ask for.
pub fn v2_protobuf(resources: &[&Resource], version: &str) -> Document {
    Document::of(protobuf::encode(&v2(resources, version)))
}

impl Document {
    fn new(value: &Value) -> Self {
        Self::of(value.to_string().into_bytes())
    }

    fn of(text: Vec<u8>) -> Self {
        let mut hash = String::new();
        for byte in Sha256::digest(&text) {
            write!(hash, "{byte:02X}").expect("writing to a string cannot fail");
        }
        Self { text, hash }
    }
}

/// Where a resource's version has its root, without the first slash.
fn path_of(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}/{}", resource.group, resource.version)
    }
}

fn v3(resources: &[&Resource], version: &str) -> Value {
    let paths = render::paths(resources, Form::V3);
    let schemas = definitions::reachable(resources, &paths, Form::V3);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn v2(resources: &[&Resource], version: &str) -> Value {
    let paths = render::paths(resources, Form::V2);
    let definitions = definitions::reachable(resources, &paths, Form::V2);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": definitions,
    })
}

impl Form {
    fn reference(self, definition: &str) -> Value {
        json!({"$ref": format!("{}{definition}", self.prefix())})
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }
}

#[cfg(test)]
mod tests;

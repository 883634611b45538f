//! In which form a client wants objects: whole, as rows of a Table, or their metadata alone; and how that is negotiated.

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use stead_api::{
    kinds, meta,
    resource::Resource,
    table::{
        Columns, IncludeObject, TableOptions, column_definitions, parse_include_object, partial_object_metadata, row,
        table,
    },
};
use stead_model::Revision;

use crate::{query::Query, yaml};

/// The form of the objects in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Object,
    /// How much of its object a row carries.
    Table(IncludeObject),
    PartialMetadata,
}

/// Nothing that the client accepts can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAcceptable;

/// A resource in a view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) resource: &'static Resource,
    pub(crate) view: View,
    /// Objects are stored in the form of another version.
    converted: bool,
}

impl View {
    /// The best of what `Accept` lists. `includeObject` says what table rows carry.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, NotAcceptable> {
        preferred(headers, |range| range.view(query)).ok_or(NotAcceptable)
    }
}

/// What `choose` makes of the best range of `Accept` that it makes something of. No such header accepts all.
pub(crate) fn preferred<T>(headers: &HeaderMap, choose: impl FnMut(&MediaRange<'_>) -> Option<T>) -> Option<T> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accept = accept.collect::<Vec<_>>().join(",");
    let accept = if accept.trim().is_empty() { "*/*" } else { &accept };
    let mut ranges = accept.split(',').map(MediaRange::parse).collect::<Vec<_>>();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    ranges.iter().find_map(choose)
}

/// One entry of an `Accept` header.
#[derive(Debug)]
pub(crate) struct MediaRange<'a> {
    pub(crate) media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).collect::<Vec<_>>();
        let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
        Self { media_type, parameters, quality }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn view(&self, query: &Query) -> Option<View> {
        if !matches!(self.media_type, "application/json" | yaml::MEDIA_TYPE | "application/*" | "*/*") {
            return None;
        }
        let meta_v1 = self.parameter("g") == Some("meta.k8s.io") && self.parameter("v") == Some("v1");
        match self.parameter("as") {
            None => Some(View::Object),
            Some("Table") if meta_v1 => {
                let include = query.get("includeObject").and_then(parse_include_object);
                Some(View::Table(include.unwrap_or_default()))
            }
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta_v1 => Some(View::PartialMetadata),
            Some(_) => None,
        }
    }
}

impl Shown {
    pub(crate) fn new(resource: &'static Resource, view: View) -> Self {
        Self { resource, view, converted: kinds::is_converted(resource) }
    }

    pub(crate) const fn is_converted(&self) -> bool {
        self.converted
    }

    /// The answer to a request for one object, from its stored form with `metadata.resourceVersion`.
    pub(crate) fn object(&self, json: &Bytes, now: Timestamp) -> Bytes {
        self.event_object(json, now, Columns::Defined)
    }

    /// What a watch event carries; a Table names its columns in the first one.
    pub(crate) fn event_object(&self, json: &Bytes, now: Timestamp, columns: Columns) -> Bytes {
        let View::Table(include) = self.view else { return self.item(json, now) };
        let object = self.served(json);
        let metadata = json!({"resourceVersion": meta::resource_version(&object)});
        encode(&table(self.resource, [&object], metadata, TableOptions { now, include, columns }))
    }

    /// One item of a list, or row of a table.
    pub(crate) fn item(&self, json: &Bytes, now: Timestamp) -> Bytes {
        match self.view {
            View::Object if !self.converted => json.clone(),
            View::Object => encode(&self.served(json)),
            View::PartialMetadata => encode(&partial_object_metadata(&self.served(json))),
            View::Table(include) => {
                let options = TableOptions { now, include, columns: Columns::Omitted };
                encode(&row(self.resource, &self.served(json), options))
            }
        }
    }

    /// The object in the form of this version; cells are made of the stored form, which rows carry too.
    fn served(&self, json: &Bytes) -> Value {
        let mut object: Value = serde_json::from_slice(json).expect("the cache holds JSON that this process wrote");
        if self.converted && self.view == View::Object {
            kinds::become_served(self.resource, &mut object);
        }
        object
    }

    /// What opens a list; items follow, separated by commas, then [`LIST_END`].
    pub(crate) fn list_head(&self, meta: &ListMeta) -> String {
        match self.view {
            View::Table(_) => self.table_head(meta),
            View::Object => self.head(&format!("{}List", self.resource.kind), &self.resource.api_version(), meta),
            View::PartialMetadata => self.head("PartialObjectMetadataList", "meta.k8s.io/v1", meta),
        }
    }

    fn table_head(&self, meta: &ListMeta) -> String {
        let columns = column_definitions(self.resource);
        format!(
            r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":{columns},"rows":["#,
            meta.json()
        )
    }

    fn head(&self, kind: &str, api_version: &str, meta: &ListMeta) -> String {
        format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{},"items":["#, meta.json())
    }
}

/// What closes a list or table.
pub(crate) const LIST_END: &str = "]}";

/// `metadata` of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    pub(crate) resource_version: String,
    pub(crate) go_on: Option<String>,
    pub(crate) remaining: Option<usize>,
}

impl ListMeta {
    pub(crate) fn at(revision: Revision) -> Self {
        Self { resource_version: revision.to_string(), ..Self::default() }
    }

    fn json(&self) -> Value {
        let mut json = json!({"resourceVersion": self.resource_version});
        if let Some(go_on) = &self.go_on {
            json["continue"] = go_on.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            json["remainingItemCount"] = remaining.into();
        }
        json
    }
}

fn encode(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a JSON value can be written").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers_choose_a_view() {
        let check = |accept: &str, expected: Result<View, NotAcceptable>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(View::negotiate(&headers, &Query::default()), expected, "{accept}");
        };
        check("*/*", Ok(View::Object));
        check("application/json", Ok(View::Object));
        check("application/vnd.kubernetes.protobuf,application/json", Ok(View::Object));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Ok(View::Table(IncludeObject::Metadata)),
        );
        check("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Err(NotAcceptable));
        check("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", Ok(View::PartialMetadata));
        check("application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.4", Ok(View::Object));
        check("text/html", Err(NotAcceptable));
        assert_eq!(View::negotiate(&HeaderMap::new(), &Query::default()), Ok(View::Object));
    }
}

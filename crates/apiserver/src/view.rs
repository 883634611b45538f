//! In which form a client wants objects: whole, as rows of a Table, or their metadata alone; and how that is negotiated.

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use stead_api::{
    kinds, meta,
    resource::Resource,
    status::{ApiError, StatusReason},
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

/// What there is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Object,
    List,
    /// Events, or what a write answers: their form is not tied to how many they are.
    Stream,
}

/// Why a request cannot be answered in the form that it asks for; what it is about is an object or list of a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidView {
    #[error("only the following media types are accepted: application/json, {}", yaml::MEDIA_TYPE)]
    NotAcceptable,
    #[error(
        "Unable to convert to Table as requested: includeObject: Invalid value: {0:?}: must be 'Metadata', 'Object', \
         'None', or empty"
    )]
    IncludeObject(String),
    #[error("you requested PartialObjectMetadataList, but the requested object is not a list ({0})")]
    NoList(String),
    #[error("you requested PartialObjectMetadata, but the requested object is a list ({0}List)")]
    List(String),
}

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
    pub(crate) fn negotiate(
        headers: &HeaderMap,
        query: &Query,
        resource: &Resource,
        extent: Extent,
    ) -> Result<Self, InvalidView> {
        preferred(headers, |range| range.view(query, resource, extent)).ok_or(InvalidView::NotAcceptable)?
    }
}

impl From<InvalidView> for ApiError {
    fn from(error: InvalidView) -> Self {
        let reason = match error {
            InvalidView::IncludeObject(_) => StatusReason::BadRequest,
            InvalidView::NotAcceptable | InvalidView::NoList(_) | InvalidView::List(_) => StatusReason::NotAcceptable,
        };
        Self::new(reason, error.to_string())
    }
}

/// The kind as upstream's program calls it.
fn type_name(resource: &Resource) -> String {
    let group = match resource.group.split('.').next() {
        None | Some("" | "events") => "core",
        Some(group) => group,
    };
    format!("*{group}.{}", resource.kind)
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

    fn view(&self, query: &Query, resource: &Resource, extent: Extent) -> Option<Result<View, InvalidView>> {
        if !matches!(self.media_type, "application/json" | yaml::MEDIA_TYPE | "*/*") {
            return None;
        }
        let meta_v1 = self.parameter("g") == Some("meta.k8s.io") && self.parameter("v") == Some("v1");
        Some(match self.parameter("as") {
            None => Ok(View::Object),
            Some("Table") if meta_v1 => {
                let include = query.get("includeObject").unwrap_or_default();
                parse_include_object(include)
                    .map(View::Table)
                    .ok_or_else(|| InvalidView::IncludeObject(include.to_owned()))
            }
            Some("PartialObjectMetadata") if meta_v1 && extent == Extent::List => {
                Err(InvalidView::List(type_name(resource)))
            }
            Some("PartialObjectMetadataList") if meta_v1 && extent == Extent::Object => {
                Err(InvalidView::NoList(type_name(resource)))
            }
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta_v1 => Ok(View::PartialMetadata),
            Some(_) => return None,
        })
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
        let negotiate = |headers: &HeaderMap, query: &str, extent: Extent| {
            let query = Query::parse(Some(query)).unwrap();
            View::negotiate(headers, &query, &kinds::deployment::RESOURCE, extent)
        };
        let asked = |accept: &str, query: &str, extent: Extent| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            negotiate(&headers, query, extent)
        };
        let check = |accept: &str, expected: Result<View, InvalidView>| {
            assert_eq!(asked(accept, "", Extent::Stream), expected, "{accept}");
        };
        check("*/*", Ok(View::Object));
        check("application/json", Ok(View::Object));
        check("application/vnd.kubernetes.protobuf,application/json", Ok(View::Object));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Ok(View::Table(IncludeObject::Metadata)),
        );
        check("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Err(InvalidView::NotAcceptable));
        check("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", Ok(View::PartialMetadata));
        check("application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.4", Ok(View::Object));
        check("text/html", Err(InvalidView::NotAcceptable));
        check("application/*", Err(InvalidView::NotAcceptable));
        check("application/*,application/json", Ok(View::Object));
        assert_eq!(negotiate(&HeaderMap::new(), "", Extent::Object), Ok(View::Object));
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(asked(table, "includeObject=None", Extent::List), Ok(View::Table(IncludeObject::None)));
        assert_eq!(asked(table, "includeObject=Foo", Extent::List), Err(InvalidView::IncludeObject("Foo".to_owned())));
        assert_eq!(asked("application/json", "includeObject=Foo", Extent::List), Ok(View::Object));
        let part = |list: &str| format!("application/json;as=PartialObjectMetadata{list};v=v1;g=meta.k8s.io");
        assert_eq!(asked(&part(""), "", Extent::Object), Ok(View::PartialMetadata));
        assert_eq!(asked(&part("List"), "", Extent::List), Ok(View::PartialMetadata));
        let kind = "*apps.Deployment".to_owned();
        assert_eq!(asked(&part("List"), "", Extent::Object), Err(InvalidView::NoList(kind.clone())));
        let error = asked(&part(""), "", Extent::List).unwrap_err();
        assert_eq!(error, InvalidView::List(kind));
        let error = ApiError::from(error);
        assert_eq!(
            (error.status.code, error.status.message.as_str()),
            (406, "you requested PartialObjectMetadata, but the requested object is a list (*apps.DeploymentList)")
        );
    }
}

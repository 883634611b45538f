//! What is watched, as request paths.

use stead_model::Revision;

use crate::path::escape;

/// A collection, or the part of it that selectors choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Such as `/api/v1/pods`.
    pub path: String,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
}

impl Query {
    /// Everything in the collection.
    pub fn all(path: impl Into<String>) -> Self {
        Self { path: path.into(), label_selector: None, field_selector: None }
    }

    pub fn labels(self, selector: impl Into<String>) -> Self {
        Self { label_selector: Some(selector.into()), ..self }
    }

    pub fn fields(self, selector: impl Into<String>) -> Self {
        Self { field_selector: Some(selector.into()), ..self }
    }

    /// All objects and then their changes, in one stream that the server ends after `seconds`.
    pub(crate) fn watch_list(&self, seconds: u64) -> String {
        self.uri(&format!(
            "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds={seconds}"
        ))
    }

    /// Changes after `revision`.
    pub(crate) fn watch_from(&self, revision: Revision, seconds: u64) -> String {
        self.uri(&format!("watch=1&allowWatchBookmarks=true&resourceVersion={revision}&timeoutSeconds={seconds}"))
    }

    /// All objects at the newest revision.
    pub(crate) fn list(&self) -> String {
        self.uri("")
    }

    fn uri(&self, parameters: &str) -> String {
        let selector = |name: &str, value: &Option<String>| match value {
            Some(value) => format!("&{name}={}", escape(value)),
            None => String::new(),
        };
        let mut parameters = parameters.to_owned();
        parameters += &selector("labelSelector", &self.label_selector);
        parameters += &selector("fieldSelector", &self.field_selector);
        match parameters.trim_start_matches('&') {
            "" => self.path.clone(),
            parameters => format!("{}?{parameters}", self.path),
        }
    }
}

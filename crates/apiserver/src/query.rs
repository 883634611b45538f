//! The query parameters of requests, read and bounded, with upstream's rules for which may go together.

use std::time::Duration;

use stead_api::field::FieldError;
use stead_model::Revision;

mod continue_token;
mod write;

pub(crate) use continue_token::Continue;
use continue_token::InvalidToken;
pub(crate) use write::{FieldValidation, Keep, MAX_MANAGER, wrong_dry_run};

/// The parameters of one request, decoded, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// A parameter that is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidQuery {
    #[error("query cannot be decoded")]
    Encoding,
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    Number(String),
    #[error(
        "invalid resource version: resourceVersion: Invalid value: {0:?}: strconv.ParseUint: parsing {0:?}: invalid syntax"
    )]
    Revision(String),
    #[error("invalid continue token: continue key is not valid: {0}")]
    Continue(InvalidToken),
    #[error("specifying resource version is not allowed when using continue")]
    ContinueWithRevision,
    /// 422 on ListOptions.
    #[error("options are invalid")]
    ListOptions(Vec<FieldError>),
    /// 422 on the options of a write, of this kind.
    #[error("options are invalid")]
    WriteOptions(&'static str, Vec<FieldError>),
}

/// What a list or watch may be told about the revision it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Everything acknowledged before the request.
    Newest,
    /// Whatever is at hand.
    Any,
    NotOlderThan(Revision),
    Exact(Revision),
}

#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    pub(crate) at: At,
    pub(crate) limit: Option<usize>,
    pub(crate) go_on: Option<Continue>,
}

#[derive(Clone, Debug)]
pub(crate) struct WatchQuery {
    pub(crate) from: From,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Option<Duration>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// What changes from now on.
    Now,
    /// ADDED for each object there is, then what changes.
    Initial,
    /// The same, and a bookmark that says the objects are complete; at least as new as this revision (zero: as the
    /// newest of the store at the request).
    InitialMarked(Option<Revision>),
    /// What changes after this revision.
    After(Revision),
}

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, InvalidQuery> {
        serde_urlencoded::from_str(query.unwrap_or_default()).map(Self).map_err(|_| InvalidQuery::Encoding)
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn set(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All parameters, in their order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As upstream reads booleans: there and neither `false` nor `0`.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, InvalidQuery> {
        self.set(name).map(|text| text.parse().map_err(|_| InvalidQuery::Number(text.to_owned()))).transpose()
    }

    pub(crate) fn watches(&self) -> bool {
        self.is_true("watch")
    }

    fn revision(&self) -> Result<Option<Revision>, InvalidQuery> {
        let parse = |text: &str| text.parse().map(Revision).map_err(|_| InvalidQuery::Revision(text.to_owned()));
        self.set("resourceVersion").map(parse).transpose()
    }

    pub(crate) fn list(&self) -> Result<ListQuery, InvalidQuery> {
        self.number("timeoutSeconds")?;
        let revision = self.revision()?;
        let go_on = self.set("continue");
        let mode = self.set("resourceVersionMatch");
        if self.get("sendInitialEvents").is_some() {
            let message = "sendInitialEvents is forbidden for list";
            return Err(InvalidQuery::ListOptions(vec![FieldError::forbidden("sendInitialEvents", message)]));
        }
        let problems = match_problems(mode, revision, go_on.is_some());
        if !problems.is_empty() {
            return Err(InvalidQuery::ListOptions(problems));
        }
        let go_on = go_on.map(Continue::parse).transpose().map_err(InvalidQuery::Continue)?;
        if go_on.is_some() && revision.is_some_and(|revision| revision != Revision::ZERO) {
            return Err(InvalidQuery::ContinueWithRevision);
        }
        let limit = self.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        let at = match (mode, revision) {
            _ if go_on.is_some() => At::Newest,
            (_, None) => At::Newest,
            (Some("Exact"), Some(revision)) => At::Exact(revision),
            (_, Some(Revision::ZERO)) => At::Any,
            // Upstream reads a page at a stated revision exactly there.
            (None, Some(revision)) if limit.is_some() => At::Exact(revision),
            (_, Some(revision)) => At::NotOlderThan(revision),
        };
        Ok(ListQuery { at, limit, go_on })
    }

    pub(crate) fn watch(&self) -> Result<WatchQuery, InvalidQuery> {
        let revision = self.revision()?;
        let mode = self.set("resourceVersionMatch");
        let initial = self.get("sendInitialEvents").map(|_| self.is_true("sendInitialEvents"));
        let forbidden = |text: &str| FieldError::forbidden("resourceVersionMatch", text);
        let needs_match = || forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        let problems = match (initial, mode) {
            (None, Some(_)) => {
                vec![forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")]
            }
            (Some(_), None) => vec![needs_match()],
            (Some(_), Some(mode)) if mode != "NotOlderThan" => {
                vec![needs_match(), FieldError::not_supported("resourceVersionMatch", mode, &["NotOlderThan"])]
            }
            _ => Vec::new(),
        };
        if !problems.is_empty() {
            return Err(InvalidQuery::ListOptions(problems));
        }
        let from = match (initial, revision) {
            (Some(true), None) => From::InitialMarked(None),
            (Some(true), Some(revision)) => From::InitialMarked(Some(revision)),
            (Some(false), None | Some(Revision::ZERO)) => From::Now,
            (None, None | Some(Revision::ZERO)) => From::Initial,
            (_, Some(revision)) => From::After(revision),
        };
        // One below zero is over at once.
        let timeout = self.number("timeoutSeconds")?.filter(|seconds| *seconds != 0);
        let timeout = timeout.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        Ok(WatchQuery { from, bookmarks: self.is_true("allowWatchBookmarks"), timeout })
    }
}

/// What is wrong with how a list says which revision it wants.
fn match_problems(mode: Option<&str>, revision: Option<Revision>, goes_on: bool) -> Vec<FieldError> {
    let Some(mode) = mode else { return Vec::new() };
    let forbidden = |text: &str| FieldError::forbidden("resourceVersionMatch", text);
    let mut problems = Vec::new();
    if revision.is_none() {
        problems.push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if goes_on {
        problems.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
    }
    match mode {
        "Exact" if revision == Some(Revision::ZERO) => {
            problems.push(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
        "Exact" | "NotOlderThan" => {}
        _ => {
            let known = ["Exact", "NotOlderThan", ""];
            problems.push(FieldError::not_supported("resourceVersionMatch", mode, &known));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).unwrap()
    }

    #[test]
    fn lists_state_their_revision() {
        let check = |text: &str, expected: At| assert_eq!(query(text).list().unwrap().at, expected, "{text}");
        check("", At::Newest);
        check("resourceVersion=", At::Newest);
        check("resourceVersion=0", At::Any);
        check("resourceVersion=5", At::NotOlderThan(Revision(5)));
        check("resourceVersion=5&limit=2", At::Exact(Revision(5)));
        check("resourceVersion=5&limit=2&resourceVersionMatch=NotOlderThan", At::NotOlderThan(Revision(5)));
        check("resourceVersion=5&resourceVersionMatch=Exact", At::Exact(Revision(5)));
    }

    #[test]
    fn what_lists_refuse() {
        let list = |text: &str| query(text).list().map(|_| ()).unwrap_err();
        assert_eq!(list("limit=many"), InvalidQuery::Number("many".into()));
        assert_eq!(list("timeoutSeconds=soon"), InvalidQuery::Number("soon".into()));
        assert_eq!(list("resourceVersion=x"), InvalidQuery::Revision("x".into()));
        assert!(matches!(list("continue=x"), InvalidQuery::Continue(_)));
        for text in [
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=Exact&resourceVersion=0",
            "resourceVersionMatch=Nearly&resourceVersion=4",
            "continue=x&resourceVersionMatch=Exact&resourceVersion=4",
            "sendInitialEvents=true",
        ] {
            assert!(matches!(list(text), InvalidQuery::ListOptions(_)), "{text}");
        }
        let InvalidQuery::ListOptions(problems) = list("continue=x&resourceVersionMatch=Nearly") else { panic!() };
        assert_eq!(problems.len(), 3, "{problems:?}");
        let token = Continue { revision: Some(Revision(4)), after: "a/b".into() }.token();
        assert_eq!(list(&format!("continue={token}&resourceVersion=4")), InvalidQuery::ContinueWithRevision);
        assert!(query(&format!("continue={token}&resourceVersion=0")).list().is_ok());
    }

    #[test]
    fn watches_state_where_they_begin() {
        let watch = |text: &str| query(text).watch().map(|watch| watch.from);
        assert_eq!(watch(""), Ok(From::Initial));
        assert_eq!(watch("resourceVersion=0"), Ok(From::Initial));
        assert_eq!(watch("resourceVersion=7"), Ok(From::After(Revision(7))));
        let marked = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(watch(marked), Ok(From::InitialMarked(None)));
        let unmarked = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
        assert_eq!(watch(unmarked), Ok(From::Now));
        assert_eq!(watch(&format!("{unmarked}&resourceVersion=0")), Ok(From::Now));
        assert_eq!(watch(&format!("{unmarked}&resourceVersion=7")), Ok(From::After(Revision(7))));
        assert_eq!(watch(&format!("{marked}&resourceVersion=3")), Ok(From::InitialMarked(Some(Revision(3)))));
        for text in [
            "sendInitialEvents=true",
            "resourceVersionMatch=NotOlderThan",
            "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=3",
        ] {
            assert!(matches!(watch(text), Err(InvalidQuery::ListOptions(_))), "{text}");
        }
    }

    #[test]
    fn a_watch_ends_when_it_is_said_to() {
        let check = |seconds: &str, expected: Option<u64>| {
            let watch = query(&format!("timeoutSeconds={seconds}")).watch().unwrap();
            assert_eq!(watch.timeout, expected.map(Duration::from_secs), "{seconds}");
        };
        check("", None);
        check("0", None);
        check("7", Some(7));
        check("-1", Some(0));
    }

    #[test]
    fn some_reads_go_on() {
        assert!(query("watch").watches() && query("watch=1").watches() && !query("watch=false").watches());
    }

    #[test]
    fn any_query_is_read_or_refused() {
        stead_fuzz::run("query", |input| {
            let text = String::from_utf8_lossy(input);
            let Ok(query) = Query::parse(Some(&text)) else { return "encoding".into() };
            let _ = (query.number("limit"), query.is_true("force"), query.all("dryRun").count());
            format!("{:?} {:?}", query.list(), query.watch())
        });
    }
}

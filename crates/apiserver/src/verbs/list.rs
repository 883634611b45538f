//! GET of a collection: from the cache, or from the store where a past revision is asked for.

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::{HeaderValue, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use stead_model::Revision;
use stead_store::{RangeRequest, StoreError, prefix_end};

use stead_api::status::ApiError;

use crate::{
    cache::{Entry, KindCache},
    compression::Compressible,
    dispatch::{Call, Form, json, pretty},
    filter::Filter,
    query::{At, Continue, ListQuery},
    refusal::Refusal,
    verbs::get::reach,
    view::{LIST_END, ListMeta, Shown},
};

/// A list is sent in pieces of about this size.
const PIECE: usize = 128 << 10;
/// How many objects of a past revision are read from the store at a time.
const STORE_PAGE: usize = 1_000;

/// Objects of one page.
pub(crate) struct Page {
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) meta: ListMeta,
}

pub(crate) async fn list(call: &Call<'_>) -> Result<Response, Refusal> {
    send(call, Page::read(call, &call.query.list()?).await?).await
}

impl Page {
    /// What `query` asks for of the call's collection.
    pub(crate) async fn read(call: &Call<'_>, query: &ListQuery) -> Result<Self, Refusal> {
        let cache = call.server.cache(call.path.resource);
        let filter = Filter::new(call.path.resource, call.path.namespace, call.path.name, call.query)?;
        match &query.go_on {
            Some(Continue { revision: Some(revision), after }) => {
                past(call, cache, &filter, *revision, after, query.limit).await
            }
            Some(Continue { revision: None, after }) => {
                reach(call.server, cache, At::Newest).await?;
                Ok(newest(cache, &filter, after, query.limit))
            }
            None => match query.at {
                At::Exact(revision) => past(call, cache, &filter, revision, "", query.limit).await,
                at => {
                    reach(call.server, cache, at).await?;
                    Ok(newest(cache, &filter, "", if at == At::Any { None } else { query.limit }))
                }
            },
        }
    }
}

fn newest(cache: &KindCache, filter: &Filter, after: &str, limit: Option<usize>) -> Page {
    let listing = filter.list(cache);
    let mut entries = listing.entries;
    if !after.is_empty() {
        entries.retain(|entry| &*entry.path > after);
    }
    let remaining = entries.len().saturating_sub(limit.unwrap_or(usize::MAX));
    entries.truncate(entries.len() - remaining);
    page(entries, listing.revision, remaining, filter)
}

fn page(entries: Vec<Arc<Entry>>, revision: Revision, remaining: usize, filter: &Filter) -> Page {
    let mut meta = ListMeta::at(revision);
    if let Some(last) = entries.last().filter(|_| remaining > 0) {
        meta.go_on = Some(Continue { revision: Some(revision), after: last.path.to_string() }.token());
        meta.remaining = filter.selects_nothing_special().then_some(remaining);
    }
    Page { entries, meta }
}

/// A page as of `revision`, from the store.
async fn past(
    call: &Call<'_>,
    cache: &KindCache,
    filter: &Filter,
    revision: Revision,
    after: &str,
    limit: Option<usize>,
) -> Result<Page, Refusal> {
    reach(call.server, cache, At::Exact(revision)).await?;
    let prefix = cache.prefix();
    let end = prefix_end(format!("{prefix}{}", filter.path_prefix()).as_bytes());
    let mut start = if after.is_empty() {
        Bytes::from(format!("{prefix}{}", filter.path_prefix()))
    } else {
        Bytes::from(format!("{prefix}{after}\0"))
    };
    let limit = limit.unwrap_or(usize::MAX);
    let mut entries = Vec::new();
    let mut remaining = 0;
    while entries.len() < limit {
        let wanted = if filter.selects_nothing_special() { STORE_PAGE.min(limit - entries.len()) } else { STORE_PAGE };
        let request = RangeRequest { start, end: end.clone(), revision: Some(revision), limit: Some(wanted) };
        let page = call.server.storage.store.range(request).await.map_err(|error| expired(error, after))?;
        remaining = page.remaining;
        for (index, stored) in page.items.iter().enumerate() {
            let entry = Entry::read(cache.resource, prefix, stored)
                .map_err(|error| ApiError::internal("a stored object cannot be read", error.to_string()))?;
            if filter.matches(&entry) {
                entries.push(Arc::new(entry));
            }
            if entries.len() == limit {
                remaining += page.items.len() - index - 1;
                break;
            }
        }
        match page.items.last() {
            Some(last) if page.remaining > 0 => start = [&last.key[..], &[0]].concat().into(),
            _ => break,
        }
    }
    Ok(page(entries, revision, remaining, filter))
}

fn expired(error: StoreError, after: &str) -> Refusal {
    match error {
        StoreError::Compacted { .. } if !after.is_empty() => {
            ApiError::continue_expired(Continue { revision: None, after: after.to_owned() }.token()).into()
        }
        error => error.into(),
    }
}

async fn send(call: &Call<'_>, page: Page) -> Result<Response, Refusal> {
    let body = Body::from_stream(pieces(call.shown, page));
    if pretty(call.query, call.headers) == Form::Indented {
        let whole = body.collect().await.map_err(|error| ApiError::internal("list", error.to_string()))?;
        return Ok(json(http::StatusCode::OK, whole.to_bytes(), &[], Form::Indented));
    }
    let mut response = Response::new(body);
    response.extensions_mut().insert(Compressible);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The list, written piece by piece, so that a large one is never in memory as a whole.
fn pieces(shown: Shown, page: Page) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send {
    let now = Timestamp::now();
    let first = BytesMut::from(shown.list_head(&page.meta).as_bytes());
    let state = Some((page.entries.into_iter(), first, ListPosition::First));
    stream::unfold(state, move |state| async move {
        let (mut entries, mut piece, mut position) = state?;
        while piece.len() < PIECE {
            let Some(entry) = entries.next() else {
                piece.extend_from_slice(LIST_END.as_bytes());
                return Some((Ok(piece.freeze()), None));
            };
            if position == ListPosition::Later {
                piece.extend_from_slice(b",");
            }
            position = ListPosition::Later;
            piece.extend_from_slice(&shown.item(&entry.json, now));
        }
        Some((Ok(piece.freeze()), Some((entries, BytesMut::new(), position))))
    })
}

/// Whether an item needs a comma before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListPosition {
    First,
    Later,
}

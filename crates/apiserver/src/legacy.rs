//! `/api/v1beta1` and `/api/v1beta3`: requests of 2014 and 2015 become requests to v1, and answers become what was answered then.
//!
//! There is no verb here: paths, queries, bodies, answers and watches are rewritten, and the ordinary handlers do the work. What
//! an object becomes is `stead_api::legacy`'s. A change by an older version leaves alone what that version cannot say, for which
//! the object is read before it is replaced.

use std::sync::{Arc, OnceLock};

use axum::{body::Body, extract::Request, response::Response};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Method, Uri, header, request::Parts};
use serde_json::Value;
use stead_api::{
    field::FieldError,
    kinds,
    legacy::{Kind, Version},
    meta,
    resource::Resource,
    status::ApiError,
};

use crate::{
    auth::Identity,
    authorize,
    body::{self, Encoding, Sent},
    dispatch,
    legacy::route::{Older, Route},
    path::{self, Target, Verb},
    proxy,
    query::{FieldValidation, Query},
    refusal::Refusal,
    server::Inner,
};

mod answer;
mod change;
mod route;

/// A request by an older version.
struct Call<'a> {
    server: &'a Arc<Inner>,
    parts: &'a Parts,
    kind: &'static Kind,
    route: Route,
    query: Query,
}

/// Whether the path is one of older versions, below their roots.
pub(crate) fn is_older(path: &str) -> bool {
    Older::parse(path).is_some()
}

/// Answers a request whose path [`is_older`].
pub(crate) async fn answer(server: Arc<Inner>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match route(&server, parts, body).await {
        Ok(response) => response,
        Err(refusal) => answer::refused(refusal).await,
    }
}

async fn route(server: &Arc<Inner>, mut parts: Parts, body: Body) -> Result<Response, Refusal> {
    let identity = parts.extensions.get::<Identity>().cloned().unwrap_or_else(Identity::anonymous);
    if identity.is_anonymous() {
        return Err(ApiError::unauthorized().into());
    }
    let older = Older::parse(parts.uri.path()).ok_or_else(ApiError::no_such_path)?;
    let query = Query::parse(parts.uri.query())?;
    let route = Route::of(&older, &parts.method, &query, parts.uri.query().unwrap_or_default())?;
    let Some(kind) = route.kind else {
        if older.is_bare_proxy() && !parts.headers.contains_key(header::UPGRADE) {
            return Ok(proxy::redirected_to_root(&parts.uri));
        }
        // What stands behind a proxy is nobody's to rewrite.
        let uri = route.uri(&query, None)?;
        return Ok(forward(server, at(parts, uri), body).await);
    };
    // What v1 answers is read here.
    parts.headers.remove(header::ACCEPT_ENCODING);
    let call = Call { server, parts: &parts, kind, route, query };
    call.check_access(&identity)?;
    match (&parts.method, call.route.takes_object()) {
        (&Method::POST | &Method::PUT | &Method::PATCH, true) => {
            let bytes = body::read(&parts.headers, body).await?;
            let response = match parts.method {
                Method::PATCH => change::patch(&call, &bytes).await?,
                Method::PUT => change::replace(&call, call.decode(&bytes)?).await?,
                _ => call.create(call.decode(&bytes)?).await?,
            };
            Ok(response)
        }
        _ => {
            let uri = call.route.uri(&call.query, None)?;
            let response = forward(server, at(parts.clone(), uri), body).await;
            call.turn(response).await
        }
    }
}

fn at(mut parts: Parts, uri: Uri) -> Parts {
    parts.uri = uri;
    parts
}

/// Marks a request to v1 that was made of one to an older version.
#[derive(Clone, Copy, Debug)]
struct Turned;

/// Whether an older version asks in these words of v1: what v1 is given up for is nothing to its clients.
pub(crate) fn asks(parts: &Parts) -> bool {
    parts.extensions.get::<Turned>().is_some()
}

/// Asks v1.
fn forward(server: &Arc<Inner>, mut parts: Parts, body: Body) -> BoxFuture<'static, Response> {
    parts.extensions.insert(Turned);
    dispatch::answer(server.clone(), Request::from_parts(parts, body)).boxed()
}

impl Call<'_> {
    /// May the client do this at all? Asked before a body is read for it; v1's handlers ask again.
    fn check_access(&self, identity: &Identity) -> Result<(), Refusal> {
        let uri = self.route.uri(&self.query, None)?;
        if let Target::Resource(path) = path::parse(uri.path())
            && let Some(verb) = Verb::of(&self.parts.method, &path)
        {
            authorize::resource(identity, verb, &path)?;
        }
        Ok(())
    }

    /// The object in a body, by its own version's names.
    fn decode(&self, bytes: &[u8]) -> Result<Sent, Refusal> {
        let validation = self.validation()?;
        Encoding::of(&self.parts.headers)?.object(bytes, self.route.body_kind(self.kind).resource, validation)
    }

    /// What becomes of unknown fields, if all else that is asked of the write can be had.
    fn validation(&self) -> Result<FieldValidation, Refusal> {
        let verb = match self.parts.method {
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            _ => Verb::Create,
        };
        self.query.check_write(verb)?;
        Ok(self.query.field_validation())
    }

    async fn create(&self, sent: Sent) -> Result<Response, Refusal> {
        let kind = self.route.body_kind(self.kind);
        let new = kind.to_v1(&sent.object).map_err(|errors| invalid(kind, &sent.object, &errors))?;
        if kind.modern.is_none() && meta::name(&new).is_empty() {
            let field = if kind.version == Version::V1beta1 { "podID" } else { "metadata.name" };
            return Err(invalid(kind, &sent.object, &[FieldError::required(field, "")]));
        }
        let uri = self.route.uri(&self.query, Some(&new))?;
        let response = self.send(Method::POST, uri, &new).await;
        answer::with_warnings(self.turn(response).await?, &sent.warnings)
    }

    /// Sends a v1 object to v1, as who asked.
    async fn send(&self, method: Method, uri: Uri, object: &Value) -> Response {
        let mut parts = self.parts.clone();
        (parts.method, parts.uri) = (method, uri);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        parts.headers.remove(header::CONTENT_LENGTH);
        forward(self.server, parts, Body::from(object.to_string())).await
    }

    /// The object as v1 shows it.
    async fn read(&self) -> Result<Response, Refusal> {
        let mut parts = self.parts.clone();
        (parts.method, parts.uri) = (Method::GET, self.route.uri(&Query::default(), None)?);
        for name in [header::ACCEPT, header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        Ok(forward(self.server, parts, Body::empty()).await)
    }

    /// What v1 answered, as the client's version says it.
    async fn turn(&self, response: Response) -> Result<Response, Refusal> {
        answer::turned(self.kind, &self.route, &self.parts.method, &self.query, &self.parts.headers, response).await
    }
}

fn invalid(kind: &Kind, object: &Value, errors: &[FieldError]) -> Refusal {
    let name = object["id"].as_str().unwrap_or_else(|| meta::name(object));
    ApiError::invalid_kind("", kind.resource.kind, name, errors).into()
}

/// Everything that discovery and OpenAPI show: what is served, then the older versions.
pub(crate) fn shown() -> &'static [&'static Resource] {
    static SHOWN: OnceLock<Vec<&'static Resource>> = OnceLock::new();
    SHOWN.get_or_init(|| kinds::ALL.iter().chain(stead_api::legacy::RESOURCES).copied().collect())
}

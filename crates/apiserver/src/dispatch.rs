//! From a request to its handler: who asks, for what, whether that is allowed, and in which form the answer is wanted.

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::Value;
use stead_api::{kinds, resource::Subresource, status::ApiError};

use crate::{
    auth::Identity,
    authenticate, authorize, body,
    compression::{Coding, Compressible},
    discovery, health, legacy,
    metrics::{self, Asked},
    openapi,
    outbound::Passage,
    path::{self, ResourcePath, Target, Verb},
    proxy,
    query::Query,
    refusal::Refusal,
    server::Inner,
    verbs,
    view::{Extent, Shown, View},
    yaml::Writing,
};

/// A request for a resource, allowed as far as can be said without the object.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Arc<Inner>,
    pub(crate) identity: &'a Identity,
    pub(crate) path: ResourcePath<'a>,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) asked: Asked,
    pub(crate) shown: Shown,
}

/// A request as it came, but for its body.
#[derive(Clone, Copy, Debug)]
struct Asking<'a> {
    identity: &'a Identity,
    parts: &'a Parts,
    query: &'a Query,
    asked: Asked,
}

/// What a handler answers with when all is well.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    /// JSON.
    pub(crate) body: Bytes,
    pub(crate) warnings: Vec<String>,
}

/// Answers a request once all of it is here: what a handler leaves of its body is read and forgotten.
pub(crate) async fn answer(server: Arc<Inner>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let (body, held) = body::hold(&parts.headers, body);
    let (writing, coding) = (Writing::wanted(&parts.headers), Coding::wanted(&parts.headers));
    if writing == Writing::Yaml && legacy::is_older(parts.uri.path()) {
        // What an older version answers is made of what v1 answers in JSON.
        parts.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    }
    if writing == Writing::Yaml {
        // What is written anew here has to come as it is.
        parts.headers.remove(header::ACCEPT_ENCODING);
    }
    let response = handle(server, parts, body).await;
    held.discard().await;
    coding.write(writing.write(response).await).await
}

async fn handle(server: Arc<Inner>, mut parts: Parts, body: Body) -> Response {
    if let Err(refusal) = authenticate::identify(&server, &mut parts).await {
        return refusal.into_response();
    }
    if legacy::is_older(parts.uri.path()) {
        return legacy::answer(server, Request::from_parts(parts, body)).await;
    }
    let identity = parts.extensions.get::<Identity>().cloned().unwrap_or_else(Identity::anonymous);
    route(&server, &identity, &parts, body).await.unwrap_or_else(Refusal::into_response)
}

async fn route(server: &Arc<Inner>, identity: &Identity, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let query = Query::parse(parts.uri.query())?;
    let target = path::parse(parts.uri.path());
    let asking = Asking { identity, parts, query: &query, asked: Asked::of(parts, &target, &query) };
    let request = server.metrics.begin(asking.asked);
    let answered = within_share(server, asking, target, body).await;
    let code = answered.as_ref().map_or_else(Refusal::code, Response::status);
    server.metrics.end(request, code);
    answered
}

/// One client's requests leave places for others', but for those that go on, which have places of their own, and probes.
async fn within_share(
    server: &Arc<Inner>,
    asking: Asking<'_>,
    target: Target<'_>,
    body: Body,
) -> Result<Response, Refusal> {
    if !asking.asked.ends() || matches!(target, Target::Health { .. }) {
        return lead(server, asking, target, body).await;
    }
    let share = server.requests.take(&asking.identity.user)?;
    let response = lead(server, asking, target, body).await?;
    if response.body().size_hint().exact().is_some() {
        return Ok(response);
    }
    // A list is held until all of it is sent.
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &share;
            frame
        }))
    }))
}

async fn lead(server: &Arc<Inner>, asking: Asking<'_>, target: Target<'_>, body: Body) -> Result<Response, Refusal> {
    let Asking { identity, parts, .. } = asking;
    let text = parts.uri.path();
    authorize::read_only(identity, &target)?;
    let path = match target {
        Target::Resource(path) => path,
        other => {
            if matches!(other, Target::Unknown) {
                authorize::unserved(identity, &parts.method, text)?;
            }
            authorize::path(identity, &parts.method, text)?;
            let reads = matches!(parts.method, Method::GET | Method::HEAD);
            if !reads && !matches!(other, Target::Unknown) {
                return Err(ApiError::no_such_method().into());
            }
            return elsewhere(server, &other, asking).await;
        }
    };
    if path.subresource.is_some_and(Subresource::connects) {
        return connect(server, asking, path, body).await;
    }
    let deprecation = path.resource.strategy.deprecation().filter(|_| !legacy::asks(parts));
    let answer = resource(server, asking, path, body).await;
    match deprecation {
        Some(text) => Ok(deprecated(answer.unwrap_or_else(Refusal::into_response), text)),
        None => answer,
    }
}

/// An answer about a kind that has a successor, good or bad: said before all else.
fn deprecated(mut response: Response, text: &str) -> Response {
    let headers = response.headers_mut();
    let others = Vec::from_iter(headers.get_all(header::WARNING).iter().cloned());
    headers.remove(header::WARNING);
    for warning in warning(text).into_iter().chain(others) {
        headers.append(header::WARNING, warning);
    }
    response
}

/// `None`: a text that no header can carry; all of ours can.
fn warning(text: &str) -> Option<HeaderValue> {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_str(&format!("299 - \"{text}\"")).ok()
}

/// What leads on to a pod or node.
async fn connect(
    server: &Arc<Inner>,
    asking: Asking<'_>,
    path: ResourcePath<'_>,
    body: Body,
) -> Result<Response, Refusal> {
    let Asking { identity, parts, query, asked } = asking;
    let verb = Verb::of(&parts.method, &path).ok_or_else(ApiError::no_such_method)?;
    authorize::resource(identity, verb, &path)?;
    let passage =
        || server.outbound.take(&identity.user).map(|share| Passage::new(share, server.metrics.goes_on(asked)));
    if path.subresource == Some(Subresource::Proxy) {
        return proxy::answer(server, &path, parts, body, passage()?).await;
    }
    if !matches!(parts.method, Method::GET | Method::POST) {
        return Err(ApiError::no_such_method().into());
    }
    // A GET that is upgraded does what a POST does.
    authorize::resource(identity, Verb::Create, &path)?;
    verbs::stream::answer(server, &path, parts, query, passage()?).await
}

/// Answers for paths that are no resources.
async fn elsewhere(server: &Arc<Inner>, target: &Target<'_>, asking: Asking<'_>) -> Result<Response, Refusal> {
    let Asking { parts, query, .. } = asking;
    match target {
        Target::Health { check } => health::answer(server, parts.uri.path(), *check, query).await,
        Target::Metrics => metrics::answer(server, &parts.headers),
        Target::Version => Ok(json(StatusCode::OK, health::version(), &[], pretty(query, &parts.headers))),
        Target::Root => Ok(json(StatusCode::OK, discovery::root(), &[], pretty(query, &parts.headers))),
        Target::Groups { .. } | Target::Group(_) | Target::GroupVersion { .. } => {
            discovery::answer(server, target, &parts.headers)
        }
        Target::OpenApiV2 | Target::OpenApiV3Index | Target::OpenApiV3(_) => {
            openapi::answer(target, &parts.headers, query)
        }
        Target::TokenIssuer => Ok(json(StatusCode::OK, issuer(server), &[], pretty(query, &parts.headers))),
        Target::CustomKinds => Ok(json(StatusCode::OK, discovery::custom_kinds(), &[], pretty(query, &parts.headers))),
        Target::TokenKeys => {
            let keys = server.config.token_key.key_set().to_string().into();
            Ok(json(StatusCode::OK, keys, &[], pretty(query, &parts.headers)))
        }
        Target::Unknown | Target::Resource(_) => Err(ApiError::no_such_path().into()),
    }
}

/// `/.well-known/openid-configuration`: how others check our tokens.
fn issuer(server: &Inner) -> Bytes {
    let issuer = server.config.issuer();
    let document = serde_json::json!({
        "issuer": issuer, "jwks_uri": format!("https://{}/openid/v1/jwks", server.config.advertise),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    document.to_string().into()
}

async fn resource(
    server: &Arc<Inner>,
    asking: Asking<'_>,
    path: ResourcePath<'_>,
    body: Body,
) -> Result<Response, Refusal> {
    let Asking { identity, parts, query, asked } = asking;
    let mut verb = Verb::of(&parts.method, &path).ok_or_else(ApiError::no_such_method)?;
    if verb.reads() && path.watch || verb == Verb::List && query.watches() {
        verb = Verb::Watch;
    }
    let demand = authorize::resource(identity, verb, &path)?;
    if parts.method == Method::HEAD || !is_served(verb, &path) {
        return Err(ApiError::no_such_method().into());
    }
    let extent = match verb {
        Verb::Get => Extent::Object,
        Verb::List => Extent::List,
        _ => Extent::Stream,
    };
    let view = View::negotiate(&parts.headers, query, path.resource, extent).map_err(ApiError::from);
    if verb == Verb::Watch && Writing::wanted(&parts.headers) == Writing::Yaml {
        return Err(ApiError::not_acceptable(&["application/json;stream=watch"]).into());
    }
    if path.subresource == Some(Subresource::Log) {
        let share = server.outbound.take(&identity.user)?;
        return verbs::log::get(server, &path, query, Passage::new(share, server.metrics.goes_on(asked))).await;
    }
    if matches!(verb, Verb::Create | Verb::Update | Verb::Patch) {
        query.check_write(verb)?;
    }
    let view = view?;
    let is_scale = path.subresource == Some(Subresource::Scale);
    // A Scale is made of the whole object.
    let shown = Shown::new(path.resource, if is_scale { View::Object } else { view });
    let call = Call { server, identity, path, query, headers: &parts.headers, asked, shown };
    let mut answer = match (path.subresource, verb) {
        (_, Verb::Watch) => return verbs::watch::watch(&call).await,
        (_, Verb::List) => return verbs::list::list(&call).await,
        (Some(Subresource::Scale), Verb::Get) => verbs::scale::get(&call).await?,
        (_, Verb::Get) => verbs::get::get(&call).await?,
        (_, Verb::Delete) => verbs::delete::delete(&call, &demand, &read(&call, body).await?).await?,
        (_, Verb::DeleteCollection) => verbs::delete::delete_collection(&call, &read(&call, body).await?).await?,
        (Some(Subresource::Binding), _) => verbs::binding::bind(&call, &read(&call, body).await?).await?,
        (Some(Subresource::Eviction), _) => verbs::eviction::evict(&call, &demand, &read(&call, body).await?).await?,
        (Some(Subresource::Token), _) => verbs::token::request(&call, &demand, &read(&call, body).await?).await?,
        (None, Verb::Create) if verbs::binding::is_binding(&call) => {
            verbs::binding::bind_named(&call, &read(&call, body).await?).await?
        }
        (None, Verb::Create) if verbs::review::is_review(&call) => {
            verbs::review::review(&call, &read(&call, body).await?).await?
        }
        (_, Verb::Create) => verbs::create::create(&call, &demand, &read(&call, body).await?).await?,
        (Some(Subresource::Scale), _) => verbs::scale::write_scale(&call, verb, &read(&call, body).await?).await?,
        (_, Verb::Update) => verbs::update::replace(&call, &demand, &read(&call, body).await?).await?,
        (_, Verb::Patch) => verbs::patch::patch(&call, &demand, &read(&call, body).await?).await?,
    };
    if is_scale {
        answer.body = Shown::new(&kinds::scale::RESOURCE, view).object(&answer.body, Timestamp::now());
    }
    Ok(json(answer.code, answer.body, &answer.warnings, pretty(query, &parts.headers)))
}

async fn read(call: &Call<'_>, body: Body) -> Result<Bytes, Refusal> {
    body::read(call.headers, body).await
}

fn is_served(verb: Verb, path: &ResourcePath<'_>) -> bool {
    match path.subresource {
        // Objects of all namespaces are read together, and written one by one.
        None if !verb.reads() && path.resource.namespaced && path.namespace.is_none() => false,
        None if verb == Verb::Create => path.name.is_none(),
        None => path.resource.verbs.contains(&verb.as_str()),
        Some(Subresource::Status | Subresource::Scale) => matches!(verb, Verb::Get | Verb::Update | Verb::Patch),
        Some(Subresource::Log) => verb == Verb::Get,
        Some(Subresource::Binding | Subresource::Eviction | Subresource::Token) => verb == Verb::Create,
        Some(Subresource::Finalize) => verb == Verb::Update,
        Some(Subresource::Proxy | Subresource::Exec | Subresource::Attach | Subresource::PortForward) => true,
    }
}

impl Call<'_> {
    pub(crate) fn name(&self) -> &str {
        self.path.name.unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.path.namespace.unwrap_or_default()
    }

    /// The store key of the object that the path names.
    pub(crate) fn key(&self) -> String {
        self.path.resource.registry_key(self.namespace(), self.name())
    }

    /// An answer with `object`, given in the stored form.
    pub(crate) fn object(&self, code: StatusCode, object: &Value, warnings: Vec<String>) -> Answer {
        let body = serde_json::to_vec(object).expect("a JSON value can be written").into();
        Answer { code, body: self.shown.object(&body, Timestamp::now()), warnings }
    }
}

/// Upstream's rule: as asked for, else for people with a tool that prints answers as they are.
pub(crate) fn pretty(query: &Query, headers: &HeaderMap) -> Form {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let indented = match query.get("pretty") {
        Some(_) => query.is_true("pretty"),
        None => ["curl/", "Wget/", "Mozilla/"].iter().any(|tool| agent.starts_with(tool)),
    };
    if indented { Form::Indented } else { Form::Compact }
}

/// How JSON is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Compact,
    Indented,
}

pub(crate) fn json(code: StatusCode, body: Bytes, warnings: &[String], form: Form) -> Response {
    let body = match form {
        Form::Compact => body,
        Form::Indented => indented(&body).unwrap_or(body),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    response.extensions_mut().insert(Compressible);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for value in warnings.iter().filter_map(|text| warning(text)) {
        response.headers_mut().append(header::WARNING, value);
    }
    response
}

fn indented(body: &Bytes) -> Option<Bytes> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let mut text = serde_json::to_vec_pretty(&value).ok()?;
    text.push(b'\n');
    Some(text.into())
}

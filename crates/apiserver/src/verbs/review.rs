//! POST of a review: who am I, who is that, may I, may they. Answered from the table of rights; kept nowhere.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use stead_api::{kinds, meta, status::ApiError};

use crate::{
    auth::Identity,
    authenticate::by_token,
    authorize::{Attributes, may_get, path_rules, rules, would_allow},
    body::Encoding,
    dispatch::{Answer, Call},
    refusal::Refusal,
    storage::object_path,
};

pub(crate) async fn review(call: &Call<'_>, body: &[u8]) -> Result<Answer, Refusal> {
    let resource = call.path.resource;
    let sent = Encoding::of(call.headers)?.object(body, resource, call.query.field_validation())?;
    let mut object = sent.object;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| !value.is_null());
    } else {
        object["metadata"] = json!({});
    }
    let status = match resource.kind {
        "SelfSubjectReview" => {
            object["metadata"] = json!({"creationTimestamp": meta::seconds(Timestamp::now())});
            json!({"userInfo": user_info(call.identity)})
        }
        "TokenReview" => token(call, &object).await?,
        "SelfSubjectRulesReview" => own_rules(call, &object)?,
        kind => {
            let errors = kinds::review::validate_access(&object, call.path.namespace);
            if !errors.is_empty() {
                // Upstream's errors name no kind.
                return Err(ApiError::invalid_kind(resource.group, "", "", &errors).into());
            }
            let own = kind == "SelfSubjectAccessReview";
            let subject = if own { call.identity } else { &subject(&object) };
            json!({"allowed": is_allowed(call, &object["spec"], subject)})
        }
    };
    object["status"] = status;
    Ok(call.object(StatusCode::CREATED, &object, sent.warnings))
}

/// The kinds that are answered here.
pub(crate) fn is_review(call: &Call<'_>) -> bool {
    matches!(call.path.resource.group, "authentication.k8s.io" | "authorization.k8s.io")
}

fn user_info(identity: &Identity) -> Value {
    let mut info = json!({"username": identity.user, "groups": identity.groups});
    if !identity.uid.is_empty() {
        info["uid"] = identity.uid.as_str().into();
    }
    if !identity.extra.is_empty() {
        info["extra"] = json!(identity.extra);
    }
    info
}

async fn token(call: &Call<'_>, object: &Value) -> Result<Value, Refusal> {
    let token = object.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    if token.is_empty() {
        let why = "token is required for TokenReview in authentication";
        return Err(ApiError::bad_request(why).into());
    }
    let mut audiences = texts(object.pointer("/spec/audiences"));
    if audiences.is_empty() {
        audiences.push(call.server.config.issuer());
    }
    Ok(match by_token(call.server, token, &audiences).await {
        Ok(bearer) => {
            json!({"authenticated": true, "user": user_info(&bearer.identity), "audiences": bearer.audiences})
        }
        Err(nobody) => json!({"user": {}, "error": format!("[invalid bearer token, {nobody}]")}),
    })
}

fn own_rules(call: &Call<'_>, object: &Value) -> Result<Value, Refusal> {
    if object.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request("no namespace on request").into());
    }
    let (resources, paths) = (rules(call.identity), path_rules(call.identity));
    Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
}

/// Whom a review asks about.
fn subject(review: &Value) -> Identity {
    let mut identity = Identity::anonymous();
    identity.user = review["spec"]["user"].as_str().unwrap_or_default().to_owned();
    identity.groups = texts(review["spec"].get("groups"));
    identity
}

/// `spec` asks about a resource or a path.
fn is_allowed(call: &Call<'_>, spec: &Value, identity: &Identity) -> bool {
    let path = &spec["nonResourceAttributes"];
    if path.is_null() {
        return of_resource(call, &spec["resourceAttributes"], identity);
    }
    let text = |key: &str| path[key].as_str().unwrap_or_default();
    let is_master = identity.in_group(crate::auth::MASTERS);
    is_master || matches!(text("verb"), "get" | "head") && may_get(identity, text("path"))
}

fn of_resource(call: &Call<'_>, asked: &Value, identity: &Identity) -> bool {
    let asked = asked.as_object().cloned().unwrap_or_else(Map::new);
    let text = |key: &str| asked.get(key).and_then(Value::as_str).unwrap_or_default();
    let attributes = Attributes {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
    };
    let pod = &kinds::pod::RESOURCE;
    let of_pod = attributes.resource == pod.plural && !attributes.name.is_empty();
    let found = || call.server.cache(pod).get(&object_path(pod, attributes.namespace, attributes.name));
    let pod = if of_pod { found().map(|entry| entry.object()) } else { None };
    let node = pod.as_ref().and_then(|pod| pod.pointer("/spec/nodeName")?.as_str());
    would_allow(identity, &attributes, node)
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

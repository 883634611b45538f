//! POST of a review: who am I, who is that, may I, may they. Answered from the table of rights; kept nowhere.

use http::StatusCode;
use serde_json::{Map, Value, json};
use stead_api::{field::FieldError, kinds, status::ApiError};

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
    object["metadata"]["creationTimestamp"] = Value::Null;
    let status = match resource.kind {
        "SelfSubjectReview" => json!({"userInfo": user_info(call.identity)}),
        "TokenReview" => token(call, &object).await?,
        "SelfSubjectRulesReview" => own_rules(call, &object)?,
        "SelfSubjectAccessReview" => access(call, &object, call.identity)?,
        _ => access(call, &object, &subject(call, &object)?)?,
    };
    object["status"] = status;
    Ok(call.object(StatusCode::CREATED, &object, sent.warnings))
}

/// The kinds that are answered here.
pub(crate) fn is_review(call: &Call<'_>) -> bool {
    matches!(call.path.resource.group, "authentication.k8s.io" | "authorization.k8s.io")
}

fn invalid(call: &Call<'_>, error: FieldError) -> Refusal {
    ApiError::invalid(call.path.resource, "", &[error]).into()
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
fn subject(call: &Call<'_>, object: &Value) -> Result<Identity, Refusal> {
    let spec = &object["spec"];
    let (user, groups) = (spec["user"].as_str().unwrap_or_default(), texts(spec.get("groups")));
    if user.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(invalid(call, FieldError::invalid("spec.user", "\"\"", why)));
    }
    if let Some(namespace) = call.path.namespace
        && spec["resourceAttributes"]["namespace"] != namespace
    {
        let why = "must match metadata.namespace";
        let stated = spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
        return Err(invalid(
            call,
            FieldError::invalid("spec.resourceAttributes.namespace", format!("{stated:?}"), why),
        ));
    }
    let mut identity = Identity::anonymous();
    identity.user = user.to_owned();
    identity.groups = groups;
    Ok(identity)
}

fn access(call: &Call<'_>, object: &Value, identity: &Identity) -> Result<Value, Refusal> {
    let spec = &object["spec"];
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let allowed = match (spec["resourceAttributes"].as_object(), spec["nonResourceAttributes"].as_object()) {
        (Some(_), None) => of_resource(call, &spec["resourceAttributes"], identity),
        (None, Some(_)) => {
            let (path, verb) =
                (text(&spec["nonResourceAttributes"], "path"), text(&spec["nonResourceAttributes"], "verb"));
            let is_master = identity.in_group(crate::auth::MASTERS);
            is_master || matches!(verb.as_str(), "get" | "head") && may_get(identity, &path)
        }
        _ => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(invalid(call, FieldError::invalid("spec.resourceAttributes", "null", why)));
        }
    };
    Ok(json!({"allowed": allowed}))
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

//! POST of `serviceaccounts/NAME/token`: a token for the account, bound to an object where the client wants that.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stead_api::{decode::prune, field::FieldError, kinds, meta, status::ApiError};

use crate::{
    authorize::Demand,
    body::Encoding,
    dispatch::{Answer, Call},
    refusal::Refusal,
    stamp::new_uid,
    storage::Stored,
};

const DEFINITION: &str = "io.k8s.api.authentication.v1.TokenRequest";
const KIND: (&str, &str) = ("authentication.k8s.io", "TokenRequest");
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
const DEFAULT: i64 = 3_600;

pub(crate) async fn request(call: &Call<'_>, demand: &Demand, body: &[u8]) -> Result<Answer, Refusal> {
    let value = Encoding::of(call.headers)?.value(body, DEFINITION)?;
    let decoded = prune(value, DEFINITION).map_err(|error| {
        ApiError::bad_request(format!("TokenRequest in version \"v1\" cannot be handled as a TokenRequest: {error}"))
    })?;
    let mut request = decoded.value;
    if !matches!(meta::namespace(&request), "") && meta::namespace(&request) != call.namespace() {
        return Err(ApiError::wrong_namespace().into());
    }
    let account = call.server.storage.get(&call.key()).await?;
    let account = account.ok_or_else(|| ApiError::not_found(call.path.resource, call.name()))?;
    let seconds = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT);
    let name = meta::name(&request);
    if !name.is_empty() && name != call.name() {
        let why = "must match the service account name if specified";
        return Err(invalid(call.name(), FieldError::invalid("metadata.name", format!("{name:?}"), why)));
    }
    check_duration(seconds)?;
    let mut audiences = texts(&request, "/spec/audiences");
    if audiences.is_empty() {
        audiences.push(call.server.config.issuer());
    }
    let now = Timestamp::now();
    let end = now.checked_add(SignedDuration::from_secs(seconds));
    let end = end.map_err(|error| ApiError::bad_request(format!("spec.expirationSeconds: {error}")))?;
    let mut bound = json!({
        "namespace": call.namespace(),
        "serviceaccount": {"name": call.name(), "uid": meta::uid(&account.object)},
    });
    bind(call, demand, &request, &mut bound).await?;
    let claims = json!({
        "aud": audiences, "exp": end.as_second(), "iat": now.as_second(), "nbf": now.as_second(),
        "iss": call.server.config.issuer(), "jti": new_uid(),
        "sub": format!("system:serviceaccount:{}:{}", call.namespace(), call.name()),
        "kubernetes.io": bound,
    });
    let token = call.server.config.token_key.sign(&claims);
    let token =
        token.ok_or_else(|| ApiError::internal("a token cannot be signed", "the system gives no random numbers"))?;
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["kind"] = KIND.1.into();
    for (key, value) in [("name", call.name()), ("namespace", call.namespace()), ("uid", meta::uid(&account.object))] {
        meta::set(&mut request, key, value);
    }
    meta::set(&mut request, "creationTimestamp", meta::seconds(now));
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"token": token, "expirationTimestamp": meta::seconds(end)});
    Ok(Answer { code: StatusCode::CREATED, body: request.to_string().into(), warnings: Vec::new() })
}

fn check_duration(seconds: i64) -> Result<(), Refusal> {
    let why = match seconds {
        ..SHORTEST => "may not specify a duration less than 10 minutes",
        SHORTEST..=LONGEST => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(invalid("", FieldError::invalid("spec.expirationSeconds", seconds, why)))
}

fn invalid(name: &str, error: FieldError) -> Refusal {
    ApiError::invalid_kind(KIND.0, KIND.1, name, &[error]).into()
}

/// Writes into the claims what the token is bound to: a pod that runs as the account, a Secret, or a node.
async fn bind(call: &Call<'_>, demand: &Demand, request: &Value, bound: &mut Value) -> Result<(), Refusal> {
    let reference = request.pointer("/spec/boundObjectRef");
    let text = |key: &str| reference.and_then(|reference| reference[key].as_str()).unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    match (reference, kind, text("apiVersion")) {
        (None, ..) => {
            let why = "node requested token not bound to a pod";
            return if *demand == Demand::Nothing { Ok(()) } else { Err(forbidden(call, why)) };
        }
        (_, "Pod", "" | "v1") => {
            let pod = found(call, &kinds::pod::RESOURCE, call.namespace(), name, uid).await?;
            if let Demand::PodOnNode(node) = demand
                && pod.object.pointer("/spec/nodeName").and_then(Value::as_str) != Some(node)
            {
                return Err(forbidden(call, "node requested token bound to a pod scheduled on a different node"));
            }
            let account = pod.object.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default");
            if account != call.name() {
                let why = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()
                );
                return Err(ApiError::bad_request(why).into());
            }
            bound["pod"] = json!({"name": name, "uid": meta::uid(&pod.object)});
            if let Some(node) = pod.object.pointer("/spec/nodeName").and_then(Value::as_str) {
                let key = kinds::node::RESOURCE.registry_key("", node);
                let node_uid = call.server.storage.get(&key).await?.map(|node| meta::uid(&node.object).to_owned());
                bound["node"] = json!({"name": node, "uid": node_uid.unwrap_or_default()});
            }
        }
        (_, "Node", "" | "v1") if *demand == Demand::Nothing => {
            let node = found(call, &kinds::node::RESOURCE, "", name, uid).await?;
            bound["node"] = json!({"name": name, "uid": meta::uid(&node.object)});
        }
        (_, "Secret", "" | "v1") if *demand == Demand::Nothing => {
            let secret = found(call, &kinds::secret::RESOURCE, call.namespace(), name, uid).await?;
            bound["secret"] = json!({"name": name, "uid": meta::uid(&secret.object)});
        }
        (_, kind, version) => {
            let core = if version.contains('/') { "" } else { "/" };
            let why = format!("cannot bind token to object of type {core}{version}, Kind={kind}");
            return Err(ApiError::bad_request(why).into());
        }
    }
    Ok(())
}

fn forbidden(call: &Call<'_>, why: &str) -> Refusal {
    ApiError::forbidden(call.path.resource, call.name(), why).into()
}

async fn found(
    call: &Call<'_>,
    kind: &'static stead_api::resource::Resource,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Stored, Refusal> {
    let object = call.server.storage.get(&kind.registry_key(namespace, name)).await?;
    let object = object.ok_or_else(|| ApiError::not_found(kind, name))?;
    if !uid.is_empty() && uid != meta::uid(&object.object) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(kind, name, why).into());
    }
    Ok(object)
}

fn texts(object: &Value, pointer: &str) -> Vec<String> {
    let list = object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

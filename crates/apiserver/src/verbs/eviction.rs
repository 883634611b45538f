//! POST of `pods/NAME/eviction`, which `kubectl drain` sends: a deletion that a budget of disruptions could refuse. No kind for
//! budgets is served, so none does; the pod's conditions tell why it goes.

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use stead_api::status::ApiError;

use crate::{
    authorize::Demand,
    body::Encoding,
    dispatch::{Answer, Call},
    query::Keep,
    refusal::Refusal,
    verbs::delete::{self, Options},
};

/// That of `v1beta1` has the same fields.
const DEFINITION: &str = "io.k8s.api.policy.v1.Eviction";
const VERSIONS: [&str; 3] = ["", "policy/v1", "policy/v1beta1"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Eviction {
    api_version: String,
    kind: String,
    metadata: Metadata,
    delete_options: Option<Options>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

pub(crate) async fn evict(call: &Call<'_>, demand: &Demand, body: &[u8]) -> Result<Answer, Refusal> {
    let value = Encoding::of(call.headers)?.value(body, DEFINITION)?;
    let eviction: Eviction = serde_json::from_value(value).map_err(|error| {
        ApiError::bad_request(format!("Eviction in version \"v1\" cannot be handled as a Eviction: {error}"))
    })?;
    let (version, kind) = (eviction.api_version.as_str(), eviction.kind.as_str());
    if !VERSIONS.contains(&version) || !matches!(kind, "" | "Eviction") {
        let text = format!("the API version in the data ({version}) or its kind ({kind}) is not policy/v1 Eviction");
        return Err(ApiError::bad_request(text).into());
    }
    if eviction.metadata.name != call.name() {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object").into());
    }
    let options = eviction.delete_options.unwrap_or_default();
    let stated = Vec::from_iter(options.dry_runs());
    if call.query.keep() == Keep::DryRun && !matches!(stated[..], [] | ["All"]) {
        let text = format!("Non-matching dry-run options in request and content: [All] and {stated:?}");
        return Err(ApiError::bad_request(text).into());
    }
    let keep = options.keep(call)?;
    delete::evict(call, demand, &options, keep).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer { code: StatusCode::CREATED, body: status.to_string().into(), warnings: Vec::new() })
}

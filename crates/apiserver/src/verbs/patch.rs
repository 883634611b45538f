//! PATCH: JSON, merge and strategic merge patches (configurations to apply are [`apply`](super::apply)'s), applied to the object as it is and tried again when others write too.

use serde_json::Value;
use stead_api::{decode::prune, field::FieldError, patch::PatchType, status::ApiError};

use crate::{
    authorize::Demand,
    body::{Sent, accept, media_type},
    dispatch::{Answer, Call},
    managing::Noting,
    refusal::Refusal,
    verbs::{apply, update::write},
};

/// How often a patch is applied anew. A patch that names a revision fails at the first that differs.
const ATTEMPTS: usize = 5;

pub(crate) async fn patch(call: &Call<'_>, demand: &Demand, body: &[u8]) -> Result<Answer, Refusal> {
    let keep = call.query.keep()?;
    let validation = call.query.field_validation()?;
    let resource = call.path.resource;
    if media_type(call.headers) == apply::MEDIA_TYPE {
        return apply::apply_configuration(call, demand, keep, body).await;
    }
    if call.query.get("force").is_some() {
        let problem = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid_kind("meta.k8s.io", "PatchOptions", "", &[problem]).into());
    }
    let (kind, patch) = read(call, body)?;
    let make = |present: &Value| -> Result<Sent, Refusal> {
        let patched = kind.apply(present, &patch, resource.definition)?;
        accept(prune(patched, resource.definition), resource, validation)
    };
    write(call, demand, keep, ATTEMPTS, Noting::Due, make).await
}

/// The patch, and in which of its forms it is written.
pub(crate) fn read(call: &Call<'_>, body: &[u8]) -> Result<(PatchType, Value), Refusal> {
    let kind = PatchType::from_media_type(media_type(call.headers))
        .ok_or_else(|| ApiError::unsupported_media_type(&PatchType::MEDIA_TYPES))?;
    let patch = stead_api::patch::parse(body)?;
    Ok((kind, patch))
}

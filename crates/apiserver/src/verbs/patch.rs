//! PATCH: JSON, merge and strategic merge patches, applied to the object as it is and tried again when others write too.

use serde_json::Value;
use stead_api::{decode::prune, patch::PatchType, status::ApiError};

use crate::{
    authorize::Demand,
    body::{Sent, accept, media_type},
    dispatch::{Answer, Call},
    refusal::Refusal,
    verbs::update::write,
};

/// How often a patch is applied anew. A patch that names a revision fails at the first that differs.
const ATTEMPTS: usize = 5;

pub(crate) async fn patch(call: &Call<'_>, demand: &Demand, body: &[u8]) -> Result<Answer, Refusal> {
    let keep = call.query.keep()?;
    let validation = call.query.field_validation()?;
    let resource = call.path.resource;
    let (kind, patch) = read(call, body)?;
    let make = |present: &Value| -> Result<Sent, Refusal> {
        let patched = kind.apply(present, &patch, resource.definition)?;
        accept(prune(patched, resource.definition), resource, validation)
    };
    write(call, demand, keep, ATTEMPTS, make).await
}

/// The patch, and in which of its forms it is written.
pub(crate) fn read(call: &Call<'_>, body: &[u8]) -> Result<(PatchType, Value), Refusal> {
    let kind = PatchType::from_media_type(media_type(call.headers))
        .ok_or_else(|| ApiError::unsupported_media_type(&PatchType::MEDIA_TYPES))?;
    let patch = stead_api::patch::parse(body)?;
    Ok((kind, patch))
}

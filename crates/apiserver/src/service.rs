//! What a write of a Service does beside storing it: families are settled, addresses and node ports claimed or released, and
//! Endpoints of its name go when it goes. What of a Service the cluster does not open to everybody is [`guard`]'s.

mod guard;

use serde_json::Value;
use stead_api::{
    kinds::{
        self,
        service::{
            allocation::{self, Complaint},
            families,
        },
    },
    meta,
    resource::Resource,
    status::ApiError,
};

pub(crate) use self::guard::refusals;
pub(crate) use crate::alloc::Purpose;
use crate::{
    alloc::{AllocError, Granted},
    query::Keep,
    refusal::Refusal,
    server::Inner,
    storage::Claims,
};

impl Purpose {
    pub(crate) const fn of(keep: Keep) -> Self {
        match keep {
            Keep::Stored => Self::Claim,
            Keep::DryRun => Self::Show,
        }
    }
}

pub(crate) fn is_service(resource: &Resource) -> bool {
    std::ptr::eq(resource, &kinds::service::RESOURCE)
}

/// Settles families; `new` is defaulted and prepared.
pub(crate) fn resolve(server: &Inner, new: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
    let errors = families::resolve(new, old, server.allocator.families());
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(&kinds::service::RESOURCE, meta::name(new), &errors).into())
    }
}

/// Finds what `new` needs and writes it into it; `new` has passed validation.
pub(crate) async fn grant<'a>(
    server: &'a Inner,
    new: &mut Value,
    old: Option<&Value>,
    purpose: Purpose,
) -> Result<Granted<'a>, Refusal> {
    let plan = allocation::plan(new, old);
    server.allocator.grant(&plan, new, purpose).await.map_err(|error| match error {
        AllocError::Named(complaints) => refused(new, complaints),
        AllocError::Store(error) => error.into(),
        full => ApiError::internal(full, path(new)).into(),
    })
}

/// What the client is told about values that it named.
fn refused(service: &Value, complaints: Vec<Complaint>) -> Refusal {
    let mut errors = Vec::new();
    let mut internal = None;
    for complaint in complaints {
        match complaint {
            Complaint::Field(error) => errors.push(error),
            Complaint::Internal(text) => internal = Some(text),
        }
    }
    if let (true, Some(text)) = (errors.is_empty(), internal) {
        return ApiError::internal(text, path(service)).into();
    }
    ApiError::invalid(&kinds::service::RESOURCE, meta::name(service), &errors).into()
}

fn path(service: &Value) -> String {
    format!("{}/{}", meta::namespace(service), meta::name(service))
}

/// For a dry run: fails where something that the user named is held by somebody.
pub(crate) async fn check_free(server: &Inner, new: &Value, granted: Granted<'_>) -> Result<(), Refusal> {
    let keys = granted.claims.claim.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let keys = keys.iter().map(String::as_str).collect::<Vec<_>>();
    let held = server.storage.existing(&keys).await?;
    let complaints = granted.taken(&held);
    if complaints.is_empty() { Ok(()) } else { Err(refused(new, complaints)) }
}

/// Somebody else holds `keys`. Fails where the user named one of them; otherwise the write may try again, with pools that know
/// what is held by now.
pub(crate) async fn yield_to(
    server: &Inner,
    new: &Value,
    granted: Option<Granted<'_>>,
    keys: &[String],
) -> Result<(), Refusal> {
    let complaints = granted.map(|granted| granted.taken(keys)).unwrap_or_default();
    if !complaints.is_empty() {
        return Err(refused(new, complaints));
    }
    Ok(server.allocator.refill().await?)
}

/// What goes with a Service: the claims to release, and other keys to remove.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    pub(crate) claims: Claims,
    pub(crate) others: Vec<String>,
    plan: allocation::AllocationPlan,
}

impl Removal {
    pub(crate) fn of(resource: &Resource, old: &Value) -> Self {
        if !is_service(resource) {
            return Self::default();
        }
        let plan = allocation::plan_removal(old);
        let endpoints = kinds::endpoints::RESOURCE.registry_key(meta::namespace(old), meta::name(old));
        Self { claims: Granted::keys(&plan), others: vec![endpoints], plan }
    }

    /// The Service is gone.
    pub(crate) fn done(&self, server: &Inner) {
        server.allocator.removed(&self.plan);
    }
}

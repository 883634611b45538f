//! Questions to the API server: who am I, who is that, may I, may they. They are answered and kept nowhere, so that all they
//! have is the way to be asked. The answers are the API server's.

mod validate;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    cell,
    column::{AGE, NAME},
};
use crate::resource::{Resource, Strategy};

pub use validate::validate_access;

const ASKED: &[&str] = &["create"];

/// What all of them have in common.
const QUESTION: Resource = Resource {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
    verbs: ASKED,
    subresources: &[],
    definition: "",
    registry: "",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, AGE],
    strategy: &Rules,
};

pub static SELF_SUBJECT_REVIEW: Resource = Resource {
    group: "authentication.k8s.io",
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    definition: "io.k8s.api.authentication.v1.SelfSubjectReview",
    registry: "selfsubjectreviews",
    ..QUESTION
};

pub static TOKEN_REVIEW: Resource = Resource {
    group: "authentication.k8s.io",
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    definition: "io.k8s.api.authentication.v1.TokenReview",
    registry: "tokenreviews",
    ..QUESTION
};

pub static LOCAL_SUBJECT_ACCESS_REVIEW: Resource = Resource {
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    namespaced: true,
    definition: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    registry: "localsubjectaccessreviews",
    ..QUESTION
};

pub static SELF_SUBJECT_ACCESS_REVIEW: Resource = Resource {
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    definition: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    registry: "selfsubjectaccessreviews",
    ..QUESTION
};

pub static SELF_SUBJECT_RULES_REVIEW: Resource = Resource {
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    definition: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    registry: "selfsubjectrulesreviews",
    ..QUESTION
};

pub static SUBJECT_ACCESS_REVIEW: Resource = Resource {
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    definition: "io.k8s.api.authorization.v1.SubjectAccessReview",
    registry: "subjectaccessreviews",
    ..QUESTION
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cell::name(object), cell::age(object, now)]
    }
}

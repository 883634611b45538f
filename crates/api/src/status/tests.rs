use super::*;
use crate::decode::decode;
use crate::field::FieldError;
use crate::patch::{PatchType, parse};
use crate::sample::{DEPLOYMENTS, SERVICES};
use crate::selector::{FieldSelector, Selector};

fn check(error: &ApiError, code: u16, reason: &str, message: &str) {
    assert_eq!(error.status.code, code, "{error}");
    assert_eq!(error.to_string(), message);
    let value = error.status.to_value();
    assert_eq!((&value["kind"], &value["status"]), (&json!("Status"), &json!("Failure")));
    assert_eq!((&value["code"], &value["reason"], &value["message"]), (&json!(code), &json!(reason), &json!(message)));
}

#[test]
fn messages_are_upstreams() {
    use ApiError as E;
    let s = &SERVICES;
    let d = &DEPLOYMENTS;
    for (error, code, reason, message) in [
        (E::bad_request("no"), 400, "BadRequest", "no"),
        (E::unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (E::forbidden(s, "x", "no"), 403, "Forbidden", r#"services "x" is forbidden: no"#),
        (E::forbidden(d, "", "no"), 403, "Forbidden", "deployments.apps is forbidden: no"),
        (E::forbidden_path("u", "get", "/x"), 403, "Forbidden", r#"forbidden: User "u" cannot get path "/x""#),
        (E::not_found(s, "x"), 404, "NotFound", r#"services "x" not found"#),
        (E::not_found(d, "x"), 404, "NotFound", r#"deployments.apps "x" not found"#),
        (E::no_such_path(), 404, "NotFound", "the server could not find the requested resource"),
        (
            E::no_such_method(),
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (E::not_acceptable(&["a", "b"]), 406, "NotAcceptable", "only the following media types are accepted: a, b"),
        (E::already_exists(s, "x"), 409, "AlreadyExists", r#"services "x" already exists"#),
        (
            E::modified(d, "x"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on deployments.apps \"x\": the object has been modified; please apply your \
             changes to the latest version and try again",
        ),
        (
            E::precondition_failed(s, "x", "UID", "1", "2"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on services \"x\": Precondition failed: UID in precondition: 1, UID in object meta: 2",
        ),
        (E::resource_version_too_old(3, 9), 410, "Expired", "too old resource version: 3 (9)"),
        (E::too_large(3), 413, "RequestEntityTooLarge", "Request entity too large: limit is 3"),
        (
            E::unsupported_media_type(&["application/json"]),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json",
        ),
        (E::unsupported_patch(), 415, "UnsupportedMediaType", "415: Unsupported Media Type"),
        (E::too_many_requests("slow down", 1), 429, "TooManyRequests", "slow down"),
        (E::internal("a", "b"), 500, "InternalError", "Internal error occurred: a"),
        (
            E::server_timeout(s, "create", 2),
            500,
            "ServerTimeout",
            "The create operation against services could not be completed at this time, please try again.",
        ),
        (E::unavailable("not ready"), 503, "ServiceUnavailable", "not ready"),
        (E::resource_version_too_large(9, 3), 504, "Timeout", "Timeout: Too large resource version: 9, current: 3"),
        (
            E::invalid_kind("meta.k8s.io", "ListOptions", "", &[FieldError::forbidden("x", "y")]),
            422,
            "Invalid",
            r#"ListOptions.meta.k8s.io "" is invalid: x: Forbidden: y"#,
        ),
        (
            E::wrong_kind(s, "v1", "Pod"),
            400,
            "BadRequest",
            "Pod in version \"v1\" cannot be handled as a Service: the path is of kind Service",
        ),
        (
            E::wrong_kind(s, "apps/v1", "Deployment"),
            400,
            "BadRequest",
            "the API version in the data (apps/v1) does not match the expected API version (v1)",
        ),
    ] {
        check(&error, code, reason, message);
    }
}

#[test]
fn details_say_what_it_is_about() {
    let port = FieldError::invalid("spec.ports[0].port", 0, "must be between 1 and 65535, inclusive");
    let error = ApiError::invalid(&SERVICES, "x", &[port.clone(), FieldError::required("spec.b", ""), port]);
    assert_eq!(
        error.to_string(),
        "Service \"x\" is invalid: [spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, \
         spec.b: Required value]"
    );
    let cause = json!({"reason": "FieldValueInvalid", "field": "spec.ports[0].port",
                       "message": "Invalid value: 0: must be between 1 and 65535, inclusive"});
    let required = json!({"reason": "FieldValueRequired", "field": "spec.b", "message": "Required value"});
    assert_eq!(
        error.status.to_value()["details"],
        json!({"name": "x", "kind": "Service", "causes": [cause, required, cause]})
    );
    let terminating = ApiError::namespace_terminating(&DEPLOYMENTS, "x", "n").status.to_value();
    assert_eq!(
        terminating["details"],
        json!({"name": "x", "group": "apps", "kind": "deployments", "causes": [{"reason": "NamespaceTerminating",
               "message": "namespace n is being terminated", "field": "metadata.namespace"}]})
    );
    assert_eq!(ApiError::unsupported_patch().status.to_value()["details"], json!({}));
    assert!(ApiError::unsupported_media_type(&["a/b"]).status.to_value().get("details").is_none());
    assert_eq!(ApiError::resource_version_too_large(2, 1).status.details.retry_after, 1);
    assert_eq!(ApiError::continue_expired("t".to_owned()).status.to_value()["metadata"], json!({"continue": "t"}));
    let internal = ApiError::internal("storage is down", "disk full on vda");
    assert!(!internal.status.to_value().to_string().contains("vda"));
    assert_eq!(internal.log.as_deref(), Some("disk full on vda"));
}

#[test]
fn a_deletion_answers_with_success() {
    assert_eq!(
        Status::deleted(&DEPLOYMENTS, "x", "1").to_value(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
               "details": {"name": "x", "group": "apps", "kind": "deployments", "uid": "1"}})
    );
}

#[test]
fn errors_of_this_crate_become_answers() {
    let error = decode(br#"{"spec":{"ports":[{"port":"x"}]}}"#, SERVICES.definition).unwrap_err();
    check(
        &ApiError::undecodable(&SERVICES, &error),
        400,
        "BadRequest",
        "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal string into Go struct field \
         ServicePort.spec.ports.port of type int32",
    );
    check(
        &ApiError::unrecognized(&SERVICES, "no kind", b"{\"a\":1}"),
        400,
        "BadRequest",
        "the object provided is unrecognized (must be of type Service): no kind ({\"a\":1})",
    );
    assert!(ApiError::unrecognized(&SERVICES, "x", &[0xff; 40]).to_string().ends_with("ffff ...)"));
    assert_eq!(ApiError::from(Selector::parse("a=(").unwrap_err()).status.code, 400);
    assert_eq!(
        ApiError::from(FieldSelector::parse("foo=1").unwrap().validate(&SERVICES).unwrap_err()).to_string(),
        "field label not supported: foo"
    );
    let patch = |text: &str| {
        let patch = parse(text.as_bytes()).and_then(|p| PatchType::Json.apply(&json!({}), &p, SERVICES.definition));
        ApiError::from(patch.unwrap_err())
    };
    assert_eq!(patch("{").status.code, 400);
    check(
        &patch(r#"[{"op":"remove","path":"/a"}]"#),
        422,
        "Invalid",
        "the server rejected our request due to an error in our request: operation 0: remove operation does not apply: doc \
         is missing path: /a: missing value",
    );
}

//! Resources that are not served: whoever may not touch them is told so before he learns that there are none.

use http::Method;
use stead_api::status::ApiError;

use super::{Attributes, right};
use crate::{auth::Identity, refusal::Refusal};

/// May `identity` ask for `path`, which nothing serves? Paths that are no resources in form are [`path`](super::path)'s.
pub(crate) fn unserved(identity: &Identity, method: &Method, path: &str) -> Result<(), Refusal> {
    let Some(attributes) = attributes(method, path) else { return Ok(()) };
    if identity.is_anonymous() {
        return Err(ApiError::unauthorized().into());
    }
    if right(identity, &attributes).is_some() {
        return Ok(());
    }
    let Attributes { group, resource, name, .. } = attributes;
    Err(ApiError::forbidden_unserved(group, resource, name, attributes.refusal(identity)).into())
}

/// What the path says of itself by upstream's form for resources; `None`: it is not of that form.
fn attributes<'a>(method: &Method, path: &'a str) -> Option<Attributes<'a>> {
    let parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (resource, rest) = rest.split_first()?;
    let name = rest.first().copied().unwrap_or_default();
    let verb = match (method, name) {
        _ if watch => "watch",
        (&Method::GET | &Method::HEAD, "") => "list",
        (&Method::GET | &Method::HEAD, _) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, "") => "deletecollection",
        (&Method::DELETE, _) => "delete",
        _ => "",
    };
    let subresource = rest.get(1).copied().unwrap_or_default();
    Some(Attributes { verb, group, resource, subresource, namespace, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::MASTERS;

    #[test]
    fn what_is_not_served_is_forbidden_first() {
        let bob = Identity::new("bob", &[]);
        let check = |method: Method, path: &str, expected: Option<&str>| {
            let refused = unserved(&bob, &method, path).err().map(|refusal| refusal.0.status.message);
            assert_eq!(refused.as_deref(), expected, "{method} {path}");
            assert!(unserved(&Identity::new("root", &[MASTERS]), &method, path).is_ok());
        };
        check(Method::GET, "/nope", None);
        check(Method::GET, "/apis/x.y/v1/", None);
        check(
            Method::GET,
            "/api/v1/nope",
            Some(r#"nope is forbidden: User "bob" cannot list resource "nope" in API group "" at the cluster scope"#),
        );
        check(
            Method::GET,
            "/apis/x.y/v1/namespaces/a/things/b/sub",
            Some(
                r#"things.x.y "b" is forbidden: User "bob" cannot get resource "things/sub" in API group "x.y" in the namespace "a""#,
            ),
        );
        check(
            Method::DELETE,
            "/apis/x.y/v1/things",
            Some(
                r#"things.x.y is forbidden: User "bob" cannot deletecollection resource "things" in API group "x.y" at the cluster scope"#,
            ),
        );
    }
}

//! Where a link of a page behind the proxy leads: the same place, by way of the proxy. Pure.

/// A proxied page, as its links see it.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// The path of the API that stands for the root of the one behind: `/api/v1/namespaces/a/services/b/proxy`.
    pub(super) prefix: String,
    /// How the one behind was reached: address and port.
    pub(super) behind: String,
    /// The host that the client asked.
    pub(super) host: String,
}

impl Page {
    /// The link by way of the proxy; `None` where it leads elsewhere or there already.
    pub(super) fn rewrite(&self, link: &str) -> Option<String> {
        let (scheme, rest) = match link.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, link),
        };
        let (host, rest) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            None => (None, rest),
        };
        let is_elsewhere = host.is_some_and(|host| !host.is_empty() && host != self.behind && host != self.host);
        if is_elsewhere || !rest.starts_with('/') {
            return None;
        }
        let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let path = if path.starts_with(&self.prefix) { path.to_owned() } else { self.below(path) };
        let new = match (scheme, host) {
            (Some(scheme), Some(host)) if host == self.host => format!("{scheme}://{host}{path}{query}"),
            (None, Some(host)) if host == self.host => format!("//{host}{path}{query}"),
            _ => format!("{path}{query}"),
        };
        (new != link).then_some(new)
    }

    /// The prefix and a clean `path`, which keeps its last `/`.
    fn below(&self, path: &str) -> String {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let end = if path.ends_with('/') { "/" } else { "" };
        let mut joined = self.prefix.clone();
        parts.iter().for_each(|part| {
            joined.push('/');
            joined.push_str(part);
        });
        joined + end
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_same_place_go_by_the_proxy() {
        let page =
            Page { prefix: "/api/p/proxy".into(), behind: "10.244.1.2:8080".into(), host: "localhost:8001".into() };
        let check = |link: &str, expected: Option<&str>| assert_eq!(page.rewrite(link).as_deref(), expected, "{link}");
        check("/", Some("/api/p/proxy/"));
        check("/x/y?z=/#f", Some("/api/p/proxy/x/y?z=/#f"));
        check("/x/", Some("/api/p/proxy/x/"));
        check("/x/../../..", Some("/api/p/proxy"));
        check("/api/p/proxy/x", None);
        check("http://10.244.1.2:8080/x", Some("/api/p/proxy/x"));
        check("//10.244.1.2:8080/x", Some("/api/p/proxy/x"));
        check("http://localhost:8001/x", Some("http://localhost:8001/api/p/proxy/x"));
        check("http://localhost:8001/api/p/proxy/x", None);
        check("http://elsewhere/x", None);
        check("x/y", None);
        check("?a", None);
        check("#a", None);
        check("", None);
        check("mailto:a@b", None);
        check("javascript:void(0)", None);
        check("http://10.244.1.2:8080", None);
    }
}

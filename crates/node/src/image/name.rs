//! Image names: what people write, and the one full form that the store keys by.

use std::{fmt, str::FromStr};

/// A full image name: `docker.io/library/nginx:1.27`, `stead.local/busybox:latest`, `host/x@sha256:…`.
///
/// Parsing fills in what people leave out: domain `docker.io`, path `library/`, tag `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// Domain and path: `docker.io/library/nginx`.
    repository: String,
    /// The tag, or a digest with its algorithm.
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Version {
    Tag(String),
    Digest(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name {0:?}: want [HOST/]PATH[:TAG] in lower case")]
pub struct InvalidImageName(pub String);

impl ImageName {
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// `sha256:…` where the name pins a digest.
    pub fn digest(&self) -> Option<&str> {
        match &self.version {
            Version::Digest(digest) => Some(digest),
            Version::Tag(_) => None,
        }
    }
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let invalid = || InvalidImageName(text.to_owned());
        if text.len() > 512 {
            return Err(invalid());
        }
        let (rest, version) = match text.split_once('@') {
            Some((rest, digest)) => {
                let hex = digest.strip_prefix("sha256:").ok_or_else(invalid)?;
                if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(invalid());
                }
                let bare = split_tag(rest).map_or(rest, |(bare, _)| bare);
                (bare, Version::Digest(digest.to_owned()))
            }
            None => match split_tag(text) {
                Some((rest, tag)) if is_tag(tag) => (rest, Version::Tag(tag.to_owned())),
                Some(_) => return Err(invalid()),
                None => (text, Version::Tag("latest".to_owned())),
            },
        };
        let (domain, path) = match rest.split_once('/') {
            Some((first, path)) if is_domain(first) => (first, path.to_owned()),
            Some(_) => ("docker.io", rest.to_owned()),
            None => ("docker.io", format!("library/{rest}")),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        let domain_ok = domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
        if !domain_ok || !path.split('/').all(is_component) {
            return Err(invalid());
        }
        Ok(Self { repository: format!("{domain}/{path}"), version })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// A colon after the last slash opens a tag; one before it belongs to the domain's port.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let (rest, tag) = text.rsplit_once(':')?;
    (!tag.contains('/')).then_some((rest, tag))
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn is_component(component: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(component.bytes().next())
        && edge(component.bytes().last())
        && component.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_full_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |input: &str, expect: Option<&str>| {
            assert_eq!(input.parse::<ImageName>().ok().map(|n| n.to_string()).as_deref(), expect, "{input}");
        };
        check("nginx", Some("docker.io/library/nginx:latest"));
        check("nginx:1.27", Some("docker.io/library/nginx:1.27"));
        check("me/app", Some("docker.io/me/app:latest"));
        check("stead.local/hello-app:2.0", Some("stead.local/hello-app:2.0"));
        check("gcr.io/google-samples/hello-app:1.0", Some("gcr.io/google-samples/hello-app:1.0"));
        check("localhost:5000/x", Some("localhost:5000/x:latest"));
        check("localhost/x:a", Some("localhost/x:a"));
        check("index.docker.io/library/x", Some("docker.io/library/x:latest"));
        check(&format!("nginx:1@{digest}"), Some(&format!("docker.io/library/nginx@{digest}")));
        check("", None);
        check("Upper", None);
        check("a//b", None);
        check("a/../b", None);
        check("x:", None);
        check("x:-a", None);
        check("x@sha256:abc", None);
        check("x y", None);
        check("-x", None);
    }
}

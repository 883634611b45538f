//! What a name, a label key, a label value or a port name may look like, with upstream's words for what is wrong.
//!
//! Each rule takes a text and returns messages; none means valid. The field that the text stands in is the caller's to
//! name ([`meta`](crate::meta) does so for metadata).

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_UNDERSCORE_FORMAT: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE_FORMAT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_MAP_KEY_FORMAT: &str = "[-._a-zA-Z0-9]+";

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN_UNDERSCORE_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const QUALIFIED_RULE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const CONFIG_MAP_KEY_RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";

/// An RFC 1123 label, such as the name of a Namespace or a container.
pub(crate) fn dns1123_label(value: &str) -> Vec<String> {
    let mut problems = too_long(value, 63, "characters");
    if !is_label(value) {
        problems.push(if is_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            mismatch(LABEL_RULE, LABEL_FORMAT, &["my-name", "123-abc"])
        });
    }
    problems
}

/// An RFC 1123 subdomain: the rule for most object names.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut problems = too_long(value, 253, "characters");
    if !is_subdomain(value) {
        problems.push(mismatch(SUBDOMAIN_RULE, SUBDOMAIN_FORMAT, &["example.com"]));
    }
    problems
}

/// The same with underscores, as the names of service records have: a path that names are searched in.
pub(crate) fn dns1123_subdomain_with_underscores(value: &str) -> Vec<String> {
    let mut problems = too_long(value, 253, "characters");
    let is_part = |part: &str| is_label(&part.strip_prefix('_').unwrap_or(part).replace('_', "-"));
    if !value.split('.').all(is_part) || value.split('.').any(|part| part.ends_with('_')) {
        problems.push(mismatch(SUBDOMAIN_UNDERSCORE_RULE, SUBDOMAIN_UNDERSCORE_FORMAT, &["example.com"]));
    }
    problems
}

/// An optional DNS subdomain and `/`, then a name of at most 63 bytes: label keys, annotation keys in lower case,
/// finalizers, condition types.
pub(crate) fn qualified_name(value: &str) -> Vec<String> {
    let rule = || mismatch(QUALIFIED_RULE, QUALIFIED_FORMAT, &["MyName", "my.name", "123-abc"]);
    let mut problems = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                rule()
            )];
        }
        Some(("", name)) => {
            problems.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            problems.extend(dns1123_subdomain(prefix).into_iter().map(|p| format!("prefix part {p}")));
            name
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    }
    problems.extend(too_long(name, 63, "bytes").into_iter().map(|p| format!("name part {p}")));
    if !is_qualified(name) {
        problems.push(format!("name part {}", rule()));
    }
    problems
}

/// A label's value: empty, or at most 63 bytes.
pub(crate) fn label_value(value: &str) -> Vec<String> {
    let mut problems = too_long(value, 63, "bytes");
    if !(value.is_empty() || is_qualified(value)) {
        problems.push(mismatch(LABEL_VALUE_RULE, LABEL_VALUE_FORMAT, &["MyValue", "my_value", "12345"]));
    }
    problems
}

/// A port name in the sense of IANA (RFC 6335), lower case, as in container ports and target ports.
pub(crate) fn port_name(value: &str) -> Vec<String> {
    let mut problems = too_long(value, 15, "characters");
    if value.is_empty() || !value.bytes().all(|b| is_lower_alphanumeric(b) || b == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// A port number.
pub(crate) fn port_number(value: i64) -> Vec<String> {
    in_range(value, 1, 65_535)
}

/// A number between two others, both of which are allowed.
pub(crate) fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

/// A key of a ConfigMap's data.
pub(crate) fn config_map_key(value: &str) -> Vec<String> {
    let mut problems = too_long(value, 253, "characters");
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        problems.push(mismatch(CONFIG_MAP_KEY_RULE, CONFIG_MAP_KEY_FORMAT, &["key.name", "KEY_NAME", "key-name"]));
    }
    match value {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// A name that must at least be one segment of a path: what a URL or a registry key can hold.
pub(crate) fn path_segment(value: &str) -> Vec<String> {
    match value {
        "." => vec!["may not be '.'".to_owned()],
        ".." => vec!["may not be '..'".to_owned()],
        _ => ["/", "%"].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect(),
    }
}

/// Upstream says `bytes` for labels and `characters` for names; both mean bytes.
fn too_long(value: &str, limit: usize, unit: &str) -> Vec<String> {
    if value.len() > limit { vec![format!("must be no more than {limit} {unit}")] } else { Vec::new() }
}

fn mismatch(rule: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{format}')", examples.join(" or "))
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.first().copied().is_some_and(is_lower_alphanumeric)
        && bytes.last().copied().is_some_and(is_lower_alphanumeric)
        && bytes.iter().all(|&b| is_lower_alphanumeric(b) || b == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Vec<String>, value: &str, expected: &[&str]) {
        let problems = rule(value);
        assert_eq!(problems.len(), expected.len(), "{value:?}: {problems:?}");
        for (problem, start) in problems.iter().zip(expected) {
            assert!(problem.starts_with(start), "{value:?}: {problem}");
        }
    }

    #[test]
    fn labels() {
        check(dns1123_label, "a", &[]);
        check(dns1123_label, "0-a", &[]);
        check(dns1123_label, "a.b", &["must not contain dots"]);
        check(dns1123_label, "", &["a lowercase RFC 1123 label"]);
        check(dns1123_label, "Ab", &["a lowercase RFC 1123 label"]);
        check(dns1123_label, "-a", &["a lowercase RFC 1123 label"]);
        check(dns1123_label, &"a".repeat(64), &["must be no more than 63 characters"]);
    }

    #[test]
    fn a_mismatch_gives_rule_examples_and_expression() {
        assert_eq!(
            dns1123_label("A"),
            ["a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"]
        );
    }

    #[test]
    fn subdomains() {
        check(dns1123_subdomain, "a.b-c.0", &[]);
        check(dns1123_subdomain, "a..b", &["a lowercase RFC 1123 subdomain"]);
        check(dns1123_subdomain, ".a", &["a lowercase RFC 1123 subdomain"]);
        check(dns1123_subdomain, &"a".repeat(254), &["must be no more than 253 characters"]);
    }

    #[test]
    fn subdomains_with_underscores() {
        for good in ["a", "a_b", "_a.b", "_a._b-c"] {
            check(dns1123_subdomain_with_underscores, good, &[]);
        }
        for bad in ["", "_", "a_", "__a", "-a", "_-a", "A", "a b", "a..b"] {
            check(dns1123_subdomain_with_underscores, bad, &["a lowercase RFC 1123 subdomain"]);
        }
    }

    #[test]
    fn qualified_names() {
        check(qualified_name, "app", &[]);
        check(qualified_name, "example.com/App_1.x", &[]);
        check(qualified_name, "/app", &["prefix part must be non-empty"]);
        check(qualified_name, "a/", &["name part must be non-empty", "name part must consist"]);
        check(qualified_name, "A/b", &["prefix part a lowercase RFC 1123 subdomain"]);
        check(qualified_name, "a/b/c", &["a valid label key must consist"]);
        check(qualified_name, "-a", &["name part must consist"]);
        check(qualified_name, &"a".repeat(64), &["name part must be no more than 63 bytes"]);
    }

    #[test]
    fn label_values_ports_and_keys() {
        check(label_value, "", &[]);
        check(label_value, "v1.0_b", &[]);
        check(label_value, "a b", &["a valid label must be"]);
        check(port_name, "http-1", &[]);
        check(port_name, "", &["must contain only", "must contain at least one letter"]);
        check(port_name, "1", &["must contain at least one letter"]);
        check(port_name, "-a--b", &["must not contain consecutive", "must not begin or end"]);
        check(config_map_key, "ca.crt", &[]);
        check(config_map_key, "..x", &["must not start with '..'"]);
        check(config_map_key, "a/b", &["a valid config key"]);
        check(path_segment, "a/b%", &["may not contain '/'", "may not contain '%'"]);
        assert_eq!(port_number(70_000), ["must be between 1 and 65535, inclusive"]);
    }
}

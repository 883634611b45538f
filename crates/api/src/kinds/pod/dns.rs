//! What is wrong with the name servers, search paths and options that a pod asks for.

use serde_json::Value;

use super::super::{
    address,
    errors::Errors,
    value::{at, list, text, texts},
};
use crate::{field::FieldError, names::dns1123_subdomain_with_underscores};

/// As many as the C library takes, or 2048 letters of searches.
const MOST_NAMESERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCHES: usize = 2048;

/// `dnsConfig` of the spec at `root`, against its `dnsPolicy`.
pub(super) fn validate(spec: &Value, root: &str, errors: &mut Errors) {
    let (config, root) = (at(spec, "/dnsConfig"), format!("{root}.dnsConfig"));
    let nameservers = texts(config, "/nameservers");
    if text(spec, "/dnsPolicy") == "None" && nameservers.is_empty() {
        let (field, problem) = if config.is_null() {
            (root, "must provide `dnsConfig` when `dnsPolicy` is None")
        } else {
            (format!("{root}.nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
        };
        return errors.push(FieldError::required(field, problem));
    }
    if nameservers.len() > MOST_NAMESERVERS {
        let problem = format!("must not have more than {MOST_NAMESERVERS} nameservers");
        errors.invalid(format!("{root}.nameservers"), at(config, "/nameservers"), problem);
    }
    for (index, nameserver) in nameservers.iter().enumerate() {
        errors.invalid_text(&format!("{root}.nameservers[{index}]"), nameserver, address::ip(nameserver));
    }
    validate_searches(config, &format!("{root}.searches"), errors);
    for (index, option) in list(config, "/options").iter().enumerate() {
        if text(option, "/name").is_empty() {
            errors.push(FieldError::required(format!("{root}.options[{index}]"), "must not be empty"));
        }
    }
}

fn validate_searches(config: &Value, field: &str, errors: &mut Errors) {
    let searches = texts(config, "/searches");
    if searches.len() > MOST_SEARCHES {
        let problem = format!("must not have more than {MOST_SEARCHES} search paths");
        errors.invalid(field, at(config, "/searches"), problem);
    }
    if searches.join(" ").len() > LONGEST_SEARCHES {
        let problem =
            format!("must not have more than {LONGEST_SEARCHES} characters (including spaces) in the search list");
        errors.invalid(field, at(config, "/searches"), problem);
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| **search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.invalid_text(&format!("{field}[{index}]"), search, dns1123_subdomain_with_underscores(search));
    }
}

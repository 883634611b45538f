//! What is wrong with an EndpointSlice, in upstream's words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{
    address,
    errors::Errors,
    value::{at, is_set, list, text, texts},
};
use crate::{
    field::FieldError,
    names::{dns1123_label, dns1123_subdomain, label_value, qualified_name},
};

const MAX_ENDPOINTS: usize = 1_000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// What is wrong with a text.
type Rule = fn(&str) -> Vec<String>;

/// `stored`: addresses that were there before.
pub(super) fn validate(slice: &Value, stored: &[&str]) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let kind = text(slice, "/addressType");
    errors.one_of("addressType", kind, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = list(slice, "/endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_many("endpoints", endpoints.len(), MAX_ENDPOINTS));
    } else {
        for (index, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, kind, stored, &format!("endpoints[{index}]"), &mut errors);
        }
    }
    let ports = list(slice, "/ports");
    if ports.len() > MAX_PORTS {
        errors.push(FieldError::too_many("ports", ports.len(), MAX_PORTS));
    } else {
        validate_ports(ports, &mut errors);
    }
    errors.into_vec()
}

/// Addresses of another type are another slice.
pub(super) fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(new, old, "/addressType", "addressType");
    errors.into_vec()
}

fn validate_endpoint(endpoint: &Value, kind: &str, stored: &[&str], root: &str, errors: &mut Errors) {
    let addresses = texts(endpoint, "/addresses");
    let field = format!("{root}.addresses");
    if addresses.is_empty() {
        errors.push(FieldError::required(&field, "must contain at least 1 address"));
    } else if addresses.len() > MAX_ADDRESSES {
        errors.push(FieldError::too_many(&field, addresses.len(), MAX_ADDRESSES));
    } else {
        for (index, address) in addresses.iter().enumerate() {
            validate_address(address, kind, stored, (&field, index), errors);
        }
    }
    let rules: [(&str, Rule); 2] = [("nodeName", dns1123_subdomain), ("hostname", dns1123_label)];
    for (name, rule) in rules {
        if is_set(endpoint, &format!("/{name}")) {
            let value = text(endpoint, &format!("/{name}"));
            errors.invalid_text(&format!("{root}.{name}"), value, rule(value));
        }
    }
    let hints: [(&str, Rule); 2] = [("forZones", label_value), ("forNodes", dns1123_subdomain)];
    for (name, rule) in hints {
        validate_hints(list(endpoint, &format!("/hints/{name}")), &format!("{root}.hints.{name}"), rule, errors);
    }
}

/// One of the addresses of the list `field`. That it is of the wrong family is said of the list.
fn validate_address(address: &str, kind: &str, stored: &[&str], (field, index): (&str, usize), errors: &mut Errors) {
    if kind == "FQDN" {
        return validate_domain(address, &format!("{field}[{index}]"), errors);
    }
    let problems = match kind {
        "IPv4" | "IPv6" => {
            let odd = address::canonical_or_stored(address, stored);
            if odd.is_empty() {
                if address::family(address).is_none_or(|family| family.to_string() != kind) {
                    errors.invalid(field, &address.into(), format_args!("must be an {kind} address"));
                }
                address::destination(address)
            } else {
                odd
            }
        }
        _ => Vec::new(),
    };
    errors.invalid_text(&format!("{field}[{index}]"), address, problems);
}

/// A name of two labels or more, with a dot behind or without.
fn validate_domain(name: &str, field: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.push(FieldError::required(field, ""));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = dns1123_subdomain(name);
    if !problems.is_empty() {
        errors.invalid_text(field, name, problems);
    } else if !name.contains('.') {
        let short = "should be a domain with at least two segments separated by dots";
        errors.invalid_text(field, name, vec![short.to_owned()]);
    } else {
        name.split('.').for_each(|label| errors.invalid_text(field, label, dns1123_label(label)));
    }
}

fn validate_hints(hints: &[Value], root: &str, rule: Rule, errors: &mut Errors) {
    if hints.len() > MAX_HINTS {
        return errors.push(FieldError::too_many(root, hints.len(), MAX_HINTS));
    }
    let mut seen = BTreeSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let (field, value) = (format!("{root}[{index}].name"), text(hint, "/name"));
        if !seen.insert(value) {
            errors.duplicate(&field, &value.into());
        }
        errors.invalid_text(&field, value, rule(value));
    }
}

fn validate_ports(ports: &[Value], errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = |name: &str| format!("ports[{index}].{name}");
        let name = text(port, "/name");
        errors.maybe_named(&field("name"), name, dns1123_label);
        if !names.insert(name) {
            errors.duplicate(field("name"), &name.into());
        }
        let protocol = text(port, "/protocol");
        if !PROTOCOLS.contains(&protocol) {
            errors.push(FieldError::not_supported(field("protocol"), protocol, &PROTOCOLS));
        }
        if is_set(port, "/port") {
            let number = at(port, "/port").as_i64().unwrap_or_default();
            if !(0..=65_535).contains(&number) {
                errors.invalid(field("port"), &number.into(), "must be between 1 and 65535, inclusive");
            }
        }
        if is_set(port, "/appProtocol") {
            let protocol = text(port, "/appProtocol");
            errors.invalid_text(&field("appProtocol"), protocol, qualified_name(protocol));
        }
    }
}

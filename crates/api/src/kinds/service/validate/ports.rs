//! The ports of a Service and their node ports.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{
    super::{
        errors::Errors,
        value::{count, is_set, list, text},
    },
    spec::{has_node_ports, kind},
};
use crate::{
    field::FieldError,
    names::{dns1123_label, qualified_name},
};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn validate_ports(service: &Value, errors: &mut Errors) {
    let ports = list(service, "/spec/ports");
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        match text(port, "/name") {
            "" if ports.len() > 1 => errors.required(field("name")),
            "" => {}
            name => {
                errors.named(&field("name"), name, dns1123_label);
                if !names.insert(name) {
                    errors.duplicate(field("name"), &name.into());
                }
            }
        }
        errors.port(port, "/port", &field("port"));
        errors.one_of(field("protocol"), text(port, "/protocol"), PROTOCOLS);
        errors.port_or_name(port, "/targetPort", &field("targetPort"));
        if is_set(port, "/appProtocol") {
            let protocol = text(port, "/appProtocol");
            errors.invalid_text(&field("appProtocol"), protocol, qualified_name(protocol));
        }
        let node_port = count(port, "/nodePort");
        if has_node_ports(service) && !(0..=65_535).contains(&node_port) {
            errors.invalid(field("nodePort"), &node_port.into(), "must be between 0 and 65535, inclusive");
        }
    }
}

pub(super) fn validate_node_ports(service: &Value, errors: &mut Errors) {
    let mut node_ports = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (index, port) in list(service, "/spec/ports").iter().enumerate() {
        let node_port = count(port, "/nodePort");
        let field = format!("spec.ports[{index}].nodePort");
        if node_port != 0 && kind(service) == "ClusterIP" {
            errors.forbidden(&field, "may not be used when `type` is 'ClusterIP'");
        }
        if node_port != 0 && !node_ports.insert((text(port, "/protocol"), node_port)) {
            errors.duplicate(field, &node_port.into());
        }
    }
    for (index, port) in list(service, "/spec/ports").iter().enumerate() {
        let (protocol, number) = (text(port, "/protocol"), count(port, "/port"));
        if !numbers.insert((protocol, number)) {
            errors.push(FieldError::duplicate(format!("spec.ports[{index}]"), shown_port(protocol, number)));
        }
    }
}

/// A port as upstream shows it when it is a duplicate: only protocol and number count, all else is empty.
fn shown_port(protocol: &str, number: i64) -> String {
    format!(r#"{{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{number},"TargetPort":0,"NodePort":0}}"#)
}

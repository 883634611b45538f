//! The pages of Endpoints and of an EndpointSlice.

use serde_json::Value;

use super::page::{Page, head, list, or_none, plain};

pub(super) fn describe(page: &mut Page, endpoints: &Value) {
    head(page, endpoints);
    page.line(0, "Subsets:");
    for subset in list(&endpoints["subsets"]) {
        let addresses = |key: &str| list(&subset[key]).map(|one| plain(&one["ip"])).collect::<Vec<_>>().join(",");
        page.field_at(1, "Addresses", or_none(&addresses("addresses")));
        page.field_at(1, "NotReadyAddresses", or_none(&addresses("notReadyAddresses")));
        if list(&subset["ports"]).next().is_some() {
            page.line(1, "Ports:");
            page.line(2, "Name\tPort\tProtocol");
            page.line(2, "----\t----\t--------");
        }
        for port in list(&subset["ports"]) {
            let (name, number) = (plain(&port["name"]), plain(&port["port"]));
            page.line(2, format_args!("{}\t{number}\t{}", unset(&name), plain(&port["protocol"])));
        }
        page.line(0, "");
    }
}

pub(super) fn describe_slice(page: &mut Page, slice: &Value) {
    head(page, slice);
    page.field("AddressType", plain(&slice["addressType"]));
    if list(&slice["ports"]).next().is_none() {
        page.line(0, "Ports: <unset>");
    } else {
        page.line(0, "Ports:");
        page.line(1, "Name\tPort\tProtocol");
        page.line(1, "----\t----\t--------");
    }
    for port in list(&slice["ports"]) {
        let (name, number) = (plain(&port["name"]), plain(&port["port"]));
        page.line(1, format_args!("{}\t{}\t{}", unset(&name), unset(&number), plain(&port["protocol"])));
    }
    page.line(0, if list(&slice["endpoints"]).next().is_none() { "Endpoints: <none>" } else { "Endpoints:" });
    for endpoint in list(&slice["endpoints"]) {
        let addresses: Vec<String> = list(&endpoint["addresses"]).map(plain).collect();
        page.field_at(1, "- Addresses", or_none(&addresses.join(", ")));
        page.line(2, "Conditions:");
        page.field_at(3, "Ready", unset(&plain(&endpoint["conditions"]["ready"])));
        page.field_at(2, "Hostname", unset(&plain(&endpoint["hostname"])));
        let target = &endpoint["targetRef"];
        if !target.is_null() {
            page.field_at(2, "TargetRef", format_args!("{}/{}", plain(&target["kind"]), plain(&target["name"])));
        }
        page.field_at(2, "NodeName", unset(&plain(&endpoint["nodeName"])));
        page.field_at(2, "Zone", unset(&plain(&endpoint["zone"])));
    }
}

fn unset(text: &str) -> &str {
    if text.is_empty() { "<unset>" } else { text }
}

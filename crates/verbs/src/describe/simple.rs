//! The pages of kinds that say little: Namespace, ConfigMap, Secret, ServiceAccount, ServiceCIDR, IPAddress.

use serde_json::Value;

use super::page::{Page, date, head, joined, list, map, plain};

pub(super) fn describe_namespace(page: &mut Page, namespace: &Value) {
    head(page, namespace);
    page.field("Status", plain(&namespace["status"]["phase"]));
    conditions(page, namespace);
}

/// The table of an object's conditions, where it has any.
fn conditions(page: &mut Page, object: &Value) {
    if list(&object["status"]["conditions"]).next().is_some() {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        page.line(1, "----\t------\t------------------\t------\t-------");
    }
    for condition in list(&object["status"]["conditions"]) {
        let [kind, status, reason, message] = ["type", "status", "reason", "message"].map(|key| plain(&condition[key]));
        page.line(1, format_args!("{kind}\t{status}\t{}\t{reason}\t{message}", date(&condition["lastTransitionTime"])));
    }
}

pub(super) fn describe_service_cidr(page: &mut Page, range: &Value) {
    head(page, range);
    page.field("CIDRs", joined(&range["spec"]["cidrs"], ", "));
    if list(&range["status"]["conditions"]).next().is_some() {
        page.line(0, "Status:");
        conditions(page, range);
    }
}

pub(super) fn describe_ip_address(page: &mut Page, address: &Value) {
    head(page, address);
    let parent = &address["spec"]["parentRef"];
    if parent.is_object() {
        page.line(0, "Parent Reference:");
        for key in ["Group", "Resource", "Namespace", "Name"] {
            page.field_at(1, key, plain(&parent[key.to_lowercase()]));
        }
    }
}

pub(super) fn describe_config_map(page: &mut Page, config_map: &Value) {
    head(page, config_map);
    page.line(0, "\nData\n====");
    for (key, value) in map(&config_map["data"]) {
        page.line(0, format_args!("{key}:\n----\n{}\n", plain(value)));
    }
    page.line(0, "\nBinaryData\n====");
    for (key, value) in map(&config_map["binaryData"]) {
        page.line(0, format_args!("{key}: {} bytes", decoded_length(&plain(value))));
    }
    page.line(0, "");
}

/// Values are counted, never shown.
pub(super) fn describe_secret(page: &mut Page, secret: &Value) {
    head(page, secret);
    page.line(0, format_args!("\nType:\t{}", plain(&secret["type"])));
    page.line(0, "\nData\n====");
    for (key, value) in map(&secret["data"]) {
        page.field(key, format_args!("{} bytes", decoded_length(&plain(value))));
    }
}

pub(super) fn describe_service_account(page: &mut Page, account: &Value) {
    head(page, account);
    let names = |key: &str| list(&account[key]).map(|one| plain(&one["name"])).collect::<Vec<_>>();
    page.column("Image pull secrets", &names("imagePullSecrets"));
    page.column("Mountable secrets", &names("secrets"));
    page.line(0, "Tokens:\t<none>");
}

/// How many bytes a base64 text stands for.
fn decoded_length(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|&byte| byte == b'=').count()
}

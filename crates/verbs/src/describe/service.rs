//! The page of a Service.

use serde_json::Value;

use super::page::{Page, head, joined, list, or_none, pairs, plain};

/// Endpoints that are shown one by one.
const SHOWN: usize = 3;

pub(super) fn describe(page: &mut Page, service: &Value, slices: &[Value]) {
    let spec = &service["spec"];
    head(page, service);
    page.field("Selector", pairs(&spec["selector"]));
    page.field("Type", plain(&spec["type"]));
    page.maybe("IP Family Policy", &spec["ipFamilyPolicy"]);
    page.field("IP Families", or_none(&joined(&spec["ipFamilies"], ",")));
    page.field("IP", plain(&spec["clusterIP"]));
    page.field("IPs", or_none(&joined(&spec["clusterIPs"], ",")));
    page.maybe("External IPs", &joined(&spec["externalIPs"], ",").into());
    page.maybe("Desired LoadBalancer IP", &spec["loadBalancerIP"]);
    page.maybe("External Name", &spec["externalName"]);
    page.maybe("LoadBalancer Ingress", &ingress(service).into());
    for port in list(&spec["ports"]) {
        describe_port(page, port, slices);
    }
    page.field("Session Affinity", plain(&spec["sessionAffinity"]));
    page.maybe("External Traffic Policy", &spec["externalTrafficPolicy"]);
    page.maybe("Internal Traffic Policy", &spec["internalTrafficPolicy"]);
    page.maybe("HealthCheck NodePort", &spec["healthCheckNodePort"]);
    page.maybe("LoadBalancer Source Ranges", &joined(&spec["loadBalancerSourceRanges"], ",").into());
    page.maybe("Traffic Distribution", &spec["trafficDistribution"]);
}

fn describe_port(page: &mut Page, port: &Value, slices: &[Value]) {
    let name = plain(&port["name"]);
    let shown = if name.is_empty() { "<unset>" } else { &name };
    let protocol = plain(&port["protocol"]);
    page.line(0, format_args!("Port:\t{shown}\t{}/{protocol}", plain(&port["port"])));
    page.field("TargetPort", format_args!("{}/{protocol}", plain(&port["targetPort"])));
    if port["nodePort"].as_i64().unwrap_or_default() != 0 {
        page.line(0, format_args!("NodePort:\t{shown}\t{}/{protocol}", plain(&port["nodePort"])));
    }
    page.field("Endpoints", ready_endpoints(slices, &name));
}

/// The first addresses that are ready at the port called `name`, and how many more there are.
fn ready_endpoints(slices: &[Value], name: &str) -> String {
    let mut shown = Vec::new();
    let mut count = 0;
    for slice in slices {
        let ready = || list(&slice["endpoints"]).filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let suffixes: Vec<String> = match slice["ports"].as_array() {
            Some(ports) if !ports.is_empty() => {
                let of_name = ports.iter().filter(|port| plain(&port["name"]) == name);
                of_name.map(|port| plain(&port["port"])).collect()
            }
            _ => vec![String::new()],
        };
        for suffix in suffixes {
            for endpoint in ready() {
                count += 1;
                if shown.len() < SHOWN {
                    shown.push(host_port(&plain(&endpoint["addresses"][0]), &suffix));
                }
            }
        }
    }
    match count {
        0 => String::new(),
        _ if count > shown.len() => format!("{} + {} more...", shown.join(","), count - shown.len()),
        _ => shown.join(","),
    }
}

fn host_port(address: &str, port: &str) -> String {
    match (port.is_empty(), address.contains(':')) {
        (true, _) => address.to_owned(),
        (false, true) => format!("[{address}]:{port}"),
        (false, false) => format!("{address}:{port}"),
    }
}

fn ingress(service: &Value) -> String {
    let entry = |one: &Value| {
        let ip = plain(&one["ip"]);
        let mode = plain(&one["ipMode"]);
        match (ip.is_empty(), mode.is_empty()) {
            (true, _) => plain(&one["hostname"]),
            (false, true) => ip,
            (false, false) => format!("{ip} ({mode})"),
        }
    };
    list(&service["status"]["loadBalancer"]["ingress"]).map(entry).collect::<Vec<_>>().join(", ")
}

//! What was printed in 2015: the columns of each kind, one more line for each further container, and `describe service`.
//!
//! Everything is made of v1 objects. Which objects, and in which order, is the caller's.

use serde_json::Value;

use crate::kinds::{
    cell::{self, NONE, or},
    value::{at, count, is_true, list, text},
};

/// Cells are at least this wide, the space behind them included.
const WIDTH: usize = 20;
const SPACE: usize = 3;
/// What `describe` puts its values behind.
const TAB: usize = 8;

/// The lines of one object.
type Rows = fn(&Value) -> Vec<Vec<String>>;

/// A table: its columns, then a row for each line. `None` for kinds that were not printed then. `plural` is as in paths, of
/// either version.
pub fn table<'a>(plural: &str, objects: impl IntoIterator<Item = &'a Value>) -> Option<Vec<Vec<String>>> {
    let (columns, rows): (&[&str], Rows) = match plural {
        "services" => (&["NAME", "LABELS", "SELECTOR", "IP", "PORT"], service),
        "pods" => (&["POD", "IP", "CONTAINER(S)", "IMAGE(S)", "HOST", "LABELS", "STATUS"], pod),
        "replicationcontrollers" => {
            (&["CONTROLLER", "CONTAINER(S)", "IMAGE(S)", "SELECTOR", "REPLICAS"], replication_controller)
        }
        "minions" | "nodes" => (&["NAME", "LABELS", "STATUS"], minion),
        "endpoints" => (&["NAME", "ENDPOINTS"], endpoints),
        "namespaces" => (&["NAME", "LABELS", "STATUS"], namespace),
        _ => return None,
    };
    let header = columns.iter().map(|column| (*column).to_owned()).collect();
    Some(std::iter::once(header).chain(objects.into_iter().flat_map(rows)).collect())
}

/// The table as text, columns aligned.
pub fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (widest.unwrap_or_default() + SPACE).max(WIDTH)
    };
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for row in rows {
        let (last, others) = row.split_last().map_or((None, row.as_slice()), |(last, others)| (Some(last), others));
        for (cell, width) in others.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(last.map_or("", String::as_str));
        text.push('\n');
    }
    text
}

/// What `kubectl describe service` printed. `events` are v1's, the oldest first.
pub fn describe_service(service: &Value, events: &[Value]) -> String {
    let port = list(service, "/spec/ports").first().map_or(0, |port| count(port, "/port"));
    let mut lines = [
        ("Name:", text(service, "/metadata/name").to_owned()),
        ("Labels:", cell::labels(service, "/metadata/labels")),
        ("Selector:", cell::labels(service, "/spec/selector")),
        ("Port:", port.to_string()),
    ]
    .map(|(name, value)| format!("{}{value}\n", tabbed(name, "Selector:".len())))
    .concat();
    if events.is_empty() {
        lines.push_str("No events.\n");
        return lines;
    }
    lines.push_str("Events:\n");
    for event in events {
        let cells = ["/lastTimestamp", "/source/component", "/involvedObject/fieldPath", "/reason", "/message"];
        lines.push_str(&cells.map(|pointer| text(event, pointer)).join("\t"));
        lines.push('\n');
    }
    lines
}

/// A name and the tabs behind it that bring all values of one block to the same column.
fn tabbed(name: &str, widest: usize) -> String {
    let column = (widest + 1).next_multiple_of(TAB);
    let tabs = (column - name.len()).div_ceil(TAB);
    format!("{name}{}", "\t".repeat(tabs))
}

fn service(service: &Value) -> Vec<Vec<String>> {
    let spec = at(service, "/spec");
    let port = list(spec, "/ports").first().map_or_else(String::new, |port| count(port, "/port").to_string());
    vec![vec![
        text(service, "/metadata/name").to_owned(),
        cell::labels(service, "/metadata/labels"),
        cell::labels(spec, "/selector"),
        text(spec, "/clusterIP").to_owned(),
        port,
    ]]
}

fn pod(pod: &Value) -> Vec<Vec<String>> {
    let host = match (text(pod, "/spec/nodeName"), text(pod, "/status/hostIP")) {
        ("", "") => "<unassigned>".to_owned(),
        (host, ip) => format!("{host}/{ip}"),
    };
    let (first, others) = containers(pod, "/spec/containers");
    let row = vec![
        text(pod, "/metadata/name").to_owned(),
        text(pod, "/status/podIP").to_owned(),
        first[0].clone(),
        first[1].clone(),
        host,
        cell::labels(pod, "/metadata/labels"),
        text(pod, "/status/phase").to_owned(),
    ];
    with_others(row, 2, others)
}

fn replication_controller(controller: &Value) -> Vec<Vec<String>> {
    let (first, others) = containers(controller, "/spec/template/spec/containers");
    let row = vec![
        text(controller, "/metadata/name").to_owned(),
        first[0].clone(),
        first[1].clone(),
        cell::labels(controller, "/spec/selector"),
        count(controller, "/spec/replicas").to_string(),
    ];
    with_others(row, 1, others)
}

/// Names and images: of the first container, and of all others.
fn containers(object: &Value, pointer: &str) -> ([String; 2], Vec<[String; 2]>) {
    let cells = |container: &Value| [text(container, "/name").to_owned(), text(container, "/image").to_owned()];
    let mut all = list(object, pointer).iter().map(cells);
    (all.next().unwrap_or_default(), all.collect())
}

/// The row, and one for each further container with only its name and image, which begin at `column`.
fn with_others(row: Vec<String>, column: usize, others: Vec<[String; 2]>) -> Vec<Vec<String>> {
    let width = row.len();
    let others = others.into_iter().map(|cells| {
        let mut row = vec![String::new(); width];
        row[column..column + 2].clone_from_slice(&cells);
        row
    });
    std::iter::once(row).chain(others).collect()
}

fn minion(node: &Value) -> Vec<Vec<String>> {
    let ready = list(node, "/status/conditions").iter().find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if is_true(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    vec![vec![text(node, "/metadata/name").to_owned(), cell::labels(node, "/metadata/labels"), status]]
}

fn endpoints(endpoints: &Value) -> Vec<Vec<String>> {
    let shown = super::endpoints::from_v1(endpoints);
    let all = list(&shown, "/endpoints").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    vec![vec![text(endpoints, "/metadata/name").to_owned(), or(&all, "<empty>").to_owned()]]
}

fn namespace(namespace: &Value) -> Vec<Vec<String>> {
    let phase = or(text(namespace, "/status/phase"), NONE).to_owned();
    vec![vec![text(namespace, "/metadata/name").to_owned(), cell::labels(namespace, "/metadata/labels"), phase]]
}

//! What was printed in 2015: the columns of each kind, one more line for each further container, and `describe service`.
//!
//! Everything is made of v1 objects. Which objects, and in which order, is the caller's.

use jiff::Timestamp;
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
        "events" => {
            (&["FIRSTSEEN", "LASTSEEN", "COUNT", "NAME", "KIND", "SUBOBJECT", "REASON", "SOURCE", "MESSAGE"], happening)
        }
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
    let header = ["FirstSeen", "LastSeen", "Count", "From", "SubobjectPath", "Reason", "Message"].map(str::to_owned);
    let rows = events.iter().map(|event| {
        [
            time(event, "/firstTimestamp"),
            time(event, "/lastTimestamp"),
            count(event, "/count").to_string(),
            source(event),
            text(event, "/involvedObject/fieldPath").to_owned(),
            text(event, "/reason").to_owned(),
            text(event, "/message").to_owned(),
        ]
    });
    let rows: Vec<[String; 7]> = std::iter::once(header).chain(rows).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    for row in &rows {
        // Two blanks stand before the first column and count as part of it.
        let first = tabbed(&format!("  {}", row[0]), widest(0) + 2);
        let others: String = (1..6).map(|column| tabbed(&row[column], widest(column))).collect();
        lines.push_str(&format!("{first}{others}{}\n", row[6]));
    }
    lines
}

/// As RFC 1123 has it, with the zone as a number.
fn time(event: &Value, pointer: &str) -> String {
    let time = text(event, pointer).parse::<Timestamp>();
    time.map_or_else(|_| NONE.to_owned(), |time| time.strftime("%a, %d %b %Y %H:%M:%S %z").to_string())
}

/// Who says it, and where.
fn source(event: &Value) -> String {
    format!("{{{} {}}}", text(event, "/source/component"), text(event, "/source/host"))
}

/// A name and the tabs behind it that bring all values of one block to the same column.
fn tabbed(name: &str, widest: usize) -> String {
    let column = (widest + 1).next_multiple_of(TAB);
    let tabs = (column - name.chars().count()).div_ceil(TAB);
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

fn happening(event: &Value) -> Vec<Vec<String>> {
    let about = |key: &str| text(event, &format!("/involvedObject/{key}")).to_owned();
    vec![vec![
        time(event, "/firstTimestamp"),
        time(event, "/lastTimestamp"),
        count(event, "/count").to_string(),
        about("name"),
        about("kind"),
        about("fieldPath"),
        text(event, "/reason").to_owned(),
        source(event),
        text(event, "/message").to_owned(),
    ]]
}

fn namespace(namespace: &Value) -> Vec<Vec<String>> {
    let phase = or(text(namespace, "/status/phase"), NONE).to_owned();
    vec![vec![text(namespace, "/metadata/name").to_owned(), cell::labels(namespace, "/metadata/labels"), phase]]
}

//! What happened to an object, oldest first.

use jiff::Timestamp;
use serde_json::Value;
use stead_api::table::age;

use super::page::{Page, plain};

pub(super) fn describe(page: &mut Page, events: &[Value], now: Timestamp) {
    if events.is_empty() {
        page.line(0, "Events:\t<none>");
        return;
    }
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| time(&event["lastTimestamp"]).or(time(&event["eventTime"])));
    page.block();
    page.line(0, "Events:");
    page.line(1, "Type\tReason\tAge\tFrom\tMessage");
    page.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let component = plain(&event["source"]["component"]);
        let from = if component.is_empty() { plain(&event["reportingComponent"]) } else { component };
        let about = plain(&event["involvedObject"]["fieldPath"]);
        let message = plain(&event["message"]);
        let message = if about.is_empty() { message.trim().to_owned() } else { format!("{about}: {}", message.trim()) };
        let (kind, reason) = (plain(&event["type"]), plain(&event["reason"]));
        page.line(1, format_args!("{kind}\t{reason}\t{}\t{from}\t{message}", interval(event, now)));
    }
}

/// `5s`, or `5s (x3 over 2m)` for what happened again and again.
pub(crate) fn interval(event: &Value, now: Timestamp) -> String {
    let first = age(time(&event["eventTime"]).or(time(&event["firstTimestamp"])), now);
    let series = &event["series"];
    if !series.is_null() {
        let last = age(time(&series["lastObservedTime"]), now);
        return format!("{last} (x{} over {first})", plain(&series["count"]));
    }
    match event["count"].as_i64() {
        Some(count) if count > 1 => format!("{} (x{count} over {first})", age(time(&event["lastTimestamp"]), now)),
        _ => first,
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

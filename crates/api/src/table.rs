//! What `kubectl get` prints: ages, and Tables made of a kind's columns and cells.
//!
//! Cells come from the kind's `Strategy`; this module only knows how a duration reads and how a Table is put together.
//! Which form of an object a client asked for is the API server's to find out.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::meta;
use crate::resource::{Resource, RowCondition};

/// How much of an object a row of a Table carries: the parameter `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

/// What a Table is made for.
#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    pub now: Timestamp,
    pub include: IncludeObject,
    pub columns: Columns,
}

/// Whether a Table says what its columns are: a watch does so in its first event only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    Defined,
    Omitted,
}

/// A `meta.k8s.io/v1` Table with a row for each of `objects`, which are of `resource`. `metadata` is the list's, or of a
/// single object what of its metadata stands for the whole (the resource version).
pub fn table<'a>(
    resource: &Resource,
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: Value,
    options: TableOptions,
) -> Value {
    let mut table = Map::new();
    table.insert("kind".to_owned(), "Table".into());
    table.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    table.insert("metadata".to_owned(), metadata);
    let columns = match options.columns {
        Columns::Defined => column_definitions(resource),
        Columns::Omitted => Value::Null,
    };
    table.insert("columnDefinitions".to_owned(), columns);
    let rows = objects.into_iter().map(|object| row(resource, object, options));
    table.insert("rows".to_owned(), rows.collect());
    Value::Object(table)
}

/// `Some` for a value that the parameter `includeObject` can have.
pub fn parse_include_object(text: &str) -> Option<IncludeObject> {
    match text {
        "" | "Metadata" => Some(IncludeObject::Metadata),
        "None" => Some(IncludeObject::None),
        "Object" => Some(IncludeObject::Object),
        _ => None,
    }
}

/// A `PartialObjectMetadata` of `object`.
pub fn partial_object_metadata(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_else(|| json!({}));
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// The age of something since `since`, as `kubectl` prints it; `<unknown>` when it was never set.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    match since {
        Some(since) => human_duration(now.as_second() - since.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// [`age`] of `metadata.creationTimestamp`.
pub fn object_age(object: &Value, now: Timestamp) -> String {
    age(meta::creation_timestamp(object), now)
}

/// A duration in seconds as at most two units: `119s`, `2m30s`, `10m`, `3h5m`, `2d4h`, `8d`, `2y30d`.
///
/// One second of clock difference reads as `0s`, more of it as `<invalid>`.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two_units(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two_units(seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two_units(seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two_units(seconds / YEAR, 'y', seconds % YEAR / DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// `columnDefinitions` of a Table.
pub fn column_definitions(resource: &Resource) -> Value {
    let column = |column: &crate::resource::Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    };
    resource.columns.iter().map(column).collect()
}

/// One of a Table's `rows`; for a Table that is written piece by piece.
pub fn row(resource: &Resource, object: &Value, options: TableOptions) -> Value {
    let mut row = json!({"cells": resource.strategy.cells(object, options.now)});
    if let Some(RowCondition { kind, reason, message }) = resource.strategy.row_condition(object) {
        row["conditions"] = json!([{"type": kind, "status": "True", "reason": reason, "message": message}]);
    }
    match options.include {
        IncludeObject::None => {}
        IncludeObject::Metadata => row["object"] = partial_object_metadata(object),
        IncludeObject::Object => row["object"] = object.clone(),
    }
    row
}

fn two_units(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::SERVICES;

    #[test]
    fn a_table_has_a_row_for_each_object() {
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {}});
        let options = |include, columns| TableOptions { now: Timestamp::from_second(200).unwrap(), include, columns };
        let metadata = || json!({"resourceVersion": "5"});
        assert_eq!(
            table(&SERVICES, [&object], metadata(), options(IncludeObject::Metadata, Columns::Omitted)),
            json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "5"},
                "columnDefinitions": null, "rows": [{"cells": ["a", "3m20s", 7], "object": {"kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}}]})
        );
        let whole = table(&SERVICES, [&object, &object], metadata(), options(IncludeObject::Object, Columns::Defined));
        assert_eq!(whole["rows"][1]["object"], object);
        assert_eq!(
            whole["columnDefinitions"][0],
            json!({"name": "Name", "type": "string", "format": "name", "description": "The name.", "priority": 0})
        );
        let none = table(&SERVICES, [&object], metadata(), options(IncludeObject::None, Columns::Omitted));
        assert_eq!(none["rows"], json!([{"cells": ["a", "3m20s", 7]}]));
        assert_eq!(table(&SERVICES, [], metadata(), options(IncludeObject::None, Columns::Omitted))["rows"], json!([]));
    }

    #[test]
    fn include_object_values() {
        assert_eq!(parse_include_object(""), Some(IncludeObject::Metadata));
        assert_eq!(parse_include_object("object"), None);
    }

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let (m, h, d, y) = (60, 3600, 86_400, 365 * 86_400);
        for (seconds, expected) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (9 * m + 59, "9m59s"),
            (10 * m + 1, "10m"),
            (3 * h - 1, "179m"),
            (3 * h, "3h"),
            (3 * h + 5 * m + 7, "3h5m"),
            (8 * h + 5 * m, "8h"),
            (2 * d - 1, "47h"),
            (2 * d + 4 * h, "2d4h"),
            (3 * d, "3d"),
            (8 * d + 4 * h, "8d"),
            (2 * y - 1, "729d"),
            (2 * y, "2y"),
            (2 * y + 30 * d, "2y30d"),
            (9 * y, "9y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn an_unset_time_has_no_age() {
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}

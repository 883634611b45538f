//! Tables as the server makes them, printed as kubectl prints them.

use std::io::{self, Write};

use serde_json::Value;
use stead_api::meta;

/// Between two columns, and the least width of one: kubectl's.
const PADDING: usize = 3;
const LEAST_WIDTH: usize = 6;

/// What is printed beside the server's own columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// Columns of priority above 0 too.
    pub(crate) wide: Breadth,
    /// First column NAMESPACE.
    pub(crate) namespace: Shown,
    /// Before each name: `service` of `service/web`.
    pub(crate) kind: Option<String>,
    /// A column for each of these labels.
    pub(crate) labels: Vec<String>,
    /// A last column with all labels.
    pub(crate) all_labels: Shown,
    pub(crate) headers: Shown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Breadth {
    #[default]
    Narrow,
    Wide,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shown {
    #[default]
    No,
    Yes,
}

impl Shown {
    pub(crate) fn when(condition: bool) -> Self {
        if condition { Self::Yes } else { Self::No }
    }
}

/// Which of a Table's columns are shown, and what they are called: said once, in a list or in a watch's first event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    shown: Vec<usize>,
    headers: Vec<String>,
}

impl Columns {
    /// `None` for a Table that defines no columns, as in the later events of a watch.
    pub(crate) fn of(table: &Value, extras: &Extras) -> Option<Self> {
        let definitions = table.get("columnDefinitions")?.as_array().filter(|list| !list.is_empty())?;
        let is_shown = |column: &Value| extras.wide == Breadth::Wide || column["priority"].as_i64().unwrap_or(0) == 0;
        let shown: Vec<usize> = (0..definitions.len()).filter(|&at| is_shown(&definitions[at])).collect();
        let name = |&at: &usize| definitions[at]["name"].as_str().unwrap_or_default().to_uppercase();
        let mut headers: Vec<String> = shown.iter().map(name).collect();
        if extras.namespace == Shown::Yes {
            headers.insert(0, "NAMESPACE".to_owned());
        }
        headers.extend(extras.labels.iter().map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()));
        if extras.all_labels == Shown::Yes {
            headers.push("LABELS".to_owned());
        }
        Some(Self { shown, headers })
    }

    pub(crate) fn headers(&self) -> Vec<String> {
        self.headers.clone()
    }

    /// A row's cells as text.
    pub(crate) fn cells(&self, row: &Value, extras: &Extras) -> Vec<String> {
        let object = &row["object"];
        let mut cells: Vec<String> = self.shown.iter().map(|&at| cell(&row["cells"][at])).collect();
        if let (Some(kind), Some(name)) = (&extras.kind, cells.first_mut()) {
            *name = format!("{kind}/{name}");
        }
        if extras.namespace == Shown::Yes {
            cells.insert(0, meta::namespace(object).to_owned());
        }
        cells.extend(extras.labels.iter().map(|label| match meta::label(object, label) {
            Some(value) => value.to_owned(),
            None => String::new(),
        }));
        if extras.all_labels == Shown::Yes {
            cells.push(labels(object));
        }
        cells
    }
}

/// `a=b,c=d`, or `<none>`.
pub(crate) fn labels(object: &Value) -> String {
    let pairs = meta::labels(object).into_iter().flatten();
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// Prints rows in columns that are as wide as in `widths`, or wider where they must; what was printed before stays in line with
/// what comes, as long as it can.
pub(crate) fn print_rows(out: &mut impl Write, rows: &[Vec<String>], widths: &mut Vec<usize>) -> io::Result<()> {
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = LEAST_WIDTH.max(*width).max(cell.chars().count() + PADDING);
        }
    }
    for row in rows {
        let (last, first) = row.split_last().map_or(("", &[][..]), |(last, first)| (last.as_str(), first));
        for (cell, width) in first.iter().zip(widths.iter()) {
            write!(out, "{cell:<width$}")?;
        }
        writeln!(out, "{last}")?;
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.replace('\n', "\\n"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_read_as_kubectl_prints_them() {
        let table = json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Type"}, {"name": "Selector", "priority": 1}],
            "rows": [{"cells": ["web", "ClusterIP", "app=web"], "object": {"metadata": {"namespace": "default", "labels": {"app": "web"}}}}],
        });
        let check = |extras: Extras, expect: &str| {
            let columns = Columns::of(&table, &extras).unwrap();
            let rows = [columns.headers(), columns.cells(&table["rows"][0], &extras)];
            let mut out = Vec::new();
            print_rows(&mut out, &rows, &mut Vec::new()).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        };
        check(Extras::default(), "NAME   TYPE\nweb    ClusterIP\n");
        check(
            Extras { wide: Breadth::Wide, ..Extras::default() },
            "NAME   TYPE        SELECTOR\nweb    ClusterIP   app=web\n",
        );
        let extras = Extras {
            namespace: Shown::Yes,
            kind: Some("service".to_owned()),
            labels: vec!["app".to_owned()],
            all_labels: Shown::Yes,
            ..Extras::default()
        };
        check(
            extras,
            "NAMESPACE   NAME          TYPE        APP   LABELS\ndefault     service/web   ClusterIP   web   app=web\n",
        );
    }
}

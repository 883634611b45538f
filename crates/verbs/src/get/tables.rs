//! `get` without `-o`, or with `-o wide`: one Table for each kind.

use std::io::{self, Write};

use serde_json::Value;

use super::{GetArgs, Wanted, pages, say_nothing};
use crate::{
    api::{Api, Next, TABLE},
    error::{VerbError, told},
    print::{
        Output, json_path,
        table::{Breadth, Columns, Extras, Shown, print_rows},
    },
};

pub(super) async fn run(args: &GetArgs, api: &Api, wanted: &[Wanted]) -> Result<(), VerbError> {
    if args.watch || args.watch_only {
        return watch(args, api, &wanted[0]).await;
    }
    let mut problems = Vec::new();
    let mut printed = 0;
    for one in wanted {
        let extras = extras(args, one, wanted);
        let mut rows = Vec::new();
        let mut columns = None;
        for path in one.paths(args) {
            let answer = match path {
                Ok(path) => pages(args, api, &path, TABLE).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(tables) => {
                    for table in tables {
                        columns = columns.or_else(|| Columns::of(&table, &extras));
                        rows.extend(table["rows"].as_array().into_iter().flatten().cloned());
                    }
                }
                Err(error) if error.is_not_found() && args.ignore_not_found => {}
                Err(error) => problems.push(error),
            }
        }
        if let Some(columns) = columns.filter(|_| !rows.is_empty()) {
            if printed > 0 {
                println!();
            }
            printed += 1;
            sort(args, &mut rows)?;
            print(&columns, &rows, &extras, None, &mut Vec::new())?;
        }
    }
    if printed == 0 && problems.is_empty() {
        say_nothing(args, wanted);
    }
    told(problems)
}

async fn watch(args: &GetArgs, api: &Api, one: &Wanted) -> Result<(), VerbError> {
    let extras = extras(args, one, std::slice::from_ref(one));
    let mut widths = Vec::new();
    let mut columns = None;
    let mut revision = String::new();
    for path in one.paths(args) {
        for table in pages(args, api, &path?, TABLE).await? {
            revision = table["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            columns = columns.or_else(|| Columns::of(&table, &extras));
            let mut rows = table["rows"].as_array().cloned().unwrap_or_default();
            if let (Some(columns), false, false) = (&columns, rows.is_empty(), args.watch_only) {
                sort(args, &mut rows)?;
                print(columns, &rows, &extras, event(args, "ADDED"), &mut widths)?;
            }
        }
    }
    let is_first = widths.is_empty();
    let mut extras = Extras { headers: if is_first { extras.headers } else { Shown::No }, ..extras };
    let path = one.watch_path(args, &revision);
    api.watch(&path, TABLE, |kind, table| {
        if kind == "BOOKMARK" {
            return Ok(Next::More);
        }
        columns = Columns::of(&table, &extras).or(columns.take());
        if let Some(columns) = &columns {
            let rows = table["rows"].as_array().map_or(&[][..], Vec::as_slice);
            print(columns, rows, &extras, event(args, kind), &mut widths)?;
            extras.headers = Shown::No;
        }
        Ok(Next::More)
    })
    .await?;
    Ok(())
}

fn extras(args: &GetArgs, one: &Wanted, wanted: &[Wanted]) -> Extras {
    let is_mixed = wanted.iter().any(|other| other.kind != one.kind);
    let is_everywhere = args.all_namespaces && one.kind.is_namespaced;
    Extras {
        wide: if matches!(args.output, Some(Output::Wide)) { Breadth::Wide } else { Breadth::Narrow },
        namespace: Shown::when(is_everywhere),
        kind: (is_mixed || args.show_kind).then(|| one.kind.full_name()),
        labels: args.label_columns.clone(),
        all_labels: Shown::when(args.show_labels),
        headers: Shown::when(!args.no_headers),
    }
}

/// What happened, where that is to be shown.
fn event<'a>(args: &GetArgs, kind: &'a str) -> Option<&'a str> {
    args.output_watch_events.then_some(kind)
}

/// Rows, each behind the `event` that brought it, where there is one.
fn print(
    columns: &Columns,
    rows: &[Value],
    extras: &Extras,
    event: Option<&str>,
    widths: &mut Vec<usize>,
) -> Result<(), VerbError> {
    // As wide as the longest of them.
    let first = |cell: &str| event.map(|_| format!("{cell:8}"));
    let headers = (extras.headers == Shown::Yes).then(|| first("EVENT").into_iter().chain(columns.headers()).collect());
    let line = |row: &Value| first(event.unwrap_or_default()).into_iter().chain(columns.cells(row, extras)).collect();
    let lines: Vec<Vec<String>> = headers.into_iter().chain(rows.iter().map(line)).collect();
    let mut out = io::stdout().lock();
    print_rows(&mut out, &lines, widths)?;
    out.flush()?;
    Ok(())
}

/// By numbers where both are, else by text; what lacks the field comes first.
fn sort(args: &GetArgs, rows: &mut [Value]) -> Result<(), VerbError> {
    let Some(path) = &args.sort_by else { return Ok(()) };
    json_path::first(path, &Value::Null)?;
    rows.sort_by(|a, b| {
        let field = |row: &Value| json_path::first(path, &row["object"]).ok().flatten().cloned();
        match (field(a), field(b)) {
            (Some(Value::Number(a)), Some(Value::Number(b))) => {
                a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(std::cmp::Ordering::Equal)
            }
            (a, b) => a.as_ref().map(json_path::plain).cmp(&b.as_ref().map(json_path::plain)),
        }
    });
    Ok(())
}

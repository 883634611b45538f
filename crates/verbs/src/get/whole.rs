//! `get -o json|yaml|name|jsonpath|custom-columns`: whole objects.

use std::io::{self, Write as _};

use serde_json::{Value, json};
use stead_api::meta;

use super::{GetArgs, Wanted, pages, say_nothing};
use crate::{
    api::{Api, JSON, Next},
    chosen,
    error::{VerbError, told},
    kinds::Kind,
    older::{self, OutputVersion},
    print::{self, Form, Found, Output, json_path, table::Shown},
};

pub(super) async fn run(args: &GetArgs, api: &Api, wanted: &[Wanted], output: &Output) -> Result<(), VerbError> {
    let Read { mut found, problems, revision } = read(args, api, wanted).await;
    if let Some(path) = &args.sort_by {
        json_path::first(path, &Value::Null)?;
        let field = |object: &Value| json_path::first(path, object).ok().flatten().map(json_path::plain);
        found.sort_by_cached_key(|(_, object)| field(object));
    }
    if let Some(version) = OutputVersion::older(args.output_version) {
        for (kind, object) in &mut found {
            *object = older::object(version, kind, object)?;
        }
    }
    let is_one = wanted.len() == 1 && wanted[0].names.len() == 1;
    let is_told = if is_one { !found.is_empty() } else { problems.is_empty() || !found.is_empty() };
    if args.output_watch_events && !args.watch_only {
        for (kind, object) in &found {
            print_event(output, kind, "ADDED", object.clone())?;
        }
    } else if !args.watch_only && is_told {
        let form = if is_one { Form::One } else { Form::List };
        print::objects(&mut io::stdout().lock(), output, &Found { objects: &found, form })?;
    }
    if found.is_empty() && problems.is_empty() && matches!(output, Output::Name | Output::Columns(_)) {
        say_nothing(args, wanted);
    }
    if (args.watch || args.watch_only) && problems.is_empty() {
        watch(args, api, &wanted[0], &revision, output).await?;
    }
    told(problems)
}

/// Tables of 2015, one for each kind.
pub(super) async fn run_older_tables(args: &GetArgs, api: &Api, wanted: &[Wanted]) -> Result<(), VerbError> {
    let mut problems = Vec::new();
    for (at, one) in wanted.iter().enumerate() {
        let read = read(args, api, std::slice::from_ref(one)).await;
        problems.extend(read.problems);
        let objects: Vec<Value> = read.found.into_iter().map(|(_, object)| object).collect();
        if at > 0 {
            println!();
        }
        print!("{}", older::table(&one.kind, &objects, Shown::when(!args.no_headers))?);
    }
    told(problems)
}

struct Read {
    found: Vec<(Kind, Value)>,
    problems: Vec<VerbError>,
    /// Where a watch goes on.
    revision: String,
}

async fn read(args: &GetArgs, api: &Api, wanted: &[Wanted]) -> Read {
    let mut read = Read { found: Vec::new(), problems: Vec::new(), revision: String::new() };
    for one in wanted {
        for path in one.paths(args) {
            let answers = match path {
                Ok(path) => pages(args, api, &path, JSON).await,
                Err(error) => Err(error),
            };
            match answers {
                Ok(answers) => {
                    for answer in answers {
                        meta::resource_version(&answer).clone_into(&mut read.revision);
                        let items = if one.names.is_empty() { chosen::items(answer) } else { vec![answer] };
                        read.found.extend(items.into_iter().map(|object| (one.kind.clone(), shown(object, args))));
                    }
                }
                Err(error) if error.is_not_found() && args.ignore_not_found => {}
                Err(error) => read.problems.push(error),
            }
        }
    }
    read
}

async fn watch(args: &GetArgs, api: &Api, one: &Wanted, revision: &str, output: &Output) -> Result<(), VerbError> {
    let on_event = |event: &str, object: Value| {
        if event != "BOOKMARK" && args.output_watch_events {
            print_event(output, &one.kind, event, shown(object, args))?;
        } else if event != "BOOKMARK" {
            let objects = [(one.kind.clone(), shown(object, args))];
            print::objects(&mut io::stdout().lock(), output, &Found { objects: &objects, form: Form::One })?;
        }
        Ok(Next::More)
    };
    api.watch(&one.watch_path(args, revision), JSON, on_event).await?;
    Ok(())
}

/// An object with what happened to it; a name alone has no room for that.
fn print_event(output: &Output, kind: &Kind, event: &str, object: Value) -> Result<(), VerbError> {
    let mut out = io::stdout().lock();
    if matches!(output, Output::Json) {
        return Ok(writeln!(out, r#"{{"type":"{event}","object":{object}}}"#)?);
    }
    let whole = if matches!(output, Output::Name) { object } else { json!({"type": event, "object": object}) };
    print::objects(&mut out, output, &Found { objects: &[(kind.clone(), whole)], form: Form::One })
}

fn shown(object: Value, args: &GetArgs) -> Value {
    if args.show_managed_fields { object } else { print::without_managed_fields(object) }
}

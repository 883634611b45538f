//! `get -o json|yaml|name|jsonpath|custom-columns`: whole objects.

use std::io;

use serde_json::Value;

use super::{GetArgs, Wanted, say_nothing};
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
    if !args.watch_only && is_told {
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
            let answer = match path {
                Ok(path) => api.get(&path).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => {
                    answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().clone_into(&mut read.revision);
                    if one.names.is_empty() {
                        let items = chosen::items(answer).into_iter();
                        read.found.extend(items.map(|object| (one.kind.clone(), shown(object, args))));
                    } else {
                        read.found.push((one.kind.clone(), shown(answer, args)));
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
        if event != "BOOKMARK" {
            let objects = [(one.kind.clone(), shown(object, args))];
            print::objects(&mut io::stdout().lock(), output, &Found { objects: &objects, form: Form::One })?;
        }
        Ok(Next::More)
    };
    api.watch(&one.watch_path(args, revision), JSON, on_event).await?;
    Ok(())
}

fn shown(object: Value, args: &GetArgs) -> Value {
    if args.show_managed_fields { object } else { print::without_managed_fields(object) }
}

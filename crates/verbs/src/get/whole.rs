//! `get -o json|yaml|name|jsonpath|custom-columns`: whole objects.

use std::io;

use serde_json::Value;

use super::{GetArgs, Wanted, say_nothing, tables::told};
use crate::{
    api::{Api, JSON, Next},
    error::VerbError,
    kinds::Kind,
    print::{self, Form, Found, Output, json_path},
};

pub(super) async fn run(args: &GetArgs, api: &Api, wanted: &[Wanted], output: &Output) -> Result<(), VerbError> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let mut revision = String::new();
    for one in wanted {
        for path in one.paths(args) {
            match api.get(&path).await {
                Ok(answer) if one.names.is_empty() => {
                    revision = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                    found.extend(items(answer, &one.kind, args));
                }
                Ok(object) => {
                    revision = stead_api::meta::resource_version(&object).to_owned();
                    found.push((one.kind.clone(), shown(object, args)));
                }
                Err(error) if error.is_not_found() && args.ignore_not_found => {}
                Err(error) => problems.push(error),
            }
        }
    }
    if let Some(path) = &args.sort_by {
        json_path::first(path, &Value::Null)?;
        let field = |object: &Value| json_path::first(path, object).ok().flatten().map(json_path::plain);
        found.sort_by_cached_key(|(_, object)| field(object));
    }
    let is_one = wanted.len() == 1 && wanted[0].names.len() == 1;
    if !args.watch_only && (!found.is_empty() || !is_one) && (problems.is_empty() || !found.is_empty()) {
        let form = if is_one { Form::One } else { Form::List };
        print::objects(&mut io::stdout().lock(), output, &Found { objects: &found, form })?;
    }
    if found.is_empty() && problems.is_empty() && matches!(output, Output::Name | Output::Columns(_)) {
        say_nothing(args, wanted);
    }
    if (args.watch || args.watch_only) && problems.is_empty() {
        let one = &wanted[0];
        api.watch(&one.watch_path(args, &revision), JSON, |kind, object| {
            if kind != "BOOKMARK" {
                let objects = [(one.kind.clone(), shown(object, args))];
                print::objects(&mut io::stdout().lock(), output, &Found { objects: &objects, form: Form::One })?;
            }
            Ok(Next::More)
        })
        .await?;
    }
    told(problems)
}

/// The objects of a list, each with the version and kind that the list says for all.
fn items(mut list: Value, kind: &Kind, args: &GetArgs) -> Vec<(Kind, Value)> {
    let items = list["items"].take();
    let Value::Array(items) = items else { return Vec::new() };
    let whole = |mut object: Value| {
        if let Some(map) = object.as_object_mut() {
            map.entry("apiVersion").or_insert_with(|| kind.api_version().into());
            map.entry("kind").or_insert_with(|| kind.kind.clone().into());
        }
        (kind.clone(), shown(object, args))
    };
    items.into_iter().map(whole).collect()
}

fn shown(object: Value, args: &GetArgs) -> Value {
    if args.show_managed_fields { object } else { print::without_managed_fields(object) }
}

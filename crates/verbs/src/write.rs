//! What verbs that write share: dry runs, how the result is shown, and where an object goes.

use std::io;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::{
    api::{Api, FIELD_MANAGER, escape},
    error::VerbError,
    kinds::{Kind, Kinds, segment},
    print::{self, Form, Found, Output},
};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WriteOptions {
    /// none, client (nothing is sent) or server (everything but storing it is done)
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub(crate) dry_run: DryRun,
    /// How to show the result: json, yaml, name, jsonpath=TEMPLATE, custom-columns=…
    #[arg(long, short, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Who writes, in `metadata.managedFields`
    #[arg(long, value_name = "NAME", default_value = FIELD_MANAGER)]
    field_manager: Manager,
    /// With --output: who set which field, too
    #[arg(long)]
    show_managed_fields: bool,
    /// What becomes of fields that the server does not know: strict (they are refused), warn or ignore
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "strict", require_equals = true)]
    validate: Validation,
}

/// The name of who writes.
#[derive(Clone, Debug)]
struct Manager(String);

impl Default for Manager {
    fn default() -> Self {
        Self(FIELD_MANAGER.to_owned())
    }
}

impl From<&str> for Manager {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Validation {
    #[default]
    #[value(alias = "true")]
    Strict,
    Warn,
    #[value(alias = "false")]
    Ignore,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DryRun {
    #[default]
    None,
    Client,
    Server,
}

impl DryRun {
    /// What follows the word for what was done.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

impl WriteOptions {
    /// Parameters of a write's query.
    pub(crate) fn query(&self) -> String {
        let dry_run = if self.dry_run == DryRun::Server { "&dryRun=All" } else { "" };
        format!("fieldManager={}&fieldValidation={:?}{dry_run}", escape(&self.field_manager.0), self.validate)
    }

    /// Says what was done to `object`, or shows it.
    pub(crate) fn report(&self, kind: &Kind, object: Value, done: &str) -> Result<(), VerbError> {
        let note = self.dry_run.note();
        let Some(output) = &self.output else {
            println!("{}/{} {done}{note}", kind.full_name(), stead_api::meta::name(&object));
            return Ok(());
        };
        let object = if self.show_managed_fields { object } else { print::without_managed_fields(object) };
        let objects = [(kind.clone(), object)];
        print::objects(&mut io::stdout().lock(), output, &Found { objects: &objects, form: Form::One })
    }
}

/// The namespace that an object goes to. One that names another than the command line is refused.
pub(crate) fn namespace_of(api: &Api, object: &Value, said: Option<&str>) -> Result<String, VerbError> {
    let own = stead_api::meta::namespace(object);
    match said.filter(|said| !said.is_empty()) {
        _ if own.is_empty() => Ok(api.namespace.clone()),
        Some(said) if said != own => Err(VerbError::argument(
            "--namespace",
            format!("the namespace from the provided object {own:?} does not match the namespace {said:?}"),
        )),
        _ => {
            segment("namespace", own)?;
            Ok(own.to_owned())
        }
    }
}

/// Creates one object and says so.
pub(crate) async fn create(
    api: &Api,
    kinds: &Kinds,
    object: Value,
    said: Option<&str>,
    options: &WriteOptions,
) -> Result<(), VerbError> {
    create_as(api, kinds, object, said, options, "created").await
}

/// As [`create`], with another word for what was done.
pub(crate) async fn create_as(
    api: &Api,
    kinds: &Kinds,
    object: Value,
    said: Option<&str>,
    options: &WriteOptions,
    done: &str,
) -> Result<(), VerbError> {
    let kind = kinds.of_object(&object)?;
    if options.dry_run == DryRun::Client {
        return options.report(kind, object, done);
    }
    let namespace = namespace_of(api, &object, said)?;
    let path = format!("{}?{}", kind.collection(Some(&namespace)), options.query());
    let created = api.send(Method::POST, &path, &object).await?;
    options.report(kind, created, done)
}

//! `stead diff -f`: what `apply` would change, as `diff` shows it. The exit code is 1 where something would.

use std::{env, fs, io, path::PathBuf, process::Command};

use clap::Args;
use serde_json::Value;
use stead_api::meta;

use crate::{
    api::{APPLY_PATCH, Api, FIELD_MANAGER, escape},
    connection::Connection,
    error::VerbError,
    kinds::Kinds,
    manifest::Files,
    older,
    print::{to_yaml, without_managed_fields},
    write::namespace_of,
};

#[derive(Debug, Args)]
pub struct DiffArgs {
    #[command(flatten)]
    files: Files,
    /// Take fields over that others have set to something else
    #[arg(long)]
    force_conflicts: bool,
    /// Who set which field, too
    #[arg(long)]
    show_managed_fields: bool,
    /// Who would apply
    #[arg(long, value_name = "NAME", default_value = FIELD_MANAGER)]
    field_manager: String,
    /// Only those with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: &DiffArgs) -> Result<(), VerbError> {
    let compared = compare(args).await;
    // 1 means that there are differences: whatever went wrong must be told apart from them.
    compared.map_err(|error| match error {
        VerbError::Differs => VerbError::Differs,
        error => VerbError::Failed { code: 2, text: stead_client::error_text(&error) },
    })
}

async fn compare(args: &DiffArgs) -> Result<(), VerbError> {
    let objects = args.files.read_chosen(&[], args.selector.as_ref()).await?;
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let sides = Sides::new()?;
    for object in objects {
        add(args, &api, &kinds, &older::in_v1(&kinds, object)?, &sides).await?;
    }
    let program = env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_else(|_| "diff -u -N".to_owned());
    let mut words = program.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("diff"));
    let status = command.args(words).args([sides.live(), sides.merged()]).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(VerbError::Differs),
        _ => Err(VerbError::usage(format!("{program} ended with {status}"))),
    }
}

async fn add(args: &DiffArgs, api: &Api, kinds: &Kinds, object: &Value, sides: &Sides) -> Result<(), VerbError> {
    let kind = kinds.of_object(object)?;
    let namespace = namespace_of(api, object, args.connection.namespace.as_deref())?;
    let path = kind.object(&namespace, meta::name(object))?;
    let live = match api.get(&path).await {
        Ok(live) => Some(live),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let force = if args.force_conflicts { "&force=true" } else { "" };
    let manager = escape(&args.field_manager);
    let query = format!("fieldManager={manager}&fieldValidation=Strict&dryRun=All{force}");
    let merged = api.patch(&format!("{path}?{query}"), APPLY_PATCH, object).await?;
    let version = kind.api_version().replace('/', ".");
    let file = format!("{version}.{}.{namespace}.{}", kind.kind, meta::name(object));
    let shown = |object: Value| if args.show_managed_fields { object } else { without_managed_fields(object) };
    if let Some(live) = live {
        fs::write(sides.live().join(&file), to_yaml(&shown(live)))?;
    }
    fs::write(sides.merged().join(&file), to_yaml(&shown(merged)))?;
    Ok(())
}

/// A directory of what there is and one of what would be; both go with this.
struct Sides(PathBuf);

impl Sides {
    fn new() -> io::Result<Self> {
        let this = Self(env::temp_dir().join(format!("stead-diff-{}", std::process::id())));
        // Made here or refused: whose else it is must not decide what is compared.
        fs::create_dir(&this.0)?;
        fs::create_dir(this.live())?;
        fs::create_dir(this.merged())?;
        Ok(this)
    }

    fn live(&self) -> PathBuf {
        self.0.join("LIVE")
    }

    fn merged(&self) -> PathBuf {
        self.0.join("MERGED")
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the directory of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! `stead edit`: objects as YAML in a person's editor, and what was changed there sent as a patch.

use std::{
    env, fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use serde_json::Value;

use crate::{
    api::{Api, MERGE_PATCH},
    chosen::{Choice, Chosen, Reach},
    connection::Connection,
    difference::merge_patch,
    error::{VerbError, told},
    print::{to_yaml, without_managed_fields},
    write::WriteOptions,
};

#[derive(Debug, Args)]
pub struct EditArgs {
    /// TYPE NAME… or TYPE/NAME…
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

pub(crate) async fn run(args: &EditArgs) -> Result<(), VerbError> {
    let (api, read) = args.choice.read(&args.words, &Reach::default(), &args.connection).await?;
    let mut problems = read.problems;
    for one in &read.objects {
        problems.extend(edit(args, &api, one).await.err());
    }
    told(problems)
}

/// The editor is opened again and again, until the server takes what it leaves or nothing is changed any more.
async fn edit(args: &EditArgs, api: &Api, one: &Chosen) -> Result<(), VerbError> {
    let before = without_managed_fields(one.object.clone());
    let mut text = to_yaml(&before);
    let mut failure = None;
    loop {
        let left = edited(&format!("{}{text}", head(failure.as_ref())))?;
        let is_same = left == text;
        match failure.take() {
            Some(error) if is_same || left.trim().is_empty() => {
                eprintln!("error: Edit cancelled, no valid changes were saved.");
                return Err(error);
            }
            None if is_same => {
                println!("Edit cancelled, no changes made.");
                return Ok(());
            }
            None if left.trim().is_empty() => {
                println!("Edit cancelled, saved file was empty.");
                return Ok(());
            }
            _ => {}
        }
        text = left;
        let sent = async {
            let after: Value = serde_saphyr::from_str(&text)
                .map_err(|error| VerbError::usage(format!("couldn't convert the edited file: {error}")))?;
            let Some(patch) = merge_patch(&before, &after) else { return Ok(None) };
            api.patch(&format!("{}?{}", one.path()?, args.options.query()), MERGE_PATCH, &patch).await.map(Some)
        };
        match sent.await {
            Ok(Some(after)) => return args.options.report(&one.kind, after, "edited"),
            Ok(None) => {
                println!("Edit cancelled, no changes made.");
                return Ok(());
            }
            Err(error) => failure = Some(error),
        }
    }
}

fn head(failure: Option<&VerbError>) -> String {
    let lines = failure.map(|error| error.to_string().lines().map(|line| format!("# {line}\n")).collect::<String>());
    let lines = lines.map(|lines| format!("{lines}#\n")).unwrap_or_default();
    format!("{HEADER}{lines}")
}

/// What the editor leaves of `text`, without comments.
fn edited(text: &str) -> Result<String, VerbError> {
    let file = Temporary::new(text)?;
    let editor = ["KUBE_EDITOR", "EDITOR"].iter().find_map(env::var_os).unwrap_or_else(|| "vi".into());
    // As a shell reads it, since an editor may have flags.
    let script = format!("{} \"$1\"", editor.to_string_lossy());
    let status = Command::new("sh").args(["-c", &script, "sh"]).arg(&file.0).status()?;
    if !status.success() {
        return Err(VerbError::usage(format!("there was a problem with the editor {:?}", editor.to_string_lossy())));
    }
    let left = fs::read_to_string(&file.0).map_err(|source| VerbError::Read { path: file.0.clone(), source })?;
    Ok(left.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect())
}

/// A file that only its owner reads, and that goes with this.
struct Temporary(PathBuf);

impl Temporary {
    fn new(text: &str) -> io::Result<Self> {
        for number in 0.. {
            let path = env::temp_dir().join(format!("stead-edit-{}-{number}.yaml", std::process::id()));
            match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    let this = Self(path);
                    file.write_all(text.as_bytes())?;
                    return Ok(this);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Who edits may have moved it.
        let _ = fs::remove_file(Path::new(&self.0));
    }
}

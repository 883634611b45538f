//! `stead store`: what is in the store of a server that does not run, damaged or not.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use stead_apiserver::{SealingKeys, export};
use stead_store::Embedded;

use crate::{
    args::{StoreArgs, StoreCommand},
    rights,
};

/// Prints what can be read. Fails where that is not all, after it has named what is not.
pub(crate) fn run(args: &StoreArgs) -> Result<()> {
    let StoreCommand::Export { data } = &args.command;
    let salvage = rights::in_directory(Embedded::salvage(&data.join("store")), "--data", data)?;
    let keys = rights::in_directory(SealingKeys::load(&data.join("secrets.key")), "--data", data)?;
    let export = export(&salvage, &keys);
    let text = serde_saphyr::to_string(&export.list).context("writing YAML")?;
    io::stdout().write_all(text.as_bytes()).context("writing")?;
    for problem in &export.unreadable {
        crate::console::complain(&format!("stead: {problem}"));
    }
    match salvage.refusal {
        Some(refusal) => bail!(
            "{refusal}. What was read of it is printed: changes in damaged places are not in it, and what they deleted may be"
        ),
        None if export.unreadable.is_empty() => Ok(()),
        None => bail!("not all objects could be read"),
    }
}

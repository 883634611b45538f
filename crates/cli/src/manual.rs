//! Man pages, made from the definitions that arguments are read by.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::Cli;

/// Writes `stead.1`, `stead-get.1` and so on into `directory`, which is made if it is not there.
pub(crate) fn write_pages(directory: &Path) -> anyhow::Result<()> {
    let failed = || format!("man pages cannot be written to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).with_context(failed)
}

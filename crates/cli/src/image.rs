//! `stead image`: the machine's image store, from the command line.

use std::{fs::File, io, path::Path};

use anyhow::{Context, Result};
use stead_node::image::{BUSYBOX, HELLO_APP_1, HELLO_APP_2, Listed, Store};

use crate::{
    args::{ImageArgs, ImageCommand},
    config::Config,
    console::say,
    rights,
};

pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    let directory = Config::load(args.config.as_deref())?.node.images;
    let store = rights::in_directory(Store::open(&directory), "--config (node.images)", &directory)?;
    let images = match &args.command {
        ImageCommand::Load { archive } if archive == Path::new("-") => store.load(io::stdin().lock())?,
        ImageCommand::Load { archive } => {
            store.load(File::open(archive).with_context(|| format!("opening {}", archive.display()))?)?
        }
        ImageCommand::Ls => store.list()?,
        ImageCommand::Tag { from, to } => vec![store.tag(from, to)?],
    };
    let built_in: &[&str] = match &args.command {
        ImageCommand::Ls => &[BUSYBOX, HELLO_APP_1, HELLO_APP_2],
        ImageCommand::Load { .. } | ImageCommand::Tag { .. } => &[],
    };
    say(&table(&images, built_in));
    Ok(())
}

/// Of `built_in`, those that are not among `images` yet come last.
fn table(images: &[Listed], built_in: &[&str]) -> String {
    let unmade = built_in.iter().copied().filter(|name| images.iter().all(|image| image.name != *name));
    let names = images.iter().map(|image| image.name.as_str()).chain(unmade.clone());
    let width = names.map(str::len).max().unwrap_or(0).max("NAME".len());
    let mut text = format!("{:<width$}   {:<19}   SIZE\n", "NAME", "IMAGE ID");
    for image in images {
        let id = image.id.to_string();
        let id = &id[..id.len().min("sha256:".len() + 12)];
        text += &format!("{:<width$}   {id:<19}   {:.1} MB\n", image.name, image.size as f64 / 1e6);
    }
    for name in unmade {
        text += &format!("{name:<width$}   {:<19}   -\n", "made at first use");
    }
    text
}

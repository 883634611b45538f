//! Mount points that this agent keeps across mount namespaces.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};

/// Makes `dir` a shared mount, so that what is unmounted in it here is unmounted in every shim's mount namespace too.
pub(crate) fn share(dir: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    if !is_mounted(dir)? {
        mount(Some(dir), dir, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    }
    mount(none, dir, none, MsFlags::MS_SHARED, none)?;
    Ok(())
}

/// Whether something is mounted at `path`, which must be there.
pub(crate) fn is_mounted(path: &Path) -> io::Result<bool> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let place = fs::canonicalize(path)?;
    // Spaces in a mount point are written as \040 (proc(5)).
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(|point| PathBuf::from(point.replace("\\040", " "))).any(|point| point == place))
}

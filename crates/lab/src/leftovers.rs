//! What a lab whose supervisor was killed leaves behind: files, mounts and control groups. Its processes and namespaces are gone
//! by then; this is for the next lab of that name, under its claim.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, umount2};

use crate::state::Claim;

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Removes all that lies in the claimed directory but its lock, and the control groups `stead/NAME` of every hierarchy.
pub fn remove_leftovers(claim: &Claim, name: &str) -> io::Result<()> {
    unmount_below(claim.directory())?;
    for entry in fs::read_dir(claim.directory())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "lock") {
            continue;
        }
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    remove_cgroups(name);
    Ok(())
}

/// Mounts below a directory, the innermost first.
fn unmount_below(directory: &Path) -> io::Result<()> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    // Field 5 is the mount point (proc(5)); spaces in it are written as \040.
    let mut points: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(directory) && point != directory)
        .collect();
    points.sort();
    points.iter().rev().try_for_each(|point| Ok(umount2(point, MntFlags::MNT_DETACH)?))
}

/// Removes the control groups `stead/NAME` of every hierarchy. Whether none is left: one with processes in it stays.
pub(crate) fn remove_cgroups(name: &str) -> bool {
    let Ok(hierarchies) = fs::read_dir(CGROUPS) else { return true };
    let hierarchies =
        hierarchies.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink());
    let mut gone = true;
    for hierarchy in hierarchies.chain([CGROUPS.into()]) {
        let ours = hierarchy.join("stead");
        let group = ours.join(name);
        remove_tree(&group);
        gone &= !group.exists();
        let _ = fs::remove_dir(ours);
    }
    gone
}

/// A control group's files go with it; only the groups below must be removed first.
fn remove_tree(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_the_lock_goes() {
        let base = tempfile::tempdir().unwrap();
        let claim = Claim::take(base.path(), "test").unwrap();
        fs::create_dir_all(claim.directory().join("nodes/node1/pods")).unwrap();
        fs::write(claim.directory().join("lab.json"), "{}").unwrap();
        std::os::unix::fs::symlink("/", claim.directory().join("nodes/root")).unwrap();
        remove_leftovers(&claim, "test").unwrap();
        let left: Vec<_> = fs::read_dir(claim.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    }
}

//! One image layer, from tar to a directory that overlayfs can take as a lower directory.
//!
//! Layers come from anywhere, so nothing in one is trusted: a path is resolved inside the layer's own root, links included;
//! entries and bytes are bounded; device nodes are left out, for each container gets a `/dev` of its own. Whiteouts become what
//! overlayfs knows: a character device 0/0, and the attribute `trusted.overlay.opaque`.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Component, Path, PathBuf},
};

use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::XattrFlags;
use tar::EntryType;

use super::archive::without_quotes;

/// What one layer may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: u64,
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 32 << 30 }
    }
}

/// How much a layer held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("layer is not a readable tar archive")]
    Read(#[source] io::Error),
    #[error("layer entry {path:?} cannot be unpacked")]
    Write { path: PathBuf, source: io::Error },
    #[error("layer entry {0:?} leads out of the layer")]
    Escapes(PathBuf),
    #[error("layer has more than {0} entries")]
    TooManyEntries(u64),
    #[error("layer unpacks to more than {0} bytes")]
    TooLarge(u64),
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of AUFS' own bookkeeping, which means nothing to overlayfs.
const AUFS: &[u8] = b".wh..wh.";
const MAX_LINKS: usize = 40;

/// Unpacks the tar stream into `root`, an empty directory that nobody else writes to.
pub(super) fn unpack(stream: impl Read, root: &Path, limits: Limits) -> Result<Unpacked, LayerError> {
    let mut archive = tar::Archive::new(stream);
    let mut done = Unpacked::default();
    let mut directory_times = Vec::new();
    let bad_tar = |error: io::Error| LayerError::Read(without_quotes(&error));
    for entry in archive.entries().map_err(bad_tar)? {
        let mut entry = entry.map_err(bad_tar)?;
        done.entries += 1;
        if done.entries > limits.entries {
            return Err(LayerError::TooManyEntries(limits.entries));
        }
        done.bytes = done.bytes.saturating_add(entry.size());
        if done.bytes > limits.bytes {
            return Err(LayerError::TooLarge(limits.bytes));
        }
        let path = PathBuf::from(OsString::from_vec(entry.path_bytes().into_owned()));
        if let Some(time) = place(&mut entry, &path, root)? {
            directory_times.push(time);
        }
    }
    // A directory's time changes with every entry put into it: set last.
    for (path, seconds) in directory_times.into_iter().rev() {
        set_time(&path, seconds).map_err(|source| LayerError::Write { path, source })?;
    }
    Ok(done)
}

/// Puts one entry in place. A directory's path and time come back, to be set when all is unpacked.
fn place(
    entry: &mut tar::Entry<'_, impl Read>,
    path: &Path,
    root: &Path,
) -> Result<Option<(PathBuf, i64)>, LayerError> {
    let failed = |source| LayerError::Write { path: path.to_owned(), source };
    let Some((parent, name)) = resolve(root, path)? else {
        return Ok(None);
    };
    let bytes = name.as_bytes();
    if bytes == OPAQUE {
        set_attribute(&parent, "trusted.overlay.opaque", b"y").map_err(failed)?;
        return Ok(None);
    }
    if bytes.starts_with(AUFS) {
        return Ok(None);
    }
    if let Some(hidden) = bytes.strip_prefix(WHITEOUT) {
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(LayerError::Escapes(path.to_owned()));
        }
        let target = parent.join(OsStr::from_bytes(hidden));
        remove(&target).map_err(failed)?;
        mknod(&target, SFlag::S_IFCHR, Mode::empty(), 0).map_err(|e| failed(e.into()))?;
        return Ok(None);
    }
    let target = parent.join(&name);
    let kind = entry.header().entry_type();
    let is_directory = fs::symlink_metadata(&target).is_ok_and(|m| m.is_dir());
    if !(kind == EntryType::Directory && is_directory) {
        remove(&target).map_err(failed)?;
    }
    match kind {
        EntryType::Directory => {
            if !is_directory {
                fs::create_dir(&target).map_err(failed)?;
            }
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target).map_err(failed)?;
            io::copy(entry, &mut file).map_err(failed)?;
        }
        EntryType::Symlink => {
            let link = entry.link_name_bytes().unwrap_or_default();
            symlink(OsStr::from_bytes(&link), &target).map_err(failed)?;
        }
        EntryType::Link => {
            let link = PathBuf::from(OsString::from_vec(entry.link_name_bytes().unwrap_or_default().into_owned()));
            let (source_parent, source_name) =
                resolve(root, &link)?.ok_or_else(|| LayerError::Escapes(link.clone()))?;
            // `link(2)` does not follow a symlink in the last component, and the parent is inside the root.
            fs::hard_link(source_parent.join(source_name), &target).map_err(failed)?;
            return Ok(None);
        }
        EntryType::Fifo => {
            mknod(&target, SFlag::S_IFIFO, Mode::S_IRUSR, 0).map_err(|e| failed(e.into()))?;
        }
        _ => return Ok(None),
    }
    set_metadata(entry, &target, kind).map_err(failed)?;
    let seconds = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
    if kind == EntryType::Directory {
        return Ok(Some((target, seconds)));
    }
    set_time(&target, seconds).map_err(failed)?;
    Ok(None)
}

fn set_metadata(entry: &mut tar::Entry<'_, impl Read>, target: &Path, kind: EntryType) -> io::Result<()> {
    let id = |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let (uid, gid) = (id(entry.header().uid()), id(entry.header().gid()));
    std::os::unix::fs::lchown(target, Some(uid), Some(gid))?;
    if kind == EntryType::Symlink {
        return Ok(());
    }
    let mode = entry.header().mode().unwrap_or(0o755) & 0o7777;
    fs::set_permissions(target, fs::Permissions::from_mode(mode))?;
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(());
    };
    for extension in extensions {
        let extension = extension?;
        // File capabilities are part of what an image says of a program; the overlay's own attributes are not.
        if extension.key_bytes() == b"SCHILY.xattr.security.capability" {
            set_attribute(target, "security.capability", extension.value_bytes())?;
        }
    }
    Ok(())
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).map_err(io::Error::from)
}

fn set_time(path: &Path, seconds: i64) -> io::Result<()> {
    use nix::sys::{
        stat::{UtimensatFlags, utimensat},
        time::TimeSpec,
    };
    let time = TimeSpec::new(seconds, 0);
    utimensat(None, path, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(io::Error::from)
}

/// Removes whatever an earlier entry of the same layer put at `path`.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The directory inside `root` that `path` stands in, made where it is missing, and the last component, whose own link is not
/// followed. `None` for the root itself.
///
/// Symlinks on the way are followed as a container would that had `root` as `/`; `..` in the entry's own path is refused.
fn resolve(root: &Path, path: &Path) -> Result<Option<(PathBuf, OsString)>, LayerError> {
    let escapes = || LayerError::Escapes(path.to_owned());
    let failed = |source| LayerError::Write { path: path.to_owned(), source };
    let mut names = VecDeque::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push_back(name.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(escapes()),
        }
    }
    let Some(last) = names.pop_back() else {
        return Ok(None);
    };
    if last.as_bytes().contains(&0) || path.as_os_str().len() > 4096 {
        return Err(escapes());
    }
    let mut inside: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        if name == ".." {
            inside.pop();
            continue;
        }
        let mut current = root.to_owned();
        current.extend(&inside);
        current.push(&name);
        match fs::symlink_metadata(&current) {
            Ok(meta) if meta.file_type().is_symlink() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(escapes());
                }
                let target = fs::read_link(&current).map_err(failed)?;
                if target.is_absolute() {
                    inside.clear();
                }
                for component in target.components().rev() {
                    match component {
                        Component::Normal(name) => names.push_front(name.to_owned()),
                        Component::ParentDir => names.push_front(OsString::from("..")),
                        Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                    }
                }
            }
            Ok(meta) if meta.is_dir() => inside.push(name),
            // An earlier entry of the same layer is a file or a whiteout where a directory must be: the later one counts.
            Ok(meta) => {
                let opaque = meta.rdev() == 0 && meta.mode() & libc_mode(SFlag::S_IFMT) == libc_mode(SFlag::S_IFCHR);
                remove(&current).map_err(failed)?;
                make_directory(&current).map_err(failed)?;
                if opaque {
                    set_attribute(&current, "trusted.overlay.opaque", b"y").map_err(failed)?;
                }
                inside.push(name);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&current).map_err(failed)?;
                inside.push(name);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let mut parent = root.to_owned();
    parent.extend(inside);
    Ok(Some((parent, last)))
}

fn libc_mode(flag: SFlag) -> u32 {
    flag.bits()
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests;

//! Making the volumes of a pod on this machine, and taking them away.
//!
//! What is the pod's own lies in one directory for each pod: directories, tmpfs and the files of ConfigMaps. A hostPath is only looked at, or
//! made where its type says so; it is never removed. What a volume is comes from `pod::volumes`, who sees it from the container's mounts.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileType},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{
    mounts::share,
    pod::{HostCheck, Source, Volume},
};

/// Why a volume could not be made; in the words of upstream where it has some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("hostPath type check failed: {path} is not a {what}", path = path.display())]
    Check { path: PathBuf, what: &'static str },
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("configmap references non-existent config key: {0}")]
    NoKey(String),
    #[error("{path}: {operation}", path = path.display())]
    File { path: PathBuf, operation: &'static str, source: io::Error },
}

/// Modes without bits for special files.
const MODE_BITS: u32 = 0o777;
const DEFAULT_FILE_MODE: u32 = 0o644;

/// Makes one volume in `dir`, the directory of the pod's own volumes, or finds it made. `config_map` is the one it names, if there is such.
pub(crate) fn make(volume: &Volume, dir: &Path, config_map: Option<&ConfigMap>) -> Result<(), VolumeError> {
    let place = volume.place(dir);
    match &volume.source {
        Source::Directory => make_open_directory(&place),
        Source::Memory { limit } => make_memory(dir, &place, *limit),
        Source::Host { check, .. } => check_host_path(&place, *check),
        Source::ConfigMap(source) => write_config_map(&place, source, config_map),
    }
}

/// Takes a pod's own volumes away. What cannot be unmounted stays with what it holds: nothing that is mounted there is ever emptied.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    // The volumes first, then the mount that shares them with others' mount namespaces.
    for place in entries.flatten().map(|entry| entry.path()).chain([dir.to_owned()]) {
        match umount2(&place, MntFlags::MNT_DETACH) {
            // Nothing was mounted.
            Ok(()) | Err(nix::errno::Errno::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    fs::remove_dir_all(dir)
}

fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> VolumeError {
    move |source| VolumeError::File { path: path.to_owned(), operation, source }
}

/// One that every user of every container may write to.
fn make_open_directory(place: &Path) -> Result<(), VolumeError> {
    fs::create_dir_all(place).map_err(failed(place, "make directory"))?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o777)).map_err(failed(place, "open it to everybody"))
}

fn make_memory(dir: &Path, place: &Path, limit: Option<u64>) -> Result<(), VolumeError> {
    // Shared, so that it is gone from every other container's mount namespace, too, once it is unmounted here.
    fs::create_dir_all(dir).map_err(failed(dir, "make directory"))?;
    share(dir).map_err(failed(dir, "make it a mount point"))?;
    fs::create_dir_all(place).map_err(failed(place, "make directory"))?;
    if crate::mounts::is_mounted(place).map_err(failed(place, "look for mounts"))? {
        return Ok(());
    }
    let options = limit.map_or_else(|| "mode=777".to_owned(), |limit| format!("mode=777,size={limit}"));
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|error| failed(place, "mount tmpfs")(error.into()))
}

fn check_host_path(path: &Path, check: HostCheck) -> Result<(), VolumeError> {
    // Links are followed, as a mount would.
    let kind = match fs::metadata(path) {
        Ok(found) => Some(found.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(path, "look at it")(error)),
    };
    let make_directory = || {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(path).map_err(failed(path, "make directory"))
    };
    let is = |what: &'static str, holds: fn(&FileType) -> bool| match &kind {
        Some(kind) if holds(kind) => Ok(()),
        _ => Err(VolumeError::Check { path: path.to_owned(), what }),
    };
    match check {
        HostCheck::Anything | HostCheck::DirectoryOrCreate if kind.is_none() => make_directory(),
        HostCheck::FileOrCreate if kind.is_none() => {
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
            made.map(drop).map_err(failed(path, "make file"))
        }
        HostCheck::Anything => Ok(()),
        HostCheck::DirectoryOrCreate | HostCheck::Directory => is("directory", FileType::is_dir),
        HostCheck::FileOrCreate | HostCheck::File => is("file", FileType::is_file),
        HostCheck::Socket => is("socket file", FileType::is_socket),
    }
}

fn write_config_map(
    place: &Path,
    source: &ConfigMapVolumeSource,
    config_map: Option<&ConfigMap>,
) -> Result<(), VolumeError> {
    make_open_directory(place)?;
    let is_optional = source.optional == Some(true);
    let Some(config_map) = config_map else {
        let missing = VolumeError::NoConfigMap(source.name.clone());
        return if is_optional { Ok(()) } else { Err(missing) };
    };
    let mut values: BTreeMap<&str, &[u8]> = BTreeMap::new();
    values.extend(config_map.data.iter().flatten().map(|(key, text)| (key.as_str(), text.as_bytes())));
    values.extend(config_map.binary_data.iter().flatten().map(|(key, bytes)| (key.as_str(), bytes.0.as_slice())));
    let mode = |mode: Option<i32>| mode.and_then(|mode| u32::try_from(mode).ok());
    let default_mode = mode(source.default_mode).unwrap_or(DEFAULT_FILE_MODE);
    let mut files: Vec<(&str, &[u8], u32)> = Vec::new();
    match &source.items {
        Some(items) if !items.is_empty() => {
            for item in items {
                match values.get(item.key.as_str()) {
                    Some(bytes) => files.push((&item.path, bytes, mode(item.mode).unwrap_or(default_mode))),
                    None if is_optional => {}
                    None => return Err(VolumeError::NoKey(item.key.clone())),
                }
            }
        }
        _ => files.extend(values.iter().map(|(key, bytes)| (*key, *bytes, default_mode))),
    }
    for (path, bytes, mode) in files {
        write_file(place, path, bytes, mode)?;
    }
    Ok(())
}

/// Nobody but this agent has written below `place`, so no link there leads elsewhere; `path` itself is not trusted.
fn write_file(place: &Path, path: &str, bytes: &[u8], mode: u32) -> Result<(), VolumeError> {
    let inside = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let target = place.join(path);
    if !inside {
        let refused = io::Error::new(io::ErrorKind::InvalidInput, "it leads out of the volume");
        return Err(failed(&target, "write")(refused));
    }
    let write = || {
        target.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file = File::create(&target)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode & MODE_BITS))
    };
    write().map_err(failed(&target, "write"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::{Value, json};

    use super::*;

    fn host(path: &Path, check: HostCheck) -> Result<(), String> {
        let volume = Volume { name: "v".to_owned(), source: Source::Host { path: path.to_owned(), check } };
        make(&volume, Path::new("/nowhere"), None).map_err(|error| error.to_string())
    }

    #[test]
    fn host_paths_are_what_their_type_says() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("file"), "").unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let names = ["dir", "file", "socket", "none"];
        let check = |check: HostCheck, expect: [Option<&str>; 4]| {
            for (name, expect) in names.into_iter().zip(expect) {
                let found = host(&at(name), check);
                let message =
                    expect.map(|what| format!("hostPath type check failed: {} is not a {what}", at(name).display()));
                assert_eq!(found.err(), message, "{check:?} of {name}");
            }
        };
        let (directory, file, socket) = (Some("directory"), Some("file"), Some("socket file"));
        check(HostCheck::Directory, [None, directory, directory, directory]);
        check(HostCheck::File, [file, None, file, file]);
        check(HostCheck::Socket, [socket, socket, None, socket]);
        check(HostCheck::FileOrCreate, [file, None, file, None]);
        assert!(at("none").is_file());
        fs::remove_file(at("none")).unwrap();
        check(HostCheck::DirectoryOrCreate, [None, directory, directory, None]);
        check(HostCheck::Anything, [None; 4]);
        assert!(host(&at("deep/er"), HostCheck::Anything).is_ok() && at("deep/er").is_dir());
        assert!(host(&at("no/such/file"), HostCheck::FileOrCreate).is_err(), "only its last part is made");
    }

    /// Path, content, mode.
    type Expected = (&'static str, &'static [u8], u32);

    #[test]
    fn config_maps_become_files() {
        let config_map: ConfigMap =
            serde_json::from_value(json!({"data": {"a": "one", "b": "two"}, "binaryData": {"c": "AAE="}})).unwrap();
        let check = |source: Value, config_map: Option<&ConfigMap>, expect: Result<&[Expected], &str>| {
            let dir = tempfile::tempdir().unwrap();
            let source = Source::ConfigMap(serde_json::from_value(source).unwrap());
            let made = make(&Volume { name: "v".to_owned(), source }, dir.path(), config_map);
            let made = made.map_err(|error| error.to_string());
            let files = |expect: &[Expected]| {
                for (path, bytes, mode) in expect {
                    let path = dir.path().join("v").join(path);
                    assert_eq!(fs::read(&path).unwrap(), *bytes);
                    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, *mode);
                }
            };
            assert_eq!(made, expect.map(files).map_err(str::to_owned));
        };
        let all: &[Expected] = &[("a", b"one", 0o644), ("b", b"two", 0o644), ("c", &[0, 1], 0o644)];
        check(json!({"name": "m"}), Some(&config_map), Ok(all));
        let some = json!({"name": "m", "defaultMode": 0o600, "items": [
            {"key": "a", "path": "x/y"}, {"key": "b", "path": "z", "mode": 0o400},
        ]});
        check(some, Some(&config_map), Ok(&[("x/y", b"one", 0o600), ("z", b"two", 0o400)]));
        check(json!({"name": "m"}), None, Err("configmap \"m\" not found"));
        check(json!({"name": "m", "optional": true}), None, Ok(&[]));
        let absent = json!({"name": "m", "items": [{"key": "d", "path": "d"}]});
        check(absent, Some(&config_map), Err("configmap references non-existent config key: d"));
        let escaping = json!({"name": "m", "items": [{"key": "a", "path": "../a"}]});
        assert!(
            make(
                &Volume { name: "v".to_owned(), source: Source::ConfigMap(serde_json::from_value(escaping).unwrap()) },
                tempfile::tempdir().unwrap().path(),
                Some(&config_map)
            )
            .is_err()
        );
    }
}

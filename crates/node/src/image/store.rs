//! The store's directory: reading it, and the writes, each whole or not at all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    ArchiveError, BuiltinError, Digest, ImageConfig, ImageName, InvalidConfig, InvalidImageName, LayerError, Limits,
    archive::{Archive, ArchivedImage},
    builtin, layer,
};

/// The image store in one directory. Cheap to clone; any number of processes may have it open.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    limits: Limits,
}

/// An image that is here, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    pub config: ImageConfig,
    /// Lower directories for overlayfs, uppermost first, as `lowerdir=` wants them.
    pub lower_dirs: Vec<PathBuf>,
    /// Sum of the layers' file contents, in bytes.
    pub size: u64,
}

/// One line of `stead image ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub id: Digest,
    pub size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("image store {path}: {operation}", path = path.display())]
    Io { path: PathBuf, operation: &'static str, source: io::Error },
    #[error("{path} holds other files than an image store's: name a directory that is empty or not there", path = path.display())]
    Foreign { path: PathBuf },
    #[error("image store's {path} is damaged", path = path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Name(#[from] InvalidImageName),
    #[error("image {name} is not in the image store; load it with `stead image load ARCHIVE`")]
    NotFound { name: String },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error("layer {layer} of image {image}")]
    Layer { image: String, layer: String, source: LayerError },
    #[error("layer {layer} of image {image} does not have the digest its image gives")]
    LayerDigest { image: String, layer: String },
    #[error("archive names no image; give it a name with `stead image tag {0} NAME`")]
    Unnamed(Digest),
    #[error(transparent)]
    Builtin(#[from] BuiltinError),
}

#[derive(Default, Serialize, Deserialize)]
struct Names {
    images: BTreeMap<String, Named>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Named {
    id: String,
    size: u64,
    /// The manifest's digest, for names that pin one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
}

/// Held by a writer; released when dropped, also by being killed.
struct WriteLock(#[expect(dead_code, reason = "the lock is the descriptor's life")] File);

impl Store {
    /// Opens the store, making the directory where it is missing.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(dir, Limits::default())
    }

    /// As [`open`](Self::open), with other bounds for a layer.
    pub fn open_with(dir: impl Into<PathBuf>, limits: Limits) -> Result<Self, StoreError> {
        let store = Self { root: dir.into(), limits };
        if store.is_foreign() {
            return Err(StoreError::Foreign { path: store.root });
        }
        // Layers come first: a directory without them is none of a store's, whenever somebody looks.
        for folder in [store.root.clone(), store.layers(), store.root.join("config"), store.scratch()] {
            // Layers hold programs with the set-user-id bit: nobody but root may come near them.
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|source| StoreError::Io { path: folder, operation: "create directory", source })?;
        }
        let private = fs::set_permissions(&store.root, fs::Permissions::from_mode(0o700));
        private.map_err(|source| StoreError::Io { path: store.root.clone(), operation: "make private", source })?;
        Ok(store)
    }

    /// Whether the directory is somebody's: making it a store would take their rights to it.
    fn is_foreign(&self) -> bool {
        // A file system of its own begins with that directory.
        let is_file = |entry: fs::DirEntry| entry.file_name() != "lost+found";
        let has_files = fs::read_dir(&self.root).is_ok_and(|entries| entries.flatten().any(is_file));
        has_files && !self.layers().is_dir()
    }

    /// Finds an image by name, id (`sha256:…`) or pinned digest; a built-in image is made when it is first asked for.
    pub fn resolve(&self, name: &str) -> Result<Image, StoreError> {
        if let Some(id) = Digest::parse(name) {
            return self.image(&id, name);
        }
        let parsed: ImageName = name.parse()?;
        builtin::ensure(self, &parsed)?;
        let names = self.names()?;
        let found = match parsed.digest() {
            Some(digest) => names.images.iter().find_map(|(key, named)| {
                let here = key.parse::<ImageName>().is_ok_and(|n| n.repository() == parsed.repository());
                (here && (named.id == digest || named.manifest.as_deref() == Some(digest))).then(|| named.clone())
            }),
            None => names.images.get(&parsed.to_string()).cloned(),
        };
        let id = found.and_then(|named| Digest::parse(&named.id));
        let id = id.ok_or_else(|| StoreError::NotFound { name: name.to_owned() })?;
        self.image(&id, name)
    }

    /// The image of a full name, where it is here; unlike [`resolve`](Self::resolve) it makes none.
    pub(super) fn find(&self, name: &str) -> Option<Image> {
        let id = self.names().ok()?.images.get(name).and_then(|named| Digest::parse(&named.id))?;
        self.image(&id, name).ok()
    }

    /// Every name, in order. Built-in images are listed once they have been made.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let names = self.names()?.images;
        let line =
            |(name, named): (String, Named)| Digest::parse(&named.id).map(|id| Listed { name, id, size: named.size });
        Ok(names.into_iter().filter_map(line).collect())
    }

    /// Gives the image `from` (a name or an id) the further name `to`; a name that meant another image moves.
    pub fn tag(&self, from: &str, to: &str) -> Result<Listed, StoreError> {
        let to: ImageName = to.parse()?;
        if to.digest().is_some() {
            return Err(InvalidImageName(to.to_string()).into());
        }
        let image = self.resolve(from)?;
        let lock = self.lock()?;
        let manifest =
            self.names()?.images.values().find(|n| n.id == image.id.to_string()).and_then(|n| n.manifest.clone());
        self.name(&lock, &[to.to_string()], Named { id: image.id.to_string(), size: image.size, manifest })?;
        Ok(Listed { name: to.to_string(), id: image.id, size: image.size })
    }

    /// Loads every image of an archive: `docker save`'s or an OCI layout's tar, plain or gzip.
    ///
    /// An image that fails stops the load; those before it stay. Nothing half-loaded is ever seen.
    pub fn load(&self, source: impl Read) -> Result<Vec<Listed>, StoreError> {
        let lock = self.lock()?;
        self.load_locked(&lock, source)
    }

    /// Loads what `make` answers, unless `fresh` says under the lock that it is here already.
    pub(super) fn load_unless<R: Read>(
        &self,
        fresh: impl FnOnce() -> bool,
        make: impl FnOnce() -> Result<R, BuiltinError>,
    ) -> Result<(), StoreError> {
        let lock = self.lock()?;
        if fresh() {
            return Ok(());
        }
        let archive = make()?;
        self.load_locked(&lock, archive).map(drop)
    }

    fn load_locked(&self, lock: &WriteLock, source: impl Read) -> Result<Vec<Listed>, StoreError> {
        let archive = Archive::open(source, &self.scratch())?;
        let mut loaded = Vec::new();
        for image in archive.images()? {
            loaded.extend(self.import(lock, &archive, &image)?);
        }
        Ok(loaded)
    }

    fn import(&self, lock: &WriteLock, archive: &Archive, image: &ArchivedImage) -> Result<Vec<Listed>, StoreError> {
        let id = Digest::of(&image.config_json);
        let mut names = Vec::new();
        for name in &image.names {
            names.push(name.parse::<ImageName>()?.to_string());
        }
        let shown = names.first().cloned().unwrap_or_else(|| id.to_string());
        let mut size = 0;
        for (digest, entry) in image.config.layers.iter().zip(&image.layers) {
            size += self.import_layer(archive, entry, digest, &shown)?;
        }
        let config = self.root.join("config").join(id.hex());
        write_whole(&self.scratch(), &config, &image.config_json)?;
        if names.is_empty() {
            return Err(StoreError::Unnamed(id));
        }
        let manifest = image.manifest.as_ref().map(Digest::to_string);
        self.name(lock, &names, Named { id: id.to_string(), size, manifest })?;
        Ok(names.into_iter().map(|name| Listed { name, id: id.clone(), size }).collect())
    }

    /// Unpacks a layer beside its place and renames it there, once its digest is known to be right.
    fn import_layer(&self, archive: &Archive, entry: &str, digest: &Digest, image: &str) -> Result<u64, StoreError> {
        let home = self.layers().join(digest.hex());
        if home.exists() {
            return self.layer_size(digest);
        }
        let failed = |operation| {
            let path = home.clone();
            move |source| StoreError::Io { path, operation, source }
        };
        let stream = archive.layer(entry)?;
        let temporary = self.scratch().join(digest.hex());
        remove_tree(&temporary).map_err(failed("clear scratch of"))?;
        let files = temporary.join("files");
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&files).map_err(failed("create scratch for"))?;
        let layer_error = |source| StoreError::Layer { image: image.to_owned(), layer: digest.to_string(), source };
        let mut hashing = Hashing { inner: stream, hash: <Sha256 as sha2::Digest>::new() };
        let unpacked = layer::unpack(&mut hashing, &files, self.limits).map_err(layer_error);
        let drained = io::copy(&mut (&mut hashing).take(self.limits.bytes), &mut io::sink());
        let checked = unpacked.and_then(|unpacked| {
            drained.map_err(|e| layer_error(LayerError::Read(e)))?;
            if Digest::from_hash(hashing.hash) == *digest {
                Ok(unpacked)
            } else {
                Err(StoreError::LayerDigest { image: image.to_owned(), layer: digest.to_string() })
            }
        });
        let unpacked = match checked {
            Ok(unpacked) => unpacked,
            Err(error) => {
                remove_tree(&temporary).map_err(failed("clear scratch of"))?;
                return Err(error);
            }
        };
        fs::write(temporary.join("size"), unpacked.bytes.to_string()).map_err(failed("write size of"))?;
        sync_tree(&temporary, unpacked.entries).map_err(failed("sync"))?;
        fs::rename(&temporary, &home).map_err(failed("put in place"))?;
        sync_directory(&self.layers()).map_err(failed("sync"))?;
        Ok(unpacked.bytes)
    }

    fn layer_size(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.layers().join(digest.hex()).join("size");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
            Err(source) => Err(StoreError::Io { path, operation: "read", source }),
        }
    }

    fn image(&self, id: &Digest, shown: &str) -> Result<Image, StoreError> {
        let path = self.root.join("config").join(id.hex());
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound { name: shown.to_owned() });
            }
            Err(source) => return Err(StoreError::Io { path, operation: "read", source }),
        };
        let config = ImageConfig::parse(&json)?;
        let mut size = 0;
        for layer in &config.layers {
            size += self.layer_size(layer)?;
        }
        let lower_dirs = config.layers.iter().rev().map(|l| self.layers().join(l.hex()).join("files")).collect();
        Ok(Image { id: id.clone(), config, lower_dirs, size })
    }

    fn names(&self) -> Result<Names, StoreError> {
        let path = self.root.join("names.json");
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|source| StoreError::Damaged { path, source }),
            // New; but a store whose directory is gone has lost what it had.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => Ok(Names::default()),
            Err(source) => Err(StoreError::Io { path, operation: "read", source }),
        }
    }

    fn name(&self, _held: &WriteLock, names: &[String], named: Named) -> Result<(), StoreError> {
        let mut all = self.names()?;
        for name in names {
            all.images.insert(name.clone(), named.clone());
        }
        let json = serde_json::to_vec_pretty(&all).expect("names are plain texts and numbers");
        write_whole(&self.scratch(), &self.root.join("names.json"), &json)
    }

    /// Waits for other writers.
    fn lock(&self) -> Result<WriteLock, StoreError> {
        let path = self.root.join("lock");
        let open = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let locked = open.and_then(|file| file.lock().map(|()| WriteLock(file)));
        locked.map_err(|source| StoreError::Io { path, operation: "lock", source })
    }

    fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// What a killed writer left here is cleared when the same thing is written again.
    fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }
}

/// Writes `bytes` so that `path` has either what it had or all of them, also over a power cut.
fn write_whole(scratch: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let name = path.file_name().unwrap_or_default();
    let temporary = scratch.join(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path.parent().unwrap_or(Path::new("/")))
    };
    write().map_err(|source| StoreError::Io { path: path.to_owned(), operation: "write", source })
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// File by file where there are few, for the whole file system's other writers need not be waited for; else all at once.
fn sync_tree(root: &Path, entries: u64) -> io::Result<()> {
    const FEW: u64 = 64;
    if entries > FEW {
        return nix::unistd::syncfs(File::open(root)?.as_raw_fd()).map_err(io::Error::from);
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        sync_directory(&folder)?;
    }
    Ok(())
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        sha2::Digest::update(&mut self.hash, &buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;

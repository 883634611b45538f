//! Opening: the lock, the file, its creation, whether every page is as it was written, the index, the committer.
//!
//! A power cut while a database file is being made can leave one that no one can open, so it is made under another name, synced
//! and renamed: a file of the right name is whole.

use std::{
    collections::VecDeque,
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Instant,
};

use redb::{Builder, Database, DatabaseError, StorageBackend};
use stead_model::Revision;
use tokio::sync::watch;

use super::{
    Embedded, Options, Shared,
    committer::{Committer, CompactionClock},
    disk::{self, Loaded},
    engine::{self, Engine},
    leases::Leases,
    prepared::{Holes, PreparedFile},
    window::Window,
};

pub(super) const FILE: &str = "store.redb";
const NEW_FILE: &str = "store.redb.new";
pub(super) const LOCK_FILE: &str = "lock";

/// What the directory holds is for its owner alone, whoever may look into it.
const PRIVATE: u32 = 0o600;

/// At start the file is made smaller where it is at least this large and mostly free.
const SHRINK_FROM_BYTES: u64 = 64 << 20;

/// Why a store did not open. Each names the directory or file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use {path} as a store's directory")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the store in {path} is in use by another process; stop that one first or choose another directory")]
    InUse { path: PathBuf },
    #[error("cannot create {path}: {cause}")]
    Create { path: PathBuf, cause: String },
    #[error("cannot open {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is damaged or no Stead store: {cause}; move it away to start empty, or restore a copy")]
    NotAStore { path: PathBuf, cause: String },
    #[error("{path} has store format {found}, this program reads {known}; use a newer program")]
    Format { path: PathBuf, found: u64, known: u64 },
    #[error("{path} has store format {found}, which only the program that wrote it reads; move it away to start empty")]
    OldFormat { path: PathBuf, found: u64 },
    #[error("cannot start the store's thread")]
    Thread { source: io::Error },
}

impl OpenError {
    pub(super) fn refused(path: &Path, error: redb::Error) -> Self {
        let path = path.into();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            // The system's own errors; redb also dresses what it finds in the file as one.
            redb::Error::Io(source) if source.raw_os_error().is_some() => Self::File { path, source },
            error => Self::NotAStore { path, cause: error.to_string() },
        }
    }
}

impl Embedded {
    /// Opens the store in `directory`, making both where they do not exist. Blocks while it reads the index.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_with(directory, Options::default())
    }

    pub fn open_with(directory: &Path, options: Options) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Directory { path: directory.into(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        let lock = private().open(directory.join(LOCK_FILE)).map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { path: directory.into() },
            TryLockError::Error(source) => unusable(source),
        })?;
        let path = directory.join(FILE);
        if !path.try_exists().map_err(unusable)? {
            create(directory, &options)?;
        }
        make_private(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
        let refused = |error| OpenError::refused(&path, error);
        let file = open_file(&path).map_err(refused)?;
        let holes = file.holes();
        let open = |builder: &Builder| builder.create_with_backend(file);
        let (mut database, loaded) = open_checked(&path, &options, Found::Filled, open)?;
        let bytes = path.metadata().map_err(unusable)?.len();
        if bytes >= SHRINK_FROM_BYTES {
            engine::opening(|| shrink(&mut database, bytes)).map_err(refused)?;
        }
        Self::start(database, loaded, Files { lock: Some(lock), holes: Some(holes) }, options)
    }

    /// Opens the store on `backend`, which is either empty or held one before. For tests of what a disk can do to it:
    /// it has neither the lock nor the safe creation that a directory gives.
    pub fn open_backend(backend: impl StorageBackend, options: Options) -> Result<Self, OpenError> {
        let path = PathBuf::from("the given backend");
        let refused = |error| OpenError::refused(&path, error);
        let found = match backend.len().map_err(|error| refused(error.into()))? {
            0 => Found::Empty,
            _ => Found::Filled,
        };
        let open = |builder: &Builder| builder.create_with_backend(backend);
        let (database, loaded) = open_checked(&path, &options, found, open)?;
        Self::start(database, loaded, Files::default(), options)
    }

    fn start(database: Engine, loaded: Loaded, files: Files, options: Options) -> Result<Self, OpenError> {
        let Loaded { index, dead, leases: granted, last_lease } = loaded;
        let now = Instant::now();
        let mut leases = Leases::default();
        for (lease, ttl_seconds) in granted {
            leases.grant(lease, ttl_seconds, now);
        }
        for (key, write) in index.newest() {
            leases.reattach(key, None, write.lease);
        }
        let newest = index.revision;
        let window = Window::new(newest, options.window_events, options.window_bytes);
        let shared =
            Arc::new(Shared { database, index: RwLock::new(index), window: RwLock::new(window), _lock: files.lock });
        let (revision, newest_receiver) = watch::channel::<Revision>(newest);
        let (requests, receiver) = mpsc::channel();
        let committer = Committer {
            shared: Arc::clone(&shared),
            requests: receiver,
            revision,
            leases,
            last_lease,
            dead: VecDeque::from(dead),
            clock: CompactionClock::new(now, options.compaction_interval, newest),
            holes: files.holes,
            options,
        };
        let thread = std::thread::Builder::new().name("store-committer".into()).spawn(|| committer.run());
        Ok(Self {
            shared,
            newest: newest_receiver,
            requests: Some(requests),
            committer: Some(thread.map_err(|source| OpenError::Thread { source })?),
        })
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(PRIVATE);
    options
}

/// A copy that somebody put back may be for others to read.
fn make_private(path: &Path) -> io::Result<()> {
    match path.metadata()?.permissions().mode() & 0o777 {
        PRIVATE => Ok(()),
        _ => std::fs::set_permissions(path, Permissions::from_mode(PRIVATE)),
    }
}

/// What a file was before it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Empty,
    Filled,
}

/// Opens a file and reads all but its values. Fails where any page is not as it was written: a page that nobody reads now may be
/// one that says which others are free.
pub(super) fn open_checked(
    path: &Path,
    options: &Options,
    found: Found,
    open: impl FnOnce(&Builder) -> Result<Database, DatabaseError>,
) -> Result<(Engine, Loaded), OpenError> {
    let refused = |error| OpenError::refused(path, error);
    let was_repaired = Arc::new(AtomicBool::new(false));
    let mut builder = builder(options);
    builder.set_repair_callback({
        let was_repaired = Arc::clone(&was_repaired);
        move |_| was_repaired.store(true, Ordering::Relaxed)
    });
    let database = engine::opening(|| Ok(open(&builder)?)).map_err(refused)?;
    let mut database = Engine::new(database);
    if found == Found::Empty {
        disk::initialize(&database).map_err(refused)?;
    }
    // Whoever did not close the file in order has it looked through by the engine while it opens.
    if found == Found::Filled && !was_repaired.load(Ordering::Relaxed) {
        let is_whole = engine::opening(|| Ok(database.check_integrity()?)).map_err(refused)?;
        if !is_whole {
            tracing::warn!(path = %path.display(), "the store's file was damaged where the engine could mend it");
        }
    }
    check_format(path, &database)?;
    let loaded = engine::opening(|| disk::load(&database)).map_err(refused)?;
    Ok((database, loaded))
}

/// What a store in a directory has besides its database.
#[derive(Debug, Default)]
struct Files {
    lock: Option<File>,
    holes: Option<Arc<Holes>>,
}

/// The file of a database that is there: redb would take an empty one for a new one.
fn open_file(path: &Path) -> Result<PreparedFile, redb::Error> {
    let file = File::options().read(true).write(true).open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(redb::Error::Corrupted("the file is empty".to_owned()));
    }
    Ok(PreparedFile::new(file)?)
}

fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder
}

fn check_format(path: &Path, database: &Database) -> Result<(), OpenError> {
    match engine::opening(|| disk::read_format(database)) {
        Ok(disk::FORMAT) => Ok(()),
        Ok(found) if found < disk::FORMAT => Err(OpenError::OldFormat { path: path.into(), found }),
        Ok(found) => Err(OpenError::Format { path: path.into(), found, known: disk::FORMAT }),
        Err(error) => Err(OpenError::refused(path, error)),
    }
}

/// Makes the file of an empty store, whole or not at all. The directory must be locked.
fn create(directory: &Path, options: &Options) -> Result<(), OpenError> {
    let path = directory.join(NEW_FILE);
    let failed = |cause: String| OpenError::Create { path: path.clone(), cause };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error.to_string())),
        _ => {}
    }
    let file = private().open(&path).map_err(|error| failed(error.to_string()))?;
    let database = builder(options).create_file(file).map_err(|error: DatabaseError| failed(error.to_string()))?;
    disk::initialize(&database).map_err(|error| failed(error.to_string()))?;
    drop(database);
    File::open(&path)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&path, directory.join(FILE)))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| failed(error.to_string()))
}

/// Gives free space back where three quarters of the file are free.
fn shrink(database: &mut Database, bytes: u64) -> Result<(), redb::Error> {
    let used = disk::used_bytes(database)?;
    if used.saturating_mul(4) < bytes {
        database.compact()?;
    }
    Ok(())
}

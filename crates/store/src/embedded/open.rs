//! Opening: the lock, the files, their creation, whether every page is as it was written, the index, what only the log has, the
//! committer.
//!
//! A power cut while a file is being made can leave one that no one can open, so each is made under another name, synced
//! and renamed: a file of the right name is whole. The tables' is made last: where it is, its log was.

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

use redb::{Builder, Database, DatabaseError, StorageBackend, backends::FileBackend};
use stead_model::Revision;
use tokio::sync::watch;

use super::{
    Embedded, Options, Shared,
    committer::{Committer, CompactionClock},
    disk::{self, Loaded},
    engine::{self, Engine},
    leases::Leases,
    log::{self, Log, LogError},
    prepared::{Holes, PreparedFile},
    record::Changes,
    window::Window,
};

pub(super) const FILE: &str = "store.redb";
const NEW_FILE: &str = "store.redb.new";
pub(super) const LOG_FILE: &str = "store.log";
const NEW_LOG_FILE: &str = "store.log.new";
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
    #[error("{path} is damaged or another store's: {cause}; restore a copy of the whole directory")]
    Log { path: PathBuf, cause: String },
    #[error(
        "{path} is missing, which has the newest writes; put it back, or an empty file in its place to go on without them"
    )]
    NoLog { path: PathBuf },
    #[error(
        "{path} has writes of a store that is missing; put store.redb back beside it, or move it away to start empty"
    )]
    NoTables { path: PathBuf },
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

    pub(super) fn log(path: &Path, error: LogError) -> Self {
        let path = path.into();
        match error {
            LogError::Io(source) => Self::File { path, source },
            error => Self::Log { path, cause: error.to_string() },
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
        let mut holes = vec![file.holes()];
        let open = |builder: &Builder| builder.create_with_backend(file);
        let (mut database, mut loaded) = open_checked(&path, &options, Found::Filled, open)?;
        let log_file = open_log_file(directory, &database, &options)?;
        holes.insert(0, log_file.holes());
        let log = resume(&directory.join(LOG_FILE), Box::new(log_file), &mut loaded, &options)?;
        let bytes = path.metadata().map_err(unusable)?.len();
        if bytes >= SHRINK_FROM_BYTES {
            engine::opening(|| shrink(&mut database, bytes)).map_err(refused)?;
        }
        Self::start(database, loaded, log, Files { lock: Some(lock), holes }, options)
    }

    /// Opens the store on two backends, of its tables and its log, which are either both empty or held one before. For tests of what
    /// a disk can do to it: it has neither the lock nor the safe creation that a directory gives.
    pub fn open_backend(
        tables: impl StorageBackend,
        log: impl StorageBackend,
        options: Options,
    ) -> Result<Self, OpenError> {
        let path = PathBuf::from("the given backend");
        let refused = |error: io::Error| OpenError::refused(&path, error.into());
        let found = match tables.len().map_err(refused)? {
            0 => Found::Empty,
            _ => Found::Filled,
        };
        if found == Found::Empty {
            Log::create(&log, options.log_bytes).map_err(refused)?;
        }
        let open = |builder: &Builder| builder.create_with_backend(tables);
        let (database, mut loaded) = open_checked(&path, &options, found, open)?;
        let log = resume(&path, Box::new(log), &mut loaded, &options)?;
        Self::start(database, loaded, log, Files::default(), options)
    }

    fn start(database: Engine, loaded: Loaded, log: Log, files: Files, options: Options) -> Result<Self, OpenError> {
        let Loaded { index, tail, pending, dead, leases: granted, last_lease, logged: _ } = loaded;
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
        let shared = Arc::new(Shared {
            database,
            index: RwLock::new(index),
            tail: RwLock::new(tail),
            window: RwLock::new(window),
            _lock: files.lock,
        });
        let (revision, newest_receiver) = watch::channel::<Revision>(newest);
        let (requests, receiver) = mpsc::channel();
        let committer = Committer {
            shared: Arc::clone(&shared),
            requests: receiver,
            revision,
            leases,
            last_lease,
            log,
            pending,
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

/// The log's file, which only a store of before logs may lack; an empty one is taken as a new one.
fn open_log_file(directory: &Path, database: &Database, options: &Options) -> Result<PreparedFile, OpenError> {
    let path = directory.join(LOG_FILE);
    let failed = |source| OpenError::File { path: path.clone(), source };
    let refused = |error| OpenError::refused(&directory.join(FILE), error);
    let format = engine::opening(|| disk::read_format(database)).map_err(refused)?;
    if !path.try_exists().map_err(failed)? {
        if format == disk::FORMAT {
            return Err(OpenError::NoLog { path });
        }
        create_log(directory, options)?;
    }
    make_private(&path).map_err(failed)?;
    let file = File::options().read(true).write(true).open(&path).map_err(failed)?;
    let is_empty = file.metadata().map_err(failed)?.len() == 0;
    let file = PreparedFile::new(file).map_err(|error| failed(io::Error::other(error)))?;
    if is_empty {
        Log::create(&file, options.log_bytes).map_err(failed)?;
    }
    if format != disk::FORMAT {
        engine::opening(|| disk::raise_format(database)).map_err(refused)?;
    }
    Ok(file)
}

/// Takes in what the tables lack, and opens the log to go on after it.
fn resume(
    path: &Path,
    file: Box<dyn StorageBackend>,
    loaded: &mut Loaded,
    options: &Options,
) -> Result<Log, OpenError> {
    let refused = |error| OpenError::log(path, error);
    let found = Log::read(&*file).map_err(refused)?;
    replay(path, &found, loaded)?;
    Log::resume(file, &found, loaded.logged, options.log_bytes).map_err(|error| refused(error.into()))
}

/// All that the tables lack, or nothing.
pub(super) fn replay(path: &Path, found: &log::Found, loaded: &mut Loaded) -> Result<(), OpenError> {
    let refused = |error| OpenError::log(path, error);
    let records = found.after(loaded.logged).map_err(refused)?;
    let decode =
        |(number, record): &(u64, Vec<u8>)| Changes::decode(record).ok_or_else(|| refused(LogError::Content(*number)));
    let changes = records.map(decode).collect::<Result<Vec<_>, _>>()?;
    changes.into_iter().for_each(|changes| loaded.take_in(changes));
    Ok(())
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
    holes: Vec<Arc<Holes>>,
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
        Ok(disk::FORMAT_WITHOUT_LOG | disk::FORMAT) => Ok(()),
        Ok(found) if found < disk::FORMAT => Err(OpenError::OldFormat { path: path.into(), found }),
        Ok(found) => Err(OpenError::Format { path: path.into(), found, known: disk::FORMAT }),
        Err(error) => Err(OpenError::refused(path, error)),
    }
}

/// Makes the files of an empty store, each whole or not at all. The directory must be locked.
fn create(directory: &Path, options: &Options) -> Result<(), OpenError> {
    let log = directory.join(LOG_FILE);
    let failed = |source| OpenError::File { path: log.clone(), source };
    if log.try_exists().map_err(failed)? {
        let left = FileBackend::new(File::open(&log).map_err(failed)?);
        let left = left.map_err(|error| failed(io::Error::other(error)))?;
        if !Log::read(&left).is_ok_and(|found| found.is_empty()) {
            return Err(OpenError::NoTables { path: log });
        }
    }
    create_log(directory, options)?;
    create_whole(directory, [NEW_FILE, FILE], |file| {
        let database = builder(options).create_file(file)?;
        disk::initialize(&database)
    })
}

fn create_log(directory: &Path, options: &Options) -> Result<(), OpenError> {
    create_whole(directory, [NEW_LOG_FILE, LOG_FILE], |file| {
        Ok(Log::create(&FileBackend::new(file)?, options.log_bytes)?)
    })
}

/// Makes a file under another name first.
fn create_whole(
    directory: &Path,
    [new, name]: [&str; 2],
    fill: impl FnOnce(File) -> Result<(), redb::Error>,
) -> Result<(), OpenError> {
    let path = directory.join(new);
    let failed = |cause: String| OpenError::Create { path: path.clone(), cause };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error.to_string())),
        _ => {}
    }
    let file = private().open(&path).map_err(|error| failed(error.to_string()))?;
    fill(file).map_err(|error| failed(error.to_string()))?;
    File::open(&path)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&path, directory.join(name)))
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

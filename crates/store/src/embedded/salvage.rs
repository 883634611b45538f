//! What of a store's files can be read without opening them for work: all of it, or what damage has left.
//!
//! Nothing is changed, not even what the engine would mend: it works on a copy in memory. Tables that the engine refuses are looked
//! through page by page for rows; each proves itself by its checksum, which is over its position too. Rows of the log are taken
//! besides. What was written in damaged places is not there, and where it said that something is gone, that may be there. Who
//! restores from it decides.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use redb::{ReadableDatabase as _, StorageBackend as _, backends::InMemoryBackend};

use super::{
    Embedded, Options,
    disk::{self, Key},
    engine,
    index::{Index, Write},
    log,
    open::{FILE, Found, LOCK_FILE, LOG_FILE, OpenError, open_checked, replay},
    record::Changes,
};
use crate::KeyValue;

/// What a store's files say.
#[derive(Debug, Default)]
pub struct Salvage {
    /// What can be read, by key ascending.
    pub items: Vec<KeyValue>,
    /// Keys whose value cannot be read.
    pub damaged: Vec<Bytes>,
    /// Why they cannot be opened; `None` where they are whole, and `items` is all that they hold.
    pub refusal: Option<OpenError>,
}

impl Embedded {
    /// Reads the store in `directory`, which no process has open. Fails where there is no file that can be read, or it is another
    /// program's.
    pub fn salvage(directory: &Path) -> Result<Salvage, OpenError> {
        let path = directory.join(FILE);
        let unreadable = |source| OpenError::File { path: path.clone(), source };
        if let Ok(lock) = File::open(directory.join(LOCK_FILE))
            && lock.try_lock().is_err()
        {
            return Err(OpenError::InUse { path: directory.into() });
        }
        let bytes = fs::read(&path).map_err(unreadable)?;
        let log = Log::read(directory)?;
        match whole(&path, &bytes, &log) {
            Err(refusal @ OpenError::NotAStore { .. }) => {
                let mut rows = Rows::scattered_in(&bytes);
                log.found.iter().for_each(|found| rows.add_logged(found));
                Ok(Salvage { refusal: Some(refusal), ..rows.newest(&bytes) })
            }
            read => read,
        }
    }
}

/// The log as it lies there.
struct Log {
    path: PathBuf,
    found: Result<log::Found, log::LogError>,
    is_there: bool,
}

impl Log {
    fn read(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOG_FILE);
        match fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => Ok(Self { path, found: Ok(log::Found::default()), is_there: true }),
            Ok(bytes) => Ok(Self { path, found: log::Found::parse(&bytes), is_there: true }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path, found: Ok(log::Found::default()), is_there: false })
            }
            Err(source) => Err(OpenError::File { path, source }),
        }
    }
}

/// All of the tables, if the engine takes them as they are, and what is whole of the log.
fn whole(path: &Path, bytes: &[u8], log: &Log) -> Result<Salvage, OpenError> {
    let refused = |error| OpenError::refused(path, error);
    if bytes.is_empty() {
        return Err(refused(redb::Error::Corrupted("the file is empty".to_owned())));
    }
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64).and_then(|()| copy.write(0, bytes)).map_err(|error| refused(error.into()))?;
    let open = |builder: &redb::Builder| builder.create_with_backend(copy);
    let (database, mut loaded) = open_checked(path, &Options::default(), Found::Filled, open)?;
    let format = engine::opening(|| disk::read_format(&database)).map_err(refused)?;
    let refusal = match &log.found {
        Ok(_) if !log.is_there && format == disk::FORMAT => Some(OpenError::NoLog { path: log.path.clone() }),
        Ok(found) => replay(&log.path, found, &mut loaded).err().inspect(|_| {
            let logged = loaded.logged;
            let left = found.newest().filter(|(number, _)| *number > logged);
            left.filter_map(|(_, record)| Changes::decode(record)).for_each(|changes| loaded.take_in(changes));
        }),
        Err(error) => Some(OpenError::Log { path: log.path.clone(), cause: error.to_string() }),
    };
    let values = engine::opening(|| Ok(database.begin_read()?.open_table(disk::VALUES)?)).map_err(refused)?;
    let mut salvage = Salvage { refusal, ..Salvage::default() };
    for (key, write) in loaded.index.newest() {
        let logged = loaded.tail.value(write.at);
        let read = || logged.map_or_else(|| disk::read_value(&values, key, write.at), Ok);
        match engine::guarded("reading values", read) {
            Ok(value) => salvage.items.push(write.key_value(key.clone(), value)),
            Err(_) => salvage.damaged.push(key.clone()),
        }
    }
    Ok(salvage)
}

/// Every intact row of a file, wherever it lies: each is written once and never changed, so that copies of it are alike.
#[derive(Debug, Default)]
struct Rows {
    heads: BTreeMap<Key, (Bytes, Write)>,
    /// Where in the file.
    values: HashMap<Key, Range<usize>>,
    /// What the log has.
    logged: HashMap<Key, Bytes>,
}

/// A page of the engine that holds rows. Its layout is redb's: a leaf of keys of a fixed width.
struct Leaf {
    rows: Vec<(Key, Range<usize>)>,
    /// Whether every row that it says it has is among them.
    is_whole: bool,
}

impl Rows {
    fn scattered_in(file: &[u8]) -> Self {
        let mut rows = Self::default();
        let mut whole = Vec::new();
        for at in (0..file.len()).step_by(Leaf::ALIGNMENT) {
            let Some(leaf) = Leaf::parse(file, at) else { continue };
            let parse = |(key, row): &(Key, Range<usize>)| {
                let (name, write) = disk::parse_head(*key, &file[row.clone()])?;
                // A value could only look like a head that was made after it was written.
                (write.create_revision <= write.at.revision).then_some((*key, (name, write)))
            };
            match leaf.rows.iter().map(parse).collect::<Option<Vec<_>>>() {
                Some(heads) => {
                    rows.heads.extend(heads);
                    if leaf.is_whole {
                        whole.push(leaf);
                    }
                }
                None => rows.values.extend(leaf.rows),
            }
        }
        for leaf in &whole {
            rows.forget_what_is_missing_in(leaf);
        }
        rows
    }

    fn add_logged(&mut self, found: &log::Found) {
        let changes = found.newest().filter_map(|(_, record)| Changes::decode(record));
        for row in changes.flat_map(|changes| changes.rows) {
            let at = disk::row(row.write.at);
            self.heads.insert(at, (row.key, row.write));
            self.logged.insert(at, row.value);
        }
    }

    /// Rows are only added behind all others. One that lies between those of a leaf, and not in it, was removed when that leaf was
    /// written; a page that still has it is an old one.
    fn forget_what_is_missing_in(&mut self, leaf: &Leaf) {
        let present: BTreeSet<Key> = leaf.rows.iter().map(|(key, _)| *key).collect();
        let (Some(first), Some(last)) = (present.first(), present.last()) else { return };
        let gone: Vec<Key> =
            self.heads.range(*first..=*last).map(|(key, _)| *key).filter(|key| !present.contains(key)).collect();
        for key in gone {
            self.heads.remove(&key);
        }
    }

    fn newest(self, file: &[u8]) -> Salvage {
        let mut index = Index::default();
        for (key, write) in self.heads.into_values() {
            index.apply(key, write);
        }
        let mut salvage = Salvage::default();
        for (key, write) in index.newest() {
            let at = disk::row(write.at);
            let in_file = |row: &Range<usize>| &file[row.start..row.end - disk::CHECKSUM_BYTES];
            let in_file = || self.values.get(&at).map(|row| Bytes::copy_from_slice(in_file(row)));
            match self.logged.get(&at).cloned().or_else(in_file) {
                Some(value) => salvage.items.push(write.key_value(key.clone(), value)),
                None => salvage.damaged.push(key.clone()),
            }
        }
        salvage
    }
}

impl Leaf {
    /// What every page begins at a multiple of.
    const ALIGNMENT: usize = 4096;
    const TYPE: u8 = 1;
    const KEY_BYTES: usize = 12;

    /// `None` where no row at `at` proves to be one.
    fn parse(file: &[u8], at: usize) -> Option<Self> {
        let page = &file[at..];
        let (&[kind, _, low, high], _) = page.split_first_chunk()?;
        let count = usize::from(u16::from_le_bytes([low, high]));
        if kind != Self::TYPE || count == 0 {
            return None;
        }
        let ends = page.get(4..4 + 4 * count)?;
        let keys = page.get(4 + 4 * count..4 + (4 + Self::KEY_BYTES) * count)?;
        let mut rows = Vec::with_capacity(count);
        let mut start = 4 + (4 + Self::KEY_BYTES) * count;
        for (end, key) in ends.chunks_exact(4).zip(keys.chunks_exact(Self::KEY_BYTES)) {
            let (revision, order) = key.split_first_chunk()?;
            let key = (u64::from_le_bytes(*revision), u32::from_le_bytes(*order.first_chunk()?));
            let end = u32::from_le_bytes(*end.first_chunk()?) as usize;
            if page.get(start..end).is_some_and(|row| disk::intact(key, row).is_some()) {
                rows.push((key, at + start..at + end));
            }
            start = end;
        }
        let is_whole = rows.len() == count;
        (!rows.is_empty()).then_some(Self { rows, is_whole })
    }
}

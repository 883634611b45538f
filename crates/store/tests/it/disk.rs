//! A simulated disk with the two files of a store: writes are only safe after a sync of their file, and the power goes at a chosen
//! operation.
//!
//! Of the writes since the last sync each survives a cut or not, in any order, whole or torn.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use redb::StorageBackend;
use stead_store::{Embedded, OpenError, Options};

/// `EROFS` and `ENOSPC` (errno(3)).
const READ_ONLY: i32 = 30;
const NO_SPACE: i32 = 28;

/// What a sync does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Honest,
    /// Says that it is done and does nothing: the control of the test.
    Lying,
}

/// What a disk that has power still refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// To grow.
    Full,
    /// To be changed.
    ReadOnly,
}

/// A disk in a machine that has power for so many operations. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// One of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Tables,
    Log,
}

/// A file that is open.
#[derive(Debug)]
pub(crate) struct DiskFile {
    disk: Disk,
    name: Name,
}

#[derive(Debug)]
struct State {
    tables: File,
    log: File,
    operations_left: u64,
    sync: Sync,
    fault: Option<Fault>,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What is safe.
    safe: Vec<u8>,
    /// What reads see: `safe` with all of `pending`.
    seen: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    SetLength(usize),
}

impl Pending {
    /// Where the disk ends at least, once this is done.
    fn end(&self) -> usize {
        match self {
            Self::SetLength(length) => *length,
            Self::Write(offset, data) => offset + data.len(),
        }
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLength(length) => bytes.resize(*length, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl State {
    fn disk(tables: Vec<u8>, log: Vec<u8>, operations_left: u64, sync: Sync) -> Disk {
        let file = |bytes: Vec<u8>| File { safe: bytes.clone(), seen: bytes, pending: Vec::new() };
        let state = Self { tables: file(tables), log: file(log), operations_left, sync, fault: None };
        Disk(Arc::new(Mutex::new(state)))
    }

    fn file(&mut self, name: Name) -> &mut File {
        match name {
            Name::Tables => &mut self.tables,
            Name::Log => &mut self.log,
        }
    }
}

impl File {
    /// What a cut leaves of it.
    fn survivor(&mut self, random: &mut StdRng) -> Vec<u8> {
        let mut safe = std::mem::take(&mut self.safe);
        let mut pending = std::mem::take(&mut self.pending);
        // Also the two extremes, which chance alone would hardly meet: nothing survives, everything does.
        match random.random_range(0..8) {
            0 => {}
            1 => pending.iter().for_each(|write| write.apply(&mut safe)),
            _ => {
                pending.shuffle(random);
                pending.into_iter().filter_map(|write| survive(write, random)).for_each(|write| write.apply(&mut safe));
            }
        }
        safe
    }
}

impl Disk {
    pub(crate) fn new(sync: Sync) -> Self {
        State::disk(Vec::new(), Vec::new(), 0, sync)
    }

    /// The store on this disk.
    pub(crate) fn open(&self, options: Options) -> Result<Embedded, OpenError> {
        let file = |name| DiskFile { disk: self.clone(), name };
        Embedded::open_backend(file(Name::Tables), file(Name::Log), options)
    }

    /// Gives power for so many operations.
    pub(crate) fn power_on(&self, operations: u64) {
        self.state().operations_left = operations;
    }

    /// What the disk refuses from now on.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Another disk that holds the same, with all the power there is.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state();
        State::disk(state.tables.seen.clone(), state.log.seen.clone(), u64::MAX, state.sync)
    }

    /// Turns one bit of one file, of any byte or of one that is not zero, and says which.
    pub(crate) fn turn_a_bit(&self, random: &mut StdRng) -> String {
        let mut state = self.state();
        let name = if random.random() { Name::Tables } else { Name::Log };
        let seen = &mut state.file(name).seen;
        let wants_any = random.random::<bool>();
        let byte = loop {
            let byte = random.random_range(0..seen.len());
            if wants_any || seen[byte] != 0 {
                break byte;
            }
        };
        let bit = random.random_range(0..8);
        seen[byte] ^= 1 << bit;
        format!("{} of {name:?}", byte * 8 + bit)
    }

    /// Whether the power has gone.
    pub(crate) fn is_off(&self) -> bool {
        self.state().operations_left == 0
    }

    /// Cuts the power, if it has not gone yet, and settles which pending writes survive. Whoever still holds the old disk
    /// holds a broken one.
    pub(crate) fn survivor(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut state = self.state();
        state.operations_left = 0;
        let tables = state.tables.survivor(&mut random);
        let log = state.log.survivor(&mut random);
        State::disk(tables, log, 0, state.sync)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operations_left = state.operations_left.saturating_sub(1);
        if state.operations_left == 0 { Err(io::Error::other("the power is off")) } else { Ok(state) }
    }
}

/// What a cut leaves of one write: all, nothing, a head or a tail by sectors, or a head in mid-byte.
fn survive(write: Pending, random: &mut StdRng) -> Option<Pending> {
    let Pending::Write(offset, data) = write else { return random.random::<bool>().then_some(write) };
    const SECTOR: usize = 512;
    let sectors = data.len().div_ceil(SECTOR);
    let cut = (random.random_range(0..=sectors) * SECTOR).min(data.len());
    match random.random_range(0..5) {
        0 => None,
        1 => Some(Pending::Write(offset, data[..cut].to_vec())),
        2 => Some(Pending::Write(offset + cut, data[cut..].to_vec())),
        3 => Some(Pending::Write(offset, data[..random.random_range(0..=data.len())].to_vec())),
        _ => Some(Pending::Write(offset, data)),
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.operate()?.file(self.name).seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let start = usize::try_from(offset).unwrap();
        let bytes = state.file(self.name).seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Pending::SetLength(usize::try_from(length).unwrap()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Pending::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        if state.sync == Sync::Honest {
            let File { safe, pending, .. } = state.file(self.name);
            pending.drain(..).for_each(|write| write.apply(safe));
        }
        Ok(())
    }
}

impl DiskFile {
    fn change(&self, change: Pending) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.operations_left == 0 {
            return Err(io::Error::other("the power is off"));
        }
        let end = state.file(self.name).seen.len();
        match state.fault {
            Some(Fault::ReadOnly) => return Err(io::Error::from_raw_os_error(READ_ONLY)),
            Some(Fault::Full) if change.end() > end => return Err(io::Error::from_raw_os_error(NO_SPACE)),
            _ => {}
        }
        // The write during which the power goes may still reach the disk.
        state.operations_left -= 1;
        let is_off = state.operations_left == 0;
        let file = state.file(self.name);
        change.apply(&mut file.seen);
        file.pending.push(change);
        if is_off { Err(io::Error::other("the power went")) } else { Ok(()) }
    }
}

//! A simulated disk: writes are only safe after a sync, and the power goes at a chosen operation.
//!
//! Of the writes since the last sync each survives a cut or not, in any order, whole or torn.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use redb::StorageBackend;

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

#[derive(Debug)]
struct State {
    /// What is safe.
    safe: Vec<u8>,
    /// What reads see: `safe` with all of `pending`.
    seen: Vec<u8>,
    pending: Vec<Pending>,
    operations_left: u64,
    sync: Sync,
    fault: Option<Fault>,
}

#[derive(Debug)]
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

impl Disk {
    pub(crate) fn new(sync: Sync) -> Self {
        let state =
            State { safe: Vec::new(), seen: Vec::new(), pending: Vec::new(), operations_left: 0, sync, fault: None };
        Self(Arc::new(Mutex::new(state)))
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
        let (safe, seen, sync) = (state.seen.clone(), state.seen.clone(), state.sync);
        let state = State { safe, seen, pending: Vec::new(), operations_left: u64::MAX, sync, fault: None };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Turns one bit, of any byte or of one that is not zero, and says which.
    pub(crate) fn turn_a_bit(&self, random: &mut StdRng) -> usize {
        let mut state = self.state();
        let wants_any = random.random::<bool>();
        let byte = loop {
            let byte = random.random_range(0..state.seen.len());
            if wants_any || state.seen[byte] != 0 {
                break byte;
            }
        };
        let bit = random.random_range(0..8);
        state.seen[byte] ^= 1 << bit;
        byte * 8 + bit
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
        let mut safe = std::mem::take(&mut state.safe);
        let mut pending = std::mem::take(&mut state.pending);
        // Also the two extremes, which chance alone would hardly meet: nothing survives, everything does.
        match random.random_range(0..8) {
            0 => {}
            1 => pending.iter().for_each(|write| write.apply(&mut safe)),
            _ => {
                pending.shuffle(&mut random);
                pending
                    .into_iter()
                    .filter_map(|write| survive(write, &mut random))
                    .for_each(|write| write.apply(&mut safe));
            }
        }
        let (seen, sync) = (safe.clone(), state.sync);
        let state = State { safe, seen, pending: Vec::new(), operations_left: 0, sync, fault: None };
        Self(Arc::new(Mutex::new(state)))
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

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.operate()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.operate()?;
        let start = usize::try_from(offset).unwrap();
        let bytes = state.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
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
        let mut state = self.operate()?;
        if state.sync == Sync::Honest {
            let State { safe, pending, .. } = &mut *state;
            pending.drain(..).for_each(|write| write.apply(safe));
        }
        Ok(())
    }
}

impl Disk {
    fn change(&self, change: Pending) -> io::Result<()> {
        let mut locked = self.state();
        let state = &mut *locked;
        if state.operations_left == 0 {
            return Err(io::Error::other("the power is off"));
        }
        match state.fault {
            Some(Fault::ReadOnly) => return Err(io::Error::from_raw_os_error(READ_ONLY)),
            Some(Fault::Full) if change.end() > state.seen.len() => return Err(io::Error::from_raw_os_error(NO_SPACE)),
            _ => {}
        }
        // The write during which the power goes may still reach the disk.
        state.operations_left -= 1;
        change.apply(&mut state.seen);
        state.pending.push(change);
        if state.operations_left == 0 { Err(io::Error::other("the power went")) } else { Ok(()) }
    }
}

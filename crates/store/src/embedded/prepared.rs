//! A file of the store, with its blocks written before anything is written into them.
//!
//! Where a block was never written, a sync of what is written there has to commit the file system's journal too, which takes
//! several times as long as the data alone. So the file is written with zeros ahead of its use, a piece at a time: beforehand
//! while nobody waits, else with the first write into a piece. Only what is known to be a hole is ever zeroed; where the file
//! system shows no holes, or the disk has no room for them to be filled, the file is used as it is. What is in the file, and
//! when it is synced, is redb's business, or the log's.

use std::{
    fs::File,
    io,
    ops::Bound,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};
use rustix::{fs::SeekFrom, io::Errno};

/// What is written at once: as long as redb's first write into a piece takes longer for it (about 1 ms).
pub(super) const PIECE: u64 = 256 << 10;
/// Pieces written at once while nobody waits: bounds how long a write that comes meanwhile waits.
const PIECES_AHEAD: usize = 4;

/// A file of tables, or of their log.
#[derive(Debug)]
pub(super) struct PreparedFile {
    redb: FileBackend,
    file: Arc<Holes>,
}

/// Which pieces of a file are holes.
#[derive(Debug)]
pub(super) struct Holes {
    file: File,
    /// `true`: all of this piece is a hole. Held while a piece is written, so that no data comes between.
    holes: Mutex<Vec<bool>>,
}

impl PreparedFile {
    /// Nobody else writes to the file.
    pub(super) fn new(file: File) -> Result<Self, DatabaseError> {
        let length = file.metadata()?.len();
        let holes = find_holes(&file, length).unwrap_or_else(|_| vec![false; count(length)]);
        let file = Holes { file: file.try_clone()?, holes: Mutex::new(holes) };
        Ok(Self { redb: FileBackend::new(file.file.try_clone()?)?, file: Arc::new(file) })
    }

    /// For whoever knows when nobody waits.
    pub(super) fn holes(&self) -> Arc<Holes> {
        Arc::clone(&self.file)
    }
}

impl Holes {
    fn lock(&self) -> MutexGuard<'_, Vec<bool>> {
        self.holes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is something to do for [`fill_some`](Self::fill_some).
    pub(super) fn are_left(&self) -> bool {
        self.lock().contains(&true)
    }

    /// Fills some holes, durably. Gives up for good where that fails: it is no more than haste.
    pub(super) fn fill_some(&self) {
        let filled = self.try_fill_some();
        if let Err(error) = filled {
            tracing::debug!(%error, "the store's file is not written ahead");
            self.lock().fill(false);
        }
    }

    fn try_fill_some(&self) -> io::Result<()> {
        let mut holes = self.lock();
        let length = self.file.metadata()?.len();
        let some: Vec<_> = (0..holes.len()).filter(|piece| holes[*piece]).take(PIECES_AHEAD).collect();
        for piece in some {
            holes[piece] = false;
            self.fill(piece, length)?;
        }
        drop(holes);
        self.file.sync_data()
    }

    fn fill(&self, piece: usize, length: u64) -> io::Result<()> {
        let start = piece as u64 * PIECE;
        let end = (start + PIECE).min(length);
        self.file.write_all_at(&vec![0; end.saturating_sub(start) as usize], start)
    }

    /// Data is about to be written there.
    fn on_write(&self, offset: u64, length: usize) {
        let mut holes = self.lock();
        let pieces = (offset / PIECE) as usize..count(offset + length as u64).min(holes.len());
        for piece in pieces {
            if std::mem::take(&mut holes[piece]) {
                // Whatever is wrong with the disk, the write itself will say it.
                let _ = self.file.metadata().and_then(|file| self.fill(piece, file.len()));
            }
        }
    }

    /// What is cut off is forgotten, what is new is a hole; a piece that had an end in it is taken as data.
    fn on_resize(&self, length: u64) {
        self.lock().resize(count(length), true);
    }
}

/// How many pieces a file of this length has; the last one may be a part.
fn count(length: u64) -> usize {
    length.div_ceil(PIECE) as usize
}

/// For each piece, whether all of it is a hole.
fn find_holes(file: &File, length: u64) -> io::Result<Vec<bool>> {
    let mut holes = vec![true; count(length)];
    let mut from = 0;
    while from < length {
        let data = match rustix::fs::seek(file, SeekFrom::Data(from)) {
            Err(Errno::NXIO) => break,
            data => data?,
        };
        from = rustix::fs::seek(file, SeekFrom::Hole(data))?;
        let pieces = (data / PIECE) as usize..count(from).min(holes.len());
        holes[pieces].fill(false);
    }
    Ok(holes)
}

impl StorageBackend for PreparedFile {
    fn len(&self) -> io::Result<u64> {
        self.redb.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.redb.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.redb.set_len(length)?;
        self.file.on_resize(length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.redb.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.on_write(offset, data.len());
        self.redb.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.redb.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.redb.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.redb.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.redb.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.redb.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.redb.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.redb.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes(file: &File) -> String {
        let length = file.metadata().unwrap().len();
        find_holes(file, length).unwrap().into_iter().map(|hole| if hole { '.' } else { '#' }).collect()
    }

    #[test]
    fn a_piece_is_written_whole_with_its_first_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * PIECE + 5).unwrap();
        let prepared = PreparedFile::new(file.try_clone().unwrap()).unwrap();
        assert_eq!(holes(&file), "....");
        prepared.write(2 * PIECE - 1, b"ab").unwrap();
        file.sync_data().unwrap();
        assert_eq!(holes(&file), ".##.");
        prepared.holes().fill_some();
        assert_eq!(holes(&file), "####");
        assert!(!prepared.holes().are_left());
        let mut read = [9; 4];
        prepared.read(2 * PIECE - 2, &mut read).unwrap();
        assert_eq!((&read, file.metadata().unwrap().len()), (b"\0ab\0", 3 * PIECE + 5));
    }

    #[test]
    fn what_grows_has_holes_and_what_is_cut_off_has_none() {
        let file = tempfile::tempfile().unwrap();
        let prepared = PreparedFile::new(file.try_clone().unwrap()).unwrap();
        assert!(!prepared.holes().are_left());
        prepared.set_len(2 * PIECE).unwrap();
        prepared.write(0, b"a").unwrap();
        assert!(prepared.holes().are_left());
        prepared.set_len(PIECE / 2).unwrap();
        assert!(!prepared.holes().are_left());
        prepared.set_len(2 * PIECE).unwrap();
        prepared.holes().fill_some();
        let mut read = [9; 1];
        prepared.read(0, &mut read).unwrap();
        assert_eq!(&read, b"a");
    }

    #[test]
    fn a_file_that_is_there_keeps_what_is_in_it() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"head", 0).unwrap();
        file.write_all_at(b"tail", 4 * PIECE - 4).unwrap();
        file.sync_all().unwrap();
        assert_eq!(holes(&file), "#..#");
        let prepared = PreparedFile::new(file.try_clone().unwrap()).unwrap();
        prepared.holes().fill_some();
        assert_eq!(holes(&file), "####");
        let mut all = vec![9; 4 * PIECE as usize];
        prepared.read(0, &mut all).unwrap();
        assert!(all.starts_with(b"head\0") && all.ends_with(b"\0tail"));
        assert_eq!(all.iter().filter(|byte| **byte != 0).count(), 8);
    }
}

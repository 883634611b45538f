//! The log ahead of the tables: a file of fixed length, written ahead of its use, to which a commit appends one record and syncs it.
//!
//! A record begins a page of its own, so that a torn write harms no other, and says its number. The log is read from its beginning up to
//! where the next number does not follow: behind that lie records of earlier rounds, whose numbers are smaller. There is never more than
//! one record that is not durable, so one that lies behind a broken one was told to somebody: that is damage, and no end. What
//! a record says is [`record`](super::record)'s business, when the log begins anew the committer's.
//!
//! Its first page holds a random number that goes into every checksum: a value that somebody stores cannot look like a record.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
};

use redb::StorageBackend;

use super::prepared::PIECE;

/// What is written at a time, and what a record takes at least.
const PAGE: usize = 4096;
const MAGIC: &[u8; 8] = b"steadlog";
/// checksum (4), length of what follows the head (4), number (8).
const HEAD: usize = 16;

/// The log, open for writing.
#[derive(Debug)]
pub(super) struct Log {
    file: Box<dyn StorageBackend>,
    salt: u64,
    /// Of the last record.
    number: u64,
    /// Where the next record goes.
    end: usize,
    length: usize,
}

/// Why a log is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("its first page is damaged")]
    Head,
    #[error("record {0} is damaged, and later ones are there")]
    Record(u64),
    #[error("record {0} is whole, and what it says is not")]
    Content(u64),
    #[error("it begins with record {found}, the tables end with {known}")]
    Gap { found: u64, known: u64 },
}

/// A log as it lies there; none at all is an empty one.
#[derive(Debug, Default)]
pub(super) struct Found {
    salt: u64,
    /// Number and content of each record, without a gap from the first.
    records: Vec<(u64, Vec<u8>)>,
    /// Behind the last of them.
    end: usize,
    /// Whole ones that do not follow: of an earlier round, or behind damage.
    strays: Vec<(u64, Vec<u8>)>,
}

impl Found {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let salt = parse_salt(bytes).ok_or(LogError::Head)?;
        let mut found = Self { salt, records: Vec::new(), end: PAGE, strays: Vec::new() };
        let mut follows = true;
        let mut at = PAGE;
        while at < bytes.len() {
            let record = parse(&bytes[at..], salt);
            follows &= record.is_some_and(|(number, _)| found.last().is_none_or(|last| number == last + 1));
            let Some((number, content)) = record else {
                at += PAGE;
                continue;
            };
            at += pages(content.len());
            if follows {
                found.records.push((number, content.to_vec()));
                found.end = at;
            } else {
                found.strays.push((number, content.to_vec()));
            }
        }
        Ok(found)
    }

    fn last(&self) -> Option<u64> {
        self.records.last().map(|(number, _)| *number)
    }

    /// The records that tables do not have which have all up to `known`.
    pub(super) fn after(&self, known: u64) -> Result<impl Iterator<Item = &(u64, Vec<u8>)>, LogError> {
        let first = self.records.first().map_or(known, |(number, _)| *number);
        let last = self.last().unwrap_or(known).max(known);
        if self.strays.iter().any(|(number, _)| *number > last) {
            return Err(LogError::Record(last + 1));
        }
        if first > known + 1 {
            return Err(LogError::Gap { found: first, known });
        }
        Ok(self.records.iter().filter(move |(number, _)| *number > known))
    }

    /// The records of the newest round, damage or not, whatever the tables have.
    pub(super) fn newest(&self) -> impl Iterator<Item = &(u64, Vec<u8>)> {
        let last = self.last().unwrap_or(0);
        self.records.iter().chain(self.strays.iter().filter(move |(number, _)| *number > last))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.strays.is_empty()
    }
}

impl Log {
    /// Makes the log of an empty store of what was nothing before, durably, with room for `bytes`.
    pub(super) fn create(file: &dyn StorageBackend, bytes: u64) -> io::Result<()> {
        let salt = RandomState::new().hash_one(MAGIC);
        let bytes = bytes.max(2 * PAGE as u64);
        // A piece that has data is never filled.
        let mut first = vec![0; bytes.min(PIECE) as usize];
        first[..8].copy_from_slice(MAGIC);
        first[8..16].copy_from_slice(&salt.to_be_bytes());
        let checksum = crc32fast::hash(&first[..16]);
        first[16..20].copy_from_slice(&checksum.to_be_bytes());
        file.set_len(bytes)?;
        file.write(0, &first)?;
        file.sync_data()
    }

    /// Reads what is there.
    pub(super) fn read(file: &dyn StorageBackend) -> Result<Found, LogError> {
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read(0, &mut bytes)?;
        Found::parse(&bytes)
    }

    /// Goes on after what was found, where the tables have all up to `known`. The log takes `bytes`, or more if it did before.
    pub(super) fn resume(file: Box<dyn StorageBackend>, found: &Found, known: u64, bytes: u64) -> io::Result<Self> {
        let length = file.len()?;
        if length < bytes {
            file.set_len(bytes)?;
        }
        let last = found.last().unwrap_or(known);
        let end = if last > known { found.end } else { PAGE };
        let length = usize::try_from(length.max(bytes)).map_err(io::Error::other)?;
        Ok(Self { file, salt: found.salt, number: last.max(known), end, length })
    }

    /// Of the last record: what the tables say when they have it.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// How much is written since the log began anew.
    pub(super) const fn used(&self) -> usize {
        self.end - PAGE
    }

    /// How much may be.
    pub(super) const fn room(&self) -> usize {
        self.length - PAGE
    }

    pub(super) fn fits(&self, content: usize) -> bool {
        u32::try_from(content).is_ok() && pages(content) <= self.length.saturating_sub(self.end)
    }

    /// Appends a record that [fits](Self::fits), durably. After an error it is there or not.
    pub(super) fn append(&mut self, content: &[u8]) -> io::Result<()> {
        let number = self.number + 1;
        let mut record = Vec::with_capacity(pages(content.len()));
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        record.extend([0; 4]);
        record.extend(length.to_be_bytes());
        record.extend(number.to_be_bytes());
        record.extend(content);
        let checksum = checksum(self.salt, &record[4..]);
        record[..4].copy_from_slice(&checksum.to_be_bytes());
        // Whole pages, so that the kernel has to read none before.
        record.resize(pages(content.len()), 0);
        self.file.write(self.end as u64, &record)?;
        self.file.sync_data()?;
        self.number = number;
        self.end += record.len();
        Ok(())
    }

    /// Begins anew: the tables have everything, and say so.
    pub(super) const fn begin_anew(&mut self) {
        self.end = PAGE;
    }
}

/// What a record of this content takes.
const fn pages(content: usize) -> usize {
    (HEAD + content).next_multiple_of(PAGE)
}

fn checksum(salt: u64, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_be_bytes());
    hasher.update(record);
    hasher.finalize()
}

fn parse_salt(bytes: &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    let checksum = u32::from_be_bytes(*rest.first_chunk()?);
    let (magic, salt) = head.split_first_chunk()?;
    let salt = u64::from_be_bytes(*salt.first_chunk()?);
    (magic == MAGIC && checksum == crc32fast::hash(head)).then_some(salt)
}

/// Number and content of the record at the beginning of `bytes`, if there is one.
fn parse(bytes: &[u8], salt: u64) -> Option<(u64, &[u8])> {
    let (found, rest) = bytes.split_first_chunk()?;
    let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
    let record = rest.get(..HEAD - 4 + length)?;
    let (number, content) = record[4..].split_first_chunk()?;
    let number = u64::from_be_bytes(*number);
    (number > 0 && checksum(salt, record) == u32::from_be_bytes(*found)).then_some((number, content))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::backends::InMemoryBackend;

    use super::*;

    /// A file that is left when its log is gone.
    #[derive(Clone, Debug)]
    struct Left(Arc<InMemoryBackend>);

    impl StorageBackend for Left {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.0.set_len(length)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    const ROOM: u64 = 16 * PAGE as u64;

    fn new() -> (Left, Log) {
        let file = Left(Arc::new(InMemoryBackend::new()));
        Log::create(&file, ROOM).unwrap();
        let log = resume(&file, 0);
        (file, log)
    }

    fn resume(file: &Left, known: u64) -> Log {
        Log::resume(Box::new(file.clone()), &Log::read(file).unwrap(), known, ROOM).unwrap()
    }

    /// What is read that tables lack which have all up to `known`.
    fn after(file: &Left, known: u64) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let found = Log::read(file).map_err(|error| error.to_string())?;
        found.after(known).map(|records| records.cloned().collect()).map_err(|error| error.to_string())
    }

    fn record(number: u64) -> (u64, Vec<u8>) {
        // Of one page, and of two.
        (number, vec![number as u8; 3_000 * (number as usize % 2 + 1)])
    }

    fn append(log: &mut Log, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            log.append(&record(number).1).unwrap();
            assert_eq!(log.number(), number);
        }
    }

    fn turn(file: &Left, at: u64) {
        let mut byte = [0];
        file.read(at, &mut byte).unwrap();
        file.write(at, &[byte[0] ^ 4]).unwrap();
    }

    #[test]
    fn what_is_appended_is_read_and_gone_on_after() {
        let (file, mut log) = new();
        assert!(Log::read(&file).unwrap().is_empty());
        append(&mut log, 1..=3);
        assert_eq!(after(&file, 0), Ok(vec![record(1), record(2), record(3)]));
        assert_eq!(after(&file, 2), Ok(vec![record(3)]));
        let mut log = resume(&file, 2);
        append(&mut log, 4..=4);
        assert_eq!(after(&file, 2), Ok(vec![record(3), record(4)]));
    }

    #[test]
    fn records_of_earlier_rounds_are_not_read() {
        let (file, mut log) = new();
        append(&mut log, 1..=6);
        log.begin_anew();
        assert_eq!((log.used(), after(&file, 6)), (0, Ok(vec![])));
        append(&mut log, 7..=7);
        assert_eq!(after(&file, 6), Ok(vec![record(7)]));
        append(&mut resume(&file, 7), 8..=8);
        assert_eq!(after(&file, 7), Ok(vec![record(8)]));
        assert_eq!(Log::read(&file).unwrap().newest().collect::<Vec<_>>(), [&record(8)]);
    }

    #[test]
    fn a_torn_record_is_the_end_and_a_damaged_one_is_told() {
        let (file, mut log) = new();
        append(&mut log, 1..=3);
        let end = log.used() as u64;
        turn(&file, end);
        assert_eq!(after(&file, 0), Ok(vec![record(1), record(2)]));
        append(&mut resume(&file, 0), 3..=3);
        assert_eq!(after(&file, 0), Ok(vec![record(1), record(2), record(3)]));
        turn(&file, PAGE as u64 + 20);
        assert_eq!(after(&file, 0), Err("record 1 is damaged, and later ones are there".to_owned()));
        assert_eq!(after(&file, 3), Ok(vec![]), "the tables have it");
        turn(&file, 9);
        assert_eq!(after(&file, 3), Err("its first page is damaged".to_owned()));
    }

    #[test]
    fn what_the_tables_never_had_is_missed() {
        let (file, mut log) = new();
        append(&mut log, 1..=4);
        log.begin_anew();
        append(&mut log, 5..=5);
        assert_eq!(after(&file, 3), Err("it begins with record 5, the tables end with 3".to_owned()));
    }

    #[test]
    fn a_value_that_looks_like_a_record_is_none() {
        let (other, mut forger) = new();
        append(&mut forger, 1..=3);
        let mut forged = vec![0; 6 * PAGE];
        other.read(0, &mut forged).unwrap();
        let (file, mut log) = new();
        // So that the third lies where the next record will not have been written yet.
        log.append(&forged[3 * PAGE + HEAD..]).unwrap();
        log.begin_anew();
        log.append(b"short").unwrap();
        let mut bytes = vec![0; 4 * PAGE];
        file.read(0, &mut bytes).unwrap();
        assert_eq!(parse(&bytes[2 * PAGE..], forger.salt), Some((3, &record(3).1[..])));
        assert_eq!(after(&file, 1), Ok(vec![(2, b"short".to_vec())]));
    }

    #[test]
    fn what_does_not_fit_is_known_before() {
        let (_, mut log) = new();
        assert!(log.fits(log.room() - HEAD) && !log.fits(log.room() - HEAD + 1));
        append(&mut log, 1..=2);
        assert!(log.fits(log.room() - log.used() - HEAD) && !log.fits(log.room() - log.used()));
    }
}

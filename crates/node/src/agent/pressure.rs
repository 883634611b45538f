//! Whether this machine runs out of memory, disk or process numbers: what is measured, and what the kubelet's thresholds make of it.
//!
//! Says only what the Node's conditions say. Nothing is evicted for it and nothing kept away: pods are the user's, and a lab on a
//! machine whose disk is nearly full has to work.

use std::{fs, path::Path};

use jiff::{SignedDuration, Timestamp};
use nix::sys::statvfs::statvfs;

/// The kubelet's `--eviction-hard` by default: memory.available, nodefs.available, imagefs.available, inodesFree of both.
const MEMORY_BYTES: u64 = 100 << 20;
const NODE_DISK_PERCENT: u64 = 10;
const IMAGE_DISK_PERCENT: u64 = 15;
const INODES_PERCENT: u64 = 5;
/// Of pid.available the kubelet has no default; a machine this near to its end starts no pods any more.
const PROCESS_PERCENT: u64 = 5;
/// How long a condition stays after it was last seen: `--eviction-pressure-transition-period`.
const HOLD: SignedDuration = SignedDuration::from_mins(5);

/// What can run out, as conditions of a Node call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Memory,
    Disk,
    Processes,
}

/// So much of so much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) of: u64,
    pub(super) free: u64,
    /// Less than these hundredths is too little.
    pub(super) percent: u64,
}

/// What a machine has left. What could not be measured is missing and never short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) memory_bytes: Option<u64>,
    pub(super) disks: Vec<Left>,
    pub(super) processes: Option<Left>,
}

/// When each resource was last seen to be short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressures([Option<Timestamp>; 3]);

/// A condition in the kubelet's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words<'a> {
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: &'a str,
}

impl Resource {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::Processes];

    const fn words(self, is_short: bool) -> Words<'static> {
        let (kind, [short, enough]) = match self {
            Self::Memory => (
                "MemoryPressure",
                [
                    ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                    ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                ],
            ),
            Self::Disk => (
                "DiskPressure",
                [
                    ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                    ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                ],
            ),
            Self::Processes => (
                "PIDPressure",
                [
                    ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                    ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                ],
            ),
        };
        let (status, (reason, message)) = if is_short { ("True", short) } else { ("False", enough) };
        Words { kind, status, reason, message }
    }
}

impl Left {
    /// What has no size, as the inodes of some file systems, never runs out.
    fn is_short(self) -> bool {
        u128::from(self.free) * 100 < u128::from(self.of) * u128::from(self.percent)
    }
}

impl Measured {
    fn is_short(&self, resource: Resource) -> bool {
        match resource {
            Resource::Memory => self.memory_bytes.is_some_and(|free| free < MEMORY_BYTES),
            Resource::Disk => self.disks.iter().any(|left| left.is_short()),
            Resource::Processes => self.processes.is_some_and(Left::is_short),
        }
    }
}

impl Pressures {
    pub(super) fn observe(&mut self, measured: &Measured, now: Timestamp) {
        for (resource, seen) in Resource::ALL.into_iter().zip(&mut self.0) {
            if measured.is_short(resource) {
                *seen = Some(now);
            }
        }
    }

    /// What the Node's conditions say at `now`, in the order of [`Resource::ALL`].
    pub(super) fn words(&self, now: Timestamp) -> [Words<'static>; 3] {
        let is_short = self.0.map(|seen| seen.is_some_and(|seen| now.duration_since(seen) < HOLD));
        std::array::from_fn(|index| Resource::ALL[index].words(is_short[index]))
    }
}

/// Measures this machine: the disks that pods and images are on, and what all its programs share.
pub(super) fn read(state: &Path, images: &Path) -> Measured {
    let disks = disk(state, NODE_DISK_PERCENT).into_iter().chain(disk(images, IMAGE_DISK_PERCENT));
    Measured { memory_bytes: memory_bytes(), disks: disks.flatten().collect(), processes: processes() }
}

/// Bytes and inodes.
fn disk(path: &Path, percent: u64) -> Option<[Left; 2]> {
    let found = statvfs(path).ok()?;
    let bytes = Left { of: found.blocks(), free: found.blocks_available(), percent };
    Some([bytes, Left { of: found.files(), free: found.files_free(), percent: INODES_PERCENT }])
}

/// What programs may still take without swapping, by the kernel's own estimate.
fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Threads count as processes (proc(5): loadavg's fourth field has all of the machine behind the stroke).
fn processes() -> Option<Left> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let of = number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?);
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let running: u64 = load.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Left { of, free: of.saturating_sub(running), percent: PROCESS_PERCENT })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of memory, disk and processes are short.
    fn check(measured: &Measured, expect: [bool; 3]) {
        assert_eq!(Resource::ALL.map(|resource| measured.is_short(resource)), expect, "{measured:?}");
    }

    #[test]
    fn thresholds_are_the_kubelets() {
        check(&Measured::default(), [false; 3]);
        let memory = |bytes| Measured { memory_bytes: Some(bytes), ..Measured::default() };
        check(&memory(100 << 20), [false; 3]);
        check(&memory((100 << 20) - 1), [true, false, false]);
        let disk = |of, free, percent| Measured { disks: vec![Left { of, free, percent }], ..Measured::default() };
        check(&disk(1000, 100, NODE_DISK_PERCENT), [false; 3]);
        check(&disk(1000, 99, NODE_DISK_PERCENT), [false, true, false]);
        check(&disk(1000, 149, IMAGE_DISK_PERCENT), [false, true, false]);
        check(&disk(u64::MAX, u64::MAX / 2, IMAGE_DISK_PERCENT), [false; 3]);
        check(&disk(0, 0, INODES_PERCENT), [false; 3]);
        let processes = |free| Measured {
            processes: Some(Left { of: 32_768, free, percent: PROCESS_PERCENT }),
            ..Measured::default()
        };
        check(&processes(1_639), [false; 3]);
        check(&processes(1_638), [false, false, true]);
    }

    #[test]
    fn a_pressure_stays_five_minutes_after_it_was_last_seen() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let short = Measured { memory_bytes: Some(1), ..Measured::default() };
        let mut pressures = Pressures::default();
        let memory = |pressures: &Pressures, seconds| pressures.words(at(seconds))[0];
        assert_eq!(
            memory(&pressures, 0),
            Words {
                kind: "MemoryPressure",
                status: "False",
                reason: "KubeletHasSufficientMemory",
                message: "kubelet has sufficient memory available"
            }
        );
        pressures.observe(&short, at(0));
        pressures.observe(&short, at(10));
        pressures.observe(&Measured::default(), at(20));
        let words = memory(&pressures, 309);
        assert_eq!((words.status, words.reason), ("True", "KubeletHasInsufficientMemory"));
        assert_eq!(memory(&pressures, 310).status, "False");
        assert!(pressures.words(at(309))[1..].iter().all(|words| words.status == "False"));
    }

    #[test]
    fn this_machine_can_be_measured() {
        let measured = read(Path::new("/"), Path::new("/"));
        assert!(measured.memory_bytes.is_some_and(|bytes| bytes > 0), "{measured:?}");
        assert_eq!(measured.disks.len(), 4, "{measured:?}");
        assert!(measured.processes.is_some_and(|left| 0 < left.free && left.free < left.of), "{measured:?}");
        assert!(read(Path::new("/nowhere"), Path::new("/nowhere")).disks.is_empty());
    }
}

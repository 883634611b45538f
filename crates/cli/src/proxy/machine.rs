//! What the proxy sets on its machine: the room and the timeouts of the kernel's table of connections, and how soon the process ends when memory is short.
//!
//! What somebody asked for is set; a default only raises the room, and is left alone where the kernel does not let it be set (in a network namespace that
//! is not the machine's first, or with /proc/sys read-only).

use std::{fs, io, path::Path, time::Duration};

use super::settings::{Machine, Wish};

#[derive(Debug, thiserror::Error)]
#[error("{file} cannot be set to {value}; set it on the machine, or leave out what asks for it")]
pub(crate) struct MachineError {
    file: String,
    value: i64,
    source: io::Error,
}

/// As upstream, so that a machine with many processors does not spend its memory on it.
const MOST: u32 = 1_048_576;

/// Sets what is asked for below `root`, which is `/` but in tests.
///
/// # Errors
/// Where something that somebody said cannot be set. What is left is set all the same.
pub(crate) fn tune(machine: &Machine, root: &Path) -> Result<(), MachineError> {
    let mut first = Ok(());
    let mut keep = |result: Result<(), MachineError>| {
        if let Err(error) = result {
            match &first {
                Ok(()) => first = Err(error),
                Err(_) => tracing::warn!("{error}"),
            }
        }
    };
    keep(set_room(machine, root));
    keep(set_timeout(root, "tcp_timeout_established", machine.established));
    keep(set_timeout(root, "tcp_timeout_close_wait", machine.close_wait));
    keep(set_timeout(root, "udp_timeout", Wish::Said(machine.udp)));
    keep(set_timeout(root, "udp_timeout_stream", Wish::Said(machine.udp_stream)));
    if machine.be_liberal && read(root, &sysctl("tcp_be_liberal")) != Some(1) {
        keep(set(root, &sysctl("tcp_be_liberal"), 1));
    }
    first
}

/// How soon the kernel ends this process.
pub(crate) fn set_oom_score(adjustment: i32, root: &Path) {
    // As upstream: a container may not be allowed to, and nothing depends on it.
    if let Err(error) = set(root, "proc/self/oom_score_adj", adjustment.into()) {
        tracing::debug!(error = stead_client::error_text(&error), "oom-score-adj is left as it is");
    }
}

fn set_room(machine: &Machine, root: &Path) -> Result<(), MachineError> {
    let per_core = machine.max_per_core.value();
    if per_core == 0 {
        return Ok(());
    }
    let room = per_core.saturating_mul(processors(root)).max(machine.min).min(MOST.max(machine.min));
    let file = sysctl("max");
    let now = read(root, &file);
    let is_said = matches!(machine.max_per_core, Wish::Said(_));
    if now == Some(room.into()) || (!is_said && now.is_some_and(|now| now > room.into())) {
        return Ok(());
    }
    match set(root, &file, room.into()) {
        Ok(()) => tracing::info!(nf_conntrack_max = room, "the kernel has room for this many connections"),
        Err(error) if is_said => return Err(error),
        Err(error) => {
            tracing::info!(error = stead_client::error_text(&error), "the room for connections is left as it is");
            return Ok(());
        }
    }
    let buckets = "sys/module/nf_conntrack/parameters/hashsize";
    match read(root, buckets) {
        Some(now) if now < i64::from(room / 4) => set(root, buckets, (room / 4).into()),
        _ => Ok(()),
    }
}

fn set_timeout(root: &Path, name: &str, wish: Wish<Duration>) -> Result<(), MachineError> {
    let seconds = i64::try_from(wish.value().as_secs()).unwrap_or(i64::MAX);
    let file = sysctl(name);
    if seconds == 0 || read(root, &file) == Some(seconds) {
        return Ok(());
    }
    match (set(root, &file, seconds), wish) {
        (Err(error), Wish::Default(_)) => {
            tracing::info!(error = stead_client::error_text(&error), "a timeout of connections is left as it is");
            Ok(())
        }
        (result, _) => result,
    }
}

fn sysctl(name: &str) -> String {
    format!("proc/sys/net/netfilter/nf_conntrack_{name}")
}

fn read(root: &Path, file: &str) -> Option<i64> {
    fs::read_to_string(root.join(file)).ok()?.trim().parse().ok()
}

fn set(root: &Path, file: &str, value: i64) -> Result<(), MachineError> {
    let failed = |source| MachineError { file: format!("/{file}"), value, source };
    fs::write(root.join(file), value.to_string()).map_err(failed)
}

/// Processors that are there, whatever part of them this process may use: `0-3,6` are five.
fn processors(root: &Path) -> u32 {
    let text = fs::read_to_string(root.join("sys/devices/system/cpu/online")).unwrap_or_default();
    let count = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    });
    count.sum::<u32>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_IS: Machine = Machine {
        oom_score_adj: 0,
        max_per_core: Wish::Said(0),
        min: 0,
        established: Wish::Default(Duration::ZERO),
        close_wait: Wish::Default(Duration::ZERO),
        be_liberal: false,
        udp: Duration::ZERO,
        udp_stream: Duration::ZERO,
    };

    /// A machine of files, with five processors.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("sys/devices/system/cpu/online", "0-3,6\n"),
            ("sys/module/nf_conntrack/parameters/hashsize", "1000\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "200000\n"),
            ("proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established", "432000\n"),
            ("proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait", "60\n"),
            ("proc/sys/net/netfilter/nf_conntrack_udp_timeout", "30\n"),
        ];
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn what_is_said_is_set_and_defaults_only_raise() {
        let check = |machine: Machine, max: i64, buckets: i64| {
            let root = root();
            tune(&machine, root.path()).unwrap();
            let found = [sysctl("max").as_str(), "sys/module/nf_conntrack/parameters/hashsize"]
                .map(|file| read(root.path(), file));
            assert_eq!(found, [Some(max), Some(buckets)], "{machine:?}");
        };
        check(AS_IS, 200_000, 1000);
        check(Machine { max_per_core: Wish::Default(32_768), min: 131_072, ..AS_IS }, 200_000, 1000);
        check(Machine { max_per_core: Wish::Said(32_768), min: 131_072, ..AS_IS }, 163_840, 40_960);
        check(Machine { max_per_core: Wish::Default(1), min: 300_000, ..AS_IS }, 300_000, 75_000);
        check(Machine { max_per_core: Wish::Said(1_000_000), ..AS_IS }, 1_048_576, 262_144);
    }

    #[test]
    fn timeouts_are_set_unless_they_are_zero() {
        let root = root();
        let timeouts = ["tcp_timeout_established", "tcp_timeout_close_wait", "udp_timeout"].map(sysctl);
        let machine =
            Machine { established: Wish::Default(Duration::from_secs(86_400)), udp: Duration::from_secs(20), ..AS_IS };
        tune(&machine, root.path()).unwrap();
        assert_eq!(timeouts.map(|file| read(root.path(), &file)), [Some(86_400), Some(60), Some(20)]);
    }

    #[test]
    fn what_cannot_be_set_is_an_error_only_where_it_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let wanted = Machine { max_per_core: Wish::Default(10), established: Wish::Default(hour), ..AS_IS };
        tune(&wanted, root.path()).unwrap();
        let error = tune(&Machine { established: Wish::Said(hour), ..AS_IS }, root.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established cannot be set to 3600"),
            "{error}"
        );
        tune(&Machine { max_per_core: Wish::Said(10), ..AS_IS }, root.path()).unwrap_err();
        set_oom_score(-999, root.path());
    }
}

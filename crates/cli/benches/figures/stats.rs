//! Spread of a series, and the machine it was taken on.

use std::{fs, path::Path, time::Duration};

/// `min / p50 / p99 / max` in milliseconds, and how many.
pub(crate) fn spread(mut series: Vec<Duration>) -> String {
    assert!(!series.is_empty(), "nothing was measured");
    series.sort();
    let at = |share: f64| at_share(&series, share).as_secs_f64() * 1e3;
    format!(
        "min {:>8.2}   p50 {:>8.2}   p99 {:>8.2}   max {:>8.2} ms   n={}",
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0),
        series.len()
    )
}

/// What `share` of the series stays below.
pub(crate) fn percentile(series: &[Duration], share: f64) -> Duration {
    let mut sorted = series.to_vec();
    sorted.sort();
    at_share(&sorted, share)
}

fn at_share(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Proportional set size of a process in KiB; `None` where it is gone.
pub(crate) fn pss_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    number_of(&text, "Pss:")
}

/// The most memory that a process had of its own and of shared pages so far, in KiB; `None` where it is gone.
pub(crate) fn peak_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    number_of(&text, "VmHWM:")
}

/// What the kernel has for itself and would not give back, in KiB: unreclaimable slabs, mappings of its own, and what each processor has.
pub(crate) fn kernel_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let part = |name| number_of(&text, name).expect("a line of /proc/meminfo");
    part("SUnreclaim:") + part("VmallocUsed:") + part("Percpu:")
}

/// What a line `NAME NUMBER kB` says.
fn number_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// User and system time so far of a process and of its children that have ended, in steps of 10 ms.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // What follows the name in parentheses: the 12th to 15th of these are the times, in hundredths of a second.
    let after = text.rsplit_once(')').expect("a name in parentheses").1;
    let ticks: u64 =
        after.split_whitespace().skip(11).take(4).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The end of a log.
pub(crate) fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

pub(crate) const NO_KUBE_PROXY: &str = "kube-proxy not run: KUBE_PROXY does not name its program";

pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown CPU").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("machine: {cores} cores, {model}, kernel {}, load {}", kernel.trim(), load.trim())
}

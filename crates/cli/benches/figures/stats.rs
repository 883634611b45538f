//! Spread of a series, and the machine it was taken on.

use std::{fs, time::Duration};

/// `min / p50 / p99 / max` in milliseconds, and how many.
pub(crate) fn spread(mut series: Vec<Duration>) -> String {
    assert!(!series.is_empty(), "nothing was measured");
    series.sort();
    let at = |share: f64| series[((series.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    format!(
        "min {:>8.2}   p50 {:>8.2}   p99 {:>8.2}   max {:>8.2} ms   n={}",
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0),
        series.len()
    )
}

pub(crate) fn median(mut series: Vec<Duration>) -> Duration {
    series.sort();
    series[series.len() / 2]
}

pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown CPU").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("machine: {cores} cores, {model}, kernel {}, load {}", kernel.trim(), load.trim())
}

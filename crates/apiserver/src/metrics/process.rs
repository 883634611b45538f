//! The process itself, as Prometheus' clients describe it. What cannot be read is left out.

use std::fs;

use crate::health::GIT_VERSION;

/// Ticks in a second in what the kernel shows of processes (USER_HZ): the same on every machine of today.
const TICKS: f64 = 100.0;

pub(super) fn text() -> String {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold anything; the third field follows it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect::<Vec<_>>();
    let ticks = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
    let booted = line("/proc/stat", "btime");
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.push_str(&format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}\n"));
        }
    };
    put("process_cpu_seconds_total", "counter", "CPU time, in the kernel and out of it", sum(ticks(14), ticks(15)));
    put("process_start_time_seconds", "gauge", "When the process began, since 1970", sum(booted, ticks(22)));
    let kibibytes = |name| Some(line("/proc/self/status", name)? * 1024.0);
    put("process_resident_memory_bytes", "gauge", "Memory that is there", kibibytes("VmRSS:"));
    put("process_virtual_memory_bytes", "gauge", "Memory that is addressed", kibibytes("VmSize:"));
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    put("process_open_fds", "gauge", "Open files", open);
    put("process_max_fds", "gauge", "Files that may be open", line("/proc/self/limits", "Max open files"));
    text.push_str(&format!(
        "# HELP kubernetes_build_info What this is.\n# TYPE kubernetes_build_info gauge\n\
         kubernetes_build_info{{git_version=\"{GIT_VERSION}\",major=\"1\",minor=\"36\"}} 1\n"
    ));
    text
}

fn sum(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? + other?)
}

/// The first number behind `start` in the file.
fn line(file: &str, start: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(start))?;
    line.split_whitespace().next()?.parse().ok()
}

//! The process itself, as Prometheus' clients describe it, and which Kubernetes it is of. What cannot be read is left out.

use std::fs;

use crate::describe;

/// The Kubernetes version whose behaviour this is.
pub const KUBERNETES_VERSION: &str = "v1.36.2";

/// Ticks in a second in what the kernel shows of processes (USER_HZ): the same on every machine of today.
const TICKS: f64 = 100.0;

/// `process_*` and `kubernetes_build_info`.
pub fn process() -> String {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold anything; the third field follows it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect::<Vec<_>>();
    let ticks = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
    let booted = line("/proc/stat", "btime");
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            describe(&mut text, name, kind, help);
            text.push_str(&format!("{name} {value}\n"));
        }
    };
    put("process_cpu_seconds_total", "counter", "CPU time, in the kernel and out of it", sum(ticks(14), ticks(15)));
    put("process_start_time_seconds", "gauge", "When the process began, since 1970", sum(booted, ticks(22)));
    let kibibytes = |name| Some(line("/proc/self/status", name)? * 1024.0);
    put("process_resident_memory_bytes", "gauge", "Memory that is there", kibibytes("VmRSS:"));
    put("process_virtual_memory_bytes", "gauge", "Memory that is addressed", kibibytes("VmSize:"));
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    put("process_open_fds", "gauge", "Open files", open);
    let most = line("/proc/self/limits", "Max address space").unwrap_or(u64::MAX as f64);
    put("process_virtual_memory_max_bytes", "gauge", "Memory that may be addressed", Some(most));
    for (column, name, help) in [
        (
            "InOctets",
            "process_network_receive_bytes_total",
            "Bytes that came to the process' network namespace by IPv4",
        ),
        ("OutOctets", "process_network_transmit_bytes_total", "Bytes that left the process' network namespace by IPv4"),
    ] {
        put(name, "counter", help, octets(column));
    }
    put("process_max_fds", "gauge", "Files that may be open", line("/proc/self/limits", "Max open files"));
    describe(&mut text, "kubernetes_build_info", "gauge", "What this is");
    text.push_str(&format!(
        "kubernetes_build_info{{git_version=\"{KUBERNETES_VERSION}\",major=\"1\",minor=\"36\"}} 1\n"
    ));
    text
}

fn sum(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? + other?)
}

/// A column of what the network namespace counts.
fn octets(column: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    names.zip(values).find(|(name, _)| *name == column)?.1.parse().ok()
}

/// The first number behind `start` in the file.
fn line(file: &str, start: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(start))?;
    line.split_whitespace().next()?.parse().ok()
}

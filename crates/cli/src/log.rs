//! Where the daemons' log lines go: standard error, one line each.

use tracing_subscriber::EnvFilter;

/// Levels are set by `STEAD_LOG` in the form of `tracing-subscriber` (`info`, `stead_proxy=debug`); `info` unless set.
pub(crate) fn start() {
    start_at(0);
}

/// As [`start`], with kube-proxy's verbosity where `STEAD_LOG` says nothing: from 4 on details, from 6 on all.
pub(crate) fn start_at(verbosity: u32) {
    let unless_set = match verbosity {
        0..=3 => "info",
        4..=5 => "info,stead=debug",
        6.. => "info,stead=trace",
    };
    let filter = EnvFilter::try_from_env("STEAD_LOG").unwrap_or_else(|_| EnvFilter::new(unless_set));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A line that cannot be written is lost; to say so on the same standard error would end the process.
        .log_internal_errors(false)
        .init();
}

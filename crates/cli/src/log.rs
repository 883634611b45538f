//! Where the daemons' log lines go: standard error, one line each.

use tracing_subscriber::EnvFilter;

/// Levels are set by `STEAD_LOG` in the form of `tracing-subscriber` (`info`, `stead_proxy=debug`); `info` unless set.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("STEAD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

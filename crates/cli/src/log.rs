//! Where the daemons' log lines go: standard error, one line each.

mod json;

use tracing_subscriber::EnvFilter;

use self::json::Json;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    /// One object for each line, with the keys that Kubernetes' own programs write.
    Json,
}

/// Levels are set by `STEAD_LOG` in the form of `tracing-subscriber` (`info`, `stead_proxy=debug`); `info` unless set.
pub(crate) fn start() {
    start_at(0, Format::Text);
}

/// As [`start`], with kube-proxy's verbosity where `STEAD_LOG` says nothing.
pub(crate) fn start_at(verbosity: u32, format: Format) {
    let filter = EnvFilter::try_from_env("STEAD_LOG").unwrap_or_else(|_| EnvFilter::new(levels(verbosity)));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A line that cannot be written is lost; to say so on the same standard error would end the process.
        .log_internal_errors(false);
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.event_format(Json).init(),
    }
}

/// From 2 on each change and how long it took, from 4 on details, from 6 on all. The client's own lines name neither what was asked for
/// nor why it failed; whoever asked says both.
const fn levels(verbosity: u32) -> &'static str {
    match verbosity {
        0..=1 => "info,kube_client::client=off",
        2..=3 => "info,kube_client::client=off,stead_proxy=debug",
        4..=5 => "info,kube_client::client=off,stead=debug",
        6.. => "info,kube_client::client=off,stead=trace",
    }
}

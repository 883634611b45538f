//! What `kubectl get` prints: ages, and Tables made of a kind's columns and cells.
//!
//! Cells come from the kind's `Strategy`; this module only knows how a duration reads and how a Table is put together.
//! Which form of an object a client asked for is the API server's to find out.

use jiff::Timestamp;
use serde_json::Value;

/// The age of something since `since`, as `kubectl` prints it; `<unknown>` when it was never set.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    match since {
        Some(since) => human_duration(now.as_second() - since.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// [`age`] of `metadata.creationTimestamp`.
pub fn object_age(object: &Value, now: Timestamp) -> String {
    age(crate::meta::creation_timestamp(object), now)
}

/// A duration in seconds as at most two units: `119s`, `2m30s`, `10m`, `3h5m`, `2d4h`, `8d`, `2y30d`.
///
/// One second of clock difference reads as `0s`, more of it as `<invalid>`.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two_units(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two_units(seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two_units(seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two_units(seconds / YEAR, 'y', seconds % YEAR / DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn two_units(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let (m, h, d, y) = (60, 3600, 86_400, 365 * 86_400);
        for (seconds, expected) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (9 * m + 59, "9m59s"),
            (10 * m + 1, "10m"),
            (3 * h - 1, "179m"),
            (3 * h, "3h"),
            (3 * h + 5 * m + 7, "3h5m"),
            (8 * h + 5 * m, "8h"),
            (2 * d - 1, "47h"),
            (2 * d + 4 * h, "2d4h"),
            (3 * d, "3d"),
            (8 * d + 4 * h, "8d"),
            (2 * y - 1, "729d"),
            (2 * y, "2y"),
            (2 * y + 30 * d, "2y30d"),
            (9 * y, "9y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn an_unset_time_has_no_age() {
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}

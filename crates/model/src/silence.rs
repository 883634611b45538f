//! How long a peer is waited for that has vanished without a word: as upstream does, it is gone five minutes after its last one.
//!
//! Whoever accepts connections asks the kernel to keep these times on each.

use std::time::Duration;

/// After such a silence the peer is asked whether it is there.
pub const FIRST_PROBE: Duration = Duration::from_secs(180);
/// Between one question and the next.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(20);
/// Questions without an answer.
pub const PROBES: u32 = 6;

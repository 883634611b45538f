//! Several streams over one connection, as `kubectl exec`, `attach` and `port-forward` carry them.
//!
//! [`spdy`] is SPDY/3.1 as far as these use it; [`channel`] is the numbered channels in WebSocket messages. Both are pure: bytes or
//! messages in, events and bytes out, every buffer bounded. Sockets, processes and waiting are the node agent's.

pub mod channel;
pub mod spdy;

//! What a relay counts, and how much room there is for more.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// Shared by all threads.
#[derive(Debug)]
pub struct Counters {
    /// Descriptors that connections and clients of datagram ports have; no more are taken than `most`.
    used: AtomicUsize,
    most: AtomicUsize,
    open: AtomicUsize,
    pub(crate) connections: AtomicU64,
    pub(crate) clients: AtomicU64,
    pub(crate) passed_over: AtomicU64,
    pub(crate) unserved: AtomicU64,
    pub(crate) without_descriptor: AtomicU64,
    pub(crate) cut: AtomicU64,
}

/// Since the relay started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections that were taken.
    pub connections: u64,
    /// Clients of datagram ports that came for the first time, or again after a while.
    pub clients: u64,
    /// Tries of backends that refused or did not answer.
    pub passed_over: u64,
    /// Connections that were refused because there was nobody to take them.
    pub unserved: u64,
    /// Connections and datagrams that were refused because there was no descriptor for them.
    pub without_descriptor: u64,
    /// Connections and clients that a change ended.
    pub cut: u64,
}

impl Counters {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            open: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            clients: AtomicU64::new(0),
            passed_over: AtomicU64::new(0),
            unserved: AtomicU64::new(0),
            without_descriptor: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        Counts {
            connections: of(&self.connections),
            clients: of(&self.clients),
            passed_over: of(&self.passed_over),
            unserved: of(&self.unserved),
            without_descriptor: of(&self.without_descriptor),
            cut: of(&self.cut),
        }
    }

    /// Who is there stays, however few are left.
    pub(crate) fn set_most(&self, descriptors: usize) {
        self.most.store(descriptors, Relaxed);
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// A thread's view of the room that all share.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) counters: Arc<Counters>,
}

/// Room for one connection or client, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    counters: Arc<Counters>,
    descriptors: usize,
}

impl Room {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { counters }
    }

    /// `None` where that many descriptors are not left.
    pub(crate) fn take(&self, descriptors: usize) -> Option<Seat> {
        let used = self.counters.used.fetch_add(descriptors, Relaxed);
        self.counters.open.fetch_add(1, Relaxed);
        let seat = Seat { counters: Arc::clone(&self.counters), descriptors };
        (used + descriptors <= self.counters.most.load(Relaxed)).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counters.used.fetch_sub(self.descriptors, Relaxed);
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

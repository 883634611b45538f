//! Forgets connections that go where their frontend no longer leads, beside the applies that made them so.
//!
//! Where few frontends are concerned the kernel deletes by pattern what it can (UDP): that takes it 0.1 ms, and packets go on. All else is read
//! and deleted one by one. Reading takes a fifth of a millisecond where little is tracked and tens of them where much is, so no apply
//! waits for it; hence three looks at each entry that seems stale: while reading, as the kernel has it then, and at the moment of deletion.
//! Whatever is deleted is judged under the lock that applies hold; a backend that has come back in between keeps its connections.
//! Which entries go is [`is_stale`]'s and [`patterns`]'s; where frontends lead is in the data plane's [`Book`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stead_model::Frontend;
use stead_sys::conntrack::{self, Conntrack, Entry};

use super::{Cleaning, Routes, Suspects, is_stale, patterns};
use crate::plane::{Cleaner, Error};

/// Frontends up to which the kernel's walks of its table, one or two for each, take less than reading it does.
const FRONTENDS: usize = 32;
/// Patterns of one frontend up to which applies may have to wait for the walks.
const PATTERNS: usize = 8;

/// What a data plane has told the kernel, under the lock that its applies hold.
pub(crate) trait Book: Send {
    type Routes: Routes;

    /// `None`: nothing is known to judge by; then an apply is due, which leaves everything to the cleaner.
    fn routes(&self) -> Option<&Self::Routes>;

    fn leavings(&mut self) -> &mut Leavings;
}

/// Whether the kernel has done all of it.
#[derive(PartialEq, Eq)]
enum Done {
    Yes,
    No,
}

/// What applies and verifications leave to the cleaner; kept until it is done.
#[derive(Debug, Default)]
pub(crate) struct Leavings {
    pub(crate) due: Cleaning,
    /// What was cleaned since the last verification. A packet that was on its way while rules changed may be noted behind our back, so
    /// a verification asks for one more look.
    recent: Cleaning,
    again: Cleaning,
}

impl Leavings {
    pub(crate) fn look_again(&mut self) {
        self.again.merge(std::mem::take(&mut self.recent));
    }

    fn is_empty(&self) -> bool {
        self.due.is_empty() && self.again.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct FlowCleaner<B> {
    pub(crate) book: Arc<Mutex<B>>,
    pub(crate) conntrack: Arc<Mutex<Conntrack>>,
}

impl<B: Book> Cleaner for FlowCleaner<B> {
    fn clean(&mut self) -> Result<usize, Error> {
        let mut conntrack = self.conntrack.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(round) = self.begin() else { return Ok(0) };
        let result = self.carry_out(&mut conntrack, &round);
        let mut book = self.book();
        let leavings = book.leavings();
        match result {
            Ok(deleted) => {
                leavings.recent.merge(round.due);
                Ok(deleted)
            }
            Err(error) => {
                leavings.due.merge(round.due);
                leavings.again.merge(round.again);
                Err(error)
            }
        }
    }
}

/// One cleaning under way.
struct Round {
    due: Cleaning,
    again: Cleaning,
}

impl<B: Book> FlowCleaner<B> {
    fn book(&self) -> MutexGuard<'_, B> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where nothing is to be done, or nothing is known to judge by.
    fn begin(&self) -> Option<Round> {
        let mut book = self.book();
        book.routes()?;
        let leavings = book.leavings();
        if leavings.is_empty() {
            return None;
        }
        Some(Round { due: std::mem::take(&mut leavings.due), again: std::mem::take(&mut leavings.again) })
    }

    fn carry_out(&self, conntrack: &mut Conntrack, round: &Round) -> Result<usize, Error> {
        let before = conntrack.count().map_err(Error::Flows)?;
        if before == 0 {
            return Ok(0);
        }
        let mut cleaning = round.due.clone();
        cleaning.merge(round.again.clone());
        let mut deleted = 0;
        if !cleaning.everything && cleaning.frontends.len() <= FRONTENDS {
            self.delete_by_pattern(conntrack, &mut cleaning)?;
            deleted = before.saturating_sub(conntrack.count().map_err(Error::Flows)?) as usize;
        }
        if !cleaning.is_empty() {
            deleted += self.read_and_delete(conntrack, &cleaning)?;
        }
        Ok(deleted)
    }

    /// Takes those frontends out of `cleaning` whose stale connections the kernel can tell from others, once it has deleted these.
    fn delete_by_pattern(&self, conntrack: &mut Conntrack, cleaning: &mut Cleaning) -> Result<(), Error> {
        let mut rest = Cleaning::default();
        for (frontend, suspects) in std::mem::take(&mut cleaning.frontends) {
            if self.delete_suspects(conntrack, &frontend, &suspects)? == Done::No {
                rest.frontends.insert(frontend, suspects);
            }
        }
        *cleaning = rest;
        Ok(())
    }

    fn delete_suspects(
        &self,
        conntrack: &mut Conntrack,
        frontend: &Frontend,
        suspects: &Suspects,
    ) -> Result<Done, Error> {
        let book = self.book();
        let Some(routes) = book.routes() else { return Ok(Done::Yes) };
        let patterns = patterns(frontend, suspects, routes);
        let Some(patterns) = patterns.filter(|patterns| patterns.len() <= PATTERNS) else { return Ok(Done::No) };
        for pattern in &patterns {
            match conntrack.delete_matching(pattern) {
                Ok(()) => {}
                Err(conntrack::Error::NoFilter) => return Ok(Done::No),
                Err(error) => return Err(Error::Flows(error)),
            }
        }
        Ok(Done::Yes)
    }

    fn read_and_delete(&self, conntrack: &mut Conntrack, cleaning: &Cleaning) -> Result<usize, Error> {
        /// Entries that are judged, or deleted, while an apply may have to wait.
        const ENTRIES: usize = 128;
        let (mut stale, mut read) = (Vec::new(), Vec::with_capacity(ENTRIES));
        let each = |entry| {
            read.push(entry);
            if read.len() == ENTRIES {
                stale.extend(judge(&*self.book(), cleaning, read.drain(..)));
            }
        };
        conntrack.read(each).map_err(Error::Flows)?;
        stale.extend(judge(&*self.book(), cleaning, read.drain(..)));
        let mut deleted = 0;
        for entries in stale.chunks(ENTRIES) {
            let entries = conntrack.look_up(entries).map_err(Error::Flows)?;
            let book = self.book();
            let entries: Vec<Entry> = judge(&*book, cleaning, entries.into_iter()).collect();
            deleted += conntrack.delete(&entries).map_err(Error::Flows)?;
        }
        Ok(deleted)
    }
}

/// Those that are stale; none where nothing is known to judge by.
fn judge<B: Book>(book: &B, cleaning: &Cleaning, entries: impl Iterator<Item = Entry>) -> impl Iterator<Item = Entry> {
    let routes = book.routes();
    entries.filter(move |entry| routes.is_some_and(|routes| is_stale(entry, routes, cleaning)))
}

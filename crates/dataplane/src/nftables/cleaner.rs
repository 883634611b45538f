//! Forgets connections that go where their frontend no longer leads, beside the applies that made them so.
//!
//! Reading the kernel's table of connections takes it tens of milliseconds however little is to be found, so no apply waits for it. Hence
//! two looks at each entry: one while reading, and one at the moment of deletion, under the lock that applies hold; a backend that has
//! come back in between keeps its connections. Which entries go is [`flows`]'s.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stead_model::{Family, Frontend};
use stead_sys::conntrack::{Conntrack, Entry, Filter};

use super::{Core, State};
use crate::{
    flows::{self, Cleaning},
    plane::{Cleaner, Error},
};

/// What applies and verifications leave to the cleaner; kept until it is done.
#[derive(Debug, Default)]
pub(super) struct Leavings {
    pub(super) due: Cleaning,
    /// What was cleaned since the last verification. A packet that was on its way while rules changed may be noted behind our back, so
    /// a verification asks for one more look.
    recent: Cleaning,
    again: Cleaning,
}

impl Leavings {
    pub(super) fn look_again(&mut self) {
        self.again.merge(std::mem::take(&mut self.recent));
    }

    fn is_empty(&self) -> bool {
        self.due.is_empty() && self.again.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct FlowCleaner {
    pub(super) core: Arc<Mutex<Core>>,
    pub(super) conntrack: Arc<Mutex<Conntrack>>,
}

impl Cleaner for FlowCleaner {
    fn clean(&mut self) -> Result<usize, Error> {
        let mut conntrack = self.conntrack.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(round) = self.begin() else { return Ok(0) };
        let result = self.carry_out(&mut conntrack, &round);
        let leavings = &mut self.core().leavings;
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
    departed: BTreeSet<Frontend>,
    filters: Vec<Filter>,
}

impl FlowCleaner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where nothing is to be done, or nothing is known to judge by: then an apply is due, which leaves everything to us.
    fn begin(&self) -> Option<Round> {
        let mut core = self.core();
        let Core { state: Some(state), leavings } = &mut *core else { return None };
        if leavings.is_empty() {
            return None;
        }
        let (due, again) = (std::mem::take(&mut leavings.due), std::mem::take(&mut leavings.again));
        let departed: BTreeSet<Frontend> = due.departed.union(&again.departed).copied().collect();
        let filters = if due.everything || again.everything {
            let concerns = |family: &Family| {
                state.mirror.wants(*family) || departed.iter().any(|frontend| frontend.family() == *family)
            };
            Family::ALL.into_iter().filter(concerns).map(Filter::Family).collect()
        } else {
            let services = due.services.union(&again.services);
            let mut frontends: BTreeSet<Frontend> = services.flat_map(|key| state.mirror.frontends(key)).collect();
            frontends.extend(&departed);
            flows::filters(&frontends)
        };
        Some(Round { due, again, departed, filters })
    }

    fn carry_out(&self, conntrack: &mut Conntrack, round: &Round) -> Result<usize, Error> {
        /// Entries that are judged, or deleted, while an apply may have to wait.
        const ENTRIES: usize = 128;
        if conntrack.count().map_err(Error::Flows)? == 0 {
            return Ok(0);
        }
        let (mut stale, mut read) = (Vec::new(), Vec::with_capacity(ENTRIES));
        for filter in &round.filters {
            let each = |entry| {
                read.push(entry);
                if read.len() == ENTRIES {
                    stale.extend(round.stale(&self.core(), read.drain(..)));
                }
            };
            conntrack.read(*filter, each).map_err(Error::Flows)?;
        }
        stale.extend(round.stale(&self.core(), read.drain(..)));
        let mut deleted = 0;
        for entries in stale.chunks(ENTRIES) {
            let core = self.core();
            let entries: Vec<Entry> = round.stale(&core, entries.iter().copied()).collect();
            deleted += conntrack.delete(&entries).map_err(Error::Flows)?;
        }
        Ok(deleted)
    }
}

impl Round {
    /// None where nothing is known to judge by.
    fn stale(&self, core: &Core, entries: impl Iterator<Item = Entry>) -> impl Iterator<Item = Entry> {
        let mirror = core.state.as_ref().map(|State { mirror, .. }| mirror);
        entries.filter(move |entry| mirror.is_some_and(|mirror| flows::is_stale(entry, mirror, &self.departed)))
    }
}

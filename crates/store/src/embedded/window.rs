//! The window of recent events, shared by all watchers, each of which reads it with a cursor of its own.
//!
//! It is bounded in events and bytes and drops whole revisions from its old end; nobody is waited for.

use std::{collections::VecDeque, sync::Arc};

use stead_model::Revision;

use crate::{Event, span::Span};

#[derive(Debug)]
pub(super) struct Window {
    /// Every event from `first` on, ascending.
    events: VecDeque<Arc<Event>>,
    first: Revision,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

/// The cursor points before the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind;

impl Window {
    /// An empty window behind `revision`.
    pub(super) fn new(revision: Revision, max_events: usize, max_bytes: usize) -> Self {
        Self { events: VecDeque::new(), first: revision.next(), bytes: 0, max_events, max_bytes }
    }

    /// Adds events, which must lie behind all others; drops old ones where there is no room.
    pub(super) fn push(&mut self, events: Vec<Arc<Event>>) {
        self.bytes += events.iter().map(|event| size(event)).sum::<usize>();
        self.events.extend(events);
        while self.events.len() > self.max_events || self.bytes > self.max_bytes {
            let Some(oldest) = self.events.front().map(|event| event.key_value.mod_revision) else { break };
            self.first = oldest.next();
            while let Some(event) = self.events.pop_front_if(|event| event.key_value.mod_revision == oldest) {
                self.bytes -= size(&event);
            }
        }
    }

    /// The events of `span` from `next` on, out of about `limit` events; and the revision up to which that is all.
    pub(super) fn read(
        &self,
        span: &Span,
        next: Revision,
        newest: Revision,
        limit: usize,
    ) -> Result<(Revision, Vec<Arc<Event>>), Behind> {
        if next < self.first {
            return Err(Behind);
        }
        let start = self.events.partition_point(|event| event.key_value.mod_revision < next);
        let upto = self.events.get(start + limit).map_or(newest, |event| event.key_value.mod_revision);
        let new = self.events.range(start..).take_while(|event| event.key_value.mod_revision <= upto);
        Ok((upto, new.filter(|event| span.contains(&event.key_value.key)).cloned().collect()))
    }
}

/// About what an event holds in memory.
fn size(event: &Event) -> usize {
    let previous = event.previous.as_ref().map_or(0, |previous| previous.value.len());
    size_of::<Event>() + event.key_value.key.len() + event.key_value.value.len() + previous
}

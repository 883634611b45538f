//! What applies leave behind: connections that the kernel tracks go as in every data plane, and then the destinations and servers that are
//! not wanted, with the connections that IPVS itself remembers.

use std::sync::{Arc, Mutex, PoisonError};

use stead_sys::conntrack::Conntrack;

use super::Core;
use crate::{
    flows::FlowCleaner,
    plane::{Cleaner, Error},
};

pub(super) struct ServerCleaner {
    core: Arc<Mutex<Core>>,
    flows: FlowCleaner<Core>,
}

impl ServerCleaner {
    pub(super) fn new(core: Arc<Mutex<Core>>, conntrack: Arc<Mutex<Conntrack>>) -> Self {
        Self { flows: FlowCleaner { book: Arc::clone(&core), conntrack }, core }
    }
}

impl Cleaner for ServerCleaner {
    fn clean(&mut self) -> Result<usize, Error> {
        let forgotten = self.flows.clean()?;
        self.core.lock().unwrap_or_else(PoisonError::into_inner).leave()?;
        Ok(forgotten)
    }
}

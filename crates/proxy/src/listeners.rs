//! Listening sockets that Services ask for, many of them: opened and closed as they are wanted, tried again where they cannot be had.
//!
//! Owns who has which address, and how many there may be. A listener is a task, not a thread. What is done with connections is the owner's.

use std::{collections::HashMap, hash::Hash, io, net::SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::http::listen;

/// Descriptors that are left to everything else: netlink, the API server, connections.
const OTHERS: u64 = 1024;

#[derive(Debug)]
pub(crate) struct Listeners<Id> {
    held: HashMap<Id, Held>,
    most: usize,
}

#[derive(Debug)]
enum Held {
    Open(AbortHandle),
    /// What was told about it last.
    Failed(String),
}

/// Why a listener is not there, told once until the reason is another.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotListening {
    #[error("listen {address}: {source}")]
    Taken { address: SocketAddr, source: io::Error },
    #[error("listen {address}: this process has {most} listeners, as many as its limit of open files allows")]
    TooMany { address: SocketAddr, most: usize },
}

impl<Id: Clone + Eq + Hash> Listeners<Id> {
    pub(crate) fn new(most: usize) -> Self {
        Self { held: HashMap::new(), most }
    }

    /// Sees to it that somebody listens there; `serve` starts the task that does. Nothing is done where it listens already.
    ///
    /// # Errors
    /// What is new about why not: the same is told once.
    pub(crate) fn open(
        &mut self,
        id: &Id,
        address: SocketAddr,
        serve: impl FnOnce(TcpListener) -> AbortHandle,
    ) -> Result<(), NotListening> {
        let told = match self.held.get(id) {
            Some(Held::Open(_)) => return Ok(()),
            Some(Held::Failed(told)) => Some(told.as_str()),
            None => None,
        };
        let listener = match self.held.len() {
            held if held >= self.most && told.is_none() => Err(NotListening::TooMany { address, most: self.most }),
            _ => listen(address).map_err(|source| NotListening::Taken { address, source }),
        };
        match listener {
            Ok(listener) => {
                self.held.insert(id.clone(), Held::Open(serve(listener)));
                Ok(())
            }
            Err(NotListening::TooMany { .. }) if self.most == 0 => Ok(()),
            Err(error) if told == Some(error.to_string().as_str()) => Ok(()),
            Err(error) => {
                if matches!(error, NotListening::Taken { .. }) {
                    self.held.insert(id.clone(), Held::Failed(error.to_string()));
                }
                Err(error)
            }
        }
    }

    /// Closes all that are not wanted. Connections that they accepted are not theirs.
    pub(crate) fn keep(&mut self, is_wanted: impl Fn(&Id) -> bool) {
        self.held.retain(|id, held| {
            let is_wanted = is_wanted(id);
            if let (Held::Open(task), false) = (held, is_wanted) {
                task.abort();
            }
            is_wanted
        });
    }

    /// Whether one is to be tried again.
    pub(crate) fn lacks_any(&self) -> bool {
        self.held.values().any(|held| matches!(held, Held::Failed(_)))
    }
}

impl<Id> Drop for Listeners<Id> {
    fn drop(&mut self) {
        for held in self.held.values() {
            if let Held::Open(task) = held {
                task.abort();
            }
        }
    }
}

/// Raises the limit of open files as far as this process may, and says how many of them may be listeners and connections of each kind of them.
pub(crate) fn budget() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    if limit.current.is_some_and(|current| current < most)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })
    {
        tracing::debug!(%error, "the limit of open files is left as it is");
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(most);
    usize::try_from(now.saturating_sub(OTHERS) / 4).unwrap_or(usize::MAX)
}

//! What other data planes left on the node, removed once this one serves.
//!
//! Until then both decide about packets, and both as some plan says; whichever is first in the kernel counts. Nobody is without a Service in
//! between.

use std::fmt;

use stead_dataplane::{DataPlane, Error, Mode, Removed};

/// Opens a plane once it is asked to remove something: that may take running programs, which nobody is to wait for before he is served.
type Open = Box<dyn FnMut() -> Result<Box<dyn DataPlane>, Error> + Send>;

/// The planes that do not serve here, and may have.
#[derive(Default)]
pub struct Predecessors(Vec<(Mode, Open)>);

/// What came of one.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) mode: Mode,
    pub(crate) outcome: Result<(), Error>,
}

impl Predecessors {
    pub fn new(planes: impl IntoIterator<Item = (Mode, Open)>) -> Self {
        Self(planes.into_iter().collect())
    }

    /// Removes what they left; those that had something are told, and who fails is asked again the next time.
    pub(crate) fn remove(&mut self) -> Vec<Removal> {
        let mut removals = Vec::new();
        self.0.retain_mut(|(mode, open)| {
            // One that cannot even be opened has left nothing that could be removed.
            let Ok(mut plane) = open() else { return false };
            match plane.remove() {
                Ok(Removed::Nothing) => false,
                Ok(Removed::Something) => {
                    removals.push(Removal { mode: *mode, outcome: Ok(()) });
                    false
                }
                Err(error) => {
                    removals.push(Removal { mode: *mode, outcome: Err(error) });
                    true
                }
            }
        });
        removals
    }
}

impl fmt::Debug for Predecessors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(mode, _)| mode)).finish()
    }
}

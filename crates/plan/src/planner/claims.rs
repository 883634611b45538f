//! Who claims which frontend. The lowest key has it.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use stead_model::{Frontend, ObjectKey};

#[derive(Debug, Default)]
pub(super) struct Claims {
    by_frontend: HashMap<Frontend, Claimants>,
}

/// Never empty.
#[derive(Debug)]
enum Claimants {
    One(Arc<ObjectKey>),
    /// Two or more.
    Several(BTreeSet<Arc<ObjectKey>>),
}

impl Claims {
    /// Whose frontend it is.
    pub(super) fn owner(&self, frontend: &Frontend) -> Option<&ObjectKey> {
        match self.by_frontend.get(frontend)? {
            Claimants::One(key) => Some(key),
            Claimants::Several(keys) => keys.first().map(|key| &**key),
        }
    }

    /// Adds a claim. If it takes the frontend from another, all who claim it go to `affected`.
    pub(super) fn acquire(
        &mut self,
        frontend: &Frontend,
        key: &Arc<ObjectKey>,
        affected: &mut BTreeSet<Arc<ObjectKey>>,
    ) {
        let claimants = match self.by_frontend.entry(*frontend) {
            Entry::Vacant(entry) => {
                entry.insert(Claimants::One(Arc::clone(key)));
                return;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        let keys = match claimants {
            Claimants::One(other) if other == key => return,
            Claimants::One(other) => {
                let keys = BTreeSet::from([Arc::clone(other), Arc::clone(key)]);
                if keys.first() == Some(key) {
                    affected.extend(keys.iter().cloned());
                }
                *claimants = Claimants::Several(keys);
                return;
            }
            Claimants::Several(keys) => keys,
        };
        if keys.insert(Arc::clone(key)) && keys.first() == Some(key) {
            affected.extend(keys.iter().cloned());
        }
    }

    /// Drops a claim. If the frontend becomes another's by it, all who claim it go to `affected`.
    pub(super) fn release(
        &mut self,
        frontend: &Frontend,
        key: &Arc<ObjectKey>,
        affected: &mut BTreeSet<Arc<ObjectKey>>,
    ) {
        let Entry::Occupied(mut entry) = self.by_frontend.entry(*frontend) else { return };
        let keys = match entry.get_mut() {
            Claimants::One(owner) => {
                if owner == key {
                    entry.remove();
                }
                return;
            }
            Claimants::Several(keys) => keys,
        };
        let was_first = keys.first() == Some(key);
        if !keys.remove(key) {
            return;
        }
        if was_first {
            affected.extend(keys.iter().cloned());
        }
        if keys.len() == 1
            && let Some(last) = keys.pop_first()
        {
            entry.insert(Claimants::One(last));
        }
    }
}

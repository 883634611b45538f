//! Who claims which frontend. The least kind has it, and of two alike the lowest key: a virtual IP is never lost to who names it as an external
//! address.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use stead_model::{Frontend, ObjectKey};

use crate::table::{FrontendKind, FrontendRule};

#[derive(Debug, Default)]
pub(super) struct Claims {
    by_frontend: HashMap<Frontend, Claimants>,
}

/// Never empty.
#[derive(Debug)]
enum Claimants {
    One(Claim),
    /// Two or more.
    Several(BTreeSet<Claim>),
}

/// Ordered by who comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    kind: FrontendKind,
    key: Arc<ObjectKey>,
}

impl Claims {
    /// Whose frontend it is, and as what.
    pub(super) fn owner(&self, frontend: &Frontend) -> Option<(&ObjectKey, FrontendKind)> {
        let claim = match self.by_frontend.get(frontend)? {
            Claimants::One(claim) => Some(claim),
            Claimants::Several(claims) => claims.first(),
        };
        claim.map(|claim| (&*claim.key, claim.kind))
    }

    /// Adds a claim. If it takes the frontend from another, all who claim it go to `affected`.
    pub(super) fn acquire(
        &mut self,
        rule: &FrontendRule,
        key: &Arc<ObjectKey>,
        affected: &mut BTreeSet<Arc<ObjectKey>>,
    ) {
        let claim = Claim { kind: rule.kind, key: Arc::clone(key) };
        let claimants = match self.by_frontend.entry(rule.frontend) {
            Entry::Vacant(entry) => {
                entry.insert(Claimants::One(claim));
                return;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if let Claimants::One(other) = claimants {
            if *other == claim {
                return;
            }
            *claimants = Claimants::Several(BTreeSet::from([other.clone()]));
        }
        let Claimants::Several(claims) = claimants else { return };
        if claims.insert(claim.clone()) && claims.first() == Some(&claim) {
            affected.extend(claims.iter().map(|claim| Arc::clone(&claim.key)));
        }
    }

    /// Drops a claim. If the frontend becomes another's by it, all who claim it go to `affected`.
    pub(super) fn release(
        &mut self,
        rule: &FrontendRule,
        key: &Arc<ObjectKey>,
        affected: &mut BTreeSet<Arc<ObjectKey>>,
    ) {
        let claim = Claim { kind: rule.kind, key: Arc::clone(key) };
        let Entry::Occupied(mut entry) = self.by_frontend.entry(rule.frontend) else { return };
        let claims = match entry.get_mut() {
            Claimants::One(owner) => {
                if *owner == claim {
                    entry.remove();
                }
                return;
            }
            Claimants::Several(claims) => claims,
        };
        let was_first = claims.first() == Some(&claim);
        if !claims.remove(&claim) {
            return;
        }
        if was_first {
            affected.extend(claims.iter().map(|claim| Arc::clone(&claim.key)));
        }
        if claims.len() == 1
            && let Some(last) = claims.pop_first()
        {
            entry.insert(Claimants::One(last));
        }
    }
}

//! One copy of each node and zone name, however many slices use it.

use std::{collections::HashSet, sync::Arc};

/// Names in use. A name that no slice holds any more is dropped at a later growth, so that a cluster whose nodes come and go does
/// not collect them.
#[derive(Debug, Default)]
pub(super) struct SharedNames {
    names: HashSet<Arc<str>>,
    /// Unused names are looked for when this many are held.
    limit: usize,
}

/// Below this many names a sweep is not worth its walk.
const FIRST_LIMIT: usize = 1024;

impl SharedNames {
    /// Replaces `name` by the copy that is shared.
    pub(super) fn share(&mut self, name: &mut Arc<str>) {
        if let Some(shared) = self.names.get(name) {
            *name = Arc::clone(shared);
            return;
        }
        if self.names.len() >= self.limit.max(FIRST_LIMIT) {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.limit = self.names.len() * 2;
        }
        self.names.insert(Arc::clone(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_become_one_and_unused_ones_go() {
        let mut names = SharedNames::default();
        let (mut first, mut second): (Arc<str>, Arc<str>) = ("node1".into(), "node1".into());
        names.share(&mut first);
        names.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
        for number in 0..10 * FIRST_LIMIT {
            names.share(&mut format!("short-lived-{number}").into());
        }
        assert!(names.names.len() <= 2 * FIRST_LIMIT, "{} names are kept", names.names.len());
        assert!(names.names.contains("node1"));
    }
}

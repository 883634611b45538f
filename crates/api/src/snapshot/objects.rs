//! The objects of one kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use stead_model::{ObjectKey, Revision};

use crate::item::FromItem;

/// What a watch says. Between `Init` and `InitDone` comes every object that exists; afterwards, changes in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// A full list begins: the first one, or a new one because changes were missed.
    Init,
    /// An object of that list.
    InitApply(T),
    /// The list is complete: what was not in it does not exist.
    InitDone,
    /// An object is new or different.
    Apply(T),
    /// An object is gone; this is its last state, at the revision of its deletion.
    Delete(T),
    /// An object exists, in a list or by a change, and this reader cannot read it: it is unknown, not absent.
    Unread(ObjectKey, Revision),
    /// An object that this reader cannot read is gone.
    UnreadGone(ObjectKey, Revision),
}

/// One object before and after a [`Change`]. Neither is there when an object goes that could never be read.
#[derive(Debug)]
pub struct Delta<T> {
    pub key: ObjectKey,
    pub old: Option<Arc<T>>,
    pub new: Option<Arc<T>>,
}

/// Names under which an object is found besides its key, such as its owner.
type Terms<T> = fn(&T) -> Vec<Box<str>>;

/// The objects of one kind, in order of their keys, as the last change left them.
#[derive(Debug)]
pub struct Objects<T> {
    by_key: BTreeMap<ObjectKey, Arc<T>>,
    by_term: BTreeMap<Box<str>, BTreeSet<ObjectKey>>,
    terms: Terms<T>,
    /// Objects that exist and whose present state could not be read; `by_key` may have an earlier one.
    unread: BTreeSet<ObjectKey>,
    synced: bool,
    /// `Some` between `Init` and `InitDone`: what of `by_key` and `unread` the list has not named yet.
    unlisted: Option<BTreeSet<ObjectKey>>,
    revision: Revision,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self::indexed(|_| Vec::new())
    }
}

impl<T> Objects<T> {
    /// An empty set whose objects are also found by each of `terms(object)`.
    pub fn indexed(terms: Terms<T>) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_term: BTreeMap::new(),
            terms,
            unread: BTreeSet::new(),
            synced: false,
            unlisted: None,
            revision: Revision::ZERO,
        }
    }

    /// Whether a full list has ever been complete. Absence means nothing before.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// The highest revision of any object seen, deletions included.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether every change up to `revision` is taken in. False while a new list comes, which is in no order of revisions.
    pub fn has_seen(&self, revision: Revision) -> bool {
        self.unlisted.is_none() && self.revision >= revision
    }

    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.by_key.get(key)
    }

    /// Whether the object exists and no state of it could be read: that [`get`](Self::get) lacks it means nothing then.
    pub fn is_unknown(&self, key: &ObjectKey) -> bool {
        self.unread.contains(key) && !self.by_key.contains_key(key)
    }

    /// All objects that [are unknown](Self::is_unknown), in order.
    pub fn unknown(&self) -> impl Iterator<Item = &ObjectKey> {
        self.unread.iter().filter(|key| !self.by_key.contains_key(*key))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<T>)> {
        self.by_key.iter()
    }

    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.by_key.keys()
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.by_key.values()
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// All objects of a namespace, by name.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<T>)> + use<'a, T> {
        let namespace: Box<str> = namespace.into();
        let first = ObjectKey::new(namespace.clone(), "");
        self.by_key
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(key, _)| key.namespace == namespace)
    }

    /// All objects that have this index term, by key.
    pub fn with_term<'a>(&'a self, term: &str) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<T>)> + use<'a, T> {
        self.by_term.get(term).into_iter().flatten().filter_map(|key| self.by_key.get_key_value(key))
    }

    /// How many objects have this index term.
    pub fn count_with_term(&self, term: &str) -> usize {
        self.by_term.get(term).map_or(0, BTreeSet::len)
    }
}

impl<T: FromItem> Objects<T> {
    /// Takes in one change and returns what it changed, in order of keys: nothing, one object, or at `InitDone` all that
    /// the new list does not have any more. A list that repeats an object at the revision known changes nothing, and an object
    /// that could not be read stays as it was when it could.
    pub fn apply(&mut self, change: Change<T>) -> Vec<Delta<T>> {
        match change {
            Change::Init => {
                self.unlisted = Some(self.by_key.keys().chain(&self.unread).cloned().collect());
                Vec::new()
            }
            Change::InitApply(object) | Change::Apply(object) => self.insert(object).into_iter().collect(),
            Change::InitDone => {
                self.synced = true;
                let gone = self.unlisted.take().unwrap_or_default();
                gone.iter().filter_map(|key| self.remove(key)).collect()
            }
            Change::Delete(object) => self.on_gone(&object.key(), object.revision()),
            Change::UnreadGone(key, revision) => self.on_gone(&key, revision),
            Change::Unread(key, revision) => {
                self.name(&key, revision);
                self.unread.insert(key);
                Vec::new()
            }
        }
    }

    fn on_gone(&mut self, key: &ObjectKey, revision: Revision) -> Vec<Delta<T>> {
        self.name(key, revision);
        self.remove(key).into_iter().collect()
    }

    /// The object is spoken of at this revision, so that the list under way has it or nobody has.
    fn name(&mut self, key: &ObjectKey, revision: Revision) {
        self.revision = self.revision.max(revision);
        if let Some(unlisted) = &mut self.unlisted {
            unlisted.remove(key);
        }
    }

    fn insert(&mut self, object: T) -> Option<Delta<T>> {
        let (key, revision) = (object.key(), object.revision());
        self.name(&key, revision);
        self.unread.remove(&key);
        let known = self.by_key.get(&key).map(|old| old.revision());
        if known == Some(revision) && revision != Revision::ZERO {
            return None;
        }
        let new = Arc::new(object);
        let old = self.by_key.insert(key.clone(), new.clone());
        if let Some(old) = &old {
            self.drop_terms(&key, old);
        }
        for term in (self.terms)(&new) {
            self.by_term.entry(term).or_default().insert(key.clone());
        }
        Some(Delta { key, old, new: Some(new) })
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Delta<T>> {
        let was_unread = self.unread.remove(key);
        let old = self.by_key.remove(key);
        if let Some(old) = &old {
            self.drop_terms(key, old);
        }
        (old.is_some() || was_unread).then(|| Delta { key: key.clone(), old, new: None })
    }

    fn drop_terms(&mut self, key: &ObjectKey, object: &T) {
        for term in (self.terms)(object) {
            if let Some(keys) = self.by_term.get_mut(&term) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_term.remove(&term);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    fn object(key: &str, revision: u64, label: &str) -> ConfigMap {
        let (namespace, name) = key.split_once('/').unwrap();
        let labels = [("is".to_owned(), label.to_owned())].into();
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                resource_version: Some(revision.to_string()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn labels(object: &ConfigMap) -> Vec<Box<str>> {
        object.metadata.labels.iter().flatten().map(|(_, value)| value.as_str().into()).collect()
    }

    fn names<'a>(items: impl Iterator<Item = (&'a ObjectKey, &'a Arc<ConfigMap>)>) -> String {
        items.map(|(key, _)| key.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn touched(deltas: Vec<Delta<ConfigMap>>) -> String {
        let sign = |delta: &Delta<ConfigMap>| match (&delta.old, &delta.new) {
            (_, None) => "-",
            (None, _) => "+",
            _ => "~",
        };
        deltas.iter().map(|delta| format!("{}{}", sign(delta), delta.key)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_second_list_removes_what_it_does_not_name() {
        let mut objects = Objects::indexed(labels);
        let mut apply = |change| touched(objects.apply(change));
        assert_eq!(apply(Change::Init), "");
        assert_eq!(apply(Change::InitApply(object("a/1", 1, "x"))), "+a/1");
        assert_eq!(apply(Change::InitApply(object("b/1", 2, "y"))), "+b/1");
        assert_eq!(apply(Change::InitDone), "");
        assert_eq!(apply(Change::Apply(object("a/2", 3, "x"))), "+a/2");
        assert_eq!(apply(Change::Apply(object("a/2", 4, "y"))), "~a/2");
        assert_eq!(apply(Change::Init), "");
        assert_eq!(apply(Change::InitApply(object("a/2", 4, "y"))), "");
        assert_eq!(apply(Change::InitDone), "-a/1 -b/1");
        assert_eq!(apply(Change::Delete(object("a/2", 9, "y"))), "-a/2");
        assert_eq!(apply(Change::Delete(object("a/2", 9, "y"))), "");
        assert_eq!(objects.revision(), Revision(9));
        assert!(objects.synced() && objects.is_empty() && objects.by_term.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_never_absent() {
        let key = |name: &str| ObjectKey::new("a", name);
        let mut objects = Objects::indexed(labels);
        objects.apply(Change::Init);
        objects.apply(Change::InitApply(object("a/1", 1, "x")));
        assert_eq!(touched(objects.apply(Change::Unread(key("2"), Revision(2)))), "");
        assert_eq!(touched(objects.apply(Change::InitDone)), "");
        assert!(objects.is_unknown(&key("2")) && objects.get(&key("2")).is_none());
        assert!(objects.has_seen(Revision(2)));
        // What was read once stays as it was then, through a list too.
        assert_eq!(touched(objects.apply(Change::Unread(key("1"), Revision(3)))), "");
        objects.apply(Change::Init);
        objects.apply(Change::Unread(key("1"), Revision(3)));
        assert_eq!(touched(objects.apply(Change::InitDone)), "-a/2");
        assert!(objects.get(&key("1")).is_some() && !objects.is_unknown(&key("1")));
        assert_eq!(objects.unknown().count(), 0);
        // It can be read again, or goes.
        assert_eq!(touched(objects.apply(Change::Apply(object("a/1", 4, "y")))), "~a/1");
        assert_eq!(touched(objects.apply(Change::Unread(key("1"), Revision(5)))), "");
        assert_eq!(touched(objects.apply(Change::UnreadGone(key("1"), Revision(6)))), "-a/1");
        objects.apply(Change::Unread(key("3"), Revision(7)));
        assert_eq!(touched(objects.apply(Change::UnreadGone(key("3"), Revision(8)))), "-a/3");
        assert!(objects.is_empty() && objects.unread.is_empty() && objects.by_term.is_empty());
    }

    #[test]
    fn objects_are_found_by_namespace_and_term() {
        let mut objects = Objects::indexed(labels);
        for (key, label) in [("a/1", "x"), ("a/2", "y"), ("ab/1", "x"), ("b/1", "x")] {
            objects.apply(Change::Apply(object(key, 1, label)));
        }
        assert_eq!(names(objects.in_namespace("a")), "a/1 a/2");
        assert_eq!(names(objects.in_namespace("c")), "");
        assert_eq!(names(objects.with_term("x")), "a/1 ab/1 b/1");
        objects.apply(Change::Apply(object("a/1", 2, "y")));
        assert_eq!(names(objects.with_term("x")), "ab/1 b/1");
        assert_eq!((names(objects.with_term("y")).as_str(), objects.count_with_term("y")), ("a/1 a/2", 2));
    }

    #[test]
    fn nothing_is_synced_before_the_first_list_ends() {
        let mut objects = Objects::<ConfigMap>::default();
        objects.apply(Change::Init);
        objects.apply(Change::InitApply(object("a/1", 1, "x")));
        assert!(!objects.synced());
        objects.apply(Change::InitDone);
        assert!(objects.synced());
    }
}

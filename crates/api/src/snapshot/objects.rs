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
}

/// One object before and after a [`Change`]; at least one of the two is there.
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
    synced: bool,
    /// `Some` between `Init` and `InitDone`: what of `by_key` the list has not named yet.
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
    /// the new list does not have any more. A list that repeats an object at the revision known changes nothing.
    pub fn apply(&mut self, change: Change<T>) -> Vec<Delta<T>> {
        match change {
            Change::Init => {
                self.unlisted = Some(self.by_key.keys().cloned().collect());
                Vec::new()
            }
            Change::InitApply(object) | Change::Apply(object) => self.insert(object).into_iter().collect(),
            Change::InitDone => {
                self.synced = true;
                let gone = self.unlisted.take().unwrap_or_default();
                gone.iter().filter_map(|key| self.remove(key)).collect()
            }
            Change::Delete(object) => {
                self.revision = self.revision.max(object.revision());
                let key = object.key();
                if let Some(unlisted) = &mut self.unlisted {
                    unlisted.remove(&key);
                }
                self.remove(&key).into_iter().collect()
            }
        }
    }

    fn insert(&mut self, object: T) -> Option<Delta<T>> {
        let (key, revision) = (object.key(), object.revision());
        self.revision = self.revision.max(revision);
        if let Some(unlisted) = &mut self.unlisted {
            unlisted.remove(&key);
        }
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
        let old = self.by_key.remove(key)?;
        self.drop_terms(key, &old);
        Some(Delta { key: key.clone(), old: Some(old), new: None })
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
            (None, _) => "+",
            (_, None) => "-",
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

//! A set of fields: a tree of path elements, some of which are members. `fieldsV1` is its JSON.
//!
//! A field that is a member says nothing of what it holds: `spec` and `spec.replicas` are two members. No branch is kept that
//! leads to no member.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::path::PathElement;
use super::shape::Shape;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(
    /// Ordered by element, each element once; every node is a member or has members below.
    Vec<Node>,
);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    element: PathElement,
    is_member: bool,
    below: FieldSet,
}

/// Why JSON is no set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fieldsV1 is no set of fields")]
pub(super) struct NoFieldSet;

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the field at `path`; the object as a whole is no field.
    pub(super) fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let index = match self.find(first) {
            Ok(index) => index,
            Err(index) => {
                self.0.insert(index, Node { element: first.clone(), is_member: false, below: Self::default() });
                index
            }
        };
        if rest.is_empty() {
            self.0[index].is_member = true;
        } else {
            self.0[index].below.insert(rest);
        }
    }

    pub(super) fn has(&self, element: &PathElement) -> bool {
        self.find(element).is_ok_and(|index| self.0[index].is_member)
    }

    /// What is below `element`.
    pub(super) fn below(&self, element: &PathElement) -> Option<&Self> {
        let index = self.find(element).ok()?;
        Some(&self.0[index].below).filter(|below| !below.is_empty())
    }

    fn find(&self, element: &PathElement) -> Result<usize, usize> {
        // Fields mostly come in their order.
        match self.0.last() {
            None => Err(0),
            Some(last) if last.element < *element => Err(self.0.len()),
            _ => self.0.binary_search_by(|node| node.element.cmp(element)),
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        self.combine(other, Keep::Either)
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, Keep::Both)
    }

    /// The members of this set that are no members of the other.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(other, Keep::First)
    }

    /// The same without everything that is below a member of the other.
    pub(super) fn without(&self, other: &Self) -> Self {
        let keep = |node: &Node| {
            let Ok(index) = other.find(&node.element) else { return Some(node.clone()) };
            if other.0[index].is_member {
                return None;
            }
            let below = node.below.without(&other.0[index].below);
            Node { element: node.element.clone(), is_member: node.is_member, below }.kept()
        };
        Self(self.0.iter().filter_map(keep).collect())
    }

    fn combine(&self, other: &Self, keep: Keep) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut nodes = Vec::with_capacity(self.0.len());
        loop {
            let side = match (a.peek(), b.peek()) {
                (None, None) => return Self(nodes),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let node = match side {
                Ordering::Less => a.next().filter(|_| keep != Keep::Both).cloned(),
                Ordering::Greater => b.next().filter(|_| keep == Keep::Either).cloned(),
                Ordering::Equal => a.next().zip(b.next()).and_then(|(a, b)| a.combine(b, keep)),
            };
            nodes.extend(node);
        }
    }

    /// With the named fields of objects that lead to members as members too.
    pub(super) fn with_named_fields(&self, shape: Shape<'_>) -> Self {
        let nodes = self.0.iter().map(|node| {
            let is_named = !node.below.is_empty() && shape.names(&node.element);
            let below = match shape.within(&node.element) {
                Some(inner) => node.below.with_named_fields(inner),
                None => node.below.clone(),
            };
            Node { element: node.element.clone(), is_member: node.is_member || is_named, below }
        });
        Self(nodes.collect())
    }

    /// The paths of all members, as people read them.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        let members = self.0.iter().filter(|node| node.is_member);
        paths.extend(members.map(|node| format!("{prefix}{}", node.element)));
        for node in self.0.iter().filter(|node| !node.below.is_empty()) {
            node.below.collect_paths(&format!("{prefix}{}", node.element), paths);
        }
    }

    /// Reads `fieldsV1`. Elements of unknown forms are passed over.
    pub(super) fn parse(json: &Value) -> Result<Self, NoFieldSet> {
        let map = json.as_object().ok_or(NoFieldSet)?;
        let mut nodes = Vec::with_capacity(map.len());
        for (key, value) in map.iter().filter(|(key, _)| *key != ".") {
            let inner = value.as_object().ok_or(NoFieldSet)?;
            let Some(element) = PathElement::parse(key) else { continue };
            let below = Self::parse(value)?;
            let is_member = inner.contains_key(".") || below.is_empty();
            nodes.push(Node { element, is_member, below });
        }
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        nodes.dedup_by(|b, a| a.element == b.element);
        Ok(Self(nodes))
    }

    /// The way back of [`parse`](Self::parse).
    pub(super) fn render(&self) -> Value {
        Value::Object(self.render_map())
    }

    fn render_map(&self) -> Map<String, Value> {
        let render = |node: &Node| {
            let mut map = node.below.render_map();
            if node.is_member && !map.is_empty() {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (node.element.render(), Value::Object(map))
        };
        self.0.iter().map(render).collect()
    }
}

/// Which members of two sets a third has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Either,
    Both,
    /// Those of the first alone.
    First,
}

impl Node {
    fn combine(&self, other: &Self, keep: Keep) -> Option<Self> {
        let is_member = match keep {
            Keep::Either => self.is_member || other.is_member,
            Keep::Both => self.is_member && other.is_member,
            Keep::First => self.is_member && !other.is_member,
        };
        let below = self.below.combine(&other.below, keep);
        Self { element: self.element.clone(), is_member, below }.kept()
    }

    fn kept(self) -> Option<Self> {
        (self.is_member || !self.below.is_empty()).then_some(self)
    }
}

//! Which fields differ between two states of an object.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::FieldSet;
use super::shape::{Atom, Shape};
use crate::schema::{Empty, Field, Object, Type};

/// The fields that the second of two objects has removed, changed and added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) added: FieldSet,
}

impl Comparison {
    /// Of two canonical objects.
    pub(super) fn of(old: &Value, new: &Value, shape: Shape<'_>) -> Self {
        let mut walk = Walk { found: Self::default(), path: Vec::new() };
        walk.compare(Some(old), Some(new), shape);
        walk.found
    }

    pub(super) fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// Added and modified.
    pub(super) fn changed(&self) -> FieldSet {
        self.modified.union(&self.added)
    }

    /// Without these fields and all below them.
    pub(super) fn without(self, fields: &FieldSet) -> Self {
        if fields.is_empty() {
            return self;
        }
        Self {
            removed: self.removed.without(fields),
            modified: self.modified.without(fields),
            added: self.added.without(fields),
        }
    }
}

struct Walk {
    found: Comparison,
    path: Vec<PathElement>,
}

/// What stands for an object that is always there.
static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

impl Walk {
    /// At least one of the two is there.
    fn compare(&mut self, old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>) {
        let is_leaf = match shape.atom() {
            Atom::Scalar | Atom::Whole => true,
            // Empty and unset are told apart as if they were scalars.
            _ => is_empty(old) && is_empty(new),
        };
        if is_leaf {
            return self.leaf(old, new);
        }
        if old == new {
            return;
        }
        match shape.atom() {
            Atom::Struct(object) => self.fields(old, new, object),
            Atom::Map(item) => self.entries(old, new, item),
            atom @ (Atom::Set(item) | Atom::Keyed(item, _)) => self.items(old, new, &atom, item),
            Atom::Scalar | Atom::Whole => {}
        }
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            _ => {}
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            (old, new) if old != new => self.found.modified.insert(&self.path),
            _ => {}
        }
    }

    fn at(&mut self, element: PathElement, old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>) {
        self.path.push(element);
        self.compare(old, new, shape);
        self.path.pop();
    }

    fn fields(&mut self, old: Option<&Value>, new: Option<&Value>, object: &Object) {
        for field in &object.fields {
            let is_stated = |side: Option<&Value>| side.is_some_and(|side| side.get(&field.name).is_some());
            let is_new = old.is_none() || new.is_none();
            let is_there = is_stated(old) || is_stated(new) || is_always(field) && is_new;
            if !is_there {
                continue;
            }
            let (old, new) = (field_of(old, field), field_of(new, field));
            if old.is_some() || new.is_some() {
                self.at(PathElement::field(&field.name), old, new, Shape::of_field(field));
            }
        }
    }

    fn entries(&mut self, old: Option<&Value>, new: Option<&Value>, item: Shape<'_>) {
        let none = Map::new();
        let old = old.and_then(Value::as_object).unwrap_or(&none);
        let new = new.and_then(Value::as_object).unwrap_or(&none);
        for (key, value) in old {
            self.at(PathElement::field(key), Some(value), new.get(key), item);
        }
        for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            self.at(PathElement::field(key), None, Some(value), item);
        }
    }

    fn items(&mut self, old: Option<&Value>, new: Option<&Value>, atom: &Atom<'_>, item: Shape<'_>) {
        let (mut old, new) = (index(old, atom), index(new, atom));
        for (element, new) in new {
            let old = old.remove(&element).unwrap_or_default();
            self.occurrences(element, &old, &new, item);
        }
        for (element, old) in old {
            self.occurrences(element, &old, &[], item);
        }
    }

    /// Items that are there twice have one owner as a whole.
    fn occurrences(&mut self, element: PathElement, old: &[&Value], new: &[&Value], item: Shape<'_>) {
        match (old, new) {
            ([] | [_], [] | [_]) => self.at(element, old.first().copied(), new.first().copied(), item),
            ([_, _, ..], [_, _, ..]) => {
                if old != new {
                    self.path.push(element);
                    self.found.modified.insert(&self.path);
                    self.path.pop();
                }
            }
            ([_, _, ..], _) => {
                if let [new] = new {
                    self.at(element.clone(), None, Some(new), item);
                }
                self.path.push(element);
                self.found.removed.insert(&self.path);
                self.path.pop();
            }
            (_, [_, _, ..]) => {
                if let [old] = old {
                    self.at(element.clone(), Some(old), None, item);
                }
                self.path.push(element);
                self.found.added.insert(&self.path);
                self.path.pop();
            }
        }
    }
}

/// The field of an object that is there; one that is always there is empty where nothing is said of it.
fn field_of<'v>(object: Option<&'v Value>, field: &Field) -> Option<&'v Value> {
    let nothing = if field.value { &*EMPTY } else { &Value::Null };
    object?.as_object()?.get(&field.name).or_else(|| is_always(field).then_some(nothing))
}

/// Go's types always have the field: an object that is no pointer, or a list that is written also when it is empty. An empty
/// list of owners says something, and is left out where there is none.
fn is_always(field: &Field) -> bool {
    if field.name == "managedFields" {
        return false;
    }
    field.value || field.empty == Empty::Kept && matches!(field.ty, Type::List(_) | Type::Map(_))
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// Items by their place; what has none is passed over.
fn index<'v>(list: Option<&'v Value>, atom: &Atom<'_>) -> BTreeMap<PathElement, Vec<&'v Value>> {
    let mut places: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(place) = atom.place_of(item) {
            places.entry(place).or_default().push(item);
        }
    }
    places
}

//! What an object becomes when a configuration is laid over it: stated fields win, others stay.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::path::PathElement;
use super::shape::{Atom, Shape};

/// `live` with everything that `config` states. Items of `config` have their places, each once.
pub(super) fn merge(live: &Value, config: &Value, shape: Shape<'_>) -> Value {
    merged(Some(live), Some(config), shape).unwrap_or_else(|| Value::Object(Map::new()))
}

fn merged(live: Option<&Value>, config: Option<&Value>, shape: Shape<'_>) -> Option<Value> {
    let stated = || config.or(live).cloned();
    match shape.atom() {
        Atom::Scalar | Atom::Whole => stated(),
        Atom::Struct(_) | Atom::Map(_) => {
            let (old, new) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
            if old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty) {
                return stated();
            }
            merged_map(old, new, shape)
        }
        atom @ (Atom::Set(item) | Atom::Keyed(item, _)) => {
            let (old, new) = (live.and_then(Value::as_array), config.and_then(Value::as_array));
            if old.is_none_or(Vec::is_empty) && new.is_none_or(Vec::is_empty) {
                return stated();
            }
            let none = Vec::new();
            merged_list(old.unwrap_or(&none), new.unwrap_or(&none), &atom, item)
        }
    }
}

fn merged_map(old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>, shape: Shape<'_>) -> Option<Value> {
    let none = Map::new();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    let mut out = Map::new();
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        let (old, new) = (old.get(key), new.get(key));
        let value = match shape.within(&PathElement::field(key)) {
            Some(inner) => merged(old, new, inner),
            None => new.or(old).cloned(),
        };
        if let Some(value) = value {
            out.insert(key.clone(), value);
        }
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

/// The order of `new` counts among its items; others stay between those that were their neighbours.
fn merged_list(old: &[Value], new: &[Value], atom: &Atom<'_>, item: Shape<'_>) -> Option<Value> {
    let old = places(old, atom);
    let new = places(new, atom);
    let mut by_place: BTreeMap<&PathElement, Option<&Value>> = BTreeMap::new();
    for (place, value) in &old {
        // Of items that are there twice none is merged with.
        by_place.entry(place).and_modify(|known| *known = None).or_insert(Some(*value));
    }
    let stated: BTreeSet<&PathElement> = new.iter().map(|(place, _)| place).collect();
    let mut shared: VecDeque<&PathElement> =
        new.iter().map(|(place, _)| place).filter(|place| by_place.contains_key(place)).collect();
    let mut out = Vec::with_capacity(old.len().max(new.len()));
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let (mut left, mut right) = (0, 0);
    let mut next_shared = shared.pop_front();
    while left < old.len() || right < new.len() {
        if let (Some((place, _)), Some((wanted, value))) = (old.get(left), new.get(right)) {
            if place == wanted {
                done.insert(place);
                let merged = merged(by_place.get(place).copied().flatten(), Some(value), item);
                out.extend(merged);
                (left, right) = (left + 1, right + 1);
                next_shared = shared.pop_front();
                continue;
            }
            if stated.contains(place) && next_shared.is_some_and(|next| next != place) {
                left += 1;
                continue;
            }
        }
        if let Some((place, value)) = old.get(left) {
            if !stated.contains(place) {
                out.push((*value).clone());
                left += 1;
                continue;
            }
            if done.contains(place) {
                left += 1;
            }
        }
        if let Some((place, value)) = new.get(right) {
            done.insert(place);
            out.extend(merged(by_place.get(place).copied().flatten(), Some(value), item));
            right += 1;
            if next_shared == Some(place) {
                next_shared = shared.pop_front();
            }
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

fn places<'v>(list: &'v [Value], atom: &Atom<'_>) -> Vec<(PathElement, &'v Value)> {
    list.iter().filter_map(|value| Some((atom.place_of(value).ok()?, value))).collect()
}

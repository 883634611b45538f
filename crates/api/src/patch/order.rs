//! The order of items after a strategic merge: that of the patch among items the patch names, that of the object among the
//! others; where both are in the object, an item that stood before another stays before it.

use std::collections::BTreeMap;

use serde_json::Value;

/// What tells an item from others: the value of its merge key, or itself.
pub(super) fn identity(item: &Value, key: Option<&str>) -> Option<String> {
    match key {
        Some(key) => item.get(key).map(ToString::to_string),
        None => Some(item.to_string()),
    }
}

/// `merged` in the order that `order` (of the patch) and `server` (of the object) ask for.
pub(super) fn arrange(merged: Vec<Value>, order: &[Value], server: &[Value], key: Option<&str>) -> Vec<Value> {
    let (order, server) = (positions(order, key), positions(server, key));
    let place = |item: &Value, places: &BTreeMap<String, usize>| {
        identity(item, key).and_then(|identity| places.get(&identity).copied())
    };
    let (mut patched, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(item, &order).is_some());
    patched.sort_by_cached_key(|item| place(item, &order));
    others.sort_by_cached_key(|item| place(item, &server).unwrap_or(usize::MAX));

    let mut arranged = Vec::with_capacity(patched.len() + others.len());
    let (mut patched, mut others) = (patched.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), patched.peek()) {
            (None, None) => return arranged,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(patched)) => {
                place(other, &server).zip(place(patched, &server)).is_some_and(|(other, patched)| other < patched)
            }
        };
        arranged.extend(if other_first { others.next() } else { patched.next() });
    }
}

/// Items of `patch` stand in `order`, in the same order.
pub(super) fn agrees(patch: &[Value], order: &[Value], key: Option<&str>) -> bool {
    let mut order = order.iter();
    patch.iter().all(|item| order.any(|ordered| identity(ordered, key) == identity(item, key)))
}

fn positions(items: &[Value], key: Option<&str>) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(identity) = identity(item, key) {
            places.entry(identity).or_insert(index);
        }
    }
    places
}

//! Strategic merge patch: like a merge patch, but lists that the schema calls mergeable are merged item by item, and
//! directives (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList/F`, `$setElementOrder/F`) say what a merge cannot.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::order::{agrees, arrange, identity};
use super::{PatchError, kind_of};
use crate::schema::{Field, PatchStrategy, Schema, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

/// What `document`, an object of `definition`, becomes by `patch`; null changes nothing.
pub fn apply(document: &Value, patch: &Value, definition: &str) -> Result<Value, PatchError> {
    let patch = match patch {
        Value::Object(patch) => patch,
        Value::Null => return Ok(document.clone()),
        other => return Err(PatchError::NoMap { found: kind_of(other) }),
    };
    let schema = Schema::get();
    let ty = schema.object_type(definition);
    let ty = ty.ok_or_else(|| PatchError::NoSchema { definition: definition.to_owned() })?;
    let original = document.as_object().cloned().unwrap_or_default();
    Merge { schema }.object(original, patch, ty, "").map(Value::Object)
}

struct Merge {
    schema: &'static Schema,
}

/// What the schema says of the value under a key.
struct Facts<'a> {
    ty: &'a Type,
    strategy: PatchStrategy,
    merge_key: Option<&'a str>,
}

/// A `$patch` directive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

/// The items of a patch for a list of objects, by what their directives say.
struct Items<'a> {
    /// With their identity.
    merged: Vec<(String, &'a Map<String, Value>)>,
    deleted: BTreeSet<String>,
    /// The merged items are all that stays.
    replace: bool,
}

impl Merge {
    fn object(
        &self,
        mut original: Map<String, Value>,
        patch: &Map<String, Value>,
        ty: &Type,
        path: &str,
    ) -> Result<Map<String, Value>, PatchError> {
        match directive(patch, path)? {
            Directive::Replace => return Ok(without_directives(patch)),
            Directive::Delete => return Ok(Map::new()),
            Directive::Merge => {}
        }
        retain_keys(&mut original, patch, path)?;
        let server_order = lists_to_order(&original, patch);
        for (key, value) in patch {
            if is_directive(key) {
                continue;
            }
            if value.is_null() {
                original.remove(key);
                continue;
            }
            let path = join(path, key);
            let facts = self.facts(ty, key);
            let merged = match (original.remove(key), value) {
                (Some(Value::Object(original)), Value::Object(patch)) => {
                    Some(Value::Object(self.object(original, patch, facts.ty, &path)?))
                }
                (Some(Value::Array(original)), Value::Array(patch)) if facts.strategy.merges() => {
                    Some(Value::Array(self.list(original, patch, &facts, &path)?))
                }
                (_, value) => clean(value),
            };
            if let Some(merged) = merged {
                original.insert(key.clone(), merged);
            }
        }
        delete_from_lists(&mut original, patch, path)?;
        self.order_lists(&mut original, patch, &server_order, ty, path)?;
        Ok(original)
    }

    /// `original` and `patch` item by item.
    fn list(
        &self,
        original: Vec<Value>,
        patch: &[Value],
        facts: &Facts<'_>,
        path: &str,
    ) -> Result<Vec<Value>, PatchError> {
        let of_objects = original.iter().chain(patch).any(Value::is_object);
        if !of_objects {
            let mut merged = original.clone();
            merged.extend(patch.iter().cloned());
            return Ok(arrange(without_doubles(merged), patch, &original, None));
        }
        let key = facts.merge_key.ok_or_else(|| PatchError::NoKeyDeclared { path: path.to_owned() })?;
        let item_type = match facts.ty {
            Type::List(item) => item,
            other => other,
        };
        let items = Items::of(patch, key, path)?;
        if items.replace {
            return Ok(items.merged.into_iter().filter_map(|(_, item)| Some(Value::Object(cleaned(item)?))).collect());
        }
        let is_deleted = |item: &Value| identity(item, Some(key)).is_some_and(|id| items.deleted.contains(&id));
        let server: Vec<Value> = original.into_iter().filter(|item| !is_deleted(item)).collect();
        let mut merged = server.clone();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (place, item) in merged.iter().enumerate() {
            if let Some(identity) = identity(item, Some(key)) {
                places.entry(identity).or_insert(place);
            }
        }
        for (identity, item) in &items.merged {
            match places.get(identity) {
                Some(place) => {
                    let original = merged[*place].as_object().cloned().unwrap_or_default();
                    let path = format!("{path}[{place}]");
                    merged[*place] = Value::Object(self.object(original, item, item_type, &path)?);
                }
                None => {
                    places.insert(identity.clone(), merged.len());
                    merged.extend(cleaned(item).map(Value::Object));
                }
            }
        }
        let order: Vec<Value> = items.merged.into_iter().map(|(_, item)| Value::Object(item.clone())).collect();
        Ok(arrange(merged, &order, &server, Some(key)))
    }

    /// `server_order` has the lists as they were before the merge.
    fn order_lists(
        &self,
        object: &mut Map<String, Value>,
        patch: &Map<String, Value>,
        server_order: &BTreeMap<&str, Vec<Value>>,
        ty: &Type,
        path: &str,
    ) -> Result<(), PatchError> {
        for (field, order) in directives_of(patch, ORDER_PREFIX) {
            let error = || PatchError::ElementOrder { path: join(path, field) };
            let order = order.as_array().ok_or_else(error)?;
            let merge_key = self.facts(ty, field).merge_key;
            let patched: Vec<Value> = match patch.get(field) {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(items)) => items.iter().filter(|i| i.get(DIRECTIVE).is_none()).cloned().collect(),
                Some(_) => return Err(error()),
            };
            if !order.is_empty() && !agrees(&patched, order, merge_key) {
                return Err(error());
            }
            if let Some(Value::Array(list)) = object.get_mut(field) {
                let server = server_order.get(field).map(Vec::as_slice).unwrap_or_default();
                *list = arrange(std::mem::take(list), order, server, merge_key);
            }
        }
        Ok(())
    }

    fn facts<'a>(&'a self, ty: &'a Type, key: &str) -> Facts<'a> {
        let unknown = Facts { ty: &Type::Any, strategy: PatchStrategy::Default, merge_key: None };
        match ty {
            Type::Object(id) => match self.schema.resolve(*id).field(key) {
                Some(Field { ty, patch, merge_key, .. }) => {
                    Facts { ty, strategy: *patch, merge_key: merge_key.as_deref() }
                }
                None => unknown,
            },
            Type::Map(item) => Facts { ty: item, ..unknown },
            _ => unknown,
        }
    }
}

impl<'a> Items<'a> {
    fn of(patch: &'a [Value], key: &str, path: &str) -> Result<Self, PatchError> {
        let mut items = Self { merged: Vec::new(), deleted: BTreeSet::new(), replace: false };
        for item in patch {
            let no_key = || {
                let (path, item, key) = (path.to_owned(), item.clone(), key.to_owned());
                PatchError::NoMergeKey { path, item, key }
            };
            let map = item.as_object().ok_or_else(no_key)?;
            match directive(map, path)? {
                Directive::Replace => items.replace = true,
                Directive::Delete => drop(items.deleted.insert(identity(item, Some(key)).ok_or_else(no_key)?)),
                Directive::Merge => items.merged.push((identity(item, Some(key)).ok_or_else(no_key)?, map)),
            }
        }
        Ok(items)
    }
}

/// The fields that directives with this prefix are of, and what they say.
fn directives_of<'a>(
    patch: &'a Map<String, Value>,
    prefix: &'static str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    patch.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
}

fn lists_to_order<'a>(object: &Map<String, Value>, patch: &'a Map<String, Value>) -> BTreeMap<&'a str, Vec<Value>> {
    let list = |field: &str| object.get(field).and_then(Value::as_array).cloned();
    directives_of(patch, ORDER_PREFIX).filter_map(|(field, _)| Some((field, list(field)?))).collect()
}

fn delete_from_lists(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
) -> Result<(), PatchError> {
    for (field, deleted) in directives_of(patch, DELETE_PREFIX) {
        let deleted = deleted.as_array().ok_or_else(|| PatchError::PrimitiveList { path: join(path, field) })?;
        if let Some(Value::Array(list)) = object.get_mut(field) {
            let deleted: BTreeSet<String> = deleted.iter().map(ToString::to_string).collect();
            list.retain(|item| !deleted.contains(&item.to_string()));
        }
    }
    Ok(())
}

fn directive(patch: &Map<String, Value>, path: &str) -> Result<Directive, PatchError> {
    match patch.get(DIRECTIVE) {
        None => Ok(Directive::Merge),
        Some(found) => match found.as_str() {
            Some("merge") => Ok(Directive::Merge),
            Some("replace") => Ok(Directive::Replace),
            Some("delete") => Ok(Directive::Delete),
            _ => Err(PatchError::UnknownDirective { path: path.to_owned(), found: found.clone() }),
        },
    }
}

/// Removes what `$retainKeys` does not name. The patch sets no other keys.
fn retain_keys(original: &mut Map<String, Value>, patch: &Map<String, Value>, path: &str) -> Result<(), PatchError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let error = || PatchError::RetainKeys { path: path.to_owned() };
    let retained: Vec<&str> = retained.as_array().ok_or_else(error)?.iter().filter_map(Value::as_str).collect();
    let strays =
        |(key, value): (&String, &Value)| !value.is_null() && !is_directive(key) && !retained.contains(&key.as_str());
    if patch.iter().any(strays) {
        return Err(error());
    }
    original.retain(|key, _| retained.contains(&key.as_str()));
    Ok(())
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(DELETE_PREFIX) || key.starts_with(ORDER_PREFIX)
}

/// What a part of the patch is where the object has nothing: without nulls and directives; nothing, if it is one itself.
fn clean(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) => cleaned(map).map(Value::Object),
        Value::Array(list) => Some(Value::Array(list.iter().filter_map(clean).collect())),
        other => Some(other.clone()),
    }
}

fn cleaned(map: &Map<String, Value>) -> Option<Map<String, Value>> {
    match map.get(DIRECTIVE).and_then(Value::as_str) {
        None | Some("merge") => Some(without_directives(map)),
        Some(_) => None,
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    let kept = map.iter().filter(|(key, value)| !is_directive(key) && !value.is_null());
    kept.filter_map(|(key, value)| Some((key.clone(), clean(value)?))).collect()
}

fn without_doubles(list: Vec<Value>) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    list.into_iter().filter(|item| seen.insert(item.to_string())).collect()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

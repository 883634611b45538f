//! How server-side apply sees a value of the schema: as one, as an object of named fields, as a map, as a set, or as a list
//! whose items are told apart by keys.

use serde_json::Value;

use super::path::PathElement;
use crate::schema::{Field, ListType, Object, Schema, Type};

/// The type of a value, and the field that holds it, whose marks count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'s> {
    ty: &'s Type,
    field: Option<&'s Field>,
}

/// What a shape comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Atom<'s> {
    Scalar,
    /// A list or map that has one owner as a whole.
    Whole,
    Struct(&'s Object),
    /// Any keys; values of this shape.
    Map(Shape<'s>),
    /// Each scalar once.
    Set(Shape<'s>),
    /// Items of this shape, told apart by these fields.
    Keyed(Shape<'s>, &'s [String]),
}

/// Why an item has no place in its list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ItemError {
    #[error("associative list with keys may not have non-map elements")]
    Scalar,
    #[error(
        "associative list with keys has an element that omits all key fields {0:?} (and doesn't have default values for any key fields)"
    )]
    Keyless(Vec<String>),
    #[error("associative list without keys has an element that's a map type")]
    Composite,
}

impl Shape<'static> {
    /// Of whole objects of `definition`.
    pub(super) fn of(definition: &str) -> Option<Self> {
        Schema::get().object_type(definition).map(|ty| Self { ty, field: None })
    }
}

impl<'s> Shape<'s> {
    pub(super) fn atom(self) -> Atom<'s> {
        let whole_map = self.field.is_some_and(|field| field.atomic_map);
        match self.ty {
            Type::Object(id) => {
                let object = Schema::get().resolve(*id);
                if object.atomic || whole_map { Atom::Whole } else { Atom::Struct(object) }
            }
            Type::Map(_) if whole_map => Atom::Whole,
            Type::Map(item) => Atom::Map(Shape { ty: item, field: None }),
            Type::List(item) => {
                let item = Shape { ty: item, field: None };
                match self.field.map(|field| &field.list) {
                    Some(ListType::Set) => Atom::Set(item),
                    Some(ListType::Map(keys)) => Atom::Keyed(item, keys),
                    _ => Atom::Whole,
                }
            }
            Type::Any => Atom::Whole,
            _ => Atom::Scalar,
        }
    }

    pub(super) fn of_field(field: &'s Field) -> Self {
        Self { ty: &field.ty, field: Some(field) }
    }

    /// The element is a field that this object names.
    pub(super) fn names(self, element: &PathElement) -> bool {
        match (self.atom(), element) {
            (Atom::Struct(object), PathElement::Field(name)) => object.field(name).is_some(),
            _ => false,
        }
    }

    /// The shape of what is at `element`.
    pub(super) fn within(self, element: &PathElement) -> Option<Shape<'s>> {
        match (self.atom(), element) {
            (Atom::Struct(object), PathElement::Field(name)) => object.field(name).map(Self::of_field),
            (Atom::Map(item), PathElement::Field(_)) => Some(item),
            (Atom::Set(item) | Atom::Keyed(item, _), _) => Some(item),
            _ => None,
        }
    }
}

impl Atom<'_> {
    /// The place of `item` in a set or in a list with keys.
    pub(super) fn place_of(&self, item: &Value) -> Result<PathElement, ItemError> {
        let Self::Keyed(shape, keys) = self else {
            let is_scalar = !matches!(item, Value::Object(_) | Value::Array(_) | Value::Null);
            return if is_scalar { Ok(PathElement::Value(item.clone())) } else { Err(ItemError::Composite) };
        };
        let map = item.as_object().ok_or(ItemError::Scalar)?;
        let value_of = |key: &String| {
            let stated = map.get(key).filter(|value| !value.is_null()).cloned();
            stated.or_else(|| shape.default_of(key)).map(|value| (key.as_str().into(), value))
        };
        let mut fields = keys.iter().filter_map(value_of).collect::<Vec<_>>();
        if fields.is_empty() {
            return Err(ItemError::Keyless(keys.to_vec()));
        }
        fields.sort_by(|a: &(Box<str>, Value), b| a.0.cmp(&b.0));
        Ok(PathElement::Key(fields))
    }
}

impl Shape<'_> {
    fn default_of(self, key: &str) -> Option<Value> {
        let Atom::Struct(object) = self.atom() else { return None };
        object.field(key)?.default.as_deref().map(Value::from)
    }
}

//! Columns that several kinds have, and the two ways to make others.

use crate::resource::Column;

pub(crate) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name of the object, unique among its kind in a namespace.",
    priority: 0,
};

pub(crate) const AGE: Column = Column {
    name: "Age",
    kind: "string",
    format: "",
    description: "Time since the object was created, by the server's clock.",
    priority: 0,
};

pub(crate) const CONTAINERS: Column = wide("Containers", "string", "Names of the containers in the template.");
pub(crate) const IMAGES: Column = wide("Images", "string", "Images of the containers in the template.");

/// A column that is always shown.
pub(crate) const fn shown(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 0 }
}

/// A column that `-o wide` shows.
pub(crate) const fn wide(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 1 }
}

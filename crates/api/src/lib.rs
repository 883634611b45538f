//! Kubernetes objects as values: schema, strict decoding, defaults, validation, patches, selectors, tables, and the snapshots
//! that readers keep of them.
//!
//! Pure: no socket, file, clock or randomness. HTTP and storage belong to `stead-apiserver`, list and watch to `stead-client`.

pub mod decode;
pub mod discovery;
pub mod field;
pub mod item;
pub mod kinds;
pub mod legacy;
pub mod managed_fields;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod resource;
mod schema;
pub mod selector;
pub mod service_snapshot;
pub mod snapshot;
pub mod status;
pub mod table;
mod wire;

pub use quantity::bytes_of_quantity;

#[cfg(test)]
mod sample;

//! The Kubernetes API over a store: resources, admission, allocators, watch streams, tables, discovery, TLS.
//!
//! [`Server`] is the whole of it; [`pki`] makes the certificates that it and its clients show. What an object of a kind may
//! look like is `stead-api`'s, how bytes are kept `stead-store`'s, and what follows from an object controllers'.

pub mod auth;
pub mod config;
pub mod pki;
pub mod server;
pub mod tls;

mod agent;
mod alloc;
mod authenticate;
mod authorize;
mod body;
mod bootstrap;
mod cache;
mod compaction;
mod compression;
mod discovery;
mod dispatch;
mod document;
mod events;
mod export;
mod filter;
mod health;
mod legacy;
mod managing;
mod metrics;
mod node_limits;
mod openapi;
mod outbound;
mod own;
mod path;
mod proxy;
mod query;
mod read_only;
mod refusal;
mod restricted;
mod sealed;
mod serve;
mod service;
mod shares;
mod stamp;
mod storage;
mod token;
mod ttl;
mod unread;
mod verbs;
mod view;
mod watching;
mod yaml;

pub use auth::Identity;
pub use config::{Config, ConfigError, ExternalRange};
pub use export::{Export, export};
pub use sealed::{SealingKeyError, SealingKeys};
pub use server::{Server, ServerError};
pub use shares::Limits;
pub use token::{TokenKey, TokenKeyError};

//! The image store: what images this machine has, unpacked once per layer and shared by every lab and command on it.
//!
//! Everything is found by its digest: `config/HEX` is an image (its OCI configuration), `layers/HEX` a layer's files, ready to
//! be a lower directory of overlayfs; `names.json` says which name means which image. Writers hold the lock file, so that several
//! labs and commands run side by side; readers need none, for each write is a rename. Nothing here talks to a registry.

mod archive;
mod builtin;
mod config;
mod layer;
mod name;
mod store;

pub use archive::ArchiveError;
pub use builtin::{BUSYBOX, BuiltinError, HELLO_APP_1, HELLO_APP_2};
pub use config::{ImageConfig, InvalidConfig};
pub use layer::{LayerError, Limits};
pub use name::{ImageName, InvalidImageName};
pub use store::{Image, Listed, Store, StoreError};

use std::{fmt, fmt::Write as _};

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, printed as `sha256:HEX`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(bytes))
    }

    fn from_hash(hash: Sha256) -> Self {
        let mut hex = String::with_capacity(64);
        for byte in hash.finalize() {
            write!(hex, "{byte:02x}").expect("a String takes every write");
        }
        Self(hex)
    }

    /// Reads `sha256:HEX`; `None` for anything else, so that a digest is always a safe file name.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(hex.to_owned()))
    }

    pub(crate) fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

//! A store in which Secrets lie encrypted; everything else passes through as it is.
//!
//! A value is sealed with AES-256-GCM under a random nonce; its key in the store is part of what is authenticated, so that no
//! value can be moved to another Secret. An envelope names the key it was sealed with: the first line of the key file seals,
//! all of them open, so that keys can be rotated by putting a new one on top. A value that no key opens stays as it is, which
//! its reader finds to be no object.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::StreamExt as _;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use stead_model::Revision;
use stead_store::{
    Event, KeyValue, Lease, Op, OpOutcome, Page, RangeRequest, Store, StoreError, Txn, TxnOutcome, WatchBatch,
    WatchStream,
};

use crate::pki::{PkiError, write_private};

/// Where the keys of sealed values begin.
const PREFIX: &[u8] = b"/registry/secrets/";
/// What an envelope begins with; the key's id and a colon follow, then nonce and ciphertext.
const MAGIC: &[u8] = b"stead:enc:aesgcm:v1:";
const KEY_LENGTH: usize = 32;

/// The keys that Secrets are sealed with.
pub struct SealingKeys {
    /// The first one seals.
    keys: Vec<(String, LessSafeKey)>,
}

#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] PkiError),
    #[error("{path}, line {line}, is no key: `ID BASE64` of 32 bytes is needed")]
    Line { path: PathBuf, line: usize },
    #[error("{path} has no key; with it gone no Secret can be read: put the key back, or remove file and Secrets")]
    Empty { path: PathBuf },
    #[error("the system gives no random numbers")]
    Random,
}

impl SealingKeys {
    /// The keys in `path`, one a line; where there is no such file it is made with one key (mode 0600).
    pub fn load_or_create(path: &Path) -> Result<Self, SealingKeyError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = new_line()?;
                write_private(path, &text)?;
                text
            }
            Err(source) => return Err(SealingKeyError::Read { path: path.into(), source }),
        };
        Self::parse(&text, path)
    }

    /// The keys in `path`, to read with alone: none where there is no such file.
    pub fn load(path: &Path) -> Result<Self, SealingKeyError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { keys: Vec::new() }),
            Err(source) => Err(SealingKeyError::Read { path: path.into(), source }),
        }
    }

    /// A key that is kept nowhere: for tests and throw-away servers.
    pub fn create() -> Result<Self, SealingKeyError> {
        Self::parse(&new_line()?, Path::new(""))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SealingKeyError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let key = parse_line(line).ok_or(SealingKeyError::Line { path: path.into(), line: index + 1 })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(SealingKeyError::Empty { path: path.into() });
        }
        Ok(Self { keys })
    }

    fn seal(&self, key: &[u8], value: &[u8]) -> Result<Bytes, StoreError> {
        let failed = |_| StoreError::Engine { step: "sealing a Secret", cause: "no random numbers".to_owned() };
        let (id, sealer) = &self.keys[0];
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut text = value.to_vec();
        sealer
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(key), &mut text)
            .map_err(failed)?;
        Ok([MAGIC, id.as_bytes(), b":", &nonce, &text].concat().into())
    }

    /// `None`: it is no envelope, of another key of the store, or sealed with a key that is not there.
    fn open(&self, key: &[u8], value: &[u8]) -> Option<Bytes> {
        let rest = value.strip_prefix(MAGIC)?;
        let colon = rest.iter().position(|byte| *byte == b':')?;
        let (id, rest) = (&rest[..colon], &rest[colon + 1..]);
        let (_, opener) = self.keys.iter().find(|(known, _)| known.as_bytes() == id)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = opener.open_in_place(nonce, Aad::from(key), &mut text).ok()?;
        Some(Bytes::copy_from_slice(opened))
    }

    pub(crate) fn opened(&self, mut stored: KeyValue) -> KeyValue {
        if is_sealed(&stored.key)
            && let Some(value) = self.open(&stored.key, &stored.value)
        {
            stored.value = value;
        }
        stored
    }

    fn opened_event(&self, event: &Arc<Event>) -> Arc<Event> {
        if !is_sealed(&event.key_value.key) {
            return event.clone();
        }
        let previous = event.previous.clone().map(|previous| self.opened(previous));
        Arc::new(Event { kind: event.kind, key_value: self.opened(event.key_value.clone()), previous })
    }

    fn sealed(&self, op: Op) -> Result<Op, StoreError> {
        match op {
            Op::Put { key, value, lease } if is_sealed(&key) => {
                let value = self.seal(&key, &value)?;
                Ok(Op::Put { key, value, lease })
            }
            op => Ok(op),
        }
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

pub(crate) fn is_sealed(key: &[u8]) -> bool {
    key.starts_with(PREFIX)
}

fn parse_line(line: &str) -> Option<(String, LessSafeKey)> {
    let (id, key) = line.trim().split_once(' ')?;
    let key = BASE64_STANDARD.decode(key.trim()).ok().filter(|key| key.len() == KEY_LENGTH)?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let key = UnboundKey::new(&AES_256_GCM, &key).ok()?;
    is_id.then(|| (id.to_owned(), LessSafeKey::new(key)))
}

fn new_line() -> Result<String, SealingKeyError> {
    let random = SystemRandom::new();
    let (mut id, mut key) = ([0; 4], [0; KEY_LENGTH]);
    random.fill(&mut id).and_then(|()| random.fill(&mut key)).map_err(|_| SealingKeyError::Random)?;
    Ok(format!("key-{:08x} {}\n", u32::from_be_bytes(id), BASE64_STANDARD.encode(key)))
}

/// A store that seals what is a Secret's on its way in, and opens it on its way out.
#[derive(Debug)]
pub(crate) struct SealedStore {
    store: Arc<dyn Store>,
    keys: Arc<SealingKeys>,
}

impl SealedStore {
    pub(crate) fn new(store: Arc<dyn Store>, keys: Arc<SealingKeys>) -> Self {
        Self { store, keys }
    }
}

#[async_trait::async_trait]
impl Store for SealedStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnOutcome, StoreError> {
        for ops in [&mut txn.success, &mut txn.failure] {
            *ops = std::mem::take(ops).into_iter().map(|op| self.keys.sealed(op)).collect::<Result<_, _>>()?;
        }
        let mut outcome = self.store.txn(txn).await?;
        for outcome in &mut outcome.outcomes {
            if let OpOutcome::Get(found) | OpOutcome::Delete(found) = outcome {
                *found = found.take().map(|found| self.keys.opened(found));
            }
        }
        Ok(outcome)
    }

    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError> {
        let mut page = self.store.range(request).await?;
        page.items = page.items.into_iter().map(|item| self.keys.opened(item)).collect();
        Ok(page)
    }

    async fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<WatchStream, StoreError> {
        let keys = self.keys.clone();
        let open = move |batch: WatchBatch| {
            let events = batch.events.iter().map(|event| keys.opened_event(event)).collect();
            WatchBatch { revision: batch.revision, events }
        };
        let stream = self.store.watch(start, end, from).await?;
        Ok(stream.map(move |batch| batch.map(&open)).boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn grant_lease(&self, ttl_seconds: u32) -> Result<Lease, StoreError> {
        self.store.grant_lease(ttl_seconds).await
    }

    async fn keep_lease_alive(&self, lease: Lease) -> Result<(), StoreError> {
        self.store.keep_lease_alive(lease).await
    }

    async fn revoke_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.store.revoke_lease(lease).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &[u8] = b"/registry/secrets/a/b";

    #[test]
    fn values_open_at_their_place_and_with_their_key_alone() {
        let (keys, others) = (SealingKeys::create().unwrap(), SealingKeys::create().unwrap());
        let sealed = keys.seal(KEY, b"plain text").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"plain"));
        assert_ne!(sealed, keys.seal(KEY, b"plain text").unwrap(), "no nonce is used twice");
        assert_eq!(keys.open(KEY, &sealed).as_deref(), Some(&b"plain text"[..]));
        assert_eq!(keys.open(b"/registry/secrets/a/c", &sealed), None);
        assert_eq!(others.open(KEY, &sealed), None);
        for end in 0..sealed.len() {
            assert_eq!(keys.open(KEY, &sealed[..end]), None);
        }
        let mut changed = sealed.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(keys.open(KEY, &changed), None);
    }

    #[test]
    fn keys_are_rotated_by_a_new_line_on_top() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.key");
        let old = SealingKeys::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = old.seal(KEY, b"x").unwrap();
        let text = format!("{}{}", new_line().unwrap(), fs::read_to_string(&path).unwrap());
        fs::write(&path, text).unwrap();
        let both = SealingKeys::load_or_create(&path).unwrap();
        assert_eq!(both.open(KEY, &sealed).as_deref(), Some(&b"x"[..]));
        assert_eq!(old.open(KEY, &both.seal(KEY, b"x").unwrap()), None, "the new key seals");
        for wrong in ["", "\n", "id", "id AAAA", " QQ=="] {
            fs::write(&path, wrong).unwrap();
            assert!(SealingKeys::load_or_create(&path).is_err(), "{wrong:?}");
        }
    }
}

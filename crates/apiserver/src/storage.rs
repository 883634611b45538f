//! Objects and claims in the store: one transaction for each write, each conditional on what was read before.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};
use stead_api::{resource::Resource, status::ApiError};
use stead_model::Revision;
use stead_store::{Compare, KeyValue, Lease, Op, OpOutcome, RangeRequest, Store, StoreError, Txn};

use tokio::time::Instant;

use crate::{cache::with_revision, metrics::Writes, refusal::Refusal};

/// An object as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// In the stored form, with `metadata.resourceVersion`.
    pub(crate) object: Value,
    pub(crate) revision: Revision,
    pub(crate) lease: Option<Lease>,
}

/// Keys that are written or removed together with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Key and owner; none of these may exist before.
    pub(crate) claim: Vec<(String, String)>,
    pub(crate) release: Vec<String>,
    /// Other objects that the write relies on, as they were read.
    pub(crate) relies_on: Vec<(String, Revision)>,
}

/// How a conditional write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    At(Revision),
    /// The object is not as it was read (or exists, or is gone).
    Changed,
    /// What the write relies on is not as it was read.
    OthersChanged,
    /// Somebody holds these claims; the object is as it was read.
    Taken(Vec<String>),
}

/// The objects of one store.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) writes: Writes,
}

impl Storage {
    /// The object at `key`, as of now.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Stored>, Refusal> {
        let start = Bytes::copy_from_slice(key.as_bytes());
        let end = [key.as_bytes(), &[0]].concat().into();
        let page = self.store.range(RangeRequest { start, end, revision: None, limit: Some(1) }).await?;
        page.items.first().map(read).transpose()
    }

    /// Which of these keys exist.
    pub(crate) async fn existing(&self, keys: &[&str]) -> Result<Vec<String>, StoreError> {
        let gets = keys.iter().map(|key| Op::Get { key: bytes(key) }).collect();
        let outcome = self.store.txn(Txn { success: gets, ..Txn::default() }).await?;
        let there = keys.iter().zip(outcome.outcomes).filter(|(_, found)| matches!(found, OpOutcome::Get(Some(_))));
        Ok(there.map(|(key, _)| (*key).to_owned()).collect())
    }

    /// Writes `object` where the key is as of `before` (zero: does not exist).
    pub(crate) async fn put(
        &self,
        key: &str,
        object: &Value,
        before: Revision,
        lease: Option<Lease>,
        claims: &Claims,
    ) -> Result<Written, StoreError> {
        let value = encode(object);
        let put = Op::Put { key: bytes(key), value, lease };
        self.write(key, before, put, claims, &[]).await
    }

    /// Removes what is at `key` as of `before`, its claims, and `others` whatever they hold.
    pub(crate) async fn delete(
        &self,
        key: &str,
        before: Revision,
        claims: &Claims,
        others: &[String],
    ) -> Result<Written, StoreError> {
        self.write(key, before, Op::Delete { key: bytes(key) }, claims, others).await
    }

    async fn write(
        &self,
        key: &str,
        before: Revision,
        op: Op,
        claims: &Claims,
        others: &[String],
    ) -> Result<Written, StoreError> {
        let mut txn = Txn { compare: vec![Compare::ModRevision { key: bytes(key), is: before }], ..Txn::default() };
        txn.success.push(op);
        txn.failure.push(Op::Get { key: bytes(key) });
        for (other, revision) in &claims.relies_on {
            txn.compare.push(Compare::ModRevision { key: bytes(other), is: *revision });
            txn.failure.push(Op::Get { key: bytes(other) });
        }
        for (claim, owner) in &claims.claim {
            txn.compare.push(Compare::ModRevision { key: bytes(claim), is: Revision::ZERO });
            txn.success.push(Op::Put { key: bytes(claim), value: bytes(owner), lease: None });
            txn.failure.push(Op::Get { key: bytes(claim) });
        }
        for key in claims.release.iter().chain(others) {
            txn.success.push(Op::Delete { key: bytes(key) });
        }
        let operation = match &txn.success[0] {
            Op::Delete { .. } => "delete",
            _ if before == Revision::ZERO => "create",
            _ => "update",
        };
        let since = Instant::now();
        let outcome = self.store.txn(txn).await?;
        self.writes.took(operation, since.elapsed());
        if outcome.succeeded {
            return Ok(Written::At(outcome.revision));
        }
        let mut found = outcome.outcomes.into_iter().map(|outcome| match outcome {
            OpOutcome::Get(found) => found,
            OpOutcome::Put | OpOutcome::Delete(_) => None,
        });
        let mut next = || found.next().flatten().map_or(Revision::ZERO, |found| found.mod_revision);
        if next() != before {
            return Ok(Written::Changed);
        }
        for (_, revision) in &claims.relies_on {
            if next() != *revision {
                return Ok(Written::OthersChanged);
            }
        }
        let taken = claims.claim.iter().zip(found).filter(|(_, found)| found.is_some());
        Ok(Written::Taken(taken.map(|((claim, _), _)| claim.clone()).collect()))
    }
}

/// Reads what is stored at a key.
pub(crate) fn read(stored: &KeyValue) -> Result<Stored, Refusal> {
    let mut object = serde_json::from_slice(&stored.value)
        .map_err(|error| ApiError::internal("a stored object cannot be read", format!("{:?}: {error}", stored.key)))?;
    with_revision(&mut object, stored.mod_revision);
    Ok(Stored { object, revision: stored.mod_revision, lease: stored.lease })
}

/// `NAMESPACE/NAME`, or the name alone where there is no namespace: an object's place within its kind.
pub(crate) fn object_path(resource: &Resource, namespace: &str, name: &str) -> String {
    if resource.namespaced { format!("{namespace}/{name}") } else { name.to_owned() }
}

/// What is stored of an object: all but its revision, which the store keeps.
fn encode(object: &Value) -> Bytes {
    let json = match object {
        Value::Object(object) => serde_json::to_vec(&Unrevised(object)),
        other => serde_json::to_vec(other),
    };
    json.expect("a JSON value can be written").into()
}

/// An object as it is written without `metadata.resourceVersion`.
struct Unrevised<'a>(&'a Map<String, Value>);

impl Serialize for Unrevised<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            match value {
                Value::Object(metadata) if key == "metadata" => map.serialize_entry(key, &Unversioned(metadata))?,
                value => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

struct Unversioned<'a>(&'a Map<String, Value>);

impl Serialize for Unversioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(key, _)| *key != "resourceVersion"))
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

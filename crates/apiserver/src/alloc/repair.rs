//! Keeps claims and Services together: every address and node port that a Service has is claimed for it, and nothing else is.
//!
//! Both are written in one transaction, so they only part when somebody deletes or edits IPAddress objects, or with a store that
//! was written by something else. What is wrong is found by [`plan`] on one revision of the store and put right by writes that
//! hold only while that is as it was; what only people can put right becomes Events. At start, when an IPAddress is deleted by hand,
//! and every three minutes. Looks go on beside serving, but the allocator is held until one that was asked for is over: what a
//! Service holds without a claim would look free.

mod plan;

use std::{
    net::IpAddr,
    ops::RangeInclusive,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use stead_api::kinds::{service, service_cidr};
use stead_model::Revision;
use stead_store::{Compare, KeyValue, Op, RangeRequest, StoreError, Txn, prefix_end};

use self::plan::{Address, Facts, Holder, Repair, Suspects, plan};
use super::{
    grant::{address_key, claim_of, port_key},
    range::{ADDRESS_PREFIX, PORT_PREFIX},
};
use crate::{events::record, server::Inner};

const EVERY: Duration = Duration::from_secs(180);
/// After a look that failed; somebody may wait for it.
const RETRY: Duration = Duration::from_secs(1);
/// How many objects are read from the store at a time.
const PAGE: usize = 5_000;

/// Repairs at once, which opens the allocator, and then again and again, as long as there is a server.
pub(crate) async fn keep(server: Weak<Inner>) {
    let mut suspects = Suspects::new();
    loop {
        let Some(strong) = server.upgrade() else { return };
        let asked = strong.allocator.looks_asked();
        let pause = match pass(&strong, suspects.clone()).await {
            Ok(next) => {
                suspects = next;
                strong.allocator.open(asked);
                EVERY
            }
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "claims of Services could not be looked through");
                RETRY
            }
        };
        let look_asked = strong.allocator.look_asked();
        drop(strong);
        if pause == RETRY {
            tokio::time::sleep(RETRY).await;
            continue;
        }
        // Nobody waits for the next look unless it is asked for.
        let _ = tokio::time::timeout(pause, look_asked).await;
    }
}

/// One look and what follows from it. Returns the node ports that may have leaked.
pub(super) async fn pass(server: &Arc<Inner>, suspects: Suspects) -> Result<Suspects, StoreError> {
    let stored = read(server).await?;
    let (node_ports, now) = (server.config.node_ports.clone(), Timestamp::now());
    let look = move || {
        let facts = stored.facts(node_ports);
        facts
            .unread
            .iter()
            .for_each(|key| tracing::error!(key, "Service cannot be read; nothing is released meanwhile"));
        plan(&facts, &suspects, now)
    };
    let found = tokio::task::spawn_blocking(look).await;
    let found = match found {
        Ok(found) => found,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => return Err(StoreError::Closed),
    };
    for (component, note) in &found.notes {
        record(server, component, note).await;
    }
    let is_clean = found.repairs.is_empty();
    for repair in found.repairs {
        // One that fails is found again by the next look.
        if !write(server, &repair).await? {
            tracing::debug!(?repair, "overtaken");
        }
    }
    if !is_clean {
        server.allocator.refill().await?;
    }
    Ok(found.suspects)
}

/// Everything as it is stored, at one revision.
#[derive(Debug, Default)]
struct Stored {
    services: Vec<KeyValue>,
    addresses: Vec<KeyValue>,
    ranges: Vec<KeyValue>,
    ports: Vec<KeyValue>,
}

async fn read(server: &Inner) -> Result<Stored, StoreError> {
    let at = server.storage.store.revision().await?;
    Ok(Stored {
        services: all(server, &prefix(service::RESOURCE.registry), at).await?,
        addresses: all(server, ADDRESS_PREFIX, at).await?,
        ranges: all(server, &prefix(service_cidr::RESOURCE.registry), at).await?,
        ports: all(server, PORT_PREFIX, at).await?,
    })
}

async fn all(server: &Inner, prefix: &str, at: Revision) -> Result<Vec<KeyValue>, StoreError> {
    let end = prefix_end(prefix.as_bytes());
    let mut start = Bytes::copy_from_slice(prefix.as_bytes());
    let mut found = Vec::new();
    loop {
        let request = RangeRequest { start, end: end.clone(), revision: Some(at), limit: Some(PAGE) };
        let page = server.storage.store.range(request).await?;
        found.extend(page.items);
        match found.last() {
            Some(last) if page.remaining > 0 => start = [&last.key[..], &[0]].concat().into(),
            _ => return Ok(found),
        }
    }
}

fn prefix(registry: &str) -> String {
    format!("/registry/{registry}/")
}

impl Stored {
    /// What cannot be read is left out, Services by name: whoever asks for it is told.
    fn facts(self, node_ports: RangeInclusive<u16>) -> Facts {
        let object = |stored: &KeyValue| serde_json::from_slice::<Value>(&stored.value).ok();
        let services = self.services.iter();
        let unread = services.clone().filter(|stored| object(stored).is_none());
        let addresses = self.addresses.iter();
        let port = |stored: &KeyValue| std::str::from_utf8(stored.key.get(PORT_PREFIX.len()..)?).ok()?.parse().ok();
        Facts {
            unread: unread.map(|stored| String::from_utf8_lossy(&stored.key).into_owned()).collect(),
            holders: services.filter_map(|stored| Holder::of(&object(stored)?, stored.mod_revision)).collect(),
            addresses: addresses.filter_map(|stored| Some(Address::of(object(stored)?, stored.mod_revision))).collect(),
            ranges: self.ranges.iter().filter_map(object).flat_map(|object| service_cidr::ranges(&object)).collect(),
            ports: self.ports.iter().filter_map(|stored| Some((port(stored)?, stored.mod_revision))).collect(),
            node_ports,
        }
    }
}

/// Whether what the repair relies on was as it was seen.
async fn write(server: &Inner, repair: &Repair) -> Result<bool, StoreError> {
    let (key, seen, op) = match repair {
        Repair::Claim { address, holder, seen } => (address_key(*address), *seen, claim(*address, holder)),
        Repair::Remove { name, seen } => (format!("{ADDRESS_PREFIX}{name}"), *seen, None),
        Repair::ClaimPort { port, holder } => (port_key(*port), Revision::ZERO, Some(holder.path.as_str().into())),
        Repair::ReleasePort { port, seen } => (port_key(*port), *seen, None),
    };
    let key = Bytes::from(key);
    let mut compare = vec![Compare::ModRevision { key: key.clone(), is: seen }];
    if let Repair::Claim { holder, .. } | Repair::ClaimPort { holder, .. } = repair {
        let service = format!("{}{}", prefix(service::RESOURCE.registry), holder.path);
        compare.push(Compare::ModRevision { key: service.into(), is: holder.revision });
    }
    let success = vec![match op {
        Some(value) => Op::Put { key, value: Bytes::from(value), lease: None },
        None => Op::Delete { key },
    }];
    Ok(server.storage.store.txn(Txn { compare, success, ..Txn::default() }).await?.succeeded)
}

fn claim(address: IpAddr, holder: &Holder) -> Option<String> {
    Some(claim_of(address, &holder.object))
}

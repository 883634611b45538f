//! The shell around the controllers: watches every kind, finds out what to look at, carries outcomes out, tries again.
//!
//! It decides nothing about objects. A work is never looked at while its last outcome is under way or not yet in the snapshot,
//! so that nothing is done twice; no two works write one object at once; what fails is looked at again after a wait that grows.
//! Nothing waits otherwise: a change leads to its writes at once.

mod carry;
mod desk;
pub(crate) mod lean;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, stream::SelectAll};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, ReplicationController, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    networking::v1::{IPAddress, ServiceCIDR},
};
use kube::Client;
use stead_api::{
    item::FromItem,
    snapshot::{Change, KindChange, Snapshot},
};
use stead_client::{Query, Recorder, collection, watch};
use tokio::task::JoinSet;

use self::{
    carry::{Carrier, Done},
    desk::Desk,
    lean::lean,
};
use crate::{
    Outcome, Source,
    work::{Known, Work, caused_by},
};

/// Changes taken in before work is looked at: what comes together is decided together.
const BATCH: usize = 512;

/// What the controllers are told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's CA certificates in PEM, for the ConfigMap `kube-root-ca.crt` of every namespace. Empty: none is made.
    pub root_ca: String,
    /// The most endpoints in one EndpointSlice (1–1000).
    pub endpoints_per_slice: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { root_ca: String::new(), endpoints_per_slice: 100 }
    }
}

type Changes = SelectAll<futures::stream::BoxStream<'static, KindChange>>;

/// Runs all controllers against one API, for ever. There must be no other set of them.
pub async fn run(client: Client, config: Config) -> Infallible {
    let mut changes = follow_all(&client);
    let sources = Source::ALL.map(|source| (source, Recorder::new(client.clone(), source.component(), "")));
    let mut shell = Shell {
        carrier: Carrier::new(client, BTreeMap::from(sources)),
        known: Known { ca: config.root_ca, since: Timestamp::now(), endpoints_per_slice: config.endpoints_per_slice },
        snapshot: Snapshot::default(),
        desk: Desk::default(),
        tasks: JoinSet::new(),
    };
    loop {
        shell.turn(&mut changes).await;
    }
}

/// Everything the loop holds; each [`turn`](Self::turn) is one cause of work and all that follows from it.
struct Shell {
    carrier: Carrier,
    known: Known,
    snapshot: Snapshot,
    desk: Desk,
    tasks: JoinSet<Done>,
}

/// Every cause of work.
enum Cause {
    Change(Box<KindChange>),
    Done(Done),
    Time,
}

impl Shell {
    async fn turn(&mut self, changes: &mut Changes) {
        match self.next_cause(changes).await {
            Cause::Change(change) => {
                self.take_in(*change);
                let more = std::iter::from_fn(|| changes.next().now_or_never().flatten());
                more.take(BATCH).for_each(|change| self.take_in(change));
            }
            Cause::Done(done) => self.desk.on_done(done, Instant::now()),
            Cause::Time => {}
        }
        self.desk.wake(&self.snapshot, Instant::now());
        while let Some(work) = self.desk.take(&self.snapshot) {
            self.look(work);
        }
    }

    async fn next_cause(&mut self, changes: &mut Changes) -> Cause {
        let alarm = self.desk.next_alarm(Instant::now());
        let time = async {
            match alarm {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(change) = changes.next() => Cause::Change(Box::new(change)),
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => Cause::Done(done),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            () = time => Cause::Time,
        }
    }

    fn take_in(&mut self, change: KindChange) {
        for delta in self.snapshot.apply(change) {
            for work in caused_by(&self.snapshot, &delta) {
                self.desk.put(work);
            }
        }
    }

    fn look(&mut self, work: Work) {
        let now = Timestamp::now();
        let Outcome { writes, events, requeue_at } = work.look(&self.snapshot, now, &self.known);
        events.iter().for_each(|note| self.carrier.record(note));
        self.desk.set_alarm(&work, requeue_at.map(|at| instant(at, now)));
        if !writes.is_empty() && self.desk.begin(&work, &writes) {
            tracing::debug!(?work, writes = writes.len(), "carrying out");
            self.tasks.spawn(self.carrier.clone().carry_out(work, writes));
        }
    }
}

/// A time of the wall clock as one of the steady clock.
fn instant(at: Timestamp, now: Timestamp) -> Instant {
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    Instant::now() + wait
}

fn follow_all(client: &Client) -> Changes {
    let mut all = SelectAll::new();
    all.push(follow::<Namespace>(client));
    all.push(follow::<Node>(client));
    all.push(follow::<Lease>(client));
    all.push(follow::<Service>(client));
    all.push(follow::<Endpoints>(client));
    all.push(follow::<EndpointSlice>(client));
    all.push(follow::<Pod>(client));
    all.push(follow::<ReplicaSet>(client));
    all.push(follow::<ReplicationController>(client));
    all.push(follow::<Deployment>(client));
    all.push(follow::<ConfigMap>(client));
    all.push(follow::<ServiceAccount>(client));
    all.push(follow::<ServiceCIDR>(client));
    all.push(follow::<IPAddress>(client));
    all
}

fn follow<K>(client: &Client) -> futures::stream::BoxStream<'static, KindChange>
where
    K: FromItem + k8s_openapi::Resource,
    KindChange: From<Change<K>>,
{
    watch::<K>(client.clone(), Query::all(collection::<K>(""))).map(|change| lean(change.into())).boxed()
}

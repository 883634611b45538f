//! Creates by several clients at once, each with a connection of its own and one request at a time.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::task::LocalSet;

use super::{
    client::{self, Target},
    figure::{Better, Figure},
    subject::Subject,
};
use crate::stats;

/// When a storm ends: so many objects, or this much time, whichever is first.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) count: usize,
    pub(crate) time: Duration,
}

/// What is created: `PREFIX` and six digits in a collection.
pub(crate) struct Objects {
    pub(crate) collection: &'static str,
    pub(crate) prefix: String,
    /// The request's body by name and number.
    pub(crate) body: fn(&str, usize) -> Bytes,
}

pub(crate) struct Storm {
    pub(crate) took: Duration,
    pub(crate) latencies: Vec<Duration>,
    /// Of what was created.
    pub(crate) names: Vec<String>,
}

impl Objects {
    fn name(&self, number: usize) -> String {
        format!("{}{number:06}", self.prefix)
    }
}

/// Creates objects, and asserts that all are there afterwards and no more.
pub(crate) fn create(target: &Target, clients: usize, bound: Bound, objects: Objects) -> Storm {
    let (runtime, local) = (client::runtime(), LocalSet::new());
    local.block_on(&runtime, async {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(target.open().await);
        }
        let (next, objects) = (Rc::new(Cell::new(0)), Rc::new(objects));
        let start = Instant::now();
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                let (next, objects) = (next.clone(), objects.clone());
                tokio::task::spawn_local(async move {
                    let mut latencies = Vec::new();
                    while next.get() < bound.count && start.elapsed() < bound.time {
                        let number = next.replace(next.get() + 1);
                        let body = (objects.body)(&objects.name(number), number);
                        let sent = Instant::now();
                        connection.call(Method::POST, objects.collection, body).await;
                        latencies.push(sent.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.expect("a client that ends well"));
        }
        let took = start.elapsed();
        let created = latencies.len();
        let names = target.open().await.names(objects.collection, &objects.prefix).await;
        assert_eq!(names.len(), created, "{}", objects.collection);
        Storm { took, latencies, names }
    })
}

/// Deletes what [`create`] made, outside of any measurement.
pub(crate) fn delete(target: &Target, collection: &'static str, names: &[String]) {
    let (runtime, local) = (client::runtime(), LocalSet::new());
    local.block_on(&runtime, async {
        let mut tasks = Vec::new();
        for part in names.chunks(names.len().div_ceil(32).max(1)) {
            let (mut connection, part) = (target.open().await, part.to_vec());
            tasks.push(tokio::task::spawn_local(async move {
                for name in part {
                    connection.call(Method::DELETE, &format!("{collection}/{name}"), Bytes::new()).await;
                }
            }));
        }
        for task in tasks {
            task.await.expect("a client that ends well");
        }
    });
}

/// The rate of creates: the median of `rounds` storms.
pub(crate) fn rate(
    subject: &Subject,
    what: String,
    rounds: usize,
    mut storm: impl FnMut(&Target, usize) -> Storm,
) -> Figure {
    let (mut rates, mut latencies, mut created) = (Vec::new(), Vec::new(), 0);
    let mut busy = Duration::ZERO;
    for round in 0..rounds {
        let before = subject.cpu();
        let storm = storm(&subject.target, round);
        busy += subject.cpu() - before;
        rates.push(storm.names.len() as f64 / storm.took.as_secs_f64());
        created += storm.names.len();
        latencies.extend(storm.latencies);
    }
    rates.sort_by(f64::total_cmp);
    let note = format!(
        "{:.0}–{:.0} in {rounds} rounds, {created} created; {}; server CPU {:.3} ms each",
        rates[0],
        rates[rounds - 1],
        stats::spread(latencies),
        busy.as_secs_f64() * 1e3 / created as f64
    );
    Figure { what, value: rates[rounds / 2], unit: "/s", better: Better::Higher, note }
}

/// ConfigMaps of 1.5 kB into a store that holds nothing else.
pub(crate) fn config_maps(subject: &mut Subject) -> Vec<Figure> {
    const ROUNDS: usize = 3;
    let bound = Bound { count: 20_000, time: Duration::from_secs(5) };
    let measure = |clients: usize| {
        rate(subject, format!("ConfigMap creates, {clients} clients (≥ 5 × at 64)"), ROUNDS, |target, round| {
            let objects = Objects {
                collection: "/api/v1/namespaces/default/configmaps",
                prefix: format!("storm-{clients}-{round}-"),
                body: |name, _| config_map(name),
            };
            create(target, clients, bound, objects)
        })
    };
    [1, 64].map(measure).into()
}

/// 1.5 kB of JSON.
pub(crate) fn config_map(name: &str) -> Bytes {
    let filler = "x".repeat(1_400);
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"filler": filler}});
    object.to_string().into()
}

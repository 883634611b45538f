//! A store with 10,000 Services and as many slices of five endpoints: filling it, memory, starting on it, lists, more creates.

use std::{
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;

use super::{
    figure::{Better, Figure},
    lists,
    storm::{self, Bound, Objects},
    subject::Subject,
};
use crate::services::{objects, world};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const SETTLE: Duration = Duration::from_secs(10);
const STORED: usize = 10_000;
const STARTS: usize = 5;
const ROUNDS: usize = 3;

pub(crate) fn measure(subject: &mut Subject) -> Vec<Figure> {
    let mut figures = Vec::new();
    fill(subject, STORED);
    thread::sleep(SETTLE);
    figures.push(memory(subject));
    figures.push(start(subject));
    figures.push(lists::measure(subject, STORED));
    for clients in [1, 64] {
        figures.push(creates(subject, clients));
    }
    figures
}

fn fill(subject: &Subject, size: usize) {
    let start = Instant::now();
    let bound = Bound { count: size, time: Duration::MAX };
    let services = Objects { collection: SERVICES, prefix: "load-".to_owned(), body: service };
    let services = storm::create(&subject.target, 16, bound, services);
    let slices = Objects { collection: SLICES, prefix: "load-".to_owned(), body: slice };
    let slices = storm::create(&subject.target, 16, bound, slices);
    assert_eq!((services.names.len(), slices.names.len()), (size, size));
    println!("   {} filled in {:.1} s", subject.name(), start.elapsed().as_secs_f64());
}

/// Without a selector, so that no controller makes slices of its own for it.
fn service(name: &str, number: usize) -> Bytes {
    let labels = json!({"app": format!("app-{}", number % 100)});
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    object.to_string().into()
}

fn slice(name: &str, number: usize) -> Bytes {
    objects::slice(name, &world::nowhere(number, 5)).to_string().into()
}

fn memory(subject: &Subject) -> Figure {
    Figure {
        what: "memory (PSS) with the store filled (≤ 1/5)".to_owned(),
        value: subject.pss() as f64 / 1024.0,
        unit: "MiB",
        better: Better::Lower,
        note: format!("{} s after the last write, n=1", SETTLE.as_secs()),
    }
}

fn start(subject: &mut Subject) -> Figure {
    let mut times = Vec::new();
    let mut busy = Duration::ZERO;
    for _ in 0..STARTS {
        times.push(subject.restart());
        busy += subject.cpu();
    }
    let cost = format!("server CPU {:.0} ms each", busy.as_secs_f64() * 1e3 / STARTS as f64);
    Figure::of_series("start on that store to /readyz, p50 (≤ 0.3 s)", 0.5, times, &cost)
}

fn creates(subject: &Subject, clients: usize) -> Figure {
    let goal = if clients == 1 { "≥ 10 ×" } else { "≥ 40 ×" };
    let bound = Bound { count: 2_000, time: Duration::from_secs(5) };
    storm::rate(subject, format!("Service creates, {clients} clients ({goal})"), ROUNDS, |target, round| {
        let objects = Objects { collection: SERVICES, prefix: format!("more-{clients}-{round}-"), body: service };
        let storm = storm::create(target, clients, bound, objects);
        // The next round finds the same store again.
        storm::delete(target, SERVICES, &storm.names);
        storm
    })
}

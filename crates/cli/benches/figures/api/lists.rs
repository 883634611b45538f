//! Lists of all Services, whole and as JSON.

use std::time::Instant;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::{client, figure::Figure, subject::Subject};

const RUNS: usize = 40;
const PATH: &str = "/api/v1/services";

pub(crate) fn measure(subject: &Subject, stored: usize) -> Figure {
    client::runtime().block_on(async {
        let mut connection = subject.target.open().await;
        let first = connection.call(Method::GET, PATH, Bytes::new()).await;
        let list: Value = serde_json::from_slice(&first).expect("JSON");
        let length = list["items"].as_array().map_or(0, Vec::len);
        // The Service `kubernetes` is one more.
        assert!((stored..=stored + 1).contains(&length), "{length} of {stored}");
        let (mut times, before) = (Vec::new(), subject.cpu());
        for _ in 0..RUNS {
            let start = Instant::now();
            let body = connection.call(Method::GET, PATH, Bytes::new()).await;
            times.push(start.elapsed());
            assert_eq!(body.len(), first.len());
        }
        let busy = (subject.cpu() - before).as_secs_f64() * 1e3 / RUNS as f64;
        let cost = format!("{:.2} MB, server CPU {busy:.1} ms each", first.len() as f64 / 1e6);
        Figure::of_series("list of all Services, p50 (≥ 5 × faster)", 0.5, times, &cost)
    })
}

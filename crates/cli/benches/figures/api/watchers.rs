//! Creates and the watch events that they become: from a write being sent to each watcher's having read it.
//!
//! Every watcher has a connection of its own; one thread reads them all, and its own time is inside the figures. The next
//! write waits for the last one's events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use http::Method;
use tokio::{task::JoinSet, time};

use super::{
    client::{self, Target},
    figure::Figure,
    lines::Lines,
    storm::config_map,
    subject::Subject,
};

const WRITES: usize = 200;
const SPACING: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(30);
const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) fn measure(subject: &mut Subject) -> Vec<Figure> {
    counts().into_iter().map(|watchers| fan_out(subject, watchers)).collect()
}

/// `STEAD_BENCH_WATCHERS=1,100` leaves out the many, which take minutes.
fn counts() -> Vec<usize> {
    let chosen = std::env::var("STEAD_BENCH_WATCHERS").unwrap_or_else(|_| "1,100,10000".to_owned());
    chosen
        .split(',')
        .map(|count| count.parse().expect("STEAD_BENCH_WATCHERS has numbers with commas between"))
        .collect()
}

fn fan_out(subject: &Subject, watchers: usize) -> Figure {
    let read = Arc::new(AtomicUsize::new(0));
    let (ready, all_ready) = mpsc::channel();
    let reader = thread::spawn({
        let (target, read) = (subject.target.clone(), read.clone());
        move || client::runtime().block_on(watch(&target, watchers, &read, &ready))
    });
    all_ready.recv().expect("the watchers are there");
    let before = subject.cpu();
    let sent = client::runtime().block_on(write(&subject.target, watchers, &read));
    let seen = reader.join().expect("no event is missing");
    let busy = (subject.cpu() - before).as_secs_f64() * 1e3 / WRITES as f64;
    let pairs = seen.iter().flat_map(|seen| seen.iter().zip(&sent));
    let delays: Vec<_> = pairs.map(|(seen, sent)| seen.saturating_duration_since(*sent)).collect();
    assert_eq!(delays.len(), WRITES * watchers);
    let cost = format!("server CPU {busy:.2} ms a write");
    Figure::of_series(format!("{watchers} watchers, p99"), 0.99, delays, &cost)
}

/// When each write was sent.
async fn write(target: &Target, watchers: usize, read: &AtomicUsize) -> Vec<Instant> {
    let mut connection = target.open().await;
    let mut sent = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        time::sleep(SPACING).await;
        let body = config_map(&name(watchers, number));
        sent.push(Instant::now());
        connection.call(Method::POST, COLLECTION, body).await;
        let deadline = Instant::now() + PATIENCE;
        while read.load(Ordering::Relaxed) < (number + 1) * watchers {
            assert!(Instant::now() < deadline, "events of write {number} are missing");
            time::sleep(Duration::from_millis(1)).await;
        }
    }
    sent
}

/// When each watcher read each write.
async fn watch(
    target: &Target,
    watchers: usize,
    read: &Arc<AtomicUsize>,
    ready: &mpsc::Sender<()>,
) -> Vec<Vec<Instant>> {
    let mut asker = target.open().await;
    let list = asker.get(&format!("{COLLECTION}?limit=1")).await;
    let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    let path = format!("{COLLECTION}?watch=1&resourceVersion={revision}");
    let mut tasks = JoinSet::new();
    for _ in 0..watchers {
        let lines = Lines::open(target, &path).await;
        tasks.spawn(follow(lines, watchers, read.clone()));
    }
    ready.send(()).expect("somebody waits");
    tasks.join_all().await
}

/// Reads until every write was seen, each once and in order.
async fn follow(mut lines: Lines, watchers: usize, read: Arc<AtomicUsize>) -> Vec<Instant> {
    let is_write = memchr::memmem::Finder::new(b"\"name\":\"tick-");
    let mut times = Vec::with_capacity(WRITES);
    while times.len() < WRITES {
        let line = lines.next().await;
        let now = Instant::now();
        // A controller may write a ConfigMap of its own.
        if is_write.find(&line).is_none() {
            continue;
        }
        let expected = format!("\"name\":\"{}\"", name(watchers, times.len()));
        let is_next = memchr::memmem::find(&line, expected.as_bytes()).is_some();
        assert!(is_next, "{expected} is missing; there came {}", String::from_utf8_lossy(&line));
        times.push(now);
        read.fetch_add(1, Ordering::Relaxed);
    }
    times
}

fn name(watchers: usize, number: usize) -> String {
    format!("tick-{watchers}-{number:03}")
}

//! Requests in the background, so many a second from one host of a lab, each over a connection of its own.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt::Linger},
};
use stead_sys::namespace::Namespace;

use crate::lab::Lab;

/// Enough that none waits for another's turn as long as answers take less than about 50 ms.
const WORKERS: usize = 16;
/// How long each step of a request may take: one lost SYN is sent again after a second, two in a row do not happen to anybody here.
const LIMIT: Duration = Duration::from_secs(2);

/// Requests that go on until [`stop`](Self::stop).
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    begun: Instant,
    client: JoinHandle<Tally>,
}

/// How they fared.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: usize,
    /// What went wrong, and when after the start.
    pub(crate) failures: Vec<(Duration, std::io::Error)>,
    pub(crate) slowest: Duration,
    pub(crate) elapsed: Duration,
}

impl Load {
    pub(crate) fn start(lab: &Lab, host: &str, target: SocketAddr, per_second: u32) -> Self {
        Self::start_in(lab.namespace(host), target, per_second)
    }

    pub(crate) fn start_in(namespace: Namespace, target: SocketAddr, per_second: u32) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let begun = Instant::now();
        let client = thread::spawn({
            let (stop, asked) = (stop.clone(), asked.clone());
            // Threads are in the namespace of the one that starts them.
            move || namespace.run(|| ask_until(begun, &stop, &asked, target, per_second)).unwrap()
        });
        Self { stop, asked, begun, client }
    }

    /// How long it has lasted; the times of failures count from the same start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.client.join().unwrap()
    }
}

impl Tally {
    /// Panics unless every request was answered, and they came at the rate that was wanted, as far as a busy machine manages.
    pub(crate) fn assert_none_failed(&self, from: &str, per_second: u32) {
        let failed = self.failures.len();
        assert!(failed == 0, "{failed} of {} requests from {from} failed: {:?}", self.asked, self.failures);
        let rate = self.asked as f64 / self.elapsed.as_secs_f64();
        assert!(rate > 0.5 * f64::from(per_second), "only {rate:.0} requests a second from {from}");
        println!("{} requests from {from}, {rate:.0} a second, the slowest took {:?}", self.asked, self.slowest);
    }
}

fn ask_until(begun: Instant, stop: &AtomicBool, asked: &AtomicUsize, target: SocketAddr, per_second: u32) -> Tally {
    let next = AtomicUsize::new(0);
    let pace = Duration::from_secs(1) / per_second;
    let worker = || {
        let mut tally = Tally::default();
        while !stop.load(Ordering::Relaxed) {
            let due = pace * u32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
            thread::sleep(due.saturating_sub(begun.elapsed()));
            let (at, asking) = (begun.elapsed(), Instant::now());
            tally.failures.extend(ask(target).err().map(|error| (at, error)));
            tally.slowest = tally.slowest.max(asking.elapsed());
            tally.asked += 1;
            asked.fetch_add(1, Ordering::Relaxed);
        }
        tally
    };
    let mut all = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let tally = worker.join().unwrap();
            all.asked += tally.asked;
            all.failures.extend(tally.failures);
            all.slowest = all.slowest.max(tally.slowest);
        }
    });
    all.elapsed = begun.elapsed();
    all
}

/// One request; anything but a whole answer of the demo application is an error. The connection ends by a reset, so that neither end and no
/// table of connections keeps it for a minute: at a thousand a second there would soon be no room.
///
/// Who answered, by its host name.
pub(crate) fn ask(target: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    (&stream).take(4096).read_to_string(&mut text)?;
    setsockopt(&stream, Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    let name = text.lines().find_map(|line| line.strip_prefix("Hostname: "));
    name.map(ToOwned::to_owned).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

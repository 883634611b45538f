//! Backends that say who they are, and clients that ask them.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt::Linger},
};
use stead_sys::namespace::Namespace;

/// Answers each connection to any address of the host with that address, as a line; returns the port. The client ends the connection; the
/// last few are kept for that.
pub(crate) fn serve(host: &Namespace) -> u16 {
    let listener =
        host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("the host's network").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        const KEPT: usize = 64;
        let mut kept = VecDeque::with_capacity(KEPT + 1);
        for mut stream in listener.incoming().flatten() {
            if let Ok(address) = stream.local_addr() {
                reset_at_end(&stream);
                let _ = stream.write_all(format!("{}\n", address.ip()).as_bytes());
                kept.push_back(stream);
                if kept.len() > KEPT {
                    kept.pop_front();
                }
            }
        }
    });
    port
}

/// The address of the backend that answered, as text.
///
/// The connection ends by a reset: neither end keeps it in TIME_WAIT, and the kernel's table of connections does not fill.
pub(crate) fn ask(target: SocketAddr, timeout: Duration) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&target, timeout)?;
    reset_at_end(&stream);
    stream.set_read_timeout(Some(timeout))?;
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text)?;
    match text.pop() {
        Some('\n') => Ok(text),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn reset_at_end(stream: &TcpStream) {
    let at_once = linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, Linger, &at_once).expect("an option of every socket");
}

/// Asks again and again until the backend answers; when that was, or `None` after `patience`.
pub(crate) fn when_answered_by(target: SocketAddr, backend: &str, patience: Duration) -> Option<Instant> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if ask(target, Duration::from_millis(200)).is_ok_and(|answer| answer == backend) {
            return Some(Instant::now());
        }
        thread::sleep(Duration::from_micros(200));
    }
    None
}

/// New connections one after the other, until [`stop`](Self::stop).
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    client: thread::JoinHandle<Tally>,
}

/// How they fared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: usize,
    pub(crate) failed: usize,
    pub(crate) slowest: Duration,
}

impl Load {
    /// Of a client on the host, to each target in turn, about a thousand a second.
    pub(crate) fn start(host: &Namespace, targets: &[SocketAddr]) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (host, targets) = (host.try_clone().expect("a descriptor"), targets.to_vec());
        let client = thread::spawn({
            let ends = Arc::clone(&ends);
            move || host.run(|| ask_until(&ends, &targets)).expect("the host's network")
        });
        Self { ends, client }
    }

    pub(crate) fn stop(self) -> Tally {
        self.ends.store(true, Ordering::Relaxed);
        self.client.join().expect("the client ends")
    }
}

fn ask_until(ends: &AtomicBool, targets: &[SocketAddr]) -> Tally {
    let mut tally = Tally::default();
    for target in targets.iter().cycle() {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        tally.failed += usize::from(ask(*target, Duration::from_secs(2)).is_err());
        tally.asked += 1;
        tally.slowest = tally.slowest.max(begun.elapsed());
        thread::sleep(Duration::from_micros(800));
    }
    tally
}

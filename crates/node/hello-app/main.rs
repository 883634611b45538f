//! The built-in demo application: HTTP and UDP on port 8080, answering with a greeting, its version and its host name.
//!
//! A program of its own, compiled by the build script and packed into the images `stead.local/hello-app`; it knows nothing of
//! Stead. One thread and one poll loop, so that a pod costs next to nothing; SIGTERM ends it once what was begun is answered.
//! It is linked statically against the C library alone, four functions of which are declared here.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, RawFd},
    process::ExitCode,
    sync::atomic::{AtomicI32, Ordering},
    time::{Duration, Instant},
};

const DEFAULT_PORT: u16 = 8080;
/// The longest request head that is read.
const MAX_HEAD: usize = 8 << 10;
/// Connections that may wait to be accepted, as far as the kernel allows: with the 128 of the standard library a tenth of a second
/// without a processor would lose SYNs at a thousand connections a second.
const BACKLOG: i32 = 4096;
/// How long requests under way may take to finish after SIGTERM.
const LAST_ORDERS: Duration = Duration::from_millis(500);

const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;
const SIG_IGN: usize = 1;
const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;

#[repr(C)]
struct PollFd {
    fd: RawFd,
    events: i16,
    revents: i16,
}

unsafe extern "C" {
    fn poll(fds: *mut PollFd, count: u64, timeout: i32) -> i32;
    fn signal(signum: i32, handler: usize) -> usize;
    fn write(fd: i32, buffer: *const u8, count: usize) -> isize;
    fn listen(fd: i32, backlog: i32) -> i32;
}

static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: i32) {
    // SAFETY: write(2) is safe in a signal handler, and the pipe stays open to the end of the process.
    unsafe { write(WAKE.load(Ordering::Relaxed), b"x".as_ptr(), 1) };
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    to_send: Vec<u8>,
    sent: usize,
    /// At least one request was answered.
    served: bool,
    closing: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello-app: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let version = env::args().nth(1).unwrap_or_else(|| "1.0.0".to_owned());
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT);
    let host = fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned();
    let body = format!("Hello, world!\nVersion: {version}\nHostname: {host}\n");
    let (wake, alarm) = io::pipe()?;
    install_handlers(&alarm);
    let tcp = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    let udp = UdpSocket::bind(("::", port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port)))?;
    // SAFETY: listen(2) takes no pointers; called again it changes the backlog alone.
    if unsafe { listen(tcp.as_raw_fd(), BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    tcp.set_nonblocking(true)?;
    udp.set_nonblocking(true)?;
    println!("Server listening on port {port}");
    serve(tcp, &udp, &wake, &body, &host)
}

fn install_handlers(alarm: &PipeWriter) {
    WAKE.store(alarm.as_raw_fd(), Ordering::Relaxed);
    let handler = on_signal as extern "C" fn(i32);
    // SAFETY: the handler only calls write(2) on a pipe that outlives it; ignoring SIGPIPE makes broken connections errors.
    unsafe {
        signal(SIGTERM, handler as usize);
        signal(SIGINT, handler as usize);
        signal(SIGPIPE, SIG_IGN);
    }
}

fn serve(tcp: TcpListener, udp: &UdpSocket, mut wake: &PipeReader, body: &str, host: &str) -> io::Result<()> {
    let mut listener = Some(tcp);
    let mut connections: BTreeMap<RawFd, Connection> = BTreeMap::new();
    let mut end: Option<Instant> = None;
    // Out of descriptors: listening goes on once a connection ends.
    let mut full = false;
    loop {
        let accepting = listener.as_ref().filter(|_| !full).map_or(-1, |l| l.as_raw_fd());
        let mut ready = vec![
            PollFd { fd: wake.as_raw_fd(), events: POLLIN, revents: 0 },
            PollFd { fd: udp.as_raw_fd(), events: POLLIN, revents: 0 },
            PollFd { fd: accepting, events: POLLIN, revents: 0 },
        ];
        ready.extend(connections.iter().map(|(fd, connection)| {
            let events = if connection.sent < connection.to_send.len() { POLLOUT } else { POLLIN };
            PollFd { fd: *fd, events, revents: 0 }
        }));
        if let Some(end) = end {
            if connections.is_empty() || Instant::now() >= end {
                return Ok(());
            }
        }
        let timeout = end.map_or(-1, |end| end.saturating_duration_since(Instant::now()).as_millis() as i32 + 1);
        // SAFETY: the pointer and length are those of a live vector of `struct pollfd`.
        if unsafe { poll(ready.as_mut_ptr(), ready.len() as u64, timeout) } < 0 {
            match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => continue,
                error => return Err(error),
            }
        }
        if ready[1].revents != 0 {
            answer_datagrams(udp, host);
        }
        if let (Some(listener), true) = (&listener, ready[2].revents != 0) {
            full = !accept(listener, &mut connections);
        }
        let before = connections.len();
        for polled in ready.iter().skip(3).filter(|polled| polled.revents != 0) {
            let alive = connections.get_mut(&polled.fd).is_some_and(|connection| connection.step(body));
            if !alive {
                connections.remove(&polled.fd);
            }
        }
        full &= connections.len() >= before;
        if ready[0].revents != 0 && end.is_none() {
            let _ = wake.read(&mut [0; 16]);
            // Connections that the kernel has completed already are answered as well.
            if let Some(listener) = listener.take() {
                accept(&listener, &mut connections);
            }
            end = Some(Instant::now() + LAST_ORDERS);
        }
        if end.is_some() {
            connections.retain(|_, connection| !connection.is_idle());
        }
    }
}

/// Takes every waiting connection; `false` where descriptors ran out.
fn accept(listener: &TcpListener, connections: &mut BTreeMap<RawFd, Connection>) -> bool {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if stream.set_nonblocking(true).is_ok() {
                    let fd = stream.as_raw_fd();
                    connections.insert(
                        fd,
                        Connection {
                            stream,
                            received: Vec::new(),
                            to_send: Vec::new(),
                            sent: 0,
                            served: false,
                            closing: false,
                        },
                    );
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
            Err(_) => return false,
        }
    }
}

fn answer_datagrams(udp: &UdpSocket, host: &str) {
    let answer = format!("{host}\n");
    let mut buffer = [0; 2048];
    while let Ok((_, from)) = udp.recv_from(&mut buffer) {
        let _ = udp.send_to(answer.as_bytes(), from);
    }
}

impl Connection {
    /// Reads or writes what there is; `false` once the connection is over.
    fn step(&mut self, body: &str) -> bool {
        if self.sent < self.to_send.len() {
            return self.send();
        }
        let mut buffer = [0; 2048];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => self.received.extend_from_slice(&buffer[..read]),
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        while let Some(end) = head_end(&self.received) {
            let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
            self.received.drain(..end);
            self.answer(&head, body);
            if self.closing {
                break;
            }
        }
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        if self.received.len() > MAX_HEAD {
            return false;
        }
        self.to_send.is_empty() || self.send()
    }

    fn answer(&mut self, head: &str, body: &str) {
        self.served = true;
        let request = head.lines().next().unwrap_or_default();
        let mut words = request.split_ascii_whitespace();
        let method = words.next().unwrap_or_default();
        let version = words.nth(1).unwrap_or_default();
        let header = |name: &str| {
            head.lines().skip(1).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
            })
        };
        let connection = header("connection").unwrap_or_default();
        let keep = version == "HTTP/1.1" && connection != "close" || connection == "keep-alive";
        // A request body is not read, so nothing after one could be told from it.
        self.closing = !keep || !matches!(method, "GET" | "HEAD");
        let known = version.starts_with("HTTP/1.");
        let (status, text) = if known { ("200 OK", body) } else { ("400 Bad Request", "Bad request\n") };
        self.closing |= !known;
        let connection = if self.closing { "close" } else { "keep-alive" };
        let length = text.len();
        self.to_send.extend_from_slice(
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
                 Connection: {connection}\r\n\r\n"
            )
            .as_bytes(),
        );
        if method != "HEAD" {
            self.to_send.extend_from_slice(text.as_bytes());
        }
    }

    fn send(&mut self) -> bool {
        match self.stream.write(&self.to_send[self.sent..]) {
            Ok(written) => self.sent += written,
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        if self.sent < self.to_send.len() {
            return true;
        }
        self.to_send = Vec::new();
        self.sent = 0;
        !self.closing
    }

    /// Kept open for a next request only: all that came is answered, and the answer sent.
    fn is_idle(&self) -> bool {
        let waiting = self.stream.peek(&mut [0; 1]).is_ok_and(|read| read > 0);
        self.served && self.received.is_empty() && self.to_send.is_empty() && !waiting
    }
}

/// Where the first request head ends, past its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

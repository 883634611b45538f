//! What a connection and a gigabyte cost the process that passes them on, here and in HAProxy's TCP mode, in one run over loopback.
//!
//! HAProxy is `$HAPROXY`, or `haproxy` where that is not set; without it only our own figures are printed. Each has as many threads; bytes are spliced in ours,
//! and in HAProxy's second row (`option splice-auto`).
#![expect(clippy::unwrap_used, reason = "a measurement")]

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use stead_relay::{Destination, Options, Origin, Relay, Route};

const THREADS: usize = 2;
const CONNECTIONS: usize = 30_000;
const CLIENTS: usize = 4;
const GIGABYTES: u64 = 6;
const PIECE: usize = 1 << 17;
/// Each is measured so often, in turn; the least counts.
const ROUNDS: usize = 3;

#[derive(Debug)]
struct To(SocketAddr);

impl Route for To {
    fn choose(&self, _: SocketAddr, _: Destination) -> Vec<SocketAddr> {
        vec![self.0]
    }
    fn on_connected(&self, _: SocketAddr, _: Destination, _: SocketAddr) {}
    fn keeps(&self, _: SocketAddr, _: Destination, _: SocketAddr) -> bool {
        true
    }
}

#[derive(Debug)]
struct Nowhere;

impl Origin for Nowhere {
    fn of(&self, _: SocketAddr, _: SocketAddr) -> Option<SocketAddr> {
        None
    }
}

fn main() {
    let words: Vec<_> = env::args().collect();
    if let Some(at) = words.iter().position(|word| word == "--relay") {
        return relay(words[at + 1].parse().unwrap(), words[at + 2].parse().unwrap());
    }
    let server = serve();
    let mut subjects = vec![("stead", start_relay(server))];
    let haproxy = env::var("HAPROXY").unwrap_or_else(|_| "haproxy".to_owned());
    match Command::new(&haproxy).arg("-v").stdout(Stdio::null()).status() {
        Ok(_) => {
            subjects.push(("haproxy", start_haproxy(&haproxy, "", server)));
            subjects.push(("haproxy, splice-auto", start_haproxy(&haproxy, "option splice-auto", server)));
        }
        Err(error) => println!("without HAProxy, whose program {haproxy} cannot be run: {error}"),
    }
    let mut least = vec![[f64::MAX; 2]; subjects.len()];
    for _ in 0..ROUNDS {
        for ((_, (child, address)), least) in subjects.iter().zip(&mut least) {
            let before = cpu(child);
            connections(*address);
            let between = cpu(child);
            bulk(*address);
            let figures =
                [(between - before) / CONNECTIONS as f64 * 1e6, (cpu(child) - between) / GIGABYTES as f64 * 1e3];
            least.iter_mut().zip(figures).for_each(|(least, figure)| *least = least.min(figure));
        }
    }
    println!("{:24} {:>18} {:>16}", "CPU of the process", "µs a connection", "ms a gigabyte");
    for ((name, (mut child, _)), [connection, gigabyte]) in subjects.into_iter().zip(least) {
        println!("{name:24} {connection:18.1} {gigabyte:16.0}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn relay(port: u16, server: SocketAddr) {
    let options = Options { threads: THREADS, ..Options::default() };
    let mut relay = Relay::start(&options, Arc::new(Nowhere)).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    relay.serve_streams(listener.into(), Arc::new(To(server))).unwrap();
    loop {
        thread::park();
    }
}

fn free() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn start_relay(server: SocketAddr) -> (Child, SocketAddr) {
    let port = free();
    let mut command = Command::new(env::current_exe().unwrap());
    let child = command.arg("--relay").arg(port.to_string()).arg(server.to_string()).spawn().unwrap();
    (child, ready(port))
}

fn start_haproxy(program: &str, option: &str, server: SocketAddr) -> (Child, SocketAddr) {
    let port = free();
    let text = format!(
        "global\n nbthread {THREADS}\n maxconn 4000\ndefaults\n mode tcp\n {option}\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         listen l\n bind 127.0.0.1:{port}\n server s {server}\n"
    );
    let path = env::temp_dir().join(format!("stead-haproxy-{}-{port}.cfg", std::process::id()));
    fs::write(&path, text).unwrap();
    let child = Command::new(program).arg("-db").arg("-f").arg(&path).stderr(Stdio::null()).spawn().unwrap();
    let address = ready(port);
    fs::remove_file(path).unwrap();
    (child, address)
}

fn ready(port: u16) -> SocketAddr {
    let (address, start) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Instant::now());
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "{address} is not served");
        thread::sleep(Duration::from_millis(10));
    }
    address
}

/// Answers a byte `c` by one, and `b` by gigabytes.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..CLIENTS {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            let piece = vec![0; PIECE];
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut byte = [0];
                match stream.read_exact(&mut byte).map(|()| byte[0]) {
                    Ok(b'c') => drop(stream.write_all(&byte)),
                    Ok(_) => {
                        let pieces = GIGABYTES * 1_000_000_000 / PIECE as u64;
                        let _ = (0..pieces).try_for_each(|_| stream.write_all(&piece));
                    }
                    Err(_) => {}
                }
            }
        });
    }
    address
}

fn connections(to: SocketAddr) {
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..CONNECTIONS / CLIENTS {
                    let mut stream = TcpStream::connect(to).unwrap();
                    let mut byte = [b'c'];
                    stream.write_all(&byte).unwrap();
                    stream.read_exact(&mut byte).unwrap();
                    assert_eq!(stream.read(&mut byte).unwrap(), 0, "the server ends it");
                }
            });
        }
    });
}

fn bulk(to: SocketAddr) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(b"b").unwrap();
    let (mut piece, mut count) = (vec![0; PIECE], 0);
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        count += length as u64;
    }
    assert_eq!(count, GIGABYTES * 1_000_000_000 / PIECE as u64 * PIECE as u64);
}

/// Seconds that a process has had of the processors.
fn cpu(child: &Child) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) as f64 / 100.0
}

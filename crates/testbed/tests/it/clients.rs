//! What clients, servers and captures count.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use stead_model::{Family, Protocol};
use stead_testbed::{Calls, Direction, Failure, Host, Lab, Layout};

const PORT: u16 = 8080;
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn small() -> Lab {
    Lab::build(Layout { nodes: 1, pods_per_node: 2 }).unwrap()
}

fn at(host: &Host, family: Family) -> SocketAddr {
    SocketAddr::new(host.address(family), PORT)
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn answers_are_counted_by_server() {
    let lab = small();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let server = lab.pod(1, 1).serve(protocol, PORT).unwrap();
        for family in Family::ALL {
            let tally = lab.pod(1, 2).call(protocol, at(lab.pod(1, 1), family), Calls::of(200));
            assert_eq!((tally.servers(), tally.answered(), tally.failed()), (vec!["pod-1-1"], 200, 0), "{tally}");
            assert!(tally.sources.iter().eq([&lab.pod(1, 2).address(family)]), "{tally}");
            assert!(tally.slowest <= tally.elapsed);
        }
        assert_eq!(server.answered(), 400);
    }
}

#[test]
fn a_closed_port_refuses_at_once() {
    let lab = small();
    for protocol in PROTOCOLS {
        for family in Family::ALL {
            let tally =
                lab.node(1).call(protocol, at(lab.pod(1, 1), family), Calls { concurrency: 2, ..Calls::of(10) });
            assert!(tally.all_failed(Failure::Refused), "{protocol} over {family}: {tally}");
            assert!(tally.slowest < Duration::from_secs(1), "{tally}");
        }
    }
}

#[test]
fn silence_times_out() {
    let lab = small();
    // Bound, and nobody reads: connections wait in the backlog, datagrams in the buffer.
    let address = at(lab.pod(1, 1), Family::V4);
    let _listener = lab.pod(1, 1).run(|| std::net::TcpListener::bind(address)).unwrap().unwrap();
    let _socket = lab.pod(1, 1).run(|| std::net::UdpSocket::bind(address)).unwrap().unwrap();
    for protocol in PROTOCOLS {
        let tally = lab.node(1).call(protocol, address, Calls { timeout: Duration::from_millis(50), ..Calls::of(3) });
        assert!(tally.all_failed(Failure::TimedOut), "{protocol}: {tally}");
    }
}

#[test]
fn a_flow_is_asked_again_and_ends_with_its_server() {
    let lab = small();
    for protocol in PROTOCOLS {
        let server = lab.pod(1, 1).serve(protocol, PORT).unwrap();
        let mut flow = lab.node(1).open_from(protocol, 4000, at(lab.pod(1, 1), Family::V4)).unwrap();
        for _ in 0..3 {
            let answer = flow.ask().unwrap();
            assert_eq!((answer.server.as_str(), answer.source.port()), ("pod-1-1", 4000));
        }
        assert_eq!(flow.local().unwrap().port(), 4000);
        drop(server);
        let failure = flow.ask().unwrap_err();
        let expected = match protocol {
            Protocol::Udp => &[Failure::Refused][..],
            _ => &[Failure::Closed, Failure::Reset],
        };
        assert!(expected.contains(&failure), "{protocol}: {failure}");
    }
}

#[test]
fn something_else_is_told_from_our_servers() {
    let lab = small();
    let address = at(lab.pod(1, 1), Family::V4);
    let socket = lab.pod(1, 1).run(|| std::net::UdpSocket::bind(address)).unwrap().unwrap();
    let stranger = thread::spawn(move || {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 64]).unwrap();
        socket.send_to(b"hello", from).unwrap();
    });
    assert_eq!(lab.node(1).ask(Protocol::Udp, address), Err(Failure::Garbled));
    stranger.join().unwrap();
}

#[test]
fn a_load_runs_until_it_is_stopped() {
    let lab = small();
    let server = lab.pod(1, 1).serve(Protocol::Tcp, PORT).unwrap();
    let calls = Calls { pace: Duration::from_millis(1), ..Calls::of(1_000_000) };
    let load = lab.pod(1, 2).load(Protocol::Tcp, at(lab.pod(1, 1), Family::V4), calls).unwrap();
    eventually("50 answers", || server.answered() >= 50);
    let tally = load.stop().unwrap();
    assert_eq!((tally.failed(), tally.answered() as u64), (0, server.answered()), "{tally}");
    assert!(tally.answered() as u128 <= tally.elapsed.as_millis() + 1, "no faster than its pace: {tally}");
}

#[test]
fn a_load_sees_a_server_go() {
    let lab = small();
    let server = lab.pod(1, 1).serve(Protocol::Tcp, PORT).unwrap();
    let load = lab.pod(1, 2).load(Protocol::Tcp, at(lab.pod(1, 1), Family::V4), Calls::of(1_000_000)).unwrap();
    eventually("an answer", || server.answered() > 0);
    drop(server);
    let before = lab.pod(1, 2).packets("eth0").unwrap();
    eventually("refusals", || lab.pod(1, 2).packets("eth0").unwrap().received > before.received + 20);
    let tally = load.stop().unwrap();
    assert!(tally.failures.contains_key(&Failure::Refused), "{tally}");
}

#[test]
fn packets_are_counted_where_they_pass() {
    let lab = Lab::build(Layout { nodes: 2, pods_per_node: 1 }).unwrap();
    let _server = lab.pod(2, 1).serve(Protocol::Udp, PORT).unwrap();
    let captures = [lab.node(1), lab.node(2), lab.outside()].map(|host| host.capture().unwrap());
    for family in Family::ALL {
        let to = at(lab.pod(2, 1), family);
        let before = lab.node(2).packets("eth0").unwrap();
        let tally = lab.pod(1, 1).call(Protocol::Udp, to, Calls::of(20));
        assert_eq!(tally.answered(), 20, "{tally}");
        for capture in &captures[..2] {
            // Once in and once out again.
            assert_eq!(capture.count_to(to), 40);
            for direction in [Direction::In, Direction::Out] {
                assert_eq!(capture.count(|seen| seen.to == to && seen.direction == direction), 20);
            }
            assert_eq!(capture.count(|seen| seen.from == to && seen.protocol == Protocol::Udp), 40);
        }
        assert_eq!(captures[2].count_to(to), 0);
        let after = lab.node(2).packets("eth0").unwrap();
        assert!(after.received >= before.received + 20 && after.transmitted >= before.transmitted + 20);
    }
}

#[test]
fn programs_run_inside_a_host() {
    let lab = small();
    let _server = lab.pod(1, 1).serve(Protocol::Tcp, PORT).unwrap();
    let run = || std::process::Command::new("cat").arg("/proc/self/net/dev").output();
    let output = lab.pod(1, 2).run(run).unwrap().unwrap();
    let devices = String::from_utf8(output.stdout).unwrap();
    assert!(devices.contains("eth0") && devices.lines().count() <= 12, "{devices}");
    assert!(lab.node(1).packets("no-such-link").is_err());
}

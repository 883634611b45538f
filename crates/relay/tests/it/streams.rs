use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use stead_relay::Options;

use crate::bench::{ANY, Bench, echo, eventually, nobody, serve};

fn bench(backends: &[SocketAddr]) -> Bench {
    Bench::streams(&Options::default(), backends)
}

fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn an_end_is_passed_on_and_the_answer_comes_after_it() {
    let server = serve(|mut stream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        write!(stream, "{} bytes", text.len()).unwrap();
    });
    let bench = bench(&[server]);
    let mut client = bench.connect();
    client.write_all(&[b'x'; 100_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "100000 bytes");
    // A server that has nothing to ask.
    let server = serve(|mut stream| {
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bye");
    });
    *bench.route.backends.lock().unwrap() = vec![server];
    let mut client = bench.connect();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    client.write_all(b"bye").unwrap();
    drop(client);
    assert_eq!(answer, "hello");
    eventually("connections are over", || bench.relay.open() == 0);
}

#[test]
fn many_bytes_both_ways_come_whole_and_in_order() {
    const LENGTH: usize = 6_000_000;
    let bench = bench(&[serve(echo)]);
    let talk = |seed: u64| {
        let client = bench.connect();
        let mut writer = client.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut random, mut left) = (StdRng::seed_from_u64(seed), LENGTH);
                while left > 0 {
                    // Pieces of all sizes, some larger than any buffer.
                    let length = (random.next_u32() as usize % [10, 1_000, 300_000][left % 3] + 1).min(left);
                    let mut piece = vec![0; length];
                    StdRng::seed_from_u64(seed + left as u64).fill_bytes(&mut piece);
                    writer.write_all(&piece).unwrap();
                    left -= length;
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let (mut reader, mut random, mut left) = (client, StdRng::seed_from_u64(seed), LENGTH);
            while left > 0 {
                let length = (random.next_u32() as usize % [10, 1_000, 300_000][left % 3] + 1).min(left);
                let (mut piece, mut expect) = (vec![0; length], vec![0; length]);
                StdRng::seed_from_u64(seed + left as u64).fill_bytes(&mut expect);
                reader.read_exact(&mut piece).unwrap();
                assert!(piece == expect, "{left} bytes before the end of {seed}");
                left -= length;
            }
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        });
    };
    thread::scope(|scope| (1..=3).for_each(|seed| drop(scope.spawn(move || talk(seed)))));
    eventually("connections are over", || bench.relay.open() == 0);
}

#[test]
fn who_refuses_or_does_not_answer_is_passed_over() {
    // A backlog that is full leaves further clients without an answer.
    let silent = TcpListener::bind(ANY).unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let silent = silent.local_addr().map(|address| (address, silent)).unwrap();
    let _waiting: Vec<_> = (0..3).map(|_| TcpStream::connect_timeout(&silent.0, Duration::from_millis(50))).collect();
    let good = serve(echo);
    let bench = bench(&[nobody(), silent.0, good]);
    let start = Instant::now();
    let mut client = bench.connect();
    assert_eq!(ask(&mut client, "anybody there?"), "anybody there?");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(*bench.route.connected.lock().unwrap(), [good]);
    assert_eq!(bench.relay.counts().passed_over, 2);
}

#[test]
fn a_connection_that_nobody_takes_is_reset() {
    let mut bench = bench(&[nobody()]);
    let refused = |client: &mut TcpStream| client.read(&mut [0]).unwrap_err().kind() == ErrorKind::ConnectionReset;
    assert!(refused(&mut bench.connect()));
    bench.route.backends.lock().unwrap().clear();
    assert!(refused(&mut bench.connect()));
    assert_eq!((bench.relay.counts().unserved, bench.relay.counts().connections), (2, 2));
    bench.relay.close(&[bench.port]);
    assert_eq!(TcpStream::connect(bench.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_reset_is_passed_on_both_ways() {
    let server = serve(|mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        match byte[0] {
            b'r' => rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
            _ => {
                assert_eq!(stream.read(&mut byte).unwrap_err().kind(), ErrorKind::ConnectionReset);
                // Only who was reset comes as far as here.
                let mut witness = TcpStream::connect(WITNESS.lock().unwrap().unwrap()).unwrap();
                witness.write_all(b"!").unwrap();
            }
        }
    });
    static WITNESS: std::sync::Mutex<Option<SocketAddr>> = std::sync::Mutex::new(None);
    let bench = bench(&[server]);
    let mut client = bench.connect();
    client.write_all(b"r").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);

    let witness = TcpListener::bind(ANY).unwrap();
    *WITNESS.lock().unwrap() = Some(witness.local_addr().unwrap());
    let mut client = bench.connect();
    client.write_all(b"c").unwrap();
    eventually("the server has it", || bench.route.connected.lock().unwrap().len() == 2);
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    witness.accept().unwrap();
}

#[test]
fn what_a_change_forbids_is_cut_and_the_rest_goes_on() {
    let [old, new] = [serve(echo), serve(echo)];
    let mut bench = bench(&[old]);
    let mut first = bench.connect();
    assert_eq!(ask(&mut first, "one"), "one");
    bench.route.backends.lock().unwrap().insert(0, new);
    let mut second = bench.connect();
    assert_eq!(ask(&mut second, "two"), "two");
    assert_eq!(bench.relay.judge(&[bench.port]), 0);
    bench.route.backends.lock().unwrap().retain(|backend| *backend == new);
    assert_eq!(bench.relay.judge(&[bench.port]), 1);
    assert_eq!(first.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // Also after its port is closed.
    bench.relay.close(&[bench.port]);
    assert_eq!(ask(&mut second, "three"), "three");
    bench.route.backends.lock().unwrap().clear();
    assert_eq!(bench.relay.judge(&[bench.port]), 1);
    assert_eq!(bench.relay.counts().cut, 2);
}

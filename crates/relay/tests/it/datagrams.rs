use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use stead_relay::Options;

use crate::bench::{ANY, Bench, eventually};

/// Says its name and what it was asked.
fn server(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind(ANY).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

fn client(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(ANY).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn ask(client: &UdpSocket, text: &str) -> String {
    client.send(text.as_bytes()).unwrap();
    let mut buffer = [0; 2048];
    let length = client.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].into()).unwrap()
}

#[test]
fn a_client_stays_with_its_backend_until_it_is_idle() {
    let [first, second] = [server("first"), server("second")];
    let options = Options { udp_idle: Duration::from_millis(300), ..Options::default() };
    let mut bench = Bench::datagrams(&options, &[first]);
    let [one, two] = [(); 2].map(|()| client(bench.address));
    assert_eq!(ask(&one, "a"), "first a");
    *bench.route.backends.lock().unwrap() = vec![second, first];
    assert_eq!((ask(&one, "b"), ask(&two, "c")), ("first b".to_owned(), "second c".to_owned()));
    eventually("clients are forgotten", || bench.relay.open() == 0);
    assert_eq!(ask(&one, "d"), "second d");
    // The backend leaves.
    *bench.route.backends.lock().unwrap() = vec![first];
    assert_eq!(bench.relay.judge(&[bench.port]), 1);
    assert_eq!(ask(&one, "e"), "first e");
    bench.relay.close(&[bench.port]);
    assert_eq!(bench.relay.open(), 0);
}

#[test]
fn a_backend_that_refuses_is_passed_over() {
    let gone = UdpSocket::bind(ANY).unwrap().local_addr().unwrap();
    let bench = Bench::datagrams(&Options::default(), &[gone, server("here")]);
    assert_eq!(ask(&client(bench.address), "anybody?"), "here anybody?");
    *bench.route.backends.lock().unwrap() = vec![];
    let nobody = client(bench.address);
    nobody.send(b"anybody?").unwrap();
    eventually("nobody is there", || bench.relay.counts().unserved == 1);
    nobody.set_nonblocking(true).unwrap();
    assert_eq!(nobody.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn whoever_was_idle_longest_makes_room() {
    let bench = Bench::datagrams(&Options { descriptors: 2, ..Options::default() }, &[server("it")]);
    let clients = [(); 3].map(|()| client(bench.address));
    for client in &clients {
        assert_eq!(ask(client, "a"), "it a");
    }
    assert_eq!((bench.relay.open(), bench.relay.counts().clients), (2, 3));
    assert_eq!(ask(&clients[0], "b"), "it b");
}

//! A relay with a route that a test may change, and servers that say who they are.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use stead_relay::{Destination, Options, Origin, PortId, Relay, Route};

pub(crate) const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Tries in the order given; keeps whom it would choose.
#[derive(Debug, Default)]
pub(crate) struct Fixed {
    pub(crate) backends: Mutex<Vec<SocketAddr>>,
    pub(crate) connected: Mutex<Vec<SocketAddr>>,
}

impl Route for Fixed {
    fn choose(&self, _: SocketAddr, _: Destination) -> Vec<SocketAddr> {
        self.backends.lock().unwrap().clone()
    }

    fn on_connected(&self, _: SocketAddr, _: Destination, backend: SocketAddr) {
        self.connected.lock().unwrap().push(backend);
    }

    fn keeps(&self, _: SocketAddr, _: Destination, backend: SocketAddr) -> bool {
        self.backends.lock().unwrap().contains(&backend)
    }
}

#[derive(Debug)]
struct Nowhere;

impl Origin for Nowhere {
    fn of(&self, _: SocketAddr, _: SocketAddr) -> Option<SocketAddr> {
        None
    }
}

pub(crate) struct Bench {
    pub(crate) relay: Relay,
    pub(crate) route: Arc<Fixed>,
    pub(crate) port: PortId,
    pub(crate) address: SocketAddr,
}

impl Bench {
    pub(crate) fn streams(options: &Options, backends: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        Self::new(options, backends, address, |relay, route| relay.serve_streams(listener.into(), route))
    }

    pub(crate) fn datagrams(options: &Options, backends: &[SocketAddr]) -> Self {
        let socket = UdpSocket::bind(ANY).unwrap();
        let address = socket.local_addr().unwrap();
        Self::new(options, backends, address, |relay, route| relay.serve_datagrams(socket.into(), route))
    }

    fn new(
        options: &Options,
        backends: &[SocketAddr],
        address: SocketAddr,
        serve: impl FnOnce(&mut Relay, Arc<dyn Route>) -> std::io::Result<PortId>,
    ) -> Self {
        let mut relay = Relay::start(options, Arc::new(Nowhere)).unwrap();
        let route = Arc::new(Fixed { backends: Mutex::new(backends.into()), ..Fixed::default() });
        let port = serve(&mut relay, Arc::clone(&route) as Arc<dyn Route>).unwrap();
        Self { relay, route, port, address }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

/// Takes connections for ever, each on a thread of its own.
pub(crate) fn serve(work: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    let work = Arc::new(work);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let work = Arc::clone(&work);
            thread::spawn(move || work(stream.unwrap()));
        }
    });
    address
}

/// Sends back what comes, to its end.
pub(crate) fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 100_000];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind(ANY).unwrap().local_addr().unwrap()
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not come true in 20 s");
        thread::sleep(Duration::from_millis(5));
    }
}

//! Exchanges of one datagram each way, each from a socket of its own, from 16 addresses in turn, so that the table of connections fills:
//! directly, and through a Service by each proxy, from pods and from clients that are masqueraded.

use std::{
    env,
    io::{self, ErrorKind},
    net::UdpSocket,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    proxies::Proxy,
    results::Results,
    route::{CLIENTS, Kind, Route, client_address, pin, until},
    world::World,
};

/// A datagram that has not come by then is lost.
const PATIENCE: Duration = Duration::from_millis(100);

pub(crate) fn run(world: &World, proxies: &[Proxy], results: &mut Results) {
    let count = count();
    println!("   fresh UDP sockets, {count} exchanges from {CLIENTS} addresses");
    for kind in [Kind::Pod, Kind::Other] {
        // Each with a table of connections that is empty.
        let through = proxies.iter().filter_map(|proxy| Route::through(world, proxy));
        for route in std::iter::once_with(|| Route::direct(world)).chain(through) {
            let (took, lost) = route.client.run(|| exchange_all(&route, kind, count)).expect("the client's network");
            let each = took.as_secs_f64() * 1e6 / count as f64;
            let from = match kind {
                Kind::Pod => "from pods",
                Kind::Other => "from others",
            };
            println!("   {:<22} {from:<12} {each:.2} us each, {lost} lost", route.name);
            results.exactly(&format!("datagram {from} us"), &route.name, world.size, each);
            results.exactly(&format!("datagrams {from} lost"), &route.name, world.size, lost as f64);
        }
    }
}

/// `STEAD_BENCH_EXCHANGES` (100,000).
fn count() -> usize {
    env::var("STEAD_BENCH_EXCHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// Without the time that was spent in waiting for what was lost.
fn exchange_all(route: &Route, kind: Kind, count: usize) -> (Duration, usize) {
    pin();
    until(|| exchange(route, kind, 0));
    let (mut lost, mut waited) = (0, Duration::ZERO);
    let start = Instant::now();
    for number in 0..count {
        let begun = Instant::now();
        if exchange(route, kind, (number % usize::from(CLIENTS)) as u8).is_err() {
            lost += 1;
            waited += begun.elapsed();
        }
    }
    (start.elapsed() - waited, lost)
}

fn exchange(route: &Route, kind: Kind, client: u8) -> io::Result<()> {
    let socket = UdpSocket::bind((client_address(kind, client), 0))?;
    socket.connect(route.target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&[1; 32])?;
    answer(&route.sockets)?;
    socket.recv(&mut [0; 32]).map(drop)
}

/// Sends back what comes to one of the server's addresses.
fn answer(sockets: &[UdpSocket]) -> io::Result<()> {
    let mut waiting: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    let patience = PollTimeout::try_from(PATIENCE).expect("a tenth of a second");
    if poll(&mut waiting, patience)? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    let mut bytes = [0; 64];
    for socket in sockets {
        // Late ones too, so that none is taken for the next exchange's.
        while let Ok((length, client)) = socket.recv_from(&mut bytes) {
            socket.send_to(&bytes[..length], client)?;
        }
    }
    Ok(())
}

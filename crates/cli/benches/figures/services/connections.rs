//! Processor time of one short connection through a node: connect, 64 bytes there, 128 back, close by a reset. Directly where connections
//! are tracked, and through a Service by each proxy; rounds of all of them in turn, so that what slows the machine slows all.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt::Linger},
};

use super::{
    proxies::Proxy,
    results::Results,
    route::{Route, pin, until},
    world::World,
};

const ROUNDS: usize = 24;
const CONNECTIONS: u32 = 2_500;
const TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn run(world: &World, proxies: &[Proxy], results: &mut Results) {
    let through = proxies.iter().filter_map(|proxy| Route::through(world, proxy));
    let routes: Vec<_> = [Route::direct(world)].into_iter().chain(through).collect();
    let mut series = vec![Vec::with_capacity(ROUNDS); routes.len()];
    for round in 0..=ROUNDS {
        let mut order: Vec<_> = (0..routes.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let took = routes[place].client.run(|| connect_all(&routes[place])).expect("the client's network");
            // The first round fills caches.
            if round > 0 {
                series[place].push(took.as_secs_f64() * 1e6 / f64::from(CONNECTIONS));
            }
        }
    }
    println!("   CPU of a short connection, {ROUNDS} rounds of {CONNECTIONS} in turn");
    for (route, times) in routes.iter().zip(&series) {
        let ratios: Vec<_> = times.iter().zip(&series[0]).map(|(time, direct)| time / direct).collect();
        let (time, ratio) = (median(times), median(&ratios));
        let [low, high] = interval(&ratios);
        println!("   {:<22} {time:.2} us, of direct {ratio:.3} [{low:.3} {high:.3}]", route.name);
        results.exactly("connection us", &route.name, world.size, time);
        results.exactly("connection of direct", &route.name, world.size, ratio);
    }
}

fn connect_all(route: &Route) -> Duration {
    pin();
    until(|| connect(route));
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        connect(route).expect("a connection");
    }
    start.elapsed()
}

fn connect(route: &Route) -> io::Result<()> {
    let mut client = connect_from(route)?;
    client.write_all(&[1; 64])?;
    let (mut server, _) = route.listener.accept()?;
    server.read_exact(&mut [0; 64])?;
    server.write_all(&[2; 128])?;
    client.read_exact(&mut [0; 128])
}

/// From a pod's address: the client's way to everywhere leads over their link.
fn connect_from(route: &Route) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&route.target, TIMEOUT)?;
    setsockopt(&stream, Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    Ok(stream)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Where the median of all such rounds is with 95 % (by the order of these alone; for 24 rounds the 7th and the 18th).
fn interval(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let reach = (0.98 * count.sqrt()).ceil() as usize;
    let middle = sorted.len() / 2;
    [sorted[middle - reach.min(middle)], sorted[(middle + reach - 1).min(sorted.len() - 1)]]
}

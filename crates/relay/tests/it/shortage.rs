use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use stead_relay::Options;

use crate::bench::{Bench, echo, eventually, serve};

#[test]
fn without_descriptors_new_connections_are_refused_and_old_ones_live() {
    let bench = Bench::streams(&Options { descriptors: 4, ..Options::default() }, &[serve(echo)]);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])
    };
    let mut old = [(); 2].map(|()| bench.connect());
    old.iter_mut().for_each(|stream| ask(stream).unwrap());
    let mut new = bench.connect();
    assert_eq!(ask(&mut new).unwrap_err().kind(), ErrorKind::ConnectionReset);
    old.iter_mut().for_each(|stream| ask(stream).unwrap());
    assert_eq!(bench.relay.counts().without_descriptor, 1);
    drop(old);
    eventually("there is room again", || bench.relay.open() == 0);
    ask(&mut bench.connect()).unwrap();
}

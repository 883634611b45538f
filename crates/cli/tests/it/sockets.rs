//! Every listening socket of a lab stands on this list: what is not meant to listen is a hole.

use std::{collections::BTreeSet, fs};

use crate::lab::Lab;

/// `proto address:port` of what listens in a host's network; addresses in the kernel's hexadecimal form are left as they are.
fn listening(lab: &Lab, host: &str) -> BTreeSet<(String, u16)> {
    // States of net/tcp_states.h and include/net/sock.h: a TCP socket in LISTEN, a UDP socket without a peer.
    const KINDS: [(&str, &str); 4] = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];
    let namespace = lab.namespace(host);
    let tables =
        namespace.run(|| KINDS.map(|(kind, _)| fs::read_to_string(format!("/proc/thread-self/net/{kind}")).unwrap()));
    let mut found = BTreeSet::new();
    for ((kind, state), table) in KINDS.iter().zip(tables.unwrap()) {
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields[3] == *state {
                let port = fields[1].rsplit_once(':').unwrap().1;
                found.insert(((*kind).to_owned(), u16::from_str_radix(port, 16).unwrap()));
            }
        }
    }
    found
}

#[test]
fn nothing_listens_but_what_is_meant_to() {
    let lab = Lab::up("sockets", 1);
    let expect = |host: &str, sockets: &[(&str, u16)]| {
        let sockets = sockets.iter().map(|(kind, port)| ((*kind).to_owned(), *port)).collect();
        assert_eq!(listening(&lab, host), sockets, "{host}");
    };
    // The agent (10250) answers only clients with a certificate of the API server or an administrator. The proxy tells everybody whether it
    // is well (10256), and on loopback what it counts (10249).
    expect("node1", &[("tcp", 10249), ("tcp", 10250), ("tcp6", 10250), ("tcp6", 10256)]);
    expect("fabric", &[("tcp", 6443)]);
    expect("outside", &[]);
}

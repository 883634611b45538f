//! Sockets that not every kernel has: SCTP by the kernel itself, where the rest of the suite speaks it by raw chunks.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    process::Command,
};

use socket2::{Domain, Socket, Type};
use stead_dataplane::{DataPlane, IpvsPlane, NfTables, ipvs::Options};
use stead_model::{Family, Protocol};
use stead_sys::namespace::Namespace;

use crate::bench::{Bench, Open, POD_PORT};

fn socket(to: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(to), Type::STREAM, Some(socket2::Protocol::from(132))).unwrap()
}

/// Answers one association with what it is sent.
fn echo(listener: &Socket) {
    let (mut accepted, _) = listener.accept().unwrap();
    let mut buffer = [0; 16];
    let length = accepted.read(&mut buffer).unwrap();
    accepted.write_all(&buffer[..length]).unwrap();
}

#[test]
#[ignore = "needs SCTP sockets and IPVS: `guest` boots a kernel that has them"]
fn sctp_associations_go_through_virtual_ips() {
    assert!(Command::new("modprobe").arg("sctp").status().unwrap().success());
    let planes: [Open; 2] = [
        |namespace: &Namespace| -> Box<dyn DataPlane> { Box::new(NfTables::open_in(namespace).unwrap()) },
        |namespace: &Namespace| Box::new(IpvsPlane::open_in(namespace, Options::default()).unwrap()),
    ];
    for open in planes {
        for family in Family::ALL {
            let bench = &mut Bench::new(open, family);
            let mut port = bench.port(Protocol::Sctp, 1, Some(30080), &[(2, 1)]);
            // Beside the testbed's own, which speaks by raw chunks.
            port.backends[0].address.set_port(POD_PORT + 1);
            let backend = port.backends[0].address;
            bench.all("web", [port]);
            let listener = bench.pod(2, 1).run(|| {
                let listener = socket(backend);
                listener.bind(&backend.into()).unwrap();
                listener.listen(8).unwrap();
                listener
            });
            let listener = listener.unwrap();
            for (client, to) in
                [(bench.pod(1, 1), bench.cluster_ip(1, 80)), (bench.lab.outside(), bench.node_port(30080))]
            {
                let asked = std::thread::scope(|scope| {
                    let served = scope.spawn(|| echo(&listener));
                    let asked = client.run(|| {
                        let socket = socket(to);
                        socket.connect(&to.into()).unwrap();
                        // Reading and writing are the same for every stream.
                        let mut stream = TcpStream::from(OwnedFd::from(socket));
                        stream.write_all(b"hello").unwrap();
                        let mut buffer = [0; 5];
                        stream.read_exact(&mut buffer).unwrap();
                        buffer
                    });
                    served.join().unwrap();
                    asked.unwrap()
                });
                assert_eq!(&asked, b"hello", "{} to {to}", client.name());
            }
        }
    }
}

//! What is written is read back, and what is refused is named. What a kernel with IPVS says to it is tested with the data plane.

use proptest::prelude::*;
use stead_model::Protocol;

use super::*;
use crate::netlink::Attributes;

fn name(text: &str, protocol: Protocol) -> Name {
    let socket: SocketAddr = text.parse().unwrap();
    Name::At(Frontend { address: socket.ip(), protocol, port: socket.port() })
}

fn server(scheduler: &str, flags: SchedulerFlags, seconds: Option<u64>) -> Server {
    Server { scheduler: scheduler.into(), flags, persistence: seconds.map(Duration::from_secs) }
}

/// The attributes of one change, without its headers.
fn encoded(change: &Change) -> Vec<u8> {
    let mut writer = Writer::new();
    wire::write(&mut writer, 27, REQUEST, 1, change);
    writer.bytes()[20..].to_vec()
}

#[test]
fn what_is_written_is_read() {
    let plain = SchedulerFlags::default();
    let check = |name: Name, server: Server| {
        let bytes = encoded(&Change::AddServer(name, server.clone()));
        let read: Vec<_> = Attributes::new(&bytes).filter_map(wire::server).collect();
        assert_eq!(read, [(name, server)]);
    };
    check(name("10.96.0.1:80", Protocol::Tcp), server("rr", plain, None));
    check(name("[fd56:96::1]:53", Protocol::Udp), server("wlc", plain, Some(10_800)));
    check(name("10.96.0.1:9", Protocol::Sctp), server("mh", SchedulerFlags::PORT, None));
    check(Name::Marked(Family::V6, 7), server("sh", SchedulerFlags(0x18), Some(1)));

    let to: SocketAddr = "[fd56:244::2]:8080".parse().unwrap();
    let bytes = encoded(&Change::AddDestination(Name::Marked(Family::V6, 7), to, 3));
    let read: Vec<_> = Attributes::new(&bytes).filter_map(|each| wire::destination(each, Family::V6)).collect();
    assert_eq!(read, [Destination { address: to, weight: 3, translates: true, connections: 0 }]);
}

#[test]
fn changes_print_as_ipvsadm_takes_them() {
    let check = |change: Change, expect: &str| assert_eq!(change.to_string(), expect);
    let (web, marked) = (name("10.96.0.1:80", Protocol::Tcp), Name::Marked(Family::V6, 9));
    let to = "10.244.1.2:8080".parse().unwrap();
    let sticky = server("mh", SchedulerFlags(0x18), Some(60));
    check(Change::AddServer(web, sticky), "-A -t 10.96.0.1:80 -s mh -p 60 -b flag-1,flag-2");
    check(Change::SetServer(marked, server("rr", SchedulerFlags(0), None)), "-E -f 9 -6 -s rr");
    check(Change::AddDestination(web, to, 1), "-a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 1");
    check(Change::SetDestination(web, to, 0), "-e -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 0");
    check(Change::DeleteDestination(web, to), "-d -t 10.96.0.1:80 -r 10.244.1.2:8080");
    check(Change::DeleteServer(name("[fd56:96::1]:9", Protocol::Sctp)), "-D --sctp-service [fd56:96::1]:9");
}

#[test]
fn a_family_that_the_kernel_has_is_found_and_another_is_not() {
    let mut socket = Socket::over(Box::new(Kernel::open(Bus::Generic).unwrap()));
    assert_eq!(family(&mut socket, "nlctrl").unwrap(), Some(0x10));
    assert_eq!(family(&mut socket, "no-such").unwrap(), None);
}

proptest! {
    #[test]
    fn any_attributes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for attribute in Attributes::new(&bytes) {
            let _ = (wire::server(attribute), wire::destination(attribute, Family::V4));
        }
    }
}

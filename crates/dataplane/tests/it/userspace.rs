//! The userspace plane, held to the suite and to what is its own.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::MetadataExt, net::UnixStream},
    process::Command,
    thread,
};

use stead_dataplane::{
    Applied, DataPlane, Scope, Verified,
    iptables::programs::Programs,
    userspace::{Comments, Launch, Listen, Options, UserSpace, keep},
};
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{Backend, FrontendKind, FrontendRule, Lists, Plan, ServicePlan, ServicePortPlan};
use stead_sys::namespace::Namespace;
use stead_testbed::{Calls, Failure};

use crate::{
    bench::{Bench, eventually},
    limits::Limit,
};

const LIMITS: &[Limit] = &[Limit::SourceIsLost, Limit::NoSctp, Limit::LinksAreUnknown];

fn options(namespace: &Namespace) -> Options {
    let inode = namespace.run(|| fs::metadata("/proc/thread-self/ns/net").unwrap().ino()).unwrap();
    let path = std::env::temp_dir().join(format!("stead-relay-{}-{inode}.sock", std::process::id()));
    Options { path, launch: Launch::Threads, listen: Listen::Everywhere, redirect: Some(Comments::Name), range: None }
}

fn with_lock(programs: Programs, namespace: &Namespace) -> Programs {
    // Namespaces need not wait for each other.
    programs.with_lock(options(namespace).path.with_extension("lock"))
}

fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
    let programs = with_lock(Programs::find_in(namespace).unwrap(), namespace);
    Box::new(UserSpace::open_in(namespace, options(namespace), Some(programs)).unwrap())
}

crate::behaviour_tests!(super::open, super::LIMITS);

fn bench(family: Family) -> Bench {
    Bench::limited(open, family, LIMITS)
}

/// As the plane under test, to be asked what a front of all planes does not tell.
fn twin(bench: &Bench) -> UserSpace {
    let namespace = bench.lab.node(1).namespace();
    UserSpace::open_in(namespace, options(namespace), None).unwrap()
}

fn number(bench: &Bench) -> u16 {
    twin(bench).numbers().into_values().next().unwrap()
}

/// Ends the relay, and with it all sockets.
fn end_relay(bench: &Bench) {
    let mut stream = UnixStream::connect(options(bench.lab.node(1).namespace()).path).unwrap();
    let end = br#""End""#;
    stream.write_all(&(end.len() as u32).to_le_bytes()).unwrap();
    stream.write_all(end).unwrap();
    eventually("the relay has ended", || UnixStream::connect(options(bench.lab.node(1).namespace()).path).is_err());
}

#[test]
fn a_newer_relay_takes_the_ports_and_connections_go_on() {
    let bench = &mut bench(Family::V4);
    bench.all("web", [bench.web(&[(1, 2), (2, 1)])]);
    let (to, before) = (bench.cluster_ip(1, 80), number(bench));
    let mut flows = [(); 2].map(|()| bench.pod(1, 1).open(Protocol::Tcp, to).unwrap());
    let servers = flows.each_mut().map(|flow| flow.ask().unwrap().server);
    assert_ne!(servers[0], servers[1]);
    let load = bench.pod(1, 1).load(Protocol::Tcp, to, Calls { concurrency: 4, ..Calls::of(usize::MAX) }).unwrap();
    for _ in 0..3 {
        let path = options(bench.lab.node(1).namespace()).path;
        let inode = fs::metadata(&path).unwrap().ino();
        // A thread stays in the namespace that it was made in.
        bench
            .lab
            .node(1)
            .namespace()
            .run(|| {
                thread::spawn({
                    let path = path.clone();
                    move || keep(&path).unwrap()
                })
            })
            .unwrap();
        eventually("the newer one answers", || fs::metadata(&path).is_ok_and(|now| now.ino() != inode));
        assert_eq!(bench.plane.verify().unwrap(), Verified::Intact);
        assert_eq!(number(bench), before);
        for (flow, server) in flows.iter_mut().zip(&servers) {
            assert_eq!(flow.ask().unwrap().server, *server);
        }
    }
    let tally = load.stop().unwrap();
    assert!(tally.failed() == 0 && tally.answered() > 10, "{tally}");
    // What the oldest one still has is told of changes too.
    bench.change("web", [bench.web(&[(1, 2)])]);
    for (flow, server) in flows.iter_mut().zip(&servers) {
        match &**server {
            "pod-1-2" => assert_eq!(flow.ask().unwrap().server, "pod-1-2"),
            _ => assert_eq!(flow.ask(), Err(Failure::Reset)),
        }
    }
}

#[test]
fn a_relay_that_ended_comes_back_where_the_redirects_lead_or_elsewhere() {
    let bench = &mut bench(Family::V4);
    bench.all("web", [bench.web(&[(2, 1)])]);
    let served = |bench: &Bench| bench.pod(1, 1).ask(Protocol::Tcp, bench.cluster_ip(1, 80)).unwrap().server;
    let before = number(bench);
    end_relay(bench);
    assert!(matches!(bench.plane.verify().unwrap(), Verified::Healed { operations } if operations > 0));
    assert_eq!((number(bench), served(bench).as_str()), (before, "pod-2-1"));
    // As after a restart of the machine's proxy, by the rules alone.
    end_relay(bench);
    bench.restart();
    bench.apply(Scope::All);
    assert_eq!((number(bench), served(bench).as_str()), (before, "pod-2-1"));
    end_relay(bench);
    let _taken = bench.lab.node(1).namespace().run(|| TcpListener::bind(("0.0.0.0", before)).unwrap()).unwrap();
    assert!(matches!(bench.plane.verify().unwrap(), Verified::Healed { .. }));
    assert_ne!(number(bench), before);
    assert_eq!(served(bench), "pod-2-1");
}

#[test]
fn the_listening_port_itself_is_the_service_as_its_policies_say() {
    let bench = &mut bench(Family::V4);
    let outside = bench.lab.outside().address(Family::V4);
    let mut port = bench.port(Protocol::Tcp, 1, Some(30080), &[(1, 2), (2, 1)]);
    bench.all("web", [port.clone()]);
    let to = bench.node_port(number(bench));
    let ask = |bench: &Bench| bench.lab.outside().ask(Protocol::Tcp, to).map(|answer| answer.server);
    assert!(ask(bench).is_ok());
    // 2015's rule for the way there.
    let listing = bench.lab.node(1).namespace().run(|| Command::new("iptables-save").output().unwrap()).unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    let redirect = format!(
        "-A KUBE-PORTALS-CONTAINER -d 10.96.0.1/32 -p tcp -m comment --comment web -m tcp --dport 80 -j REDIRECT --to-ports {}",
        to.port()
    );
    assert!(listing.contains(&redirect), "{listing}");
    port.sources = Some([bench.pod(1, 1).address(Family::V4).into()].into());
    bench.change("web", [port.clone()]);
    assert_eq!(ask(bench), Err(Failure::Reset));
    port.sources = Some([outside.into()].into());
    bench.change("web", [port]);
    assert!(ask(bench).is_ok());

    let namespace = bench.lab.node(1).namespace();
    let options = Options { listen: Listen::Loopback, ..options(namespace) };
    let programs = with_lock(Programs::find_in(namespace).unwrap(), namespace);
    let mut narrow = UserSpace::open_in(namespace, options, Some(programs)).unwrap();
    narrow.apply(&bench.plan, Scope::All).unwrap();
    assert_eq!(ask(bench), Err(Failure::Reset));
    assert!(bench.lab.outside().ask(Protocol::Tcp, bench.node_port(30080)).is_ok());
}

#[test]
fn rules_of_others_stay_and_flushed_ones_come_back() {
    let bench = &mut bench(Family::V4);
    let run = |bench: &Bench, line: &str| {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let output = bench.lab.node(1).namespace().run(|| command.output().unwrap()).unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(bench, "iptables -t nat -A PREROUTING -d 203.0.113.1/32 -j ACCEPT");
    run(bench, "iptables -A INPUT -s 203.0.113.2/32 -j DROP");
    run(bench, "iptables -t nat -N MINE");
    run(bench, "iptables -t nat -A MINE -d 203.0.113.3/32 -j RETURN");
    let theirs = |bench: &Bench| {
        let all = ["nat", "filter"].map(|table| run(bench, &format!("iptables-save -t {table}")));
        all.concat()
            .lines()
            .filter(|line| line.contains("203.0.113.") || line.contains("MINE "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = theirs(bench);
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &[(2, 1)])]);
    assert_eq!(bench.plane.verify().unwrap(), Verified::Intact);
    for flush in ["iptables -t nat -F KUBE-PORTALS-CONTAINER", "iptables -t nat -D PREROUTING 1", "iptables -F INPUT"] {
        run(bench, flush);
        assert!(matches!(bench.plane.verify().unwrap(), Verified::Healed { .. }), "{flush}");
        assert_eq!(bench.pod(1, 1).ask(Protocol::Tcp, bench.cluster_ip(1, 80)).unwrap().server, "pod-2-1");
        if flush.ends_with("INPUT") {
            run(bench, "iptables -A INPUT -s 203.0.113.2/32 -j DROP");
        }
    }
    assert_eq!(theirs(bench), before);
    bench.plane.remove().unwrap();
    assert_eq!(theirs(bench), before);
    assert!(!run(bench, "iptables-save").contains("KUBE-"));
}

#[test]
fn ten_thousand_services_stay_within_twenty_thousand_descriptors() {
    const SERVICES: u32 = 10_000;
    let namespace = Namespace::create().unwrap();
    let options = Options { redirect: None, listen: Listen::Loopback, ..options(&namespace) };
    let mut plane = UserSpace::open_in(&namespace, options, None).unwrap();
    let server = namespace.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let backend = Backend { address: server.local_addr().unwrap(), local: true, lists: Lists::Cluster };
    let service = |number: u32| {
        let address = std::net::Ipv4Addr::from(0x0a60_0000 + number).into();
        let frontend = Frontend { address, protocol: Protocol::Tcp, port: 80 };
        let port = ServicePortPlan {
            frontends: vec![FrontendRule { frontend, kind: FrontendKind::ClusterIp }],
            backends: vec![backend],
            ..ServicePortPlan::default()
        };
        (ObjectKey::new("a", format!("service-{number}")), ServicePlan { ports: vec![port] })
    };
    let plan = Plan { services: (1..=SERVICES).map(service).collect(), ..Plan::default() };
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let Applied { operations, .. } = plane.apply(&plan, Scope::All).unwrap();
    assert!(operations >= SERVICES as usize);
    let numbers = plane.numbers();
    assert_eq!(numbers.len(), SERVICES as usize);
    let clients = numbers.values().step_by(100).map(|number| {
        let to = SocketAddr::from(([127, 0, 0, 1], *number));
        let client = namespace.run(|| std::net::TcpStream::connect(to).unwrap()).unwrap();
        (client, server.accept().unwrap())
    });
    let clients: Vec<_> = clients.collect();
    let counted = plane.counted().unwrap();
    assert_eq!((counted.ports, counted.open, clients.len()), (SERVICES as usize, 100, 100));
    // Other tests have some of their own.
    let used = descriptors() - before;
    assert!(used < 15_000, "{used}");
    plane.remove().unwrap();
}

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Two namespaces joined by a veth pair `a` – `b`, both up.
fn pair() -> (Links, Links) {
    let (left, right) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let mut a = Links::open_in(&left).unwrap();
    a.create_veth(VethEnd { name: "a", namespace: None }, VethEnd { name: "b", namespace: Some(&right) }).unwrap();
    let mut b = Links::open_in(&right).unwrap();
    for (links, name) in [(&mut a, "a"), (&mut b, "b")] {
        let index = links.index(name).unwrap();
        links.set_up(index).unwrap();
    }
    (a, b)
}

#[test]
fn a_veth_pair_spans_two_namespaces_and_goes_as_one() {
    let (mut a, mut b) = pair();
    let index = a.index("a").unwrap();
    assert!(b.list().unwrap().iter().any(|link| link.name == "b" && link.up));
    a.delete(index).unwrap();
    assert!(matches!(b.index("b"), Err(LinkError::NoLink(name)) if name == "b"));
}

#[test]
fn addresses_and_routes_read_back_as_written() {
    let (mut links, _peer) = pair();
    let link = links.index("a").unwrap();
    links.add_address(link, net("192.0.2.1/24")).unwrap();
    links.add_address(link, net("2001:db8::1/64")).unwrap();
    let again = links.add_address(link, net("192.0.2.1/24")).unwrap_err();
    assert!(again.already_exists(), "{again}");
    let addresses = links.addresses().unwrap();
    assert!(addresses.contains(&Address { link, address: net("192.0.2.1/24") }));
    assert!(addresses.contains(&Address { link, address: net("2001:db8::1/64") }));

    let via = Route { to: net("198.51.100.0/24"), via: Some("192.0.2.9".parse().unwrap()), link: Some(link) };
    let via6 = Route { to: net("2001:db8:1::/48"), via: Some("2001:db8::9".parse().unwrap()), link: Some(link) };
    let direct = Route { to: net("203.0.113.0/24"), via: None, link: Some(link) };
    let default = Route { to: net("0.0.0.0/0"), via: Some("192.0.2.9".parse().unwrap()), link: Some(link) };
    for route in [via, via6, direct, default] {
        links.replace_route(route).unwrap();
        assert!(links.routes().unwrap().contains(&route), "{route:?}");
    }
    let moved = Route { via: Some("192.0.2.8".parse().unwrap()), ..via };
    links.replace_route(moved).unwrap();
    let routes = links.routes().unwrap();
    assert!(routes.contains(&moved) && !routes.contains(&via));
    links.delete_route(moved).unwrap();
    assert!(links.delete_route(moved).unwrap_err().not_found());
    links.delete_address(link, net("192.0.2.1/24")).unwrap();
    assert!(links.delete_address(link, net("192.0.2.1/24")).unwrap_err().not_found());
}

#[test]
fn a_port_hangs_on_its_bridge() {
    let namespace = Namespace::create().unwrap();
    let mut links = Links::open_in(&namespace).unwrap();
    let ends = ["a", "b"].map(|name| VethEnd { name, namespace: None });
    links.create_veth(ends[0], ends[1]).unwrap();
    let bridge = links.create_bridge("br0").unwrap();
    assert!(links.create_bridge("br0").unwrap_err().already_exists());
    let port = links.index("a").unwrap();
    links.attach(port, bridge).unwrap();
    let shown = || {
        let shown =
            namespace.run(|| std::process::Command::new("ip").args(["-d", "link", "show", "dev", "a"]).output());
        String::from_utf8(shown.unwrap().unwrap().stdout).unwrap()
    };
    assert!(shown().contains("hairpin off"), "{}", shown());
    links.enable_hairpin(port).unwrap();
    assert!(shown().contains("hairpin on"), "{}", shown());
    let port = links.list().unwrap().into_iter().find(|link| link.index == port).unwrap();
    assert_eq!(port.controller, Some(bridge));
}

#[test]
fn errors_say_what_was_tried() {
    let namespace = Namespace::create().unwrap();
    let mut links = Links::open_in(&namespace).unwrap();
    let error = links.set_up(LinkIndex(4711)).unwrap_err();
    assert_eq!(error.to_string(), "set link 4711 up");
    assert!(error.not_found());
    let error = links.create_bridge("a-name-that-is-too-long").unwrap_err();
    assert_eq!(error.to_string(), "create bridge a-name-that-is-too-long");
}

#[test]
fn a_change_of_address_is_noticed() {
    let (mut links, _peer) = pair();
    let namespace = Namespace::create().unwrap();
    let mut watch = AddressWatch::open_in(&namespace).unwrap();
    while watch.drain().unwrap() {}
    let mut inside = Links::open_in(&namespace).unwrap();
    let loopback = inside.index("lo").unwrap();
    assert!(!watch.drain().unwrap());
    let link = links.index("a").unwrap();
    links.add_address(link, net("192.0.2.1/24")).unwrap();
    assert!(!watch.drain().unwrap(), "another namespace's addresses are not ours");
    inside.add_address(loopback, net("192.0.2.7/32")).unwrap();
    assert!(watch.drain().unwrap());
}

#[test]
fn an_address_without_a_link_is_ones_own() {
    let namespace = Namespace::create().unwrap();
    let mut links = Links::open_in(&namespace).unwrap();
    let loopback = links.index("lo").unwrap();
    let addresses: [IpAddr; 2] = ["10.96.0.1".parse().unwrap(), "fd56:96::1".parse().unwrap()];
    for address in addresses {
        links.add_local_route(loopback, address).unwrap();
        assert!(links.add_local_route(loopback, address).unwrap_err().already_exists());
        // Nobody listens there; an address of others would be out of reach.
        let connected = namespace.run(|| std::net::TcpStream::connect((address, 9)).unwrap_err().kind());
        assert_eq!(connected.unwrap(), io::ErrorKind::ConnectionRefused, "{address}");
    }
    assert_eq!(links.local_routes().unwrap(), addresses);
    addresses.into_iter().for_each(|address| links.delete_local_route(loopback, address).unwrap());
    assert_eq!(links.local_routes().unwrap(), [] as [IpAddr; 0]);
}

//! Endpoints that are another Service's virtual IP.

use super::*;

/// A Service of one port 80, and its endpoints behind port `target`.
fn chain(name: &str, vip: &str, target: u16, endpoints: &[&str]) -> (Value, Value) {
    let endpoints: Vec<_> =
        endpoints.iter().map(|address| json!({"addresses": [address], "nodeName": "node1"})).collect();
    let service = service(name, json!({"clusterIPs": [vip], "ports": [{"port": 80}]}));
    (service, slice(&format!("{name}-s"), name, "IPv4", json!([{"port": target}]), json!(endpoints)))
}

fn check_chains(chains: &[(Value, Value)], expect_plan: &[&str], expect_problems: &[&str]) {
    let (services, slices): (Vec<_>, Vec<_>) = chains.iter().cloned().unzip();
    check(&services, &slices, expect_plan, expect_problems);
}

#[test]
fn an_endpoint_that_is_another_services_virtual_ip_is_that_services_endpoints() {
    check_chains(
        &[
            chain("a", "10.96.0.1", 80, &["10.96.0.2", "192.0.2.7"]),
            chain("b", "10.96.0.2", 8080, &["10.244.1.2", "10.244.1.3"]),
        ],
        &[
            "default/a: 10.96.0.1:80/TCP -> 10.244.1.2:8080* 10.244.1.3:8080* 192.0.2.7:80*",
            "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:8080* 10.244.1.3:8080*",
        ],
        &[],
    );
}

#[test]
fn loops_and_second_hops_are_refused_by_name() {
    check_chains(
        &[chain("a", "10.96.0.1", 80, &["10.96.0.1", "10.244.1.2"])],
        &["default/a: 10.96.0.1:80/TCP -> 10.244.1.2:80*"],
        &["Service default/a: endpoint 10.96.0.1:80/TCP is this Service itself; it gets no traffic"],
    );
    check_chains(
        &[chain("a", "10.96.0.1", 80, &["10.96.0.2"]), chain("b", "10.96.0.2", 80, &["10.96.0.1", "10.244.1.2"])],
        &["default/a: 10.96.0.1:80/TCP -> 10.244.1.2:80*", "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:80*"],
        &[
            "Service default/a: endpoint 10.96.0.2:80/TCP is Service default/b, which leads back to this one; it gets no traffic",
            "Service default/b: endpoint 10.96.0.1:80/TCP is Service default/a, which leads back to this one; it gets no traffic",
        ],
    );
    check_chains(
        &[
            chain("a", "10.96.0.1", 80, &["10.96.0.2"]),
            chain("b", "10.96.0.2", 80, &["10.96.0.3"]),
            chain("c", "10.96.0.3", 8080, &["10.244.1.2"]),
        ],
        &[
            "default/a: 10.96.0.1:80/TCP ->",
            "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:8080*",
            "default/c: 10.96.0.3:80/TCP -> 10.244.1.2:8080*",
        ],
        &[
            "Service default/a: endpoint 10.96.0.2:80/TCP is Service default/b, whose endpoint 10.96.0.3:80/TCP is Service default/c: no traffic goes over two Services; name the endpoints of default/c instead",
        ],
    );
}

#[test]
fn a_virtual_ip_that_no_service_has_gets_nothing() {
    check_chains(
        &[chain("a", "10.96.0.1", 8443, &["10.96.0.2"]), chain("b", "10.96.0.2", 80, &["10.244.1.2"])],
        &["default/a: 10.96.0.1:80/TCP ->", "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:80*"],
        &[
            "Service default/a: endpoint 10.96.0.2:8443/TCP is in a range of virtual IPs, and no Service has that address and port; it gets no traffic",
        ],
    );
}

#[test]
fn a_service_follows_the_one_it_stands_for() {
    let (a, b) = (chain("a", "10.96.0.1", 80, &["10.96.0.2"]), chain("b", "10.96.0.2", 80, &["10.244.1.2"]));
    let mut snapshot = snapshot(&[a.0, b.0.clone()], &[a.1, b.1]);
    let mut planner = Planner::new(context());
    planner.update_all(&snapshot);
    let changed = |planner: &mut Planner, snapshot: &mut ServiceSnapshot, change: ServiceChange| {
        let mut touched = Touched::default();
        snapshot.apply(change, &mut touched);
        let mut changed = planner.update(snapshot, &touched.services).changed;
        changed.sort();
        changed.iter().map(|key| key.name.to_string()).collect::<Vec<_>>()
    };
    let (_, other) = chain("b", "10.96.0.2", 80, &["10.244.1.3"]);
    let change = ServiceChange::Slice(Change::Apply(view(&other)));
    assert_eq!(changed(&mut planner, &mut snapshot, change), ["a", "b"]);
    assert_eq!(render(planner.plan())[0], "default/a: 10.96.0.1:80/TCP -> 10.244.1.3:80*");
    let change = ServiceChange::Service(Change::Delete(view(&b.0)));
    assert_eq!(changed(&mut planner, &mut snapshot, change), ["a", "b"]);
    assert_eq!(render(planner.plan()), ["default/a: 10.96.0.1:80/TCP ->"]);
}

#[test]
fn endpoints_that_stand_for_thousands_are_bounded_over_all_ports_of_a_service() {
    const PORTS: u16 = 12;
    const BACKENDS: u32 = 60_000;
    let addresses = |first: u32| -> Vec<Value> {
        let address = |number| json!({"addresses": [std::net::Ipv4Addr::from_bits(first + number).to_string()]});
        (0..BACKENDS).map(address).collect()
    };
    let many = service("b", json!({"clusterIPs": ["10.96.0.2"], "ports": [{"port": 80}]}));
    let many_slice = slice("b-s", "b", "IPv4", json!([{"port": 8080}]), json!(addresses(0x0af4_0000)));
    let names = (1..=PORTS).map(|number| format!("p{number:02}"));
    let port = |(number, name): (u16, &String)| json!({"name": name, "port": number});
    let names: Vec<_> = names.collect();
    let ports: Vec<_> = (1..=PORTS).zip(&names).map(port).collect();
    let user = service("a", json!({"clusterIPs": ["10.96.0.1"], "ports": ports}));
    let targets: Vec<_> = names.iter().map(|name| json!({"name": name, "port": 80})).collect();
    let user_slice = slice("a-s", "a", "IPv4", json!(targets), json!([{"addresses": ["10.96.0.2"]}]));
    let (plan, problems) = plan_all(&snapshot(&[many, user], &[many_slice, user_slice]), &context());
    let ports = &plan.services[&ObjectKey::new("default", "a")].ports;
    let total: usize = ports.iter().map(|port| port.backends.len()).sum();
    assert_eq!((ports.len(), total), (usize::from(PORTS), crate::MAX_BACKENDS_OF_SERVICE));
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].contains("has 60000 endpoints; the first 20000 get traffic"), "{told:?}");
    assert!(told[3].contains("the first 0 get traffic"), "{told:?}");
}

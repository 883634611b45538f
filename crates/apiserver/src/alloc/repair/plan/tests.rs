use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn holder(name: &str, addresses: &[&str], ports: &[u16]) -> Holder {
    let ports = ports.iter().map(|port| json!({"port": port, "nodePort": port})).collect::<Vec<_>>();
    let service = json!({
        "metadata": {"namespace": "a", "name": name, "uid": name},
        "spec": {"type": "NodePort", "clusterIP": addresses.first(), "clusterIPs": addresses, "ports": ports},
    });
    Holder::of(&service, Revision(1)).unwrap()
}

fn claim(name: &str, service: &str, age: i64) -> Address {
    let mut object = ip_address::of_service(name.parse().unwrap(), "a", service);
    let made = NOW.parse::<Timestamp>().unwrap() - SignedDuration::from_secs(age);
    object["metadata"]["creationTimestamp"] = made.to_string().into();
    Address::of(object, Revision(2))
}

/// Repairs and events of a look, each in a line.
fn render(facts: &Facts, suspects: &Suspects) -> Vec<String> {
    let found = plan(facts, suspects, NOW.parse().unwrap());
    let notes = found
        .notes
        .iter()
        .map(|(_, note)| format!("event {} {}: {}", note.object["name"].as_str().unwrap(), note.reason, note.message));
    let repairs = found.repairs.iter().map(|repair| match repair {
        Repair::Claim { address, holder, seen } => format!("claim {address} for {} at {seen}", holder.path),
        Repair::Remove { name, seen } => format!("remove {name} at {seen}"),
        Repair::ClaimPort { port, holder } => format!("claim port {port} for {}", holder.path),
        Repair::ReleasePort { port, seen } => format!("release port {port} at {seen}"),
    });
    notes.chain(repairs).collect()
}

fn nothing() -> Facts {
    Facts {
        holders: vec![],
        unread: vec![],
        addresses: vec![],
        ranges: vec![],
        ports: vec![],
        node_ports: 30000..=32767,
    }
}

fn check(holders: Vec<Holder>, addresses: Vec<Address>, ports: &[u16], expect: &[&str]) {
    let facts = Facts {
        holders,
        unread: vec![],
        addresses,
        ranges: vec!["10.96.0.0/16".parse().unwrap(), "fd56:96::/112".parse().unwrap()],
        ports: ports.iter().map(|port| (*port, Revision(3))).collect(),
        node_ports: 30000..=32767,
    };
    assert_eq!(render(&facts, &Suspects::new()), expect);
}

#[test]
fn what_is_together_is_left_alone() {
    let both = ["10.96.0.9", "fd56:96::9"];
    check(
        vec![holder("web", &both, &[30080])],
        vec![claim(both[0], "web", 1), claim(both[1], "web", 1)],
        &[30080],
        &[],
    );
    let headless =
        json!({"metadata": {"namespace": "a", "name": "h"}, "spec": {"clusterIP": "None", "clusterIPs": ["None"]}});
    assert_eq!(Holder::of(&headless, Revision(1)), None);
}

#[test]
fn a_missing_claim_is_made_again() {
    check(
        vec![holder("web", &["10.96.0.9"], &[30080])],
        vec![],
        &[],
        &[
            "event web ClusterIPNotAllocated: Cluster IP [IPv4]: 10.96.0.9 is not allocated; repairing",
            "event web PortNotAllocated: Port 30080 is not allocated; repairing",
            "claim 10.96.0.9 for a/web at 0",
            "claim port 30080 for a/web",
        ],
    );
}

#[test]
fn a_claim_of_nobody_is_made_the_services() {
    let wrong = "event web ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.96.0.9 for Service a/web has a wrong reference; repairing";
    let web = || vec![holder("web", &["10.96.0.9"], &[])];
    check(web(), vec![claim("10.96.0.9", "gone", 1)], &[], &[wrong, "claim 10.96.0.9 for a/web at 2"]);
    let mut gateway = claim("10.96.0.9", "web", 1);
    gateway.object["spec"]["parentRef"]["resource"] = "gateways".into();
    check(web(), vec![gateway], &[], &[wrong, "claim 10.96.0.9 for a/web at 2"]);
    let mut unlabelled = claim("10.96.0.9", "web", 1);
    unlabelled.object["metadata"]["labels"] = json!({});
    check(web(), vec![unlabelled], &[], &["claim 10.96.0.9 for a/web at 2"]);
}

#[test]
fn what_two_services_have_is_for_people_to_decide() {
    let twice = |name: &str| {
        format!(
            "event {name} ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.96.0.9 was assigned to multiple services; please recreate service"
        )
    };
    let two = || vec![holder("one", &["10.96.0.9"], &[30080]), holder("two", &["10.96.0.9"], &[30080])];
    let port = "event two PortAlreadyAllocated: Port 30080 was assigned to multiple services; please recreate service";
    check(two(), vec![claim("10.96.0.9", "one", 1)], &[30080], &[&twice("two"), port]);
    check(
        two(),
        vec![],
        &[30080],
        &[
            "event one ClusterIPNotAllocated: Cluster IP [IPv4]: 10.96.0.9 is not allocated; repairing",
            &twice("two"),
            port,
            "claim 10.96.0.9 for a/one at 0",
        ],
    );
}

#[test]
fn what_lies_outside_is_reported() {
    check(
        vec![holder("web", &["10.97.0.9"], &[20080]), holder("odd", &["x"], &[])],
        vec![claim("10.97.0.9", "web", 1)],
        &[],
        &[
            "event web ClusterIPOutOfRange: Cluster IP [IPv4]: 10.97.0.9 is not within any configured Service CIDR; please recreate service",
            "event odd ClusterIPNotValid: Cluster IP x is not a valid IP; please recreate Service",
            "event web PortOutOfRange: Port 20080 is not within the port range 30000-32767; please recreate service",
        ],
    );
}

#[test]
fn leaked_claims_go_after_a_while() {
    let leaked = "event 10.96.0.9 IPAddressNotAllocated: IPAddress: 10.96.0.9 for Service a/gone appears to have leaked: cleaning up";
    check(vec![], vec![claim("10.96.0.9", "gone", 60)], &[], &[]);
    check(vec![], vec![claim("10.96.0.9", "gone", 61)], &[], &[leaked, "remove 10.96.0.9 at 2"]);
    let web = || holder("web", &["10.96.0.8"], &[]);
    let own = || claim("10.96.0.8", "web", 100);
    let wrong = "event 10.96.0.9 IPAddressWrongReference: IPAddress: 10.96.0.9 for Service a/web has a wrong reference; cleaning up";
    check(vec![web()], vec![own(), claim("10.96.0.9", "web", 5)], &[], &[]);
    check(vec![web()], vec![own(), claim("10.96.0.9", "web", 6)], &[], &[wrong, "remove 10.96.0.9 at 2"]);
    let mut others = claim("10.96.0.9", "gone", 1000);
    others.object["metadata"]["labels"] = json!({});
    check(vec![], vec![others], &[], &[]);
}

#[test]
fn a_leaked_port_is_released_at_the_third_look() {
    let facts = Facts { ports: vec![(30080, Revision(3))], ..nothing() };
    let mut suspects = Suspects::new();
    for _ in 0..2 {
        let found = plan(&facts, &suspects, NOW.parse().unwrap());
        assert_eq!(found.repairs, []);
        suspects = found.suspects;
    }
    assert_eq!(render(&facts, &suspects), ["release port 30080 at 3"]);
    let used = Facts { holders: vec![holder("web", &[], &[30080])], ports: facts.ports, ..nothing() };
    assert_eq!(render(&used, &suspects), [] as [&str; 0]);
    assert!(plan(&used, &suspects, NOW.parse().unwrap()).suspects.is_empty(), "a port in use is no suspect");
}

#[test]
fn nothing_is_released_while_a_service_cannot_be_read() {
    let unread = vec!["/registry/services/specs/a/broken".to_owned()];
    let facts = Facts {
        addresses: vec![claim("10.96.0.9", "broken", 999)],
        ports: vec![(30080, Revision(3))],
        unread,
        ..nothing()
    };
    let found = plan(&facts, &Suspects::from([(30080, LOOKS)]), NOW.parse().unwrap());
    assert_eq!((found.repairs, found.notes.len()), (vec![], 0));
}

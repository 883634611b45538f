//! The iptables plane, held to the suite and to what is its own.

mod figures;

use std::collections::BTreeSet;

use stead_dataplane::{
    DataPlane, IpTables, Scope, Verified,
    iptables::programs::{Programs, Variant},
};
use stead_model::{Family, Protocol};
use stead_plan::{Algorithm, ServicePortPlan, TrafficPolicy};
use stead_sys::namespace::Namespace;

use crate::{bench::Bench, limits::Limit, matrix};

/// Each namespace has a lock of its own: the host's is one for all, and tests run side by side.
fn open_kind(variant: Variant, namespace: &Namespace) -> Box<dyn DataPlane> {
    use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
    let file = std::fs::File::from(namespace.as_fd().try_clone_to_owned().unwrap());
    let lock = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("xtables-{}.lock", file.metadata().unwrap().ino()));
    let programs = Programs::of(variant, Some(namespace)).unwrap().with_lock(lock);
    Box::new(IpTables::open_in(namespace, programs).unwrap())
}

/// Beside the cases that are left out below.
const LIMITS: &[Limit] = &[Limit::NewcomersMayScatter];

macro_rules! all_that_the_mechanism_can {
    ($open:expr) => {
    crate::behaviour_tests!($open, $crate::iptables::LIMITS;
            connections_are_spread_and_pods_keep_their_source
            clients_from_outside_are_masqueraded
            what_nobody_serves_is_refused
            a_pod_reaches_itself
            node_ports_answer_from_everywhere
            datagrams_are_spread_and_refused
            weights_are_kept
            turns_go_round
            a_client_sticks_to_its_backend
            an_affinity_ends_with_its_backend_and_with_its_time
            scaling_under_load_loses_nothing
            a_service_that_comes_and_goes_is_served_or_refused
            a_restart_is_not_noticed
            a_restart_removes_what_the_plan_lacks
            what_somebody_else_removed_comes_back
            connections_of_departed_backends_are_forgotten
            a_draining_backend_finishes_what_it_has
            connections_of_departed_services_are_forgotten
            a_datagram_flow_that_was_there_first_finds_the_service
            every_rule_holds_for_every_client
            pods_are_known_by_their_links
            any_change_leads_where_the_plan_says
            connections_that_a_change_forbids_are_cut
            removal_leaves_nothing
    );
    };
}

/// What differs by the kind: reading, writing, and finding what others did.
mod legacy {
    use super::*;

    fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
        open_kind(Variant::Legacy, namespace)
    }

    crate::behaviour_tests!(super::open, crate::iptables::LIMITS;
        every_rule_holds_for_every_client
        any_change_leads_where_the_plan_says
        turns_go_round
        a_client_sticks_to_its_backend
        a_restart_is_not_noticed
        a_restart_removes_what_the_plan_lacks
        what_somebody_else_removed_comes_back
        removal_leaves_nothing
    );
}

mod nft {
    use super::*;

    fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
        open_kind(Variant::Nft, namespace)
    }

    all_that_the_mechanism_can!(super::open);
}

/// What `iptables-save` prints in a namespace, of all tables.
fn saved(namespace: &Namespace, program: &str) -> String {
    let output = namespace.run(|| std::process::Command::new(program).output()).unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // Counters and times aside.
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(" [").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn feed(namespace: &Namespace, program: &str, input: &str) {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("printf '%s' \"$0\" | {program}"), input]);
    let output = namespace.run(|| command.output()).unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// One Service of each kind of frontend and policy, sticky, of all protocols, in turns and by weights.
fn many_kinds(bench: &mut Bench) {
    use std::time::Duration;

    use TrafficPolicy::{Cluster, Local};
    let all = [(1, 1), (1, 2), (2, 1), (2, 2)];
    let policies = [[Cluster, Local], [Local, Cluster]];
    for (number, policies) in policies.into_iter().enumerate() {
        let port = |protocol| {
            let mut port = matrix::port(bench, protocol, policies, &all);
            for rule in &mut port.frontends {
                rule.frontend.port += number as u16;
            }
            port
        };
        let mut ports = Protocol::ALL.map(port);
        ports[0].affinity = Some(Duration::from_secs(10_800));
        ports[1].algorithm = Algorithm::RoundRobin;
        let outside = bench.lab.outside().address(bench.family);
        ports[2].sources = (number == 0).then(|| [outside.into()].into());
        ports[2].weights = [(bench.pod(1, 1).address(bench.family).into(), 3)].into_iter().collect();
        bench.all(&format!("web-{number}"), ports);
    }
    let empty = Protocol::ALL.map(|protocol| ServicePortPlan {
        name: protocol.to_string().into(),
        ..bench.port(protocol, 7, Some(30087), &[])
    });
    bench.all("empty", empty);
}

#[test]
fn both_kinds_are_listed_alike() {
    for (family, program) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
        let listings = Variant::ALL.map(|variant| {
            let open = match variant {
                Variant::Legacy => |namespace: &Namespace| open_kind(Variant::Legacy, namespace),
                Variant::Nft => |namespace: &Namespace| open_kind(Variant::Nft, namespace),
            };
            let bench = &mut Bench::new(open, family);
            many_kinds(bench);
            let listing = saved(bench.lab.node(1).namespace(), &format!("{program}-{variant}-save"));
            // The kernel's own chains are there where somebody asked for them.
            let lines = listing.lines().filter(|line| line.contains("KUBE-") || line.starts_with('*'));
            let mut lines: Vec<_> = lines.map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        });
        assert!(listings[0].len() > 150, "{}", listings[0].join("\n"));
        let [legacy, nft] = listings;
        let missing: Vec<_> = legacy.iter().filter(|line| !nft.contains(line)).collect();
        let more: Vec<_> = nft.iter().filter(|line| !legacy.contains(line)).collect();
        assert!(missing.is_empty() && more.is_empty(), "legacy alone: {missing:#?}\nnft alone: {more:#?}");
    }
}

/// In the same tables, also where the plane puts its own jumps.
const OF_A_USER: &str = "*filter\n:INPUT DROP [0:0]\n:MINE - [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -s 192.0.2.1/32 -j MINE\n\
    -A MINE -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n*nat\n:KUBELET - [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 80\n\
    -A OUTPUT -j KUBELET\nCOMMIT\n";

#[test]
fn rules_of_a_user_stay_and_what_he_does_to_ours_is_mended() {
    for variant in Variant::ALL {
        let open = match variant {
            Variant::Legacy => |namespace: &Namespace| open_kind(Variant::Legacy, namespace),
            Variant::Nft => |namespace: &Namespace| open_kind(Variant::Nft, namespace),
        };
        let bench = &mut Bench::new(open, Family::V4);
        let program = |suffix: &str| format!("iptables-{variant}{suffix}");
        let node = bench.lab.node(1).namespace().try_clone().unwrap();
        feed(&node, &program("-restore"), OF_A_USER);
        let before = saved(&node, &program("-save"));
        many_kinds(bench);
        assert_eq!(bench.plane.verify().unwrap(), Verified::Intact);
        let whole = saved(&node, &program("-save"));
        let meddling = [
            "*nat\n-F PREROUTING\n-A PREROUTING -p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 80\nCOMMIT\n",
            "*nat\n-D KUBE-SERVICES 1\nCOMMIT\n",
            "*nat\n-I KUBE-MARK-MASQ -j RETURN\nCOMMIT\n",
            "*filter\n-D KUBE-FORWARD 2\nCOMMIT\n",
            "*nat\n:KUBE-SVC-STALE - [0:0]\nCOMMIT\n",
            "*nat\n-A KUBE-SERVICES -d 10.96.0.99/32 -j ACCEPT\nCOMMIT\n",
        ];
        for input in meddling {
            feed(&node, &program("-restore --noflush"), input);
            assert!(matches!(bench.plane.verify().unwrap(), Verified::Healed { .. }), "{variant}: {input}");
            assert_eq!(bench.plane.verify().unwrap(), Verified::Intact, "{variant}: {input}");
            let now = saved(&node, &program("-save"));
            let sorted = |text: &str| {
                let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            assert_eq!(sorted(&now), sorted(&whole), "{variant}: {input}");
        }
        // Everything but what he had.
        feed(&node, "sh", &format!("{0} -t nat -F; {0} -t nat -X; {0} -t filter -F KUBE-SERVICES", program("")));
        feed(&node, &program("-restore --noflush"), &OF_A_USER[OF_A_USER.find("*nat").unwrap()..]);
        assert!(matches!(bench.plane.verify().unwrap(), Verified::Healed { .. }));
        bench.plane.remove().unwrap();
        let is_empty_chain = |line: &&str| !line.starts_with('*') && *line != "COMMIT" && !line.starts_with(":OUTPUT");
        let lines = |text: &str| text.lines().filter(is_empty_chain).map(str::to_owned).collect::<BTreeSet<_>>();
        let (before, after) = (lines(&before), lines(&saved(&node, &program("-save"))));
        assert!(before.is_subset(&after), "{variant}: {before:#?} {after:#?}");
        let more: Vec<_> = after.difference(&before).filter(|line| !line.contains(" ACCEPT")).collect();
        assert!(more.is_empty(), "{variant}: {more:?}");
    }
}

#[test]
fn what_was_cut_off_is_made_good() {
    let open = |namespace: &Namespace| open_kind(Variant::Legacy, namespace);
    let bench = &mut Bench::new(open, Family::V4);
    many_kinds(bench);
    let listed = |namespace: &Namespace| {
        let text = saved(namespace, "iptables-legacy-save");
        text.lines().filter(|line| line.contains("KUBE-")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let whole = listed(bench.lab.node(1).namespace());
    let text = open(&Namespace::create().unwrap()).preview(&bench.plan).unwrap();
    let text = text.split("# ip6tables-restore").next().unwrap();
    let steps: Vec<_> = text.split_inclusive("COMMIT\n").collect();
    assert!(steps.len() >= 3, "{text}");
    for done in 0..steps.len() {
        let namespace = Namespace::create().unwrap();
        feed(&namespace, "iptables-legacy-restore --noflush", &steps[..done].concat());
        // Its writer was killed: the input ends somewhere.
        let begun = &steps[done][..steps[done].len() / 2];
        feed(&namespace, "sh -c 'iptables-legacy-restore --noflush 2>&1; true'", &begun[..=begun.rfind('\n').unwrap()]);
        let mut plane = open(&namespace);
        assert!(plane.apply(&bench.plan, Scope::All).unwrap().operations > 0);
        assert_eq!(listed(&namespace), whole, "after {done} of {}", steps.len());
        assert_eq!(plane.verify().unwrap(), Verified::Intact);
    }
}

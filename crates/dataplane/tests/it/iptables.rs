//! The iptables plane, held to the suite and to what is its own.

use stead_dataplane::{
    DataPlane, IpTables,
    iptables::programs::{Programs, Variant},
};
use stead_sys::namespace::Namespace;

/// Each namespace has a lock of its own: the host's is one for all, and tests run side by side.
fn open_kind(variant: Variant, namespace: &Namespace) -> Box<dyn DataPlane> {
    use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
    let file = std::fs::File::from(namespace.as_fd().try_clone_to_owned().unwrap());
    let lock = std::env::temp_dir().join(format!("stead-test-xtables-{}.lock", file.metadata().unwrap().ino()));
    let programs = Programs::of(variant, Some(namespace)).unwrap().with_lock(lock);
    Box::new(IpTables::open_in(namespace, programs).unwrap())
}

macro_rules! all_that_the_mechanism_can {
    ($open:expr) => {
    crate::behaviour_tests!($open;
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

mod legacy {
    use super::*;

    fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
        open_kind(Variant::Legacy, namespace)
    }

    all_that_the_mechanism_can!(super::open);
}

mod nft {
    use super::*;

    fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
        open_kind(Variant::Nft, namespace)
    }

    crate::behaviour_tests!(super::open;
        every_rule_holds_for_every_client
        any_change_leads_where_the_plan_says
        a_restart_is_not_noticed
        what_somebody_else_removed_comes_back
        removal_leaves_nothing
    );
}

//! The IPVS plane, held to the suite and to what is its own. Every case here needs a kernel with IPVS: [`crate::guest`] boots one and runs
//! them there, so they are marked as ignored for whoever has none.
//!
//! What of the suite is not here the mechanism cannot do; `docs/data-planes.md` says the same:
//! - `a_client_address_has_its_backend`, `a_flow_has_its_backend_on_every_node`: hashes are the kernel's own, so that they lead elsewhere than
//!   those of other planes; what they promise holds ([`hashes_keep_their_promise`]).
//! - `an_affinity_ends_with_its_backend_and_with_its_time`: the time begins when the kernel forgets the client's last connection, which is up to
//!   two minutes after its end; that it ends with its backend holds ([`nobody_sticks_to_the_dead`]).

use stead_dataplane::{DataPlane, IpvsPlane, ipvs::Options};
use stead_sys::namespace::Namespace;

fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
    Box::new(IpvsPlane::open_in(namespace, Options::default()).unwrap())
}

crate::behaviour_tests!(super::open; [#[ignore = "needs IPVS: `guest` boots a kernel that has it"]]
    connections_are_spread_and_pods_keep_their_source
    clients_from_outside_are_masqueraded
    what_nobody_serves_is_refused
    a_pod_reaches_itself
    node_ports_answer_from_everywhere
    datagrams_are_spread_and_refused
    weights_are_kept
    turns_go_round
    a_client_sticks_to_its_backend
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

mod figures;
mod listing;
mod wounds;

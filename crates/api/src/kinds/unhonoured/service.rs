//! What of a Service nothing acts on.
//!
//! Where traffic would break the promise that a field makes, the plan leaves it out: nobody gets in by a field that is stored
//! and not acted on yet. The reasons say so.

use super::{Unhonoured, When, warn};

const SPREAD: &str = "traffic is spread over all ready endpoints alike";
const CLOSED: &str = "node ports stay closed, so that nobody gets in who is not meant to";

pub(crate) const SERVICE: &[Unhonoured] = &[
    warn(&["spec", "type"], When::Is("ExternalName"), "there is no DNS server yet that could answer with a CNAME"),
    warn(
        &["spec", "type"],
        When::Is("LoadBalancer"),
        "there is no load balancer, the external address stays pending; the node ports answer",
    ),
    warn(&["spec", "externalIPs"], When::Set, "no traffic is taken for these addresses"),
    warn(
        &["spec", "externalTrafficPolicy"],
        When::Is("Local"),
        "node ports stay closed, so that no traffic goes to another node or loses its source address",
    ),
    warn(
        &["spec", "internalTrafficPolicy"],
        When::Is("Local"),
        "the virtual IP refuses, so that no traffic leaves its node",
    ),
    warn(&["spec", "loadBalancerSourceRanges"], When::Set, CLOSED),
    warn(&["metadata", "annotations", "service.beta.kubernetes.io/load-balancer-source-ranges"], When::Set, CLOSED),
    warn(&["spec", "loadBalancerClass"], When::Set, "there is no load balancer of any class"),
    warn(&["spec", "loadBalancerIP"], When::Set, "there is no load balancer that could take the address"),
    warn(&["spec", "trafficDistribution"], When::Set, SPREAD),
    warn(
        &["metadata", "annotations", "service.kubernetes.io/topology-mode"],
        When::IsNot(&["Disabled", "disabled"]),
        SPREAD,
    ),
    warn(
        &["metadata", "annotations", "service.kubernetes.io/topology-aware-hints"],
        When::IsNot(&["Disabled", "disabled"]),
        SPREAD,
    ),
];

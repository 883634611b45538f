//! What of a Service nothing acts on.

use super::{Unhonoured, When, refuse, warn};

pub(crate) const SERVICE: &[Unhonoured] = &[
    refuse(&["spec", "type"], When::Is("ExternalName"), "there is no DNS server yet that could answer with a CNAME"),
    refuse(&["spec", "externalIPs"], When::Set, "node ports are the way in from outside"),
    refuse(
        &["spec", "externalTrafficPolicy"],
        When::Is("Local"),
        "traffic would go to all nodes and lose its source address",
    ),
    refuse(&["spec", "internalTrafficPolicy"], When::Is("Local"), "traffic would leave the node"),
    refuse(&["spec", "loadBalancerSourceRanges"], When::Set, "everybody would be let in"),
    refuse(
        &["metadata", "annotations", "service.beta.kubernetes.io/load-balancer-source-ranges"],
        When::Set,
        "everybody would be let in",
    ),
    refuse(&["spec", "ports", "*", "protocol"], When::Is("SCTP"), "TCP and UDP are"),
    warn(
        &["spec", "type"],
        When::Is("LoadBalancer"),
        "there is no load balancer, the external address stays pending; the node ports answer",
    ),
    warn(&["spec", "loadBalancerClass"], When::Set, "there is no load balancer of any class"),
    warn(&["spec", "loadBalancerIP"], When::Set, "there is no load balancer that could take the address"),
    warn(&["spec", "trafficDistribution"], When::Set, "traffic is spread over all ready endpoints alike"),
    warn(
        &["metadata", "annotations", "service.kubernetes.io/topology-mode"],
        When::IsNot(&["Disabled", "disabled"]),
        "traffic is spread over all ready endpoints alike",
    ),
    warn(
        &["metadata", "annotations", "service.kubernetes.io/topology-aware-hints"],
        When::IsNot(&["Disabled", "disabled"]),
        "traffic is spread over all ready endpoints alike",
    ),
];

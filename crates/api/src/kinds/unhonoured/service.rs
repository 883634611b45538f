//! What of a Service nothing acts on.

use super::{Unhonoured, When, warn};

pub(crate) const SERVICE: &[Unhonoured] = &[
    warn(&["spec", "type"], When::Is("ExternalName"), "there is no DNS server yet that could answer with a CNAME"),
    warn(
        &["spec", "type"],
        When::Is("LoadBalancer"),
        "there is no load balancer, the external address stays pending; the node ports answer",
    ),
    warn(
        &["metadata", "annotations", "service.beta.kubernetes.io/load-balancer-source-ranges"],
        When::Set,
        "everybody gets in; loadBalancerSourceRanges are honoured",
    ),
    warn(&["spec", "loadBalancerClass"], When::Set, "there is no load balancer of any class"),
    warn(&["spec", "loadBalancerIP"], When::Set, "there is no load balancer that could take the address"),
    warn(
        &["metadata", "annotations", "service.kubernetes.io/topology-aware-hints"],
        When::IsNot(&["Disabled", "disabled"]),
        "traffic is spread over all ready endpoints alike; topology-mode and trafficDistribution are honoured",
    ),
];

//! What a plan could not carry out, and for which Service.

use std::{fmt, net::IpAddr, sync::Arc};

use stead_api::service_snapshot::ViewProblem;
use stead_model::{Frontend, ObjectKey};

use crate::table::FrontendKind;

/// One part of a Service that is not in the plan. Everything else of the Service, and all other Services, are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub service: ObjectKey,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Cause {
    /// A value of the Service itself was left out.
    #[error(transparent)]
    Service(ViewProblem),
    /// A value of one of its slices was left out.
    #[error("EndpointSlice {slice}: {problem}")]
    Slice { slice: ObjectKey, problem: ViewProblem },
    #[error(
        "{kind} {address} is loopback, link-local, metadata, multicast or unspecified; give the Service another one"
    )]
    Unusable { kind: FrontendKind, address: IpAddr },
    #[error("{kind} {address} is this node's own and stays so; open it to Services or give the Service another one")]
    Own { kind: FrontendKind, address: IpAddr },
    #[error("{kind} {address} is in a range of virtual IPs, which are not given out so; give the Service another one")]
    Virtual { kind: FrontendKind, address: IpAddr },
    #[error("{kind} {address} is the API server's and stays so; give the Service another one")]
    Reserved { kind: FrontendKind, address: IpAddr },
    #[error(
        "endpoint {address} in EndpointSlice {slice} is loopback, link-local, metadata, multicast or unspecified; it gets no traffic"
    )]
    Endpoint { slice: ObjectKey, address: IpAddr },
    #[error("endpoint {frontend} is this Service itself; it gets no traffic")]
    Itself { frontend: Frontend },
    #[error("endpoint {frontend} is Service {via}, which leads back to this one; it gets no traffic")]
    Loop { frontend: Frontend, via: ObjectKey },
    #[error(
        "endpoint {frontend} is Service {via}, whose endpoint {beyond} is Service {next}: no traffic goes over two Services; name the endpoints of {next} instead"
    )]
    TooFar { frontend: Frontend, via: ObjectKey, beyond: Frontend, next: ObjectKey },
    #[error(
        "endpoint {frontend} is in a range of virtual IPs, and no Service has that address and port; it gets no traffic"
    )]
    NoService { frontend: Frontend },
    #[error("{frontend} belongs to Service {owner}; change one of the two")]
    Taken { frontend: Frontend, owner: ObjectKey },
    #[error("{frontend} stands twice in this Service; the first port has it")]
    Repeated { frontend: Frontend },
    /// A port's own limit is [`MAX_BACKENDS`](crate::MAX_BACKENDS), that of all ports together
    /// [`MAX_BACKENDS_OF_SERVICE`](crate::MAX_BACKENDS_OF_SERVICE).
    #[error("port {port:?} has {count} endpoints; the first {limit} get traffic")]
    TooManyEndpoints { port: Box<str>, count: usize, limit: usize },
    #[error(
        "sessionAffinity ClientIP decides before metadata.annotations[stead.local/algorithm]; clients that are new are spread at random"
    )]
    AffinityFirst,
    #[error(
        "metadata.annotations[stead.local/algorithm] is not possible on node {node}: {why}; its connections are spread at random there"
    )]
    NoHashes { node: Box<str>, why: Arc<str> },
}

impl Problem {
    /// The reason of the Kubernetes Event that tells of it.
    pub const fn reason(&self) -> &'static str {
        match self.cause {
            Cause::Service(_) | Cause::Repeated { .. } => "InvalidService",
            Cause::Unusable { .. } | Cause::Own { .. } | Cause::Virtual { .. } | Cause::Reserved { .. } => {
                "InvalidAddress"
            }
            Cause::Slice { .. } | Cause::Endpoint { .. } | Cause::TooManyEndpoints { .. } | Cause::NoService { .. } => {
                "InvalidEndpoint"
            }
            Cause::Itself { .. } | Cause::Loop { .. } | Cause::TooFar { .. } => "EndpointLoop",
            Cause::Taken { .. } => "FrontendTaken",
            Cause::AffinityFirst | Cause::NoHashes { .. } => "NotSupported",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service {}: {}", self.service, self.cause)
    }
}

impl fmt::Display for FrontendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterIp => "cluster IP",
            Self::NodePort => "node port",
            Self::LoadBalancer => "load-balancer address",
            Self::ExternalIp => "external IP",
        })
    }
}

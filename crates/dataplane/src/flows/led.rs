//! Where a frontend leads, by who sends: what connections are compared with.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use stead_plan::{DetectLocal, FrontendKind, List, Settings, TrafficPolicy};

/// Who sends, as far as it decides where a frontend leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A pod, or the node itself.
    Inside,
    Outside,
}

/// Where connections to a frontend may go, new ones or old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Led {
    pub(crate) inside: BTreeSet<SocketAddr>,
    pub(crate) outside: BTreeSet<SocketAddr>,
    /// Who gets in; `None`: everybody.
    pub(crate) sources: Option<Box<[IpNet]>>,
}

impl Sender {
    pub(crate) const BOTH: [Self; 2] = [Self::Inside, Self::Outside];

    /// The list that a frontend of this kind leads such a sender to.
    pub(crate) fn list(self, kind: FrontendKind, internal: TrafficPolicy, external: TrafficPolicy) -> List {
        match (kind.is_external(), self) {
            (false, _) => internal.into(),
            (true, Self::Inside) => List::Cluster,
            (true, Self::Outside) => external.into(),
        }
    }

    /// Whether a source that is known by its address alone may be such a sender.
    pub(crate) fn may_be(self, source: Option<IpAddr>, settings: &Settings) -> bool {
        let Some(source) = source else { return true };
        let is_own = settings.own_addresses.contains(&source);
        let is_inside = match &settings.detect_local {
            DetectLocal::Unknown => is_own,
            DetectLocal::Ranges(ranges) => is_own || ranges.iter().any(|range| range.contains(&source)),
            // By which link it came is not noted.
            DetectLocal::Bridge(_) | DetectLocal::Prefix(_) => return self == Self::Inside || !is_own,
        };
        is_inside == (self == Self::Inside)
    }
}

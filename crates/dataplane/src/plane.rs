//! What every data plane can do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use stead_model::{Frontend, ObjectKey, Protocol};
use stead_plan::{MAX_BACKENDS, Plan};
use stead_sys::{conntrack, ipvs, link, nft};

use crate::{iptables::programs, userspace::RelayError};

/// Carries plans out in the kernel of one node.
///
/// Calls block for as long as the kernel takes (microseconds for one Service, a second for 100,000): call from a thread that may.
pub trait DataPlane: Send {
    /// Makes the kernel do what `plan` says about the Services in `scope`; all of it comes into effect at once, or nothing does.
    ///
    /// The first call of a plane must have [`Scope::All`] and a plan made of complete lists, since it adopts what an earlier process left
    /// and removes what the plan lacks. Later calls cost as much as the Services in scope; a change of the plan's settings costs as
    /// much as [`Scope::All`] whatever the scope says. Connections to a backend that their frontend no longer has are left to
    /// [`DataPlane::cleaner`].
    ///
    /// # Errors
    /// After an error the plane may be called again with the same or a later plan: it reads the kernel first and makes good what is
    /// missing.
    fn apply(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error>;

    /// Does what applies and verifications leave behind, beside them and on another thread: it must be run after each of them, by
    /// [`CLEANING_DELAY`]; one run for several is enough.
    fn cleaner(&self) -> Box<dyn Cleaner>;

    /// Looks whether somebody else changed what this plane put into the kernel, and puts it right. Cheap where nobody did.
    fn verify(&mut self) -> Result<Verified, Error>;

    /// Removes everything that the plane put into the kernel, also what an earlier process left. Connections through Services
    /// lose their translation with it unless somebody else on the node translates too; direct ones go on.
    fn remove(&mut self) -> Result<Removed, Error>;

    /// What the first [`DataPlane::apply`] of this plan would do, as text for the program that people look at such a plane with (`nft -f`); empty
    /// where nothing. Nothing is changed.
    fn preview(&mut self, plan: &Plan) -> Result<String, Error>;
}

/// How long after an apply its cleaner is to be run: what was asked of a departed backend just before is answered by then.
pub const CLEANING_DELAY: Duration = Duration::from_millis(10);

/// Forgets connections. It is a security property that it runs soon: the address of a departed backend may be a stranger's tomorrow.
pub trait Cleaner: Send {
    /// Deletes the connections known to the kernel that go to a backend which their frontend does not have now, as far as applies since
    /// the last run concern them; others are left alone. Returns how many, as far as the kernel's count of connections tells. Cheap where
    /// nothing is due, else it blocks for up to tens of milliseconds where thousands of connections are known, and a millisecond
    /// where few are.
    ///
    /// # Errors
    /// What was due stays due.
    fn clean(&mut self) -> Result<usize, Error>;
}

/// Which Services an [`DataPlane::apply`] is about.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    All,
    /// These, whether they are in the plan still or not.
    Services(&'a BTreeSet<ObjectKey>),
}

/// What an apply did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects and elements added to or removed from the kernel.
    pub operations: usize,
    /// Size of the messages that carried them.
    pub bytes: usize,
    /// What each changed Service no longer has.
    pub departed: BTreeMap<ObjectKey, Departed>,
}

/// What left a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departed {
    pub frontends: BTreeSet<Frontend>,
    /// Addresses that no connection may go to any more; one that is draining has not left.
    pub backends: BTreeSet<(Protocol, SocketAddr)>,
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    Intact,
    /// Somebody had changed our tables; this many operations put them right.
    Healed {
        operations: usize,
    },
}

/// What a removal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    Nothing,
    Something,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("write Services to nf_tables")]
    Write(#[source] nft::Error),
    #[error("read Services from nf_tables")]
    Read(#[source] nft::Error),
    #[error("clean connections of departed backends")]
    Flows(#[source] conntrack::Error),
    #[error("{service} has {count} backends on one port; at most {MAX_BACKENDS} are possible")]
    TooManyBackends { service: ObjectKey, count: usize },
    #[error("open netlink for the Service tables")]
    Open(#[source] nft::Error),
    #[error("virtual servers of Services")]
    Ipvs(#[source] ipvs::Error),
    #[error("addresses of Services")]
    Addresses(#[source] link::LinkError),
    #[error("set net.{name}")]
    Variable { name: &'static str, source: std::io::Error },
    #[error("write Services with iptables")]
    Iptables(#[source] programs::Error),
    #[error(transparent)]
    Relay(RelayError),
}

/// What a loop can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// May pass by itself: try again after a while.
    Transient,
    /// The kernel is not as it was thought to be: try again at once, it is read first.
    Conflict,
    /// Stays until a person or another plan changes something.
    Permanent,
}

impl Error {
    /// Whether what the plane is told by is not on this machine, so that it cannot have told anything either.
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::Iptables(programs::Error::NotInstalled) | Self::Ipvs(ipvs::Error::Absent))
    }

    pub fn class(&self) -> Class {
        match self {
            Self::Write(nft::Error::Refused { refusal, .. }) => match refusal.errno {
                libc_errno::EOPNOTSUPP | libc_errno::EPERM | libc_errno::EINVAL => Class::Permanent,
                _ => Class::Conflict,
            },
            Self::Write(nft::Error::Stale) => Class::Conflict,
            Self::Ipvs(ipvs::Error::Refused { refusal, .. }) if refusal.errno == libc_errno::EPERM => Class::Permanent,
            Self::Ipvs(ipvs::Error::Refused { .. }) => Class::Conflict,
            Self::Ipvs(ipvs::Error::Absent) => Class::Permanent,
            Self::Write(_) | Self::Read(_) | Self::Flows(_) => Class::Transient,
            Self::Ipvs(_) | Self::Addresses(_) | Self::Variable { .. } => Class::Transient,
            Self::Iptables(error) if error.may_pass() => Class::Transient,
            Self::Relay(RelayError::Ask(_) | RelayError::Confused) => Class::Conflict,
            Self::Relay(RelayError::Late | RelayError::Start(_)) => Class::Transient,
            Self::TooManyBackends { .. } | Self::Open(_) | Self::Iptables(_) => Class::Permanent,
        }
    }
}

/// The few numbers of errno.h that decide a class; the same on every architecture of Linux that Rust has, but for EOPNOTSUPP.
mod libc_errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const EOPNOTSUPP: i32 = 95;
}

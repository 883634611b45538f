//! The data planes by the names that people choose them by (`--proxy-mode`).

use std::{fmt, str::FromStr};

use crate::{
    iptables::{self, IpTables},
    ipvs::{self, IpvsPlane},
    nftables::NfTables,
    plane::{DataPlane, Error},
    probe::Capabilities,
    userspace::{self, UserSpace},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    #[default]
    Nftables,
    Iptables,
    Ipvs,
    Userspace,
}

/// What of each plane a person may choose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub iptables: iptables::Options,
    pub ipvs: ipvs::Options,
    pub userspace: userspace::Options,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Nftables, Self::Iptables, Self::Ipvs, Self::Userspace];

    /// kube-proxy's name where it has such a mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
            Self::Userspace => "userspace",
        }
    }

    /// Why it cannot serve on this machine and what to do about it, in one line; `found` is what [`probe`](crate::probe::probe) found.
    pub fn problem(self, found: &Capabilities) -> Option<String> {
        match self {
            Self::Nftables => found.problem(),
            Self::Iptables => iptables::problem(),
            Self::Ipvs => ipvs::available().problem(),
            // What it lacks is said when it is opened: without redirects it needs nothing.
            Self::Userspace => None,
        }
    }

    /// Why no Service can have an algorithm that hashes; `None` where each can.
    pub fn without_hashes(self, found: &Capabilities) -> Option<String> {
        match self {
            Self::Nftables => found.without_hashes(),
            Self::Iptables => Some(iptables::NO_HASHES.to_owned()),
            // By its own schedulers, and by the relay.
            Self::Ipvs | Self::Userspace => None,
        }
    }

    /// The plane of the calling thread's network namespace. Nothing is read or changed yet.
    pub fn open(self, options: &Options) -> Result<Box<dyn DataPlane>, Error> {
        Ok(match self {
            Self::Nftables => Box::new(NfTables::open()?),
            Self::Iptables => Box::new(IpTables::open(options.iptables)?),
            Self::Ipvs => Box::new(IpvsPlane::open(options.ipvs.clone())?),
            Self::Userspace => Box::new(UserSpace::open(options.userspace.clone())?),
        })
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", Mode::ALL.map(Mode::name).join(", "))]
pub struct UnknownMode;

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|mode| mode.name() == name).ok_or(UnknownMode)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
        }
        assert_eq!(
            "Nftables".parse::<Mode>().unwrap_err().to_string(),
            "must be one of nftables, iptables, ipvs, userspace"
        );
        assert_eq!(Mode::default().to_string(), "nftables");
    }
}

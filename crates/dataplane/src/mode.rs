//! The data planes by the names that people choose them by (`--proxy-mode`).

use std::fmt;

use crate::{
    iptables::{self, IpTables},
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
    Userspace,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Nftables, Self::Iptables, Self::Userspace];

    /// kube-proxy's name where it has such a mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Userspace => "userspace",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Why it cannot serve on this machine and what to do about it, in one line; `found` is what [`probe`](crate::probe::probe) found.
    pub fn problem(self, found: &Capabilities) -> Option<String> {
        match self {
            Self::Nftables => found.problem(),
            Self::Iptables => iptables::problem(),
            // What it lacks is said when it is opened: without redirects it needs nothing.
            Self::Userspace => None,
        }
    }

    /// Why no Service can have an algorithm that hashes; `None` where each can.
    pub fn without_hashes(self, found: &Capabilities) -> Option<String> {
        match self {
            Self::Nftables => found.without_hashes(),
            Self::Iptables => Some(iptables::NO_HASHES.to_owned()),
            Self::Userspace => None,
        }
    }

    /// The plane of the calling thread's network namespace. Nothing is read or changed yet.
    pub fn open(self) -> Result<Box<dyn DataPlane>, Error> {
        Ok(match self {
            Self::Nftables => Box::new(NfTables::open()?),
            Self::Iptables => Box::new(IpTables::open(iptables::Options::default())?),
            Self::Userspace => Box::new(UserSpace::open(userspace::Options::default())?),
        })
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
            assert_eq!(Mode::from_name(mode.name()), Some(mode));
        }
        assert_eq!(Mode::from_name("Nftables"), None);
        assert_eq!(Mode::default().to_string(), "nftables");
    }
}

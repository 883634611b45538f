//! Elements of our sets, as values and as the kernel has them.

use std::net::IpAddr;

use stead_model::{Family, Frontend};
use stead_sys::nft::{Data, Field, Shape, WordReader, Words};

/// A set of one family's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SetId {
    Frontends,
    Refused,
    Dropped,
    Ranged,
    Ranges,
    Inside,
    Masquerade,
    MasqueradeNode,
    Hairpin,
    Outlying,
    Lent,
}

/// One element. Those of frontends are there once for each; others may be wanted by several Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element {
    /// Is ours; also what tells our virtual servers from others'.
    Frontend(Frontend),
    /// Nobody is there.
    Refused(Frontend),
    /// Nobody is there for who comes from outside, or, to a virtual IP, for anybody.
    Dropped(Frontend),
    /// Is for certain sources,
    Ranged(Frontend),
    /// from the first to the last of these.
    Range(Frontend, IpAddr, IpAddr),
    /// Whoever comes from inside is marked so.
    Inside(Frontend, u32),
    /// Everybody is masqueraded.
    Masquerade(Frontend),
    /// The node itself is masqueraded.
    MasqueradeNode(Frontend),
    /// A pod of this node that may meet itself.
    Hairpin(IpAddr),
    /// A virtual IP outside the service ranges.
    Outlying(IpAddr),
    /// An external address that is held.
    Lent(IpAddr),
}

impl SetId {
    pub(super) const ALL: [Self; 11] = [
        Self::Frontends,
        Self::Refused,
        Self::Dropped,
        Self::Ranged,
        Self::Ranges,
        Self::Inside,
        Self::Masquerade,
        Self::MasqueradeNode,
        Self::Hairpin,
        Self::Outlying,
        Self::Lent,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Frontends => "frontends",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::Ranged => "ranged",
            Self::Ranges => "ranges",
            Self::Inside => "inside",
            Self::Masquerade => "masquerade",
            Self::MasqueradeNode => "masquerade-node",
            Self::Hairpin => "hairpin",
            Self::Outlying => "outlying",
            Self::Lent => "lent",
        }
    }

    pub(super) const fn shape(self, family: Family) -> Shape {
        use Field::{InetProto, InetService, Ipv4Addr, Ipv6Addr, Mark};
        let (one, two): (&[Field], &[Field]) = match family {
            Family::V4 => (&[Ipv4Addr], &[Ipv4Addr, Ipv4Addr]),
            Family::V6 => (&[Ipv6Addr], &[Ipv6Addr, Ipv6Addr]),
        };
        let (frontend, ranged): (&[Field], &[Field]) = match family {
            Family::V4 => (&[Ipv4Addr, InetProto, InetService], &[Ipv4Addr, InetProto, InetService, Ipv4Addr]),
            Family::V6 => (&[Ipv6Addr, InetProto, InetService], &[Ipv6Addr, InetProto, InetService, Ipv6Addr]),
        };
        match self {
            Self::Ranges => Shape { key: ranged, data: Data::End },
            Self::Inside => Shape { key: frontend, data: Data::Fields(&[Mark]) },
            Self::Hairpin => Shape { key: two, data: Data::None },
            Self::Outlying | Self::Lent => Shape { key: one, data: Data::None },
            _ => Shape { key: frontend, data: Data::None },
        }
    }
}

fn words(frontend: Frontend) -> Words {
    Words::new().address(frontend.address).protocol(frontend.protocol).port(frontend.port)
}

impl Element {
    pub(super) const fn set(&self) -> SetId {
        match self {
            Self::Frontend(_) => SetId::Frontends,
            Self::Refused(_) => SetId::Refused,
            Self::Dropped(_) => SetId::Dropped,
            Self::Ranged(_) => SetId::Ranged,
            Self::Range(..) => SetId::Ranges,
            Self::Inside(..) => SetId::Inside,
            Self::Masquerade(_) => SetId::Masquerade,
            Self::MasqueradeNode(_) => SetId::MasqueradeNode,
            Self::Hairpin(_) => SetId::Hairpin,
            Self::Outlying(_) => SetId::Outlying,
            Self::Lent(_) => SetId::Lent,
        }
    }

    pub(super) fn family(&self) -> Family {
        match self {
            Self::Frontend(frontend)
            | Self::Refused(frontend)
            | Self::Dropped(frontend)
            | Self::Ranged(frontend)
            | Self::Range(frontend, ..)
            | Self::Inside(frontend, _)
            | Self::Masquerade(frontend)
            | Self::MasqueradeNode(frontend) => frontend.family(),
            Self::Hairpin(address) | Self::Outlying(address) | Self::Lent(address) => Family::of(*address),
        }
    }

    pub(super) fn key(&self) -> Words {
        match self {
            Self::Frontend(frontend)
            | Self::Refused(frontend)
            | Self::Dropped(frontend)
            | Self::Ranged(frontend)
            | Self::Inside(frontend, _)
            | Self::Masquerade(frontend)
            | Self::MasqueradeNode(frontend) => words(*frontend),
            Self::Range(frontend, first, _) => words(*frontend).address(*first),
            Self::Hairpin(address) => Words::new().address(*address).address(*address),
            Self::Outlying(address) | Self::Lent(address) => Words::new().address(*address),
        }
    }

    pub(super) fn data(&self) -> Words {
        match self {
            Self::Range(frontend, _, last) => words(*frontend).address(*last),
            Self::Inside(_, mark) => Words::new().number(*mark),
            _ => Words::new(),
        }
    }

    /// `None` for what this program cannot have written.
    pub(super) fn read(set: SetId, family: Family, key: &[u8], data: &[u8]) -> Option<Self> {
        let (mut key, mut data) = (WordReader(key), WordReader(data));
        let address = |words: &mut WordReader<'_>| match family {
            Family::V4 => words.ipv4(),
            Family::V6 => words.ipv6(),
        };
        let frontend = |key: &mut WordReader<'_>| {
            Some(Frontend { address: address(key)?, protocol: key.protocol()?, port: key.port()? })
        };
        Some(match set {
            SetId::Frontends => Self::Frontend(frontend(&mut key)?),
            SetId::Refused => Self::Refused(frontend(&mut key)?),
            SetId::Dropped => Self::Dropped(frontend(&mut key)?),
            SetId::Ranged => Self::Ranged(frontend(&mut key)?),
            SetId::Ranges => {
                let (first, last) = (frontend(&mut key)?, frontend(&mut data)?);
                let (from, to) = (address(&mut key)?, address(&mut data)?);
                (first == last).then_some(Self::Range(first, from, to))?
            }
            SetId::Inside => Self::Inside(frontend(&mut key)?, data.number()?),
            SetId::Masquerade => Self::Masquerade(frontend(&mut key)?),
            SetId::MasqueradeNode => Self::MasqueradeNode(frontend(&mut key)?),
            SetId::Hairpin => {
                let (one, other) = (address(&mut key)?, address(&mut key)?);
                (one == other).then_some(Self::Hairpin(one))?
            }
            SetId::Outlying => Self::Outlying(address(&mut key)?),
            SetId::Lent => Self::Lent(address(&mut key)?),
        })
    }
}

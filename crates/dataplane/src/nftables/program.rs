//! Elements of our sets and maps as values, and the difference between two states of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use stead_model::{Family, Frontend, Protocol};
use stead_sys::nft::{Change, Data, Elements, Field, Shape, WordReader, Words};

use super::{
    id::{EndpointId, Kind, ListId},
    layout::name,
};

/// The sets and maps that this program fills (rules fill `affinity`, and `balance` belongs to the skeleton).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SetId {
    Frontends,
    Inside,
    Ranged,
    Ranges,
    Lists,
    Slots,
    Backends,
    ExternalTcp,
    ExternalUdp,
    ExternalSctp,
    ExternalLocalTcp,
    ExternalLocalUdp,
    ExternalLocalSctp,
    Hairpin,
    Outlying,
    Reserved,
}

impl SetId {
    pub(crate) const ALL: [Self; 16] = [
        Self::Frontends,
        Self::Inside,
        Self::Ranged,
        Self::Ranges,
        Self::Lists,
        Self::Slots,
        Self::Backends,
        Self::ExternalTcp,
        Self::ExternalUdp,
        Self::ExternalSctp,
        Self::ExternalLocalTcp,
        Self::ExternalLocalUdp,
        Self::ExternalLocalSctp,
        Self::Hairpin,
        Self::Outlying,
        Self::Reserved,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Frontends => "frontends",
            Self::Inside => "inside",
            Self::Ranged => "ranged",
            Self::Ranges => "ranges",
            Self::Lists => "lists",
            Self::Slots => "slots",
            Self::Backends => "backends",
            Self::ExternalTcp => "external-tcp",
            Self::ExternalUdp => "external-udp",
            Self::ExternalSctp => "external-sctp",
            Self::ExternalLocalTcp => "external-local-tcp",
            Self::ExternalLocalUdp => "external-local-udp",
            Self::ExternalLocalSctp => "external-local-sctp",
            Self::Hairpin => "hairpin",
            Self::Outlying => "outlying",
            Self::Reserved => "reserved",
        }
    }

    /// Whether a large table gets its elements in parts: those are nearly all there are.
    pub(crate) const fn comes_in_parts(self) -> bool {
        matches!(self, Self::Frontends | Self::Lists | Self::Slots | Self::Backends)
    }

    /// The frontends whose connections are masqueraded whoever sends.
    pub(crate) const fn external(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::ExternalTcp,
            Protocol::Udp => Self::ExternalUdp,
            Protocol::Sctp => Self::ExternalSctp,
        }
    }

    /// The frontends whose connections are masqueraded where the node itself sends.
    pub(crate) const fn external_local(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::ExternalLocalTcp,
            Protocol::Udp => Self::ExternalLocalUdp,
            Protocol::Sctp => Self::ExternalLocalSctp,
        }
    }

    pub(crate) const fn shape(self, family: Family) -> Shape {
        let keys = match family {
            Family::V4 => V4,
            Family::V6 => V6,
        };
        const ID: &[Field] = &[Field::Classid];
        let (key, data) = match self {
            Self::Frontends | Self::Inside => (keys.frontend, Data::Fields(ID)),
            Self::Ranged => (keys.frontend, Data::None),
            Self::Ranges => (keys.client, Data::End),
            Self::Lists | Self::Reserved => (ID, Data::Fields(ID)),
            Self::Slots => (SLOT, Data::Fields(ID)),
            Self::Backends => (ID, Data::Fields(keys.socket)),
            Self::ExternalTcp
            | Self::ExternalUdp
            | Self::ExternalSctp
            | Self::ExternalLocalTcp
            | Self::ExternalLocalUdp
            | Self::ExternalLocalSctp => (keys.socket, Data::None),
            Self::Hairpin => (keys.pair, Data::None),
            Self::Outlying => (keys.address, Data::None),
        };
        Shape { key, data }
    }
}

/// The runs of fields that differ between families.
struct Keys {
    frontend: &'static [Field],
    /// A frontend and who sends to it.
    client: &'static [Field],
    socket: &'static [Field],
    pair: &'static [Field],
    address: &'static [Field],
}

const SLOT: &[Field] = &[Field::Classid, Field::Random];

const V4: Keys = Keys {
    frontend: &[Field::Ipv4Addr, Field::InetProto, Field::InetService],
    client: &[Field::Ipv4Addr, Field::InetProto, Field::InetService, Field::Ipv4Addr],
    socket: &[Field::Ipv4Addr, Field::InetService],
    pair: &[Field::Ipv4Addr, Field::Ipv4Addr],
    address: &[Field::Ipv4Addr],
};

const V6: Keys = Keys {
    frontend: &[Field::Ipv6Addr, Field::InetProto, Field::InetService],
    client: &[Field::Ipv6Addr, Field::InetProto, Field::InetService, Field::Ipv6Addr],
    socket: &[Field::Ipv6Addr, Field::InetService],
    pair: &[Field::Ipv6Addr, Field::Ipv6Addr],
    address: &[Field::Ipv6Addr],
};

/// One element of one of our sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Entry {
    Frontend(Frontend, ListId),
    /// A frontend and the list that it has for pods and the node.
    Inside(Frontend, ListId),
    /// A frontend that only some sources may come to.
    Ranged(Frontend),
    /// One range of these sources.
    Range(Frontend, IpNet),
    List(ListId, Kind),
    Slot(ListId, u16, EndpointId),
    Backend(EndpointId, SocketAddr),
    /// A frontend whose connections are always masqueraded.
    External(Frontend),
    /// A frontend whose connections are masqueraded where the node itself sends.
    ExternalLocal(Frontend),
    /// A pod of this node, which may be sent to itself.
    Hairpin(IpAddr),
    /// A virtual IP outside the service ranges.
    Outlying(IpAddr),
    /// Endpoint ids up to this one may have been given away.
    Reserved(u32),
}

impl Entry {
    pub(crate) fn set(&self) -> SetId {
        match self {
            Self::Frontend(..) => SetId::Frontends,
            Self::Inside(..) => SetId::Inside,
            Self::Ranged(_) => SetId::Ranged,
            Self::Range(..) => SetId::Ranges,
            Self::List(..) => SetId::Lists,
            Self::Slot(..) => SetId::Slots,
            Self::Backend(..) => SetId::Backends,
            Self::External(frontend) => SetId::external(frontend.protocol),
            Self::ExternalLocal(frontend) => SetId::external_local(frontend.protocol),
            Self::Hairpin(_) => SetId::Hairpin,
            Self::Outlying(_) => SetId::Outlying,
            Self::Reserved(_) => SetId::Reserved,
        }
    }

    /// Key and data as the kernel holds them.
    fn words(&self) -> (Words, Words) {
        let new = Words::new;
        let key = |to: Frontend| new().address(to.address).protocol(to.protocol).port(to.port);
        match *self {
            Self::Frontend(frontend, list) | Self::Inside(frontend, list) => (key(frontend), new().number(list.0)),
            Self::Ranged(frontend) => (key(frontend), new()),
            Self::Range(frontend, range) => {
                (key(frontend).address(range.network()), key(frontend).address(range.broadcast()))
            }
            Self::List(list, kind) => (new().number(list.0), new().number(kind.number())),
            Self::Slot(list, slot, endpoint) => (new().number(list.0).number(slot.into()), new().number(endpoint.0)),
            Self::Backend(endpoint, address) => {
                (new().number(endpoint.0), new().address(address.ip()).port(address.port()))
            }
            Self::External(frontend) | Self::ExternalLocal(frontend) => {
                (new().address(frontend.address).port(frontend.port), new())
            }
            Self::Hairpin(address) => (new().address(address).address(address), new()),
            Self::Outlying(address) => (new().address(address), new()),
            Self::Reserved(limit) => (new().number(RESERVED_KEY), new().number(limit)),
        }
    }

    /// The entry that these bytes stand for; `None` for what this program never writes.
    pub(crate) fn read(set: SetId, family: Family, key: &[u8], data: &[u8]) -> Option<Self> {
        let (mut key, mut data) = (WordReader(key), WordReader(data));
        let address = |words: &mut WordReader<'_>| match family {
            Family::V4 => words.ipv4(),
            Family::V6 => words.ipv6(),
        };
        let socket =
            |protocol, key: &mut WordReader<'_>| Some(Frontend { address: address(key)?, protocol, port: key.port()? });
        let frontend = |words: &mut WordReader<'_>| {
            let address = address(words)?;
            Some(Frontend { address, protocol: words.protocol()?, port: words.port()? })
        };
        let external = |protocol, key: &mut WordReader<'_>| socket(protocol, key).map(Self::External);
        let external_local = |protocol, key: &mut WordReader<'_>| socket(protocol, key).map(Self::ExternalLocal);
        match set {
            SetId::Frontends => Some(Self::Frontend(frontend(&mut key)?, ListId(data.number()?))),
            SetId::Inside => Some(Self::Inside(frontend(&mut key)?, ListId(data.number()?))),
            SetId::Ranged => Some(Self::Ranged(frontend(&mut key)?)),
            SetId::Ranges => {
                let (to, first) = (frontend(&mut key)?, address(&mut key)?);
                let last = (frontend(&mut data)? == to).then(|| address(&mut data))??;
                Some(Self::Range(to, range(first, last)?))
            }
            SetId::Lists => Some(Self::List(ListId(key.number()?), Kind::from_number(data.number()?)?)),
            SetId::Slots => {
                let list = ListId(key.number()?);
                Some(Self::Slot(list, key.number()?.try_into().ok()?, EndpointId(data.number()?)))
            }
            SetId::Backends => {
                let endpoint = EndpointId(key.number()?);
                Some(Self::Backend(endpoint, SocketAddr::new(address(&mut data)?, data.port()?)))
            }
            SetId::ExternalTcp => external(Protocol::Tcp, &mut key),
            SetId::ExternalUdp => external(Protocol::Udp, &mut key),
            SetId::ExternalSctp => external(Protocol::Sctp, &mut key),
            SetId::ExternalLocalTcp => external_local(Protocol::Tcp, &mut key),
            SetId::ExternalLocalUdp => external_local(Protocol::Udp, &mut key),
            SetId::ExternalLocalSctp => external_local(Protocol::Sctp, &mut key),
            SetId::Hairpin => {
                let pod = address(&mut key)?;
                (address(&mut key)? == pod).then_some(Self::Hairpin(pod))
            }
            SetId::Outlying => Some(Self::Outlying(address(&mut key)?)),
            SetId::Reserved => (key.number()? == RESERVED_KEY).then_some(Self::Reserved(data.number()?)),
        }
    }
}

/// The range that begins and ends so, if there is one.
fn range(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let bits = |address| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((first_bits, width), (last_bits, _)) = (bits(first), bits(last));
    let free = 128 - (first_bits ^ last_bits).leading_zeros();
    let range = IpNet::new(first, width - u8::try_from(free).ok()?).ok()?;
    (range.network() == first && range.broadcast() == last).then_some(range)
}

/// The one key of the map `reserved`.
const RESERVED_KEY: u32 = super::id::ENDPOINTS.first - 1;

/// Elements to add to and to remove from one table.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    sets: BTreeMap<SetId, (Vec<Entry>, Vec<Entry>)>,
    /// Keys of elements that are none of ours, as the kernel has them.
    foreign: BTreeMap<SetId, Vec<Words>>,
}

impl Difference {
    pub(crate) fn remove(&mut self, entry: Entry) {
        self.sets.entry(entry.set()).or_default().0.push(entry);
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        self.sets.entry(entry.set()).or_default().1.push(entry);
    }

    pub(crate) fn remove_foreign(&mut self, set: SetId, key: Words) {
        self.foreign.entry(set).or_default().push(key);
    }

    /// What leads from `old` to `new`; both are sorted here.
    pub(crate) fn extend(&mut self, mut old: Vec<Entry>, mut new: Vec<Entry>) {
        old.sort_unstable();
        new.sort_unstable();
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            match (old.peek(), new.peek()) {
                (Some(a), Some(b)) if a == b => {
                    old.next();
                    new.next();
                }
                (Some(a), Some(b)) if a > b => new.next().into_iter().for_each(|entry| self.add(entry)),
                (Some(_), _) => old.next().into_iter().for_each(|entry| self.remove(entry)),
                (None, Some(_)) => new.next().into_iter().for_each(|entry| self.add(entry)),
                (None, None) => break,
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.foreign.is_empty()
    }

    /// Elements more (or fewer) in each set.
    pub(crate) fn growth(&self) -> impl Iterator<Item = (SetId, i64)> {
        let ours = self.sets.iter().map(|(set, (removed, added))| (*set, added.len() as i64 - removed.len() as i64));
        ours.chain(self.foreign.iter().map(|(set, keys)| (*set, -(keys.len() as i64))))
    }

    /// Removals of all sets, so that a key which moves is free before it is taken again.
    pub(crate) fn removals(&self, family: Family) -> impl Iterator<Item = Change> {
        let foreign = self.foreign.iter().map(move |(set, keys)| {
            // One of a set of ranges could not be named by its key alone; a table that has such is replaced.
            let shape = Shape { data: Data::None, ..set.shape(family) };
            let mut elements = Elements::new(shape);
            keys.iter().for_each(|key| elements.push(key.as_bytes(), &[]));
            Change::DeleteElements(name(family), set.name(), elements)
        });
        let ours = self.sets.iter().filter(|(_, (removed, _))| !removed.is_empty()).map(move |(set, (removed, _))| {
            Change::DeleteElements(name(family), set.name(), elements(*set, family, removed))
        });
        foreign.chain(ours)
    }

    pub(crate) fn additions(&self, family: Family) -> impl Iterator<Item = Change> {
        self.sets
            .iter()
            .filter(|(_, (_, added))| !added.is_empty())
            .map(move |(set, (_, added))| Change::AddElements(name(family), set.name(), elements(*set, family, added)))
    }
}

/// How many elements there are in each set.
pub(crate) type Counts = BTreeMap<SetId, u32>;

/// Elements of a new table, set by set.
#[derive(Debug)]
pub(crate) struct Contents(Vec<(SetId, Elements)>);

impl Contents {
    /// Nothing yet.
    pub(crate) fn new(family: Family) -> Self {
        Self(SetId::ALL.map(|set| (set, Elements::new(set.shape(family)))).into())
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        let (key, data) = entry.words();
        // `SetId::ALL` is in the order of declaration.
        self.0[entry.set() as usize].1.push(key.as_bytes(), data.as_bytes());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|(_, elements)| elements.len()).sum()
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (SetId, u32)> {
        self.0.iter().map(|(set, elements)| (*set, u32::try_from(elements.len()).unwrap_or(u32::MAX)))
    }

    pub(crate) fn into_additions(self, family: Family) -> impl Iterator<Item = Change> {
        let filled = self.0.into_iter().filter(|(_, elements)| !elements.is_empty());
        filled.map(move |(set, elements)| Change::AddElements(name(family), set.name(), elements))
    }
}

fn elements(set: SetId, family: Family, entries: &[Entry]) -> Elements {
    let mut elements = Elements::new(set.shape(family));
    for entry in entries {
        let (key, data) = entry.words();
        elements.push(key.as_bytes(), data.as_bytes());
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nftables::id::{Choice, Clients};

    fn spread(slots: u16) -> Kind {
        Kind { clients: Clients::All, choice: Choice::Spread { slots } }
    }

    #[test]
    fn entries_go_round_as_bytes() {
        for (family, address) in [(Family::V4, "10.96.0.1"), (Family::V6, "fd56:96::1")] {
            let address = address.parse().unwrap();
            let frontend = |protocol| Frontend { address, protocol, port: 80 };
            let (list, endpoint) = (ListId(0x8000_0001), EndpointId(0xc000_0002));
            let mut entries = vec![
                Entry::Frontend(frontend(Protocol::Udp), list),
                Entry::Inside(frontend(Protocol::Sctp), list),
                Entry::Ranged(frontend(Protocol::Tcp)),
                Entry::List(list, spread(3)),
                Entry::Slot(list, 2, endpoint),
                Entry::Backend(endpoint, SocketAddr::new(address, 8080)),
                Entry::Hairpin(address),
                Entry::Outlying(address),
                Entry::Reserved(0xc001_0000),
            ];
            entries.extend(Protocol::ALL.map(|protocol| Entry::External(frontend(protocol))));
            entries.extend(Protocol::ALL.map(|protocol| Entry::ExternalLocal(frontend(protocol))));
            for length in [0, 7, 32] {
                let range = IpNet::new(address, length).unwrap().trunc();
                entries.push(Entry::Range(frontend(Protocol::Tcp), range));
            }
            for entry in entries {
                let (key, data) = entry.words();
                let shape = entry.set().shape(family);
                let sizes = (shape.key_size(), shape.data_size());
                assert_eq!((key.as_bytes().len(), data.as_bytes().len()), sizes, "{entry:?}");
                assert_eq!(Entry::read(entry.set(), family, key.as_bytes(), data.as_bytes()), Some(entry));
                assert_eq!(Entry::read(entry.set(), family, &[], &[]), None);
            }
        }
    }

    #[test]
    fn a_difference_is_what_changed() {
        let list = |number: u32| ListId(0x8000_0000 + number);
        let entry = |number, slots| Entry::List(list(number), spread(slots));
        let mut difference = Difference::default();
        difference.extend(vec![entry(3, 1), entry(1, 1), entry(2, 1)], vec![entry(1, 1), entry(2, 2), entry(4, 1)]);
        let (removed, added) = &difference.sets[&SetId::Lists];
        assert_eq!((removed, added), (&vec![entry(2, 1), entry(3, 1)], &vec![entry(2, 2), entry(4, 1)]));
        let mut equal = Difference::default();
        equal.extend(vec![entry(2, 1), entry(1, 1)], vec![entry(1, 1), entry(2, 1)]);
        assert!(equal.is_empty());
    }
}

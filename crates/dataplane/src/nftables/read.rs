//! What the kernel holds: our tables read back, so that a new process goes on where an old one stopped.

mod large;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use stead_model::{Family, Frontend};
use stead_sys::nft::{Data, Error, Nftables, Shape, Words};

use super::{
    id::{ENDPOINTS, EndpointId, Kind, LISTS, ListId, Way},
    layout::{AFFINITY, BALANCE_SHAPE, COMMENT, TABLE, affinity_shape, balance, name},
    mirror::{Adopt, Previous},
    program::{Entry, SetId},
    table::{Known, Outline, TableState},
};

/// One family's table as it was read.
#[derive(Debug, Default)]
pub(crate) struct Actual {
    pub(crate) known: Known,
    pub(crate) entries: Vec<Entry>,
    /// Keys of elements that this program cannot have written.
    pub(crate) foreign: Vec<(SetId, Words)>,
}

/// Reads one family's table. Somebody may change it meanwhile; a commit that insists on the generation notices.
pub(crate) fn read(nft: &mut Nftables, family: Family) -> Result<Actual, Error> {
    let Some(table) = nft.tables(family)?.into_iter().find(|table| table.name == TABLE) else {
        return Ok(Actual::default());
    };
    let foreign = Actual { known: Known::Foreign, ..Actual::default() };
    if table.comment.as_deref() != Some(COMMENT) || table.flags != 0 {
        return Ok(foreign);
    }
    match read_ours(nft, family) {
        Ok(actual) => Ok(actual.unwrap_or(foreign)),
        // Gone meanwhile: the commit will be stale and all is read again.
        Err(error) if error.is_missing() => Ok(foreign),
        Err(error) => Err(error),
    }
}

/// `None` where the table's sets are not those of our layout.
fn read_ours(nft: &mut Nftables, family: Family) -> Result<Option<Actual>, Error> {
    let (mut sizes, mut numbers) = (BTreeMap::new(), BTreeMap::new());
    let mut expected =
        SetId::ALL.map(|set| (set.name(), (set.shape(family), Some(set)))).into_iter().collect::<HashMap<_, _>>();
    expected.insert(AFFINITY, (affinity_shape(family), None));
    let balances = [Way::Frontends, Way::Inside].map(|way| (way, balance(way)));
    expected.extend(balances.map(|(_, name)| (name, (BALANCE_SHAPE, None))));
    for info in nft.sets(name(family))? {
        let Some((shape, set)) = expected.remove(info.name.as_str()) else { return Ok(None) };
        let read = (info.key_size as usize, info.data_size as usize);
        if read.0 != shape.key_size() || (shape.data != Data::Verdict && read.1 != data_size(shape)) {
            return Ok(None);
        }
        sizes.extend(set.map(|set| (set, info.size.unwrap_or(u32::MAX))));
        numbers.extend(set.zip(info.count));
    }
    if !expected.is_empty() {
        return Ok(None);
    }
    let mut actual = Actual::default();
    let mut counts = BTreeMap::new();
    for set in SetId::ALL {
        let elements = large::elements(nft, family, set, numbers.get(&set).copied(), &actual.entries)?;
        counts.insert(set, elements.len() as u32);
        for (key, data) in elements.iter() {
            match Entry::read(set, family, key, data) {
                Some(entry) => actual.entries.push(entry),
                // Removing it takes both its ends.
                None if set == SetId::Ranges => return Ok(None),
                None => actual.foreign.extend(Words::from_bytes(key).map(|key| (set, key))),
            }
        }
    }
    let mut outline = Outline::default();
    for chain in nft.chains(name(family))? {
        outline.chains.insert(chain.name, (chain.base, Vec::new()));
    }
    for rule in nft.rules(name(family))? {
        outline.chains.entry(rule.chain).or_default().1.push(rule.digest);
    }
    for (way, map) in balances {
        let verdicts = nft.verdicts(name(family), map)?.into_iter();
        outline.verdicts.extend(verdicts.map(|(kind, chain)| ((way, kind), chain)));
    }
    actual.known = Known::Ours(TableState { outline, counts, sizes });
    Ok(Some(actual))
}

/// The kernel's size of what a key leads to.
fn data_size(shape: Shape) -> usize {
    if shape.data == Data::End { 0 } else { shape.data_size() }
}

/// What stands in both families, by frontend.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    frontends: HashMap<Frontend, ListId>,
    inside: HashMap<Frontend, ListId>,
    kinds: HashMap<ListId, Kind>,
    slots: HashMap<ListId, Vec<(u16, EndpointId)>>,
    backends: HashMap<EndpointId, SocketAddr>,
    given: HashSet<ListId>,
    given_endpoints: HashSet<EndpointId>,
    pub(crate) reserved: Option<u32>,
    pub(crate) last_list: Option<u32>,
}

impl Standing {
    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut standing = Self::default();
        for entry in entries {
            match entry {
                Entry::Frontend(frontend, list) if LISTS.contains(list.0) => {
                    standing.last_list = standing.last_list.max(Some(list.0));
                    standing.frontends.insert(frontend, list);
                }
                Entry::Inside(frontend, list) if LISTS.contains(list.0) => {
                    standing.last_list = standing.last_list.max(Some(list.0));
                    standing.inside.insert(frontend, list);
                }
                Entry::Slot(list, slot, endpoint) => standing.slots.entry(list).or_default().push((slot, endpoint)),
                Entry::Backend(endpoint, address) if ENDPOINTS.contains(endpoint.0) => {
                    standing.reserved = standing.reserved.max(Some(endpoint.0));
                    standing.backends.insert(endpoint, address);
                }
                Entry::Reserved(limit) => standing.reserved = standing.reserved.max(Some(limit)),
                Entry::List(list, kind) if LISTS.contains(list.0) => {
                    standing.last_list = standing.last_list.max(Some(list.0));
                    standing.kinds.insert(list, kind);
                }
                _ => {}
            }
        }
        standing
    }

    pub(crate) fn frontends(&self) -> impl Iterator<Item = Frontend> {
        self.frontends.keys().copied()
    }
}

impl Adopt for Standing {
    fn adopt(&mut self, ways: &mut dyn Iterator<Item = (Way, Frontend)>) -> Previous {
        let list = |(way, frontend): (Way, Frontend)| match way {
            Way::Frontends => self.frontends.get(&frontend).copied(),
            Way::Inside => self.inside.get(&frontend).copied(),
        };
        let Some(list) = ways.filter_map(list).find(|list| !self.given.contains(list)) else {
            return Previous::default();
        };
        self.given.insert(list);
        let mut slots = self.slots.remove(&list).unwrap_or_default();
        slots.sort_unstable();
        let mut endpoints = Vec::with_capacity(slots.len());
        let mut addresses = HashSet::new();
        let by_slot = slots.iter().map(|(_, endpoint)| *endpoint).collect();
        for (_, endpoint) in slots {
            // A slot beyond the number of backends repeats one.
            let Some(address) = self.backends.get(&endpoint).copied() else { continue };
            if addresses.insert(address) && self.given_endpoints.insert(endpoint) {
                endpoints.push((endpoint, address));
            }
        }
        Previous { list: Some(list), kind: self.kinds.get(&list).copied(), endpoints, slots: by_slot }
    }
}

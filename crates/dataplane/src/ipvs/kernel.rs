//! The kernel's side: reading what it holds that is ours, and taking a stride.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
};

use ipnet::IpNet;
use stead_model::{Family, Frontend};
use stead_plan::Settings;
use stead_sys::{
    ipvs::{Change as ServerChange, Ipvs, Name, Timeouts},
    link::Links,
    namespace::Namespace,
    nft::{self, Chain, Change, Elements, Nftables, Set, Table, Transaction},
};

use super::{
    element::{Element, SetId},
    holder::Holder,
    marks,
    part::VirtualServer,
    program::{Program, Standing, Stride},
    rules::{self, COMMENT, Outline, TABLE, name},
};
use crate::plane::Error;

#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) ipvs: Ipvs,
    pub(super) nft: Nftables,
    pub(super) holder: Holder,
    namespace: Namespace,
}

/// What stands under our table's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    #[default]
    Absent,
    /// Not of our layout.
    Foreign,
    Ours(Outline),
}

/// All that was read.
#[derive(Debug, Default)]
pub(super) struct Actual {
    pub(super) tables: [Known; 2],
    pub(super) standing: Standing,
    /// Marks of virtual servers, whosesoever.
    pub(super) marks: BTreeSet<u32>,
}

/// What was done to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) operations: usize,
    pub(super) bytes: usize,
}

impl Kernel {
    pub(super) fn open_in(namespace: Namespace) -> Result<Self, Error> {
        let links = Links::open_in(&namespace).map_err(|source| Error::Addresses(source.into()))?;
        Ok(Self {
            ipvs: Ipvs::open_in(&namespace).map_err(Error::Ipvs)?,
            nft: Nftables::open_in(&namespace).map_err(Error::Open)?,
            holder: Holder::new(links),
            namespace,
        })
    }

    /// Sets what of IPVS and ARP holds for the whole namespace; what is so already is not written.
    pub(super) fn set_variables(&self, variables: &[(&'static str, &'static str)]) -> Result<usize, Error> {
        let set = |&(name, value): &(&'static str, &'static str)| {
            let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
            let changed = (|| -> io::Result<bool> {
                let differs = fs::read_to_string(&path)?.trim() != value;
                if differs {
                    fs::write(&path, value)?;
                }
                Ok(differs)
            })();
            changed.map_err(|source| Error::Variable { name, source })
        };
        let all = || variables.iter().map(set).sum_changed();
        self.namespace.run(all).map_err(|source| Error::Variable { name: "namespace", source })?
    }

    pub(super) fn set_timeouts(&mut self, wanted: Timeouts) -> Result<(), Error> {
        if wanted == Timeouts::default() {
            return Ok(());
        }
        let has = self.ipvs.timeouts().map_err(Error::Ipvs)?;
        let is_so = [(wanted.tcp, has.tcp), (wanted.tcp_fin, has.tcp_fin), (wanted.udp, has.udp)]
            .into_iter()
            .all(|(wanted, has)| wanted.is_none() || wanted == has);
        if is_so { Ok(()) } else { self.ipvs.set_timeouts(wanted).map_err(Error::Ipvs) }
    }

    /// Of virtual servers those are ours whose frontend is in our set, whose address we hold, or whose mark is of our kind; none of them in
    /// `excluded`. Those that `program` wants are taken for ours too.
    pub(super) fn read(&mut self, program: &Program, excluded: &[IpNet]) -> Result<Actual, Error> {
        let mut actual = Actual::default();
        for (index, family) in Family::ALL.into_iter().enumerate() {
            actual.tables[index] = self.read_table(family, &mut actual.standing.elements).map_err(Error::Read)?;
        }
        actual.standing.held = self.holder.read().map_err(Error::Addresses)?;
        self.read_servers(program, excluded, &mut actual)?;
        Ok(actual)
    }

    pub(super) fn read_servers(
        &mut self,
        program: &Program,
        excluded: &[IpNet],
        actual: &mut Actual,
    ) -> Result<(), Error> {
        for (name, server) in self.ipvs.servers().map_err(Error::Ipvs)? {
            if let Name::Marked(_, mark) = name {
                actual.marks.insert(mark);
            }
            let is_ours = program.servers.contains_key(&name) || is_ours(&name, &actual.standing, excluded);
            if is_ours {
                let destinations = self.ipvs.destinations(name).map_err(Error::Ipvs)?;
                let destinations = destinations.into_iter().map(|each| {
                    // Whoever forwards in another way is none of ours: setting its weight sets the way too.
                    (each.address, if each.translates { each.weight } else { u32::MAX })
                });
                let destinations = destinations.collect();
                actual.standing.servers.insert(name, VirtualServer { server, destinations });
            }
        }
        Ok(())
    }

    fn read_table(&mut self, family: Family, elements: &mut BTreeSet<Element>) -> Result<Known, nft::Error> {
        let Some(table) = self.nft.tables(family)?.into_iter().find(|table| table.name == TABLE) else {
            return Ok(Known::Absent);
        };
        if table.comment.as_deref() != Some(COMMENT) || table.flags != 0 {
            return Ok(Known::Foreign);
        }
        match self.read_ours(family, elements) {
            Err(error) if error.is_missing() => Ok(Known::Foreign),
            result => result,
        }
    }

    fn read_ours(&mut self, family: Family, elements: &mut BTreeSet<Element>) -> Result<Known, nft::Error> {
        let mut found = BTreeSet::new();
        let sets = self.nft.sets(name(family))?;
        for set in SetId::ALL {
            let shape = set.shape(family);
            let is_so = |info: &nft::SetInfo| info.name == set.name() && info.key_size as usize == shape.key_size();
            if !sets.iter().any(is_so) {
                return Ok(Known::Foreign);
            }
            for (key, data) in self.nft.elements(name(family), set.name(), shape)?.iter() {
                let Some(element) = Element::read(set, family, key, data) else { return Ok(Known::Foreign) };
                found.insert(element);
            }
        }
        let mut outline = Outline::new();
        for chain in self.nft.chains(name(family))? {
            outline.insert(chain.name, (chain.base, Vec::new()));
        }
        for rule in self.nft.rules(name(family))? {
            outline.entry(rule.chain).or_default().1.push(rule.digest);
        }
        elements.extend(found);
        Ok(Known::Ours(outline))
    }

    /// First the rules, so that whoever comes to a new server is masqueraded; then addresses; then servers.
    pub(super) fn take(&mut self, stride: &Stride, transaction: &Transaction) -> Result<Done, Error> {
        let mut done = Done { operations: stride.hold.len() + stride.release.len(), bytes: 0 };
        done.bytes += self.nft.commit(transaction, None).map_err(Error::Write)?.bytes;
        done.operations += transaction.operations();
        self.holder.hold(&stride.hold).map_err(Error::Addresses)?;
        let commit = self.ipvs.commit(&stride.servers).map_err(Error::Ipvs)?;
        done.operations += commit.messages;
        done.bytes += commit.bytes;
        self.holder.release(&stride.release).map_err(Error::Addresses)?;
        Ok(done)
    }

    /// Removes all that is ours; returns how much that was.
    pub(super) fn remove(&mut self, excluded: &[IpNet]) -> Result<usize, Error> {
        let actual = self.read(&Program::default(), excluded)?;
        let servers: Vec<_> = actual.standing.servers.into_keys().map(ServerChange::DeleteServer).collect();
        self.ipvs.commit(&servers).map_err(Error::Ipvs)?;
        let stand = |index: usize| actual.tables[index] != Known::Absent;
        let tables = Family::ALL.into_iter().enumerate().filter(|(index, _)| stand(*index));
        let changes: Vec<_> = tables.map(|(_, family)| Change::DeleteTable(name(family))).collect();
        let tables = changes.len();
        self.nft.commit(&Transaction { changes }, None).map_err(Error::Write)?;
        Ok(servers.len() + tables + self.holder.remove().map_err(Error::Addresses)?)
    }
}

trait SumChanged {
    fn sum_changed(self) -> Result<usize, Error>;
}

impl<I: Iterator<Item = Result<bool, Error>>> SumChanged for I {
    fn sum_changed(self) -> Result<usize, Error> {
        let mut sum = 0;
        for changed in self {
            sum += usize::from(changed?);
        }
        Ok(sum)
    }
}

fn is_ours(name: &Name, standing: &Standing, excluded: &[IpNet]) -> bool {
    let is_free = |address: IpAddr| !excluded.iter().any(|range| range.contains(&address));
    match name {
        Name::Marked(_, mark) => marks::is_ours(*mark),
        Name::At(frontend) => {
            let is_known = standing.elements.contains(&Element::Frontend(*frontend));
            (is_known || standing.held.contains(&frontend.address)) && is_free(frontend.address)
        }
    }
}

/// What the elements say of marks.
pub(super) fn marked(elements: &BTreeSet<Element>) -> BTreeMap<Frontend, u32> {
    let marked = elements.iter().filter_map(|element| match element {
        Element::Inside(frontend, mark) => Some((*frontend, *mark)),
        _ => None,
    });
    marked.collect()
}

/// The changes of one family's table that go with a stride, or that make it whole.
pub(super) fn table_changes(
    family: Family,
    known: &mut Known,
    settings: &Settings,
    standing: &Standing,
    stride: &Stride,
) -> Vec<Change> {
    let has_elements = standing.elements.iter().any(|element| element.family() == family);
    let has_ranges = settings.service_ranges.iter().any(|range| Family::of(range.addr()) == family);
    let chains = rules::chains(family, settings);
    let wanted = Known::Ours(rules::outline(&chains));
    let name = name(family);
    let add_chains = |changes: &mut Vec<Change>| {
        for (chain, base, _) in &chains {
            changes.push(Change::AddChain(name, Chain { name: (*chain).into(), base: *base }));
        }
    };
    let add_rules = |changes: &mut Vec<Change>| {
        for (chain, _, rules) in &chains {
            changes.extend(rules.iter().map(|rule| Change::AddRule(name, (*chain).into(), rule.clone())));
        }
    };
    let mut changes = Vec::new();
    if !has_elements && !has_ranges {
        if *known != Known::Absent {
            changes.push(Change::DeleteTable(name));
            *known = Known::Absent;
        }
        return changes;
    }
    match known {
        Known::Ours(outline) if Known::Ours(outline.clone()) == wanted => {
            changes.extend(in_sets(family, &stride.remove).map(|(set, gone)| Change::DeleteElements(name, set, gone)));
            changes.extend(in_sets(family, &stride.add).map(|(set, new)| Change::AddElements(name, set, new)));
        }
        Known::Ours(outline) if same_chains(outline, &wanted) => {
            changes.extend(in_sets(family, &stride.remove).map(|(set, gone)| Change::DeleteElements(name, set, gone)));
            changes.extend(in_sets(family, &stride.add).map(|(set, new)| Change::AddElements(name, set, new)));
            changes.extend(chains.iter().map(|(chain, ..)| Change::FlushChain(name, (*chain).into())));
            add_rules(&mut changes);
        }
        _ => {
            if *known != Known::Absent {
                changes.push(Change::DeleteTable(name));
            }
            changes.push(Change::AddTable(name, Table { comment: COMMENT.into() }));
            let set = |set: SetId| Set { name: set.name(), shape: set.shape(family), size: None, dynamic: None };
            changes.extend(SetId::ALL.map(|id| Change::AddSet(name, set(id))));
            add_chains(&mut changes);
            add_rules(&mut changes);
            let all = in_sets(family, &standing.elements);
            changes.extend(all.map(|(set, elements)| Change::AddElements(name, set, elements)));
        }
    }
    *known = wanted;
    changes
}

/// Those of one family, set by set.
fn in_sets<'e>(
    family: Family,
    elements: impl IntoIterator<Item = &'e Element>,
) -> impl Iterator<Item = (&'static str, Elements)> {
    let mut sets: BTreeMap<SetId, Elements> = BTreeMap::new();
    for element in elements.into_iter().filter(|element| element.family() == family) {
        let set = sets.entry(element.set()).or_insert_with(|| Elements::new(element.set().shape(family)));
        set.push(element.key().as_bytes(), element.data().as_bytes());
    }
    sets.into_iter().map(|(set, elements)| (set.name(), elements))
}

fn same_chains(outline: &Outline, wanted: &Known) -> bool {
    let Known::Ours(wanted) = wanted else { return false };
    let bases = |outline: &Outline| outline.iter().map(|(chain, (base, _))| (chain.clone(), *base)).collect::<Vec<_>>();
    bases(outline) == bases(wanted)
}

//! A kernel in memory: takes transactions as nf_tables does, refuses what it refuses, and walks packets through the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use stead_model::{Family, Frontend};
use stead_plan::{Arrival, Packet, jhash, scale};
use stead_sys::nft::{
    Change, Comparison, Data, Direction, Elements, LinkName, Rule, Selector, Set, Statement, Transaction, Verdict,
    WordReader, Words, digest,
};

use crate::nftables::{
    id::Way,
    layout::balance,
    program::{Entry, SetId},
    read::Actual,
    table::{Known, Outline, TableState},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) tables: BTreeMap<Family, Table>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) sets: BTreeMap<&'static str, Held>,
    pub(super) chains: BTreeMap<String, Chain>,
    pub(super) verdicts: BTreeMap<(Way, u32), String>,
}

/// A set and its elements.
pub(super) type Held = (Set, BTreeMap<Vec<u8>, Vec<u8>>);
/// Hook and priority of a base chain, and the rules.
pub(super) type Chain = (Option<(u32, i32)>, Vec<Rule>);

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Pass,
    Refuse,
    Drop,
    To { address: SocketAddr, masqueraded: bool },
}

impl Model {
    /// All or nothing, as the kernel does it.
    pub(super) fn commit(&mut self, transaction: &Transaction) -> Result<(), String> {
        let mut next = self.clone();
        for change in &transaction.changes {
            next.change(change).map_err(|error| format!("{change}: {error}"))?;
        }
        for table in next.tables.values() {
            table.check()?;
        }
        *self = next;
        Ok(())
    }

    fn table(&mut self, family: Family) -> Result<&mut Table, &'static str> {
        self.tables.get_mut(&family).ok_or("no such table")
    }

    fn change(&mut self, change: &Change) -> Result<(), &'static str> {
        match change {
            Change::AddTable(name, _) => {
                self.tables.entry(name.family).or_default();
            }
            Change::DeleteTable(name) => drop(self.tables.remove(&name.family).ok_or("no such table")?),
            Change::AddSet(name, set) => {
                if self.table(name.family)?.sets.insert(set.name, (*set, BTreeMap::new())).is_some() {
                    return Err("set exists");
                }
            }
            Change::AddChain(name, chain) => {
                let base = chain.base.map(|base| (base.hook.number(), base.priority));
                if self.table(name.family)?.chains.insert(chain.name.to_string(), (base, Vec::new())).is_some() {
                    return Err("chain exists");
                }
            }
            Change::FlushChain(name, chain) => self.table(name.family)?.chain(chain)?.clear(),
            Change::DeleteChain(name, chain) => {
                drop(self.table(name.family)?.chains.remove(chain.as_ref()).ok_or("no such chain")?);
            }
            Change::AddRule(name, chain, rule) => self.table(name.family)?.chain(chain)?.push(rule.clone()),
            Change::InsertRule(..) | Change::DeleteRule(..) => return Err("rules of this plane are added and flushed"),
            Change::AddElements(name, set, elements) => self.table(name.family)?.add(set, elements)?,
            Change::DeleteElements(name, set, elements) => {
                let held = &mut self.table(name.family)?.sets.get_mut(set).ok_or("no such set")?.1;
                for (key, _) in elements.iter() {
                    held.remove(key).ok_or("no such element")?;
                }
            }
            Change::AddExpiring(..) => return Err("the model has no time"),
            Change::FlushSet(name, set) => self.table(name.family)?.sets.get_mut(set).ok_or("no such set")?.1.clear(),
            Change::AddVerdict(name, map, key, Verdict::Goto(chain)) => {
                let table = self.table(name.family)?;
                table.chains.get(chain.as_ref()).ok_or("no such chain")?;
                if table.verdicts.insert((way(map), *key), chain.to_string()).is_some_and(|old| old != *chain) {
                    return Err("element exists");
                }
            }
            Change::AddVerdict(..) => return Err("a verdict that this program never writes"),
            Change::DeleteVerdict(name, map, key) => {
                drop(self.table(name.family)?.verdicts.remove(&(way(map), *key)).ok_or("no such element")?);
            }
        }
        Ok(())
    }

    /// What `read` would find.
    pub(super) fn actual(&self, family: Family) -> Actual {
        let Some(table) = self.tables.get(&family) else { return Actual::default() };
        let mut actual = Actual::default();
        let (mut counts, mut sizes) = (BTreeMap::new(), BTreeMap::new());
        for set in SetId::ALL {
            let Some((held, elements)) = table.sets.get(set.name()) else {
                return Actual { known: Known::Foreign, ..Actual::default() };
            };
            counts.insert(set, elements.len() as u32);
            sizes.insert(set, held.size.unwrap_or(u32::MAX));
            for (key, data) in elements {
                match Entry::read(set, family, key, data) {
                    Some(entry) => actual.entries.push(entry),
                    None => actual.foreign.push((set, Words::from_bytes(key).unwrap())),
                }
            }
        }
        let digests = |rules: &[Rule]| rules.iter().map(|rule| Some(digest(rule))).collect();
        let chains = table.chains.iter().map(|(name, (base, rules))| (name.clone(), (*base, digests(rules))));
        let verdicts = table.verdicts.iter().map(|(key, chain)| (*key, Some(chain.clone())));
        let outline = Outline { chains: chains.collect(), verdicts: verdicts.collect() };
        actual.known = Known::Ours(TableState { outline, counts, sizes });
        actual
    }

    /// Everything that can happen to a new connection's first packet, over all random numbers.
    pub(super) fn outcomes(&self, packet: &Packet<'_>) -> BTreeSet<Outcome> {
        /// A multiple of all small numbers of slots.
        const RANDOM: u32 = 60;
        let Some(table) = self.tables.get(&packet.destination.family()) else { return [Outcome::Pass].into() };
        (0..RANDOM).map(|random| Walk::new(table, packet, random).outcome(&mut BTreeMap::new())).collect()
    }

    /// What happens to a packet from this port, where chance has no say.
    pub(super) fn outcome(&self, packet: &Packet<'_>, source_port: u16) -> Outcome {
        let Some(table) = self.tables.get(&packet.destination.family()) else { return Outcome::Pass };
        Walk { source_port, ..Walk::new(table, packet, 0) }.outcome(&mut BTreeMap::new())
    }

    /// What happens to the same client again and again.
    pub(super) fn repeated(&self, packet: &Packet<'_>) -> BTreeSet<Outcome> {
        let Some(table) = self.tables.get(&packet.destination.family()) else { return [Outcome::Pass].into() };
        let mut remembered = BTreeMap::new();
        (0..7).map(|random| Walk::new(table, packet, random).outcome(&mut remembered)).collect()
    }
}

impl Table {
    fn chain(&mut self, chain: &str) -> Result<&mut Vec<Rule>, &'static str> {
        self.chains.get_mut(chain).map(|(_, rules)| rules).ok_or("no such chain")
    }

    fn add(&mut self, set: &str, elements: &Elements) -> Result<(), &'static str> {
        let (definition, held) = self.sets.get_mut(set).ok_or("no such set")?;
        let size = definition.size.unwrap_or(u32::MAX);
        for (key, data) in elements.iter() {
            let meets = |(first, last): (&Vec<u8>, &Vec<u8>)| !(is_before(last, key) || is_before(data, first));
            if definition.shape.data == Data::End && held.iter().any(meets) {
                return Err("ranges overlap");
            }
            if held.insert(key.into(), data.into()).is_some_and(|old| old != data) {
                return Err("element exists");
            }
        }
        if held.len() > size as usize { Err("set is full") } else { Ok(()) }
    }

    /// Jumps and lookups lead somewhere.
    fn check(&self) -> Result<(), String> {
        let chain = |name: &str| self.chains.contains_key(name).then_some(()).ok_or(format!("no chain {name}"));
        for statement in self.chains.values().flat_map(|(_, rules)| rules).flatten() {
            match statement {
                Statement::Verdict(Verdict::Jump(name) | Verdict::Goto(name)) => chain(name)?,
                Statement::InSet(_, set)
                | Statement::SetPriority(_, set)
                | Statement::VerdictMap(_, set)
                | Statement::Dnat(_, set)
                | Statement::Remember(_, set, _)
                | Statement::Forget(_, set) => {
                    self.sets.get(set).ok_or(format!("no set {set}"))?;
                }
                _ => {}
            }
        }
        self.verdicts.values().try_for_each(|name| chain(name))
    }
}

type Remembered = BTreeMap<Vec<u8>, u32>;

struct Walk<'a> {
    table: &'a Table,
    source: IpAddr,
    source_port: u16,
    arrival: Arrival<'a>,
    /// As sent.
    original: Frontend,
    /// As it is now.
    destination: Frontend,
    priority: u32,
    random: u32,
}

enum Step {
    /// The rule's next statement.
    Next,
    /// The next rule.
    Break,
    /// Out of the chain.
    Return,
    Done(Option<Outcome>),
}

impl<'a> Walk<'a> {
    fn new(table: &'a Table, packet: &Packet<'a>, random: u32) -> Self {
        let Packet { source, arrival, destination } = *packet;
        let source_port = 40_000 + random as u16;
        Self { table, source, source_port, arrival, original: destination, destination, priority: 0, random }
    }

    fn outcome(mut self, remembered: &mut Remembered) -> Outcome {
        let hook = match self.arrival {
            Arrival::FromNode => "nat-output",
            Arrival::OnLink(_) => "nat-prerouting",
        };
        let outcome = match self.chain(hook, remembered) {
            Step::Done(Some(outcome)) => outcome,
            _ => Outcome::Pass,
        };
        let Outcome::To { address, .. } = outcome else { return outcome };
        self.destination = Frontend { address: address.ip(), port: address.port(), ..self.destination };
        match self.chain("nat-postrouting", remembered) {
            Step::Done(Some(Outcome::To { .. })) => Outcome::To { address, masqueraded: true },
            _ => outcome,
        }
    }

    fn chain(&mut self, chain: &str, remembered: &mut Remembered) -> Step {
        let (_, rules) = &self.table.chains[chain];
        for rule in rules {
            for statement in rule {
                match self.statement(statement, remembered) {
                    Step::Next => {}
                    Step::Break => break,
                    end => return end,
                }
            }
        }
        Step::Return
    }

    fn statement(&mut self, statement: &Statement, remembered: &mut Remembered) -> Step {
        let matches = |holds: bool| if holds { Step::Next } else { Step::Break };
        match statement {
            Statement::Protocol(protocol) => matches(self.destination.protocol == *protocol),
            Statement::Range(selector, comparison, range) => {
                let address = match selector {
                    Selector::SourceAddress => self.source,
                    Selector::OriginalDestinationAddress => self.original.address,
                    _ => self.destination.address,
                };
                matches(range.contains(&address) == (*comparison == Comparison::Equal))
            }
            Statement::Link(name) => matches(match (name, self.arrival) {
                (LinkName::Whole(name), Arrival::OnLink(link)) => **name == *link,
                (LinkName::Prefix(prefix), Arrival::OnLink(link)) => link.starts_with(&**prefix),
                (_, Arrival::FromNode) => false,
            }),
            // Nothing is bridged here.
            Statement::LinkOut(_) | Statement::NoLink => Step::Break,
            Statement::SourceIsOwn => matches(self.arrival == Arrival::FromNode),
            Statement::NotTranslated => Step::Break,
            // The first packet of a connection.
            Statement::Direction(direction) => matches(*direction == Direction::Original),
            Statement::InSet(key, set) => matches(self.look_up(key, set).is_some()),
            Statement::SetPriority(key, map) => {
                let found = match *map {
                    "affinity" => remembered.get(self.key(key).as_bytes()).copied(),
                    map => self.look_up(key, map).and_then(|data| WordReader(data).number()),
                };
                found.map_or(Step::Break, |priority| {
                    self.priority = priority;
                    Step::Next
                })
            }
            // That of the IPVS plane's rules.
            Statement::SetMark(..) => Step::Break,
            Statement::VerdictMap(_, map) => match self.table.verdicts.get(&(way(map), self.priority)) {
                Some(chain) => self.chain(&chain.clone(), remembered).ended(),
                None => Step::Break,
            },
            Statement::Dnat(key, map) => match self.look_up(key, map).and_then(|data| self.read_address(data)) {
                Some(address) => Step::Done(Some(Outcome::To { address, masqueraded: false })),
                None => Step::Break,
            },
            Statement::Masquerade => {
                let address = (self.destination.address, self.destination.port).into();
                Step::Done(Some(Outcome::To { address, masqueraded: true }))
            }
            Statement::RejectReset | Statement::Reject => Step::Done(Some(Outcome::Refuse)),
            Statement::Remember(key, _, _) => {
                remembered.entry(self.key(key).as_bytes().to_vec()).or_insert(self.priority);
                Step::Next
            }
            Statement::Forget(key, _) => {
                remembered.remove(self.key(key).as_bytes());
                Step::Next
            }
            Statement::OtherLink(_)
            | Statement::Match(_)
            | Statement::Target(_)
            | Statement::Counter
            | Statement::Note(_) => unreachable!("none of this plane's"),
            Statement::Verdict(verdict) => match verdict {
                Verdict::Accept => Step::Done(None),
                Verdict::Drop => Step::Done(Some(Outcome::Drop)),
                Verdict::Return => Step::Return,
                Verdict::Goto(chain) => self.chain(chain, remembered).ended(),
                Verdict::Jump(chain) => match self.chain(chain, remembered) {
                    Step::Return => Step::Next,
                    end => end,
                },
            },
        }
    }

    fn key(&self, selectors: &[Selector]) -> Words {
        selectors.iter().fold(Words::new(), |words, selector| match selector {
            Selector::SourceAddress => words.address(self.source),
            Selector::DestinationAddress => words.address(self.destination.address),
            Selector::Protocol => words.protocol(self.destination.protocol),
            Selector::SourcePort => words.port(self.source_port),
            Selector::DestinationPort => words.port(self.destination.port),
            Selector::Priority => words.number(self.priority),
            Selector::Random(modulus) | Selector::Turn(modulus) => words.number(self.random % modulus),
            Selector::Hash { key, modulus, seed } => {
                let bytes = key.iter().flat_map(|part| self.key(&[*part]).as_bytes().to_vec()).collect::<Vec<_>>();
                let registers = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word));
                words.number(scale(jhash(&registers.collect::<Vec<_>>(), *seed), *modulus))
            }
            Selector::OriginalDestinationAddress => words.address(self.original.address),
            Selector::OriginalDestinationPort => words.port(self.original.port),
        })
    }

    fn look_up(&self, key: &[Selector], set: &str) -> Option<&'a [u8]> {
        let (definition, held) = &self.table.sets[set];
        let key = self.key(key);
        let key = key.as_bytes();
        match definition.shape.data {
            Data::End => {
                let mut ranges = held.iter();
                let found = ranges.find(|(first, last)| !is_before(key, first) && !is_before(last, key));
                found.map(|(_, last)| last.as_slice())
            }
            _ => held.get(key).map(Vec::as_slice),
        }
    }

    fn read_address(&self, data: &[u8]) -> Option<SocketAddr> {
        let mut words = WordReader(data);
        let address = match self.destination.family() {
            Family::V4 => words.ipv4()?,
            Family::V6 => words.ipv6()?,
        };
        Some((address, words.port()?).into())
    }
}

fn way(map: &str) -> Way {
    [Way::Frontends, Way::Inside].into_iter().find(|way| balance(*way) == map).expect("a map of verdicts")
}

/// Whether one of two keys is before the other. The fields before the last, which alone is a range, decide first.
fn is_before(key: &[u8], other: &[u8]) -> bool {
    key < other
}

impl Step {
    /// A chain that was gone to, not jumped to, does not come back.
    fn ended(self) -> Self {
        match self {
            Self::Next | Self::Break => Self::Return,
            end => end,
        }
    }
}

//! How many connections and bytes go to and from each Service, where somebody wants to know: the kernel counts, in tables of their own (`ip stead-traffic`,
//! `ip6 stead-traffic`) that are not there otherwise, so that who does not ask pays nothing.
//!
//! Owns those tables: three sets of frontends whose elements count. A connection counts when its first packet comes, bytes (of IP packets, with their
//! headers) as packets pass. They are told by Service, and only ever grow until the Service goes or this process does. Which packet goes where is
//! the data plane's; nothing here has a say in it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use stead_model::{Family, Frontend, ObjectKey};
use stead_plan::Plan;
use stead_sys::{
    namespace::Namespace,
    nft::{
        self, BaseChain, Chain, Change, Counted, Data, Direction, Elements, Field, Hook, LinkName, Name, Nftables,
        Rule, Selector, Set, Shape, Statement, Table, Transaction, Verdict, WordReader, Words,
    },
};

use crate::plane::Scope;

/// What one Service had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// That came for it, refused and dropped ones too; who is dropped and tries again comes again.
    pub connections: u64,
    /// Bytes that clients sent to it.
    pub received: u64,
    /// Bytes that it sent to clients.
    pub sent: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    #[error("open netlink for the tables that count traffic")]
    Open(#[source] nft::Error),
    #[error("write the tables that count traffic")]
    Write(#[source] nft::Error),
    #[error("read what traffic was counted")]
    Read(#[source] nft::Error),
}

/// The tables that count, in one network namespace.
#[derive(Debug)]
pub struct Traffic {
    nft: Nftables,
    services: BTreeMap<Arc<ObjectKey>, Counting>,
    owners: HashMap<Frontend, Arc<ObjectKey>>,
    /// Whether the tables are there with what is in `owners`, as far as is known.
    stand: bool,
}

#[derive(Debug, Default)]
struct Counting {
    frontends: BTreeSet<Frontend>,
    count: Count,
    /// What the kernel's own counts were when they were read last.
    seen: HashMap<Frontend, Count>,
}

const TABLE: &str = "stead-traffic";
const SETS: [&str; 3] = ["connections", "received", "sent"];
/// Before the data plane's chains: where one of them decides, no other chain of type nat is asked.
const BEFORE_PLANE: i32 = -101;

const fn name(family: Family) -> Name {
    Name { family, table: TABLE }
}

const fn shape(family: Family) -> Shape {
    use Field::{InetProto, InetService, Ipv4Addr, Ipv6Addr};
    let key: &[Field] = match family {
        Family::V4 => &[Ipv4Addr, InetProto, InetService],
        Family::V6 => &[Ipv6Addr, InetProto, InetService],
    };
    Shape { key, data: Data::Counter }
}

impl Traffic {
    /// Nothing is changed yet.
    pub fn open() -> Result<Self, TrafficError> {
        Ok(Self::new(Nftables::open().map_err(TrafficError::Open)?))
    }

    pub fn open_in(namespace: &Namespace) -> Result<Self, TrafficError> {
        Ok(Self::new(Nftables::open_in(namespace).map_err(TrafficError::Open)?))
    }

    fn new(nft: Nftables) -> Self {
        Self { nft, services: BTreeMap::new(), owners: HashMap::new(), stand: false }
    }

    /// Counts from now on for the frontends that `plan` has, as far as Services in `scope` are concerned. Costs nothing where no frontend
    /// came or went.
    ///
    /// # Errors
    /// The next call, or the next reading, makes good what is missing.
    pub fn apply(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<(), TrafficError> {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let keys: BTreeSet<ObjectKey> = match scope {
            Scope::All => {
                self.services.keys().map(|key| (**key).clone()).chain(plan.services.keys().cloned()).collect()
            }
            Scope::Services(keys) => keys.clone(),
        };
        // All give up before any takes, so that a frontend may move from one to another.
        let wanted = |key: &ObjectKey| -> BTreeSet<Frontend> {
            let ports = plan.services.get(key).into_iter().flat_map(|service| &service.ports);
            ports.flat_map(|port| &port.frontends).map(|rule| rule.frontend).collect()
        };
        for key in &keys {
            let Some(known) = self.services.get_mut(key) else { continue };
            let wanted = wanted(key);
            known.frontends.retain(|frontend| {
                let stays = wanted.contains(frontend);
                if !stays {
                    known.seen.remove(frontend);
                    self.owners.remove(frontend);
                    gone.push(*frontend);
                }
                stays
            });
        }
        for key in &keys {
            let wanted = wanted(key);
            if wanted.is_empty() {
                self.services.remove(key);
                continue;
            }
            let key = Arc::new(key.clone());
            let known = self.services.entry(Arc::clone(&key)).or_default();
            for frontend in wanted.difference(&known.frontends.clone()) {
                // One that stands twice in a plan belongs to the first.
                if !self.owners.contains_key(frontend) {
                    self.owners.insert(*frontend, Arc::clone(&key));
                    known.frontends.insert(*frontend);
                    come.push(*frontend);
                }
            }
        }
        if !self.stand {
            return self.make();
        }
        self.change(&gone, &come)
    }

    /// What each Service has had since this process counts for it. Tables that somebody removed are made again; what they had counted since the
    /// last reading is lost.
    pub fn read(&mut self) -> Result<BTreeMap<Arc<ObjectKey>, Count>, TrafficError> {
        for family in Family::ALL {
            for (place, set) in SETS.into_iter().enumerate() {
                match self.nft.counters(name(family), set) {
                    Ok(counted) => counted.iter().for_each(|each| self.add(family, place, each)),
                    Err(error) if error.is_missing() => {
                        self.stand = false;
                    }
                    Err(error) => return Err(TrafficError::Read(error)),
                }
            }
        }
        if !self.stand {
            self.make()?;
        }
        Ok(self.services.iter().map(|(key, counting)| (Arc::clone(key), counting.count)).collect())
    }

    /// Removes the tables, also those of an earlier process.
    pub fn remove(&mut self) -> Result<(), TrafficError> {
        self.stand = false;
        let changes = self.standing()?;
        self.commit(changes)
    }

    fn add(&mut self, family: Family, place: usize, counted: &Counted) {
        let Some(frontend) = frontend(family, counted.key.as_bytes()) else { return };
        let Some(owner) = self.owners.get(&frontend).and_then(|owner| self.services.get_mut(owner)) else { return };
        let seen = owner.seen.entry(frontend).or_default();
        let (sum, seen, now) = match place {
            0 => (&mut owner.count.connections, &mut seen.connections, counted.packets),
            1 => (&mut owner.count.received, &mut seen.received, counted.bytes),
            _ => (&mut owner.count.sent, &mut seen.sent, counted.bytes),
        };
        // Less than before: the kernel began anew.
        *sum += if now >= *seen { now - *seen } else { now };
        *seen = now;
    }

    /// New tables, in the place of what stands under their names.
    fn make(&mut self) -> Result<(), TrafficError> {
        let mut changes = self.standing()?;
        for family in Family::ALL {
            changes.extend(tables(family));
            changes.extend(additions(family, self.owners.keys()));
        }
        self.services.values_mut().for_each(|counting| counting.seen.clear());
        self.commit(changes)?;
        self.stand = true;
        Ok(())
    }

    fn change(&mut self, gone: &[Frontend], come: &[Frontend]) -> Result<(), TrafficError> {
        let mut changes = Vec::new();
        for family in Family::ALL {
            changes.extend(removals(family, gone));
            changes.extend(additions(family, come));
        }
        // Somebody removed what is to be changed.
        self.commit(changes).or_else(|_| self.make())
    }

    /// The removal of the tables that stand.
    fn standing(&mut self) -> Result<Vec<Change>, TrafficError> {
        let mut changes = Vec::new();
        for family in Family::ALL {
            let tables = self.nft.tables(family).map_err(TrafficError::Read)?;
            changes.extend(tables.iter().any(|table| table.name == TABLE).then(|| Change::DeleteTable(name(family))));
        }
        Ok(changes)
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), TrafficError> {
        let done = self.nft.commit(&Transaction { changes }, None).map(drop).map_err(TrafficError::Write);
        if done.is_err() {
            self.stand = false;
        }
        done
    }
}

fn tables(family: Family) -> Vec<Change> {
    use Selector::{
        DestinationAddress, DestinationPort, OriginalDestinationAddress, OriginalDestinationPort, Protocol,
    };
    let table = name(family);
    let chain = |name: &'static str, hook, priority| {
        Change::AddChain(table, Chain { name: name.into(), base: Some(BaseChain { hook, priority }) })
    };
    let rule = |chain: &'static str, rule: Rule| Change::AddRule(table, chain.into(), rule);
    let first = || vec![Statement::InSet(vec![DestinationAddress, Protocol, DestinationPort], SETS[0])];
    let every = |direction, set| {
        let key = vec![OriginalDestinationAddress, Protocol, OriginalDestinationPort];
        vec![Statement::Direction(direction), Statement::InSet(key, set)]
    };
    let others = || vec![Statement::NotTranslated, Statement::Verdict(Verdict::Accept)];
    let mut changes = vec![Change::AddTable(table, Table { comment: "Traffic of Services by Stead".into() })];
    let set = |name| Change::AddSet(table, Set { name, shape: shape(family), size: None, dynamic: None });
    changes.extend(SETS.map(set));
    changes.extend([
        chain("first-prerouting", Hook::Prerouting, BEFORE_PLANE),
        chain("first-output", Hook::Output, BEFORE_PLANE),
        chain("every-prerouting", Hook::EveryPrerouting, 0),
        chain("every-output", Hook::EveryOutput, 0),
        rule("first-prerouting", first()),
        rule("first-output", first()),
        // What the node sends to itself was counted when it was sent.
        rule(
            "every-prerouting",
            vec![Statement::Link(LinkName::Whole("lo".into())), Statement::Verdict(Verdict::Accept)],
        ),
    ]);
    for hook in ["every-prerouting", "every-output"] {
        changes.push(rule(hook, others()));
        changes.push(rule(hook, every(Direction::Original, SETS[1])));
        changes.push(rule(hook, every(Direction::Reply, SETS[2])));
    }
    changes
}

fn additions<'a>(family: Family, frontends: impl IntoIterator<Item = &'a Frontend>) -> Vec<Change> {
    let elements = elements(family, frontends);
    let all = SETS.map(|set| Change::AddElements(name(family), set, elements.clone()));
    if elements.is_empty() { Vec::new() } else { all.into() }
}

fn removals<'a>(family: Family, frontends: impl IntoIterator<Item = &'a Frontend>) -> Vec<Change> {
    let elements = elements(family, frontends);
    let all = SETS.map(|set| Change::DeleteElements(name(family), set, elements.clone()));
    if elements.is_empty() { Vec::new() } else { all.into() }
}

fn elements<'a>(family: Family, frontends: impl IntoIterator<Item = &'a Frontend>) -> Elements {
    let mut elements = Elements::new(shape(family));
    for frontend in frontends.into_iter().filter(|frontend| frontend.family() == family) {
        let key = Words::new().address(frontend.address).protocol(frontend.protocol).port(frontend.port);
        elements.push(key.as_bytes(), &[]);
    }
    elements
}

fn frontend(family: Family, key: &[u8]) -> Option<Frontend> {
    let mut words = WordReader(key);
    let address = match family {
        Family::V4 => words.ipv4(),
        Family::V6 => words.ipv6(),
    }?;
    Some(Frontend { address, protocol: words.protocol()?, port: words.port()? })
}

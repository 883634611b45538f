//! Who gets which connection: the plan's algorithm and weights, carried out by a process instead of the kernel.
//!
//! Pure but for the chance and the turn that come in as values.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use rand::Rng;
use stead_model::Frontend;
use stead_plan::{
    Algorithm, List, ServicePortPlan, flow_hash,
    maglev::{self, Member},
    scale,
};

/// How many backends are tried for one connection.
const TRIES: usize = 4;

/// The backends that get new connections; never empty.
#[derive(Clone, Debug)]
pub struct Pool {
    /// In ascending order of the address.
    members: Box<[Member]>,
    algorithm: Algorithm,
    /// By position in `members`, for algorithms that have one; made by the first connection.
    slots: Arc<OnceLock<Vec<u16>>>,
}

impl Pool {
    /// `None` where nobody is in the list.
    pub fn of(plan: &ServicePortPlan, list: List) -> Option<Self> {
        let member = |address: SocketAddr| Member { address, weight: plan.weights.of(address.ip()) };
        let members: Box<[_]> = plan.list(list).map(|backend| member(backend.address)).collect();
        Self::new(members, plan.algorithm)
    }

    pub fn new(members: Box<[Member]>, algorithm: Algorithm) -> Option<Self> {
        (!members.is_empty()).then(|| Self { members, algorithm, slots: Arc::default() })
    }

    pub fn has(&self, backend: SocketAddr) -> bool {
        self.members.binary_search_by_key(&backend, |member| member.address).is_ok()
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.members.iter().map(|member| member.address)
    }

    /// Who is tried for a connection, in the order of trying: the one whose it is, then others in case it refuses. `turn` is one more with each
    /// connection, `to` what the client asked for.
    pub fn choose(&self, client: SocketAddr, to: Frontend, turn: usize, chance: &mut impl Rng) -> Vec<SocketAddr> {
        let hash = || flow_hash(self.algorithm, client, to);
        let slots = self.slots.get_or_init(|| self.slots());
        let start = match self.algorithm {
            Algorithm::RoundRobin => turn % slots.len().max(1),
            Algorithm::SourceHash | Algorithm::Maglev => {
                hash().map_or(0, |hash| scale(hash, slots.len() as u32) as usize)
            }
            Algorithm::Random => return self.draw(chance),
        };
        let mut seen = HashSet::new();
        let following = slots[start..].iter().chain(&slots[..start]).filter(|at| seen.insert(**at));
        following.take(TRIES).map(|at| self.members[usize::from(*at)].address).collect()
    }

    /// One after the other, each as likely among those that are left as its weight says.
    fn draw(&self, chance: &mut impl Rng) -> Vec<SocketAddr> {
        let mut left: Vec<_> = self.members.iter().collect();
        let mut drawn = Vec::with_capacity(TRIES);
        while drawn.len() < TRIES && !left.is_empty() {
            let all: u32 = left.iter().map(|member| u32::from(member.weight.max(1))).sum();
            let mut ahead = chance.random_range(0..all);
            let at = left.iter().position(|member| {
                let weight = u32::from(member.weight.max(1));
                let is_it = ahead < weight;
                ahead = ahead.saturating_sub(weight);
                is_it
            });
            drawn.push(left.swap_remove(at.unwrap_or_default()).address);
        }
        drawn
    }

    fn slots(&self) -> Vec<u16> {
        match self.algorithm {
            Algorithm::Random => Vec::new(),
            Algorithm::RoundRobin => turns(&self.members),
            Algorithm::SourceHash | Algorithm::Maglev => maglev::table(&self.members),
        }
    }
}

/// As many turns for each as its weight says, round by round, without what all weights have in common.
fn turns(members: &[Member]) -> Vec<u16> {
    let common = members.iter().map(|member| member.weight).fold(0, common_divisor).max(1);
    let mut left: Vec<_> = (0..).zip(members.iter().map(|member| (member.weight / common).max(1))).collect();
    let mut turns = Vec::new();
    while !left.is_empty() {
        turns.extend(left.iter().map(|(at, _)| *at));
        left.iter_mut().for_each(|(_, more)| *more -= 1);
        left.retain(|(_, more)| *more > 0);
    }
    turns
}

fn common_divisor(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl PartialEq for Pool {
    fn eq(&self, other: &Self) -> bool {
        (&self.members, self.algorithm) == (&other.members, other.algorithm)
    }
}

impl Eq for Pool {}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        net::{IpAddr, Ipv4Addr},
    };

    use rand::{SeedableRng, rngs::StdRng};
    use stead_model::Protocol;
    use stead_plan::{Arrival, Backend, FrontendKind, FrontendRule, Lists, Packet, Plan, ServicePlan, Weights, decide};

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const TO: Frontend = Frontend { address: CLIENT, protocol: Protocol::Tcp, port: 30080 };

    fn address(number: u8) -> SocketAddr {
        SocketAddr::new([10, 244, 0, number].into(), 8080)
    }

    fn pool(algorithm: Algorithm, weights: &[u8]) -> Pool {
        let members = (1..).zip(weights).map(|(number, weight)| Member { address: address(number), weight: *weight });
        Pool::new(members.collect(), algorithm).unwrap()
    }

    fn tally(pool: &Pool, connections: u16) -> Vec<usize> {
        let mut chance = StdRng::seed_from_u64(20_261_121);
        let mut tally = BTreeMap::new();
        for number in 0..connections {
            let client = SocketAddr::new(CLIENT, 1_024 + number);
            let chosen = pool.choose(client, TO, number.into(), &mut chance);
            assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), pool.members.len().min(TRIES), "{chosen:?}");
            *tally.entry(chosen[0]).or_insert(0) += 1;
        }
        pool.addresses().map(|address| tally.get(&address).copied().unwrap_or(0)).collect()
    }

    #[test]
    fn connections_are_shared_by_algorithm_and_weight() {
        assert_eq!(tally(&pool(Algorithm::RoundRobin, &[20, 10, 30]), 600), [200, 100, 300]);
        // 5 standard deviations.
        let near = |counts: Vec<usize>, expect: [usize; 3]| {
            assert!(counts.iter().zip(expect).all(|(count, expect)| count.abs_diff(expect) < 62), "{counts:?}");
        };
        near(tally(&pool(Algorithm::Random, &[20, 10, 30]), 600), [200, 100, 300]);
        near(tally(&pool(Algorithm::Maglev, &[20, 10, 30]), 600), [200, 100, 300]);
        let one = tally(&pool(Algorithm::SourceHash, &[1; 5]), 100);
        assert_eq!(one.iter().filter(|count| **count > 0).count(), 1, "{one:?}");
        assert_eq!(tally(&pool(Algorithm::RoundRobin, &[1; 6]), 60), [10; 6]);
    }

    #[test]
    fn what_a_hash_decides_is_as_the_plan_says() {
        for algorithm in [Algorithm::SourceHash, Algorithm::Maglev] {
            let backend = |number| Backend { address: address(number), local: false, lists: Lists::Cluster };
            let port = ServicePortPlan {
                frontends: vec![FrontendRule { frontend: TO, kind: FrontendKind::NodePort }],
                backends: (1..=7).map(backend).collect(),
                algorithm,
                weights: Weights::from_iter([("10.244.0.3/32".parse().unwrap(), 5)]),
                ..ServicePortPlan::default()
            };
            let pool = Pool::of(&port, List::Cluster).unwrap();
            let mut plan = Plan::default();
            plan.services.insert(stead_model::ObjectKey::new("a", "web"), ServicePlan { ports: vec![port] });
            let packet = Packet { source: CLIENT, arrival: Arrival::FromNode, destination: TO };
            for number in 40_000..40_200 {
                let chosen = pool.choose(SocketAddr::new(CLIENT, number), TO, 0, &mut rand::rng());
                let expect = decide(&plan, &packet).certain(&packet, number).unwrap().address;
                assert_eq!(chosen[0], expect, "{algorithm:?} from {number}");
            }
        }
    }
}

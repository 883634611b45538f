//! Where connections to one service port go, as the relay asks it: who is let in, by which list, and to which backend of it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use stead_model::Frontend;
use stead_plan::{Arrival, FrontendKind, List, Origin, Packet, ServicePortPlan, TrafficPolicy};
use stead_relay::{Destination, Route};

use super::wire::{Common, Listen};
use crate::pool::Pool;

/// Clients that are remembered before those are looked for whose time is over.
const CLIENTS: usize = 1024;

type Stuck = HashMap<IpAddr, (SocketAddr, Instant)>;

/// One service port; its table changes under the relay's hands.
#[derive(Debug)]
pub(crate) struct ServicePort {
    table: RwLock<Arc<Table>>,
    turns: [AtomicUsize; 2],
    /// Where clients went last, by the list that they are led to.
    stuck: [Mutex<Stuck>; 2],
}

#[derive(Debug)]
struct Table {
    common: Arc<Common>,
    plan: ServicePortPlan,
    /// By [`List`].
    pools: [Option<Pool>; 2],
}

/// Who sends a packet that a relay has accepted: by which link it came is not known any more.
const UNKNOWN_LINK: Arrival<'static> = Arrival::OnLink("");

const fn position(list: List) -> usize {
    match list {
        List::Cluster => 0,
        List::Local => 1,
    }
}

impl ServicePort {
    pub(crate) fn new(common: Arc<Common>, plan: ServicePortPlan) -> Self {
        let table = RwLock::new(Arc::new(Table::new(common, plan)));
        Self { table, turns: Default::default(), stuck: Default::default() }
    }

    pub(crate) fn set(&self, common: Arc<Common>, plan: ServicePortPlan) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Table::new(common, plan));
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn stuck(&self, list: List) -> MutexGuard<'_, Stuck> {
        self.stuck[position(list)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stick(&self, client: IpAddr, list: List, backend: SocketAddr, affinity: Duration) {
        let mut stuck = self.stuck(list);
        if stuck.len() >= CLIENTS {
            stuck.retain(|_, (_, at)| at.elapsed() < affinity);
        }
        stuck.insert(client, (backend, Instant::now()));
    }
}

impl Table {
    fn new(common: Arc<Common>, plan: ServicePortPlan) -> Self {
        let pools = [List::Cluster, List::Local].map(|list| Pool::of(&plan, list));
        Self { common, plan, pools }
    }

    /// The list that this client is led to; `None` where it is not let in.
    fn list(&self, client: IpAddr, to: Destination) -> Option<List> {
        let kind = self.kind(to)?;
        let settings = &self.common.settings;
        let is_own = client.is_loopback() || settings.own_addresses.contains(&client);
        let admits = |source| self.plan.admits(kind, source);
        // Whoever sends from the node may come in where one of its addresses may.
        let is_admitted =
            admits(client) || (client.is_loopback() && settings.own_addresses.iter().any(|own| admits(*own)));
        if !is_admitted {
            return None;
        }
        let arrival = if is_own { Arrival::FromNode } else { UNKNOWN_LINK };
        let packet = Packet { source: client, arrival, destination: self.frontend(to) };
        let policy = match (kind.is_external(), settings.origin(&packet)) {
            (false, _) => self.plan.internal_policy,
            (true, Origin::Outside) => self.plan.external_policy,
            (true, Origin::Pod | Origin::Node) => TrafficPolicy::Cluster,
        };
        Some(policy.into())
    }

    /// What it came in by. Who asks the listening socket itself is as one who asks a node port.
    fn kind(&self, to: Destination) -> Option<FrontendKind> {
        match to {
            Destination::Direct(local) => {
                let is_open = self.common.listen == Listen::Everywhere || local.ip().is_loopback();
                is_open.then_some(FrontendKind::NodePort)
            }
            Destination::Redirected(to) => {
                let is_it = |frontend: Frontend| frontend.socket() == to;
                // At which of the node's addresses a node port answers is the firewall's to say.
                let is_node_port = |kind, port| kind == FrontendKind::NodePort && port == to.port();
                let mut rules = self.plan.frontends.iter();
                let exact = rules.find(|rule| is_it(rule.frontend));
                let mut rules = self.plan.frontends.iter();
                let rule = exact.or_else(|| rules.find(|rule| is_node_port(rule.kind, rule.frontend.port)));
                rule.map(|rule| rule.kind)
            }
        }
    }

    fn frontend(&self, to: Destination) -> Frontend {
        let (Destination::Direct(to) | Destination::Redirected(to)) = to;
        Frontend { address: to.ip(), protocol: self.plan.protocol, port: to.port() }
    }

    fn has(&self, list: List, backend: SocketAddr) -> bool {
        self.pools[position(list)].as_ref().is_some_and(|pool| pool.has(backend))
    }
}

impl Route for ServicePort {
    fn choose(&self, client: SocketAddr, to: Destination) -> Vec<SocketAddr> {
        let table = self.table();
        let Some(list) = table.list(client.ip(), to) else { return Vec::new() };
        let Some(pool) = &table.pools[position(list)] else { return Vec::new() };
        let turn = self.turns[position(list)].fetch_add(1, Ordering::Relaxed);
        let mut chosen = pool.choose(client, table.frontend(to), turn, &mut rand::rng());
        if let Some(affinity) = table.plan.affinity {
            let known = self.stuck(list).get(&client.ip()).copied();
            let known = known.filter(|(backend, at)| at.elapsed() < affinity && pool.has(*backend));
            match known {
                Some((backend, _)) => {
                    chosen.retain(|other| *other != backend);
                    chosen.insert(0, backend);
                }
                // So that others of the same client, who come before the backend has answered, go there too.
                None => chosen.first().into_iter().for_each(|first| self.stick(client.ip(), list, *first, affinity)),
            }
        }
        chosen
    }

    fn on_connected(&self, client: SocketAddr, to: Destination, backend: SocketAddr) {
        let table = self.table();
        if let (Some(affinity), Some(list)) = (table.plan.affinity, table.list(client.ip(), to))
            && table.has(list, backend)
        {
            self.stick(client.ip(), list, backend, affinity);
        }
    }

    fn keeps(&self, client: SocketAddr, to: Destination, backend: SocketAddr) -> bool {
        let table = self.table();
        let Some(list) = table.list(client.ip(), to) else { return false };
        let all = table.plan.backends.iter().chain(&table.plan.draining);
        all.into_iter().any(|each| each.address == backend && each.lists.has(list))
    }
}

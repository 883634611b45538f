//! The objects that forwarding, names and routes are made from, as compact views: Services, EndpointSlices, Nodes, and the
//! ServiceCIDRs that say where virtual IPs come from.
//!
//! Owns the views (read straight from the JSON of one item), the indexes between them, and for each kind whether its first full
//! list is complete. Readers: the planner, the node agent, DNS. What an object *means* for traffic is `stead-plan`'s; listing and
//! watching are `stead-client`'s.
//!
//! Invariants: `slices_of(s)` holds exactly the slices whose label names `s`, in ascending order of their keys; every name in a
//! slice's table is shared with all slices that use it; a kind, once synced, stays synced through later lists.

mod balance;
mod node_view;
mod range_view;
mod service_view;
mod shared_names;
mod slice_view;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    sync::Arc,
};

use ipnet::IpNet;
use stead_model::{ObjectKey, Revision};

use self::shared_names::SharedNames;
pub use self::{
    balance::{Algorithm, Weights},
    node_view::NodeView,
    range_view::RangeView,
    service_view::{ServicePortView, ServiceType, ServiceView, TrafficPolicy},
    slice_view::{EndpointView, SlicePortView, SliceView},
    wire::ViewProblem,
};
use crate::snapshot::Change;

/// What the watch of one of the kinds said.
#[derive(Debug)]
pub enum ServiceChange {
    Service(Change<ServiceView>),
    Slice(Change<SliceView>),
    Node(Change<NodeView>),
    Range(Change<RangeView>),
}

/// Which objects a reader has to look at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services that changed themselves or through a slice.
    pub services: HashSet<Arc<ObjectKey>>,
    /// Names of Nodes that changed.
    pub nodes: HashSet<Arc<ObjectKey>>,
    /// [`ServiceSnapshot::service_ranges`] may be others.
    pub ranges: bool,
    /// A kind has completed its first list.
    pub synced: bool,
}

/// All Services, EndpointSlices, Nodes and ServiceCIDRs of a cluster, as far as they are known.
#[derive(Debug, Default)]
pub struct ServiceSnapshot {
    /// Boxed, since a tree that grows at its end, as by a list in order, has half of its places empty.
    services: BTreeMap<Arc<ObjectKey>, Box<ServiceView>>,
    slices: HashMap<Arc<ObjectKey>, Arc<SliceView>>,
    slices_by_service: HashMap<Arc<ObjectKey>, Vec<Arc<SliceView>>>,
    nodes: BTreeMap<Arc<ObjectKey>, NodeView>,
    ranges: BTreeMap<Arc<ObjectKey>, RangeView>,
    names: SharedNames,
    service_list: Listing,
    slice_list: Listing,
    node_list: Listing,
    range_list: Listing,
}

/// How far a kind's list is.
#[derive(Debug, Default)]
struct Listing {
    /// What is known and the list under way has not named yet.
    unlisted: HashSet<Arc<ObjectKey>>,
    is_synced: bool,
}

impl ServiceSnapshot {
    /// Takes in one change and adds those it touches to `touched`. Objects that a finished list did not name are dropped, and
    /// touched; one that is repeated at the revision known is not, and one that cannot be read stays as it was when it could.
    pub fn apply(&mut self, change: ServiceChange, touched: &mut Touched) {
        match change {
            ServiceChange::Service(change) => self.apply_service(change, touched),
            ServiceChange::Slice(change) => self.apply_slice(change, touched),
            ServiceChange::Node(change) => self.apply_node(change, touched),
            ServiceChange::Range(change) => self.apply_range(change, touched),
        }
    }

    /// Whether every kind but ServiceCIDR has completed its first full list: only then may anything be programmed or removed.
    /// Ranges only say which addresses are nobody's, and older Kubernetes has no objects for them.
    pub fn is_synced(&self) -> bool {
        self.service_list.is_synced && self.slice_list.is_synced && self.node_list.is_synced
    }

    pub fn service(&self, key: &ObjectKey) -> Option<&ServiceView> {
        self.services.get(key).map(|service| &**service)
    }

    /// In ascending order of the key.
    pub fn services(&self) -> impl Iterator<Item = &ServiceView> {
        self.services.values().map(|service| &**service)
    }

    /// The slices whose label names this Service, in ascending order of their keys.
    pub fn slices_of(&self, service: &ObjectKey) -> &[Arc<SliceView>] {
        self.slices_by_service.get(service).map_or(&[], Vec::as_slice)
    }

    pub fn node(&self, name: &str) -> Option<&NodeView> {
        self.nodes.get(&ObjectKey::cluster(name))
    }

    /// In ascending order of the name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values()
    }

    /// What virtual IPs come from, in ascending order, without duplicates.
    pub fn service_ranges(&self) -> Vec<IpNet> {
        let ranges: BTreeSet<IpNet> = self.ranges.values().flat_map(|view| view.ranges.iter().copied()).collect();
        ranges.into_iter().collect()
    }

    fn apply_service(&mut self, change: Change<ServiceView>, touched: &mut Touched) {
        match change {
            Change::Init => self.service_list.start(self.services.keys()),
            Change::InitApply(mut service) | Change::Apply(mut service) => {
                self.service_list.name(&service.key);
                let known = self.services.get(&service.key).map(|service| service.revision);
                if is_repeated(known, service.revision) {
                    return;
                }
                if known.is_none()
                    && let Some((key, _)) = self.slices_by_service.get_key_value(&service.key)
                {
                    service.key = Arc::clone(key);
                }
                touched.services.insert(Arc::clone(&service.key));
                self.services.insert(Arc::clone(&service.key), Box::new(service));
            }
            Change::InitDone => {
                let gone = self.service_list.finish(touched);
                touched.services.extend(gone.into_iter().filter(|key| self.services.remove(key).is_some()));
            }
            Change::Delete(ServiceView { key, .. }) => self.remove_service(&key, touched),
            Change::UnreadGone(key, _) => self.remove_service(&key, touched),
            Change::Unread(key, _) => self.service_list.name(&key),
        }
    }

    fn apply_slice(&mut self, change: Change<SliceView>, touched: &mut Touched) {
        match change {
            Change::Init => self.slice_list.start(self.slices.keys()),
            Change::InitApply(mut slice) | Change::Apply(mut slice) => {
                self.slice_list.name(&slice.key);
                let known = self.slices.get(&slice.key).map(|slice| slice.revision);
                if is_repeated(known, slice.revision) {
                    return;
                }
                slice.share_names(&mut self.names);
                if let Some(service) = &mut slice.service
                    && let Some((known, _)) = self.services.get_key_value(service)
                {
                    *service = Arc::clone(known);
                }
                if known.is_some() {
                    self.remove_slice(&slice.key, touched);
                }
                self.insert_slice(slice, touched);
            }
            Change::InitDone => {
                for key in self.slice_list.finish(touched) {
                    self.remove_slice(&key, touched);
                }
            }
            Change::Delete(SliceView { key, .. }) => self.remove_slice(&key, touched),
            Change::UnreadGone(key, _) => self.remove_slice(&key, touched),
            Change::Unread(key, _) => self.slice_list.name(&key),
        }
    }

    fn apply_node(&mut self, change: Change<NodeView>, touched: &mut Touched) {
        match change {
            Change::Init => self.node_list.start(self.nodes.keys()),
            Change::InitApply(node) | Change::Apply(node) => {
                self.node_list.name(&node.key);
                if is_repeated(self.nodes.get(&node.key).map(|node| node.revision), node.revision) {
                    return;
                }
                touched.nodes.insert(Arc::clone(&node.key));
                self.nodes.insert(Arc::clone(&node.key), node);
            }
            Change::InitDone => {
                let gone = self.node_list.finish(touched);
                touched.nodes.extend(gone.into_iter().filter(|key| self.nodes.remove(key).is_some()));
            }
            Change::Delete(NodeView { key, .. }) => self.remove_node(&key, touched),
            Change::UnreadGone(key, _) => self.remove_node(&key, touched),
            Change::Unread(key, _) => self.node_list.name(&key),
        }
    }

    fn apply_range(&mut self, change: Change<RangeView>, touched: &mut Touched) {
        let before = self.ranges.len();
        match change {
            Change::Init => self.range_list.start(self.ranges.keys()),
            Change::InitApply(range) | Change::Apply(range) => {
                self.range_list.name(&range.key);
                let known = self.ranges.get(&range.key);
                touched.ranges |= known.is_none_or(|known| known.ranges != range.ranges);
                self.ranges.insert(Arc::clone(&range.key), range);
            }
            Change::InitDone => {
                for key in self.range_list.finish(touched) {
                    self.ranges.remove(&key);
                }
            }
            Change::Delete(range) => drop(self.ranges.remove(&range.key)),
            Change::UnreadGone(key, _) => drop(self.ranges.remove(&key)),
            Change::Unread(key, _) => self.range_list.name(&key),
        }
        touched.ranges |= self.ranges.len() < before;
    }

    fn remove_service(&mut self, key: &ObjectKey, touched: &mut Touched) {
        touched.services.extend(self.services.remove_entry(key).map(|(key, _)| key));
    }

    fn remove_node(&mut self, key: &ObjectKey, touched: &mut Touched) {
        touched.nodes.extend(self.nodes.remove_entry(key).map(|(key, _)| key));
    }

    fn insert_slice(&mut self, slice: SliceView, touched: &mut Touched) {
        let slice = Arc::new(slice);
        if let Some(service) = &slice.service {
            // Nearly every Service has one slice; a vector grown from nothing would reserve four places.
            let siblings = self.slices_by_service.entry(Arc::clone(service)).or_insert_with(|| Vec::with_capacity(1));
            let place = siblings.partition_point(|sibling| sibling.key < slice.key);
            siblings.insert(place, Arc::clone(&slice));
            touched.services.insert(Arc::clone(service));
        }
        self.slices.insert(Arc::clone(&slice.key), slice);
    }

    fn remove_slice(&mut self, key: &ObjectKey, touched: &mut Touched) {
        let Some(slice) = self.slices.remove(key) else { return };
        let Some(service) = &slice.service else { return };
        if let Some(siblings) = self.slices_by_service.get_mut(service) {
            siblings.retain(|sibling| sibling.key != slice.key);
            if siblings.is_empty() {
                self.slices_by_service.remove(service);
            }
        }
        touched.services.insert(Arc::clone(service));
    }
}

impl Touched {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.nodes.extend(other.nodes);
        self.ranges |= other.ranges;
        self.synced |= other.synced;
    }
}

impl Listing {
    fn start<'k>(&mut self, known: impl Iterator<Item = &'k Arc<ObjectKey>>) {
        self.unlisted = known.cloned().collect();
    }

    fn name(&mut self, key: &ObjectKey) {
        // Hashing a key for an empty set would cost as much as for a full one, and a first list has nothing in it.
        if !self.unlisted.is_empty() {
            self.unlisted.remove(key);
        }
    }

    /// Ends the list; what it has not named is gone.
    fn finish(&mut self, touched: &mut Touched) -> HashSet<Arc<ObjectKey>> {
        touched.synced |= !mem::replace(&mut self.is_synced, true);
        mem::take(&mut self.unlisted)
    }
}

/// Objects without a revision are taken as they come.
fn is_repeated(known: Option<Revision>, revision: Revision) -> bool {
    revision != Revision::ZERO && known == Some(revision)
}

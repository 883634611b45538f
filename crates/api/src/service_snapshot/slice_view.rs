//! An EndpointSlice as its readers want it: at most 24 bytes for each endpoint.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde::Deserialize;
use stead_model::{Family, ObjectKey, Protocol, Revision};

use super::{
    shared_names::SharedNames,
    wire::{Metadata, Text, ViewProblem, parse_address, parse_port, parse_protocol, text_of},
};
use crate::item::{FromItem, ItemError, parse_revision};

/// What readers ask of an EndpointSlice (discovery.k8s.io/v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceView {
    pub key: Arc<ObjectKey>,
    pub revision: Revision,
    /// The Service that the label `kubernetes.io/service-name` names, in the slice's own namespace.
    pub service: Option<Arc<ObjectKey>>,
    /// `addressType`; `None` for FQDN, whose endpoints have no addresses.
    pub family: Option<Family>,
    /// Whether it has the label `service.kubernetes.io/headless`: proxies pass it over.
    pub is_headless: bool,
    /// Ports that have a number; one without (all ports) has nothing that a proxy can forward to.
    pub ports: Box<[SlicePortView]>,
    pub endpoints: Box<[EndpointView]>,
    /// When what the slice shows happened to a pod or to the Service, as its writer says.
    pub last_change: Option<Timestamp>,
    /// Node and zone names of the endpoints and their hints.
    names: Box<[Arc<str>]>,
    /// What endpoints have for `hints`, each once.
    hints: Box<[Hints]>,
    /// What was left out.
    pub problems: Box<[ViewProblem]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePortView {
    /// Joins the port with the Service's port of the same name and protocol.
    pub name: Box<str>,
    pub protocol: Protocol,
    pub port: u16,
}

/// One endpoint by its first address, the only one that readers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointView {
    pub address: IpAddr,
    conditions: u8,
    node: NameIndex,
    zone: NameIndex,
    hints: HintsIndex,
}

/// A place in the slice's table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NameIndex(u16);

impl NameIndex {
    const NONE: Self = Self(u16::MAX);
}

/// A place in the slice's table of hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HintsIndex(u16);

impl HintsIndex {
    const NONE: Self = Self(u16::MAX);
}

/// Whom an endpoint should serve: `hints.forZones` and `hints.forNodes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hints {
    zones: Box<[NameIndex]>,
    nodes: Box<[NameIndex]>,
}

const READY: u8 = 1;
const SERVING: u8 = 2;
const TERMINATING: u8 = 4;

impl EndpointView {
    /// `conditions.ready`; absent means true.
    pub const fn is_ready(&self) -> bool {
        self.conditions & READY != 0
    }

    /// `conditions.serving`; absent means the same as ready.
    pub const fn is_serving(&self) -> bool {
        self.conditions & SERVING != 0
    }

    /// `conditions.terminating`; absent means false.
    pub const fn is_terminating(&self) -> bool {
        self.conditions & TERMINATING != 0
    }
}

impl SliceView {
    /// The node that an endpoint of *this* slice runs on.
    pub fn node_of(&self, endpoint: &EndpointView) -> Option<&str> {
        self.name(endpoint.node)
    }

    /// The zone that an endpoint of *this* slice is in.
    pub fn zone_of(&self, endpoint: &EndpointView) -> Option<&str> {
        self.name(endpoint.zone)
    }

    /// The zones that an endpoint of *this* slice should serve; empty where it has no such hints.
    pub fn zone_hints_of(&self, endpoint: &EndpointView) -> impl Iterator<Item = &str> {
        self.hints_of(endpoint).into_iter().flat_map(|hints| &hints.zones).filter_map(|index| self.name(*index))
    }

    /// The nodes that an endpoint of *this* slice should serve; empty where it has no such hints.
    pub fn node_hints_of(&self, endpoint: &EndpointView) -> impl Iterator<Item = &str> {
        self.hints_of(endpoint).into_iter().flat_map(|hints| &hints.nodes).filter_map(|index| self.name(*index))
    }

    fn hints_of(&self, endpoint: &EndpointView) -> Option<&Hints> {
        self.hints.get(usize::from(endpoint.hints.0))
    }

    pub(super) fn share_names(&mut self, shared: &mut SharedNames) {
        for name in &mut self.names {
            shared.share(name);
        }
    }

    fn name(&self, index: NameIndex) -> Option<&str> {
        self.names.get(usize::from(index.0)).map(|name| &**name)
    }
}

impl FromItem for SliceView {
    fn from_item(json: &[u8]) -> Result<Self, ItemError> {
        let wire: WireSlice<'_> = serde_json::from_slice(json)?;
        let key = wire.metadata.key()?;
        let labels = wire.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.service_name.as_ref()).filter(|name| !name.as_str().is_empty());
        let annotations = wire.metadata.annotations.as_ref();
        let mut problems = Vec::new();
        let family = parse_family(text_of(&wire.address_type), &mut problems);
        let ports = read_ports(wire.ports.as_deref().unwrap_or_default(), &mut problems);
        let mut names = NameTable::default();
        let endpoints = match family {
            Some(family) => {
                read_endpoints(wire.endpoints.as_deref().unwrap_or_default(), family, &mut names, &mut problems)
            }
            None => Box::default(),
        };
        Ok(Self {
            revision: parse_revision(text_of(&wire.metadata.resource_version)),
            service: service.map(|name| Arc::new(ObjectKey::new(key.namespace.clone(), name.as_str()))),
            family,
            is_headless: labels.is_some_and(|labels| labels.is_headless),
            ports,
            endpoints,
            last_change: annotations.and_then(|each| text_of(&each.last_change).parse().ok()),
            names: names.names.into(),
            hints: names.hints.into(),
            problems: problems.into(),
            key,
        })
    }

    fn key(&self) -> ObjectKey {
        (*self.key).clone()
    }

    fn revision(&self) -> Revision {
        self.revision
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSlice<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    address_type: Option<Text<'a>>,
    #[serde(borrow)]
    ports: Option<Vec<WirePort<'a>>>,
    #[serde(borrow)]
    endpoints: Option<Vec<WireEndpoint<'a>>>,
}

#[derive(Deserialize)]
struct WirePort<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
    port: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEndpoint<'a> {
    #[serde(borrow)]
    addresses: Option<Vec<Text<'a>>>,
    conditions: Option<WireConditions>,
    #[serde(borrow)]
    node_name: Option<Text<'a>>,
    #[serde(borrow)]
    zone: Option<Text<'a>>,
    #[serde(borrow)]
    hints: Option<WireHints<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHints<'a> {
    #[serde(borrow)]
    for_zones: Option<Vec<WireName<'a>>>,
    #[serde(borrow)]
    for_nodes: Option<Vec<WireName<'a>>>,
}

#[derive(Deserialize)]
struct WireName<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct WireConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl WireConditions {
    fn bits(&self) -> u8 {
        let ready = self.ready.unwrap_or(true);
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        flag(ready, READY)
            | flag(self.serving.unwrap_or(ready), SERVING)
            | flag(self.terminating.unwrap_or(false), TERMINATING)
    }
}

/// The names of one slice while it is read, and the hints made of them.
#[derive(Default)]
struct NameTable<'a> {
    names: Vec<Arc<str>>,
    places: HashMap<&'a str, u16>,
    hints: Vec<Hints>,
    hint_places: HashMap<Hints, u16>,
}

impl<'a> NameTable<'a> {
    fn index(&mut self, name: Option<&'a Text<'_>>) -> Option<NameIndex> {
        let name = match name {
            Some(name) if !name.as_str().is_empty() => name.as_str(),
            _ => return Some(NameIndex::NONE),
        };
        if let Some(place) = self.places.get(name) {
            return Some(NameIndex(*place));
        }
        let place = u16::try_from(self.names.len()).ok().filter(|place| *place != NameIndex::NONE.0)?;
        self.names.push(name.into());
        self.places.insert(name, place);
        Some(NameIndex(place))
    }

    fn hints(&mut self, wire: &'a WireHints<'_>) -> Option<HintsIndex> {
        let mut read = |wire: &'a Option<Vec<WireName<'_>>>| {
            let names = wire.iter().flatten().map(|wire| self.index(wire.name.as_ref()));
            let names = names.collect::<Option<Vec<_>>>()?;
            Some(names.into_iter().filter(|name| *name != NameIndex::NONE).collect())
        };
        let hints = Hints { zones: read(&wire.for_zones)?, nodes: read(&wire.for_nodes)? };
        if hints.zones.is_empty() && hints.nodes.is_empty() {
            return Some(HintsIndex::NONE);
        }
        if let Some(place) = self.hint_places.get(&hints) {
            return Some(HintsIndex(*place));
        }
        let place = u16::try_from(self.hints.len()).ok().filter(|place| *place != HintsIndex::NONE.0)?;
        self.hints.push(hints.clone());
        self.hint_places.insert(hints, place);
        Some(HintsIndex(place))
    }
}

fn parse_family(text: &str, problems: &mut Vec<ViewProblem>) -> Option<Family> {
    match text {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => None,
        _ => {
            problems.push(ViewProblem::Unknown { field: "addressType".into(), value: text.into() });
            None
        }
    }
}

fn read_ports(wire: &[WirePort<'_>], problems: &mut Vec<ViewProblem>) -> Box<[SlicePortView]> {
    let mut ports = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        let Some(number) = wire.port.filter(|number| *number != 0) else { continue };
        match read_port(wire, number, index) {
            Ok(port) => ports.push(port),
            Err(problem) => problems.push(problem),
        }
    }
    ports.into()
}

fn read_port(wire: &WirePort<'_>, number: i64, index: usize) -> Result<SlicePortView, ViewProblem> {
    let port = parse_port(number, || format!("ports[{index}].port").into())?;
    let protocol = parse_protocol(&wire.protocol, || format!("ports[{index}].protocol").into())?;
    Ok(SlicePortView { name: text_of(&wire.name).into(), protocol, port })
}

fn read_endpoints<'a>(
    wire: &'a [WireEndpoint<'_>],
    family: Family,
    names: &mut NameTable<'a>,
    problems: &mut Vec<ViewProblem>,
) -> Box<[EndpointView]> {
    let mut endpoints = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        match read_endpoint(wire, family, index, names) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(problem) => problems.push(problem),
        }
    }
    endpoints.into()
}

fn read_endpoint<'a>(
    wire: &'a WireEndpoint<'_>,
    family: Family,
    index: usize,
    names: &mut NameTable<'a>,
) -> Result<EndpointView, ViewProblem> {
    let field = || Box::from(format!("endpoints[{index}].addresses[0]"));
    let text =
        wire.addresses.as_deref().and_then(<[_]>::first).ok_or_else(|| ViewProblem::Missing { field: field() })?;
    let address = parse_address(text.as_str())
        .ok_or_else(|| ViewProblem::Address { field: field(), value: text.as_str().into() })?;
    if Family::of(address) != family {
        return Err(ViewProblem::Family { field: field(), value: text.as_str().into(), family });
    }
    let too_many = || ViewProblem::TooManyNames { field: "endpoints".into(), limit: usize::from(NameIndex::NONE.0) };
    Ok(EndpointView {
        address,
        conditions: wire.conditions.as_ref().map_or_else(|| WireConditions::default().bits(), WireConditions::bits),
        node: names.index(wire.node_name.as_ref()).ok_or_else(too_many)?,
        zone: names.index(wire.zone.as_ref()).ok_or_else(too_many)?,
        hints: match &wire.hints {
            Some(hints) => names.hints(hints).ok_or_else(too_many)?,
            None => HintsIndex::NONE,
        },
    })
}

//! What the views share in reading JSON: borrowed texts, the few metadata they keep, addresses and ports with their problems.
//!
//! Reading is tolerant: `null` is absent, unknown fields are passed over, and a value that is wrong becomes a [`ViewProblem`]
//! beside what is right. Only what is no JSON object of the kind at all is an `ItemError`.

use std::{borrow::Cow, fmt, marker::PhantomData, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use stead_model::{Family, ObjectKey, Protocol};

use crate::item::ItemError;

/// One value of an object that its view could not take, and left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ViewProblem {
    #[error("{field}: {value:?} is no address")]
    Address { field: Box<str>, value: Box<str> },
    #[error("{field}: {value:?} is no {family} address")]
    Family { field: Box<str>, value: Box<str>, family: Family },
    #[error("{field}: {value} is no port (1-65535)")]
    Port { field: Box<str>, value: i64 },
    #[error("{field}: {value} is not in the range 1-86400")]
    Timeout { field: Box<str>, value: i64 },
    #[error("{field}: {value:?} is not known")]
    Unknown { field: Box<str>, value: Box<str> },
    #[error("{field}: missing")]
    Missing { field: Box<str> },
    #[error("{field}: more than {limit} different names")]
    TooManyNames { field: Box<str>, limit: usize },
    #[error(
        "metadata.annotations[stead.local/algorithm]: {value:?} is none of random, round-robin, weighted, source-hash, maglev; connections are spread at random"
    )]
    Algorithm { value: Box<str> },
    #[error(
        "metadata.annotations[stead.local/weights]: {value:?} is no ADDRESS=1-100 or CIDR=1-100; it is passed over"
    )]
    Weight { value: Box<str> },
    #[error("metadata.annotations[stead.local/weights]: a range stands twice; the first entry counts")]
    RepeatedWeights,
}

/// A text that borrows from the input unless it holds escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// An object of which a view reads metadata and spec, and perhaps the status.
#[derive(Deserialize)]
pub(super) struct Object<'a, Spec: Default, Status: Default = IgnoredAny> {
    #[serde(borrow, default)]
    pub(super) metadata: Metadata<'a>,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) uid: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) resource_version: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) deletion_timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) labels: Option<Labels<'a>>,
    #[serde(borrow)]
    pub(super) annotations: Option<Annotations<'a>>,
}

/// The labels that a view looks at; all others are passed over.
#[derive(Debug, Default)]
pub(super) struct Labels<'a> {
    /// `kubernetes.io/service-name`
    pub(super) service_name: Option<Text<'a>>,
    /// `service.kubernetes.io/service-proxy-name`, whatever its value.
    pub(super) has_proxy_name: bool,
    /// `service.kubernetes.io/headless`, whatever its value.
    pub(super) is_headless: bool,
    /// `topology.kubernetes.io/zone`
    pub(super) zone: Option<Text<'a>>,
}

/// The annotations that a view looks at; all others are passed over.
#[derive(Debug, Default)]
pub(super) struct Annotations<'a> {
    /// `stead.local/algorithm`
    pub(super) algorithm: Option<Text<'a>>,
    /// `stead.local/weights`
    pub(super) weights: Option<Text<'a>>,
    /// `endpoints.kubernetes.io/last-change-trigger-time`
    pub(super) last_change: Option<Text<'a>>,
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text, or "" where it is absent.
pub(super) fn text_of<'t>(text: &'t Option<Text<'_>>) -> &'t str {
    text.as_ref().map_or("", Text::as_str)
}

impl Metadata<'_> {
    pub(super) fn key(&self) -> Result<Arc<ObjectKey>, ItemError> {
        match text_of(&self.name) {
            "" => Err(ItemError::Nameless),
            name => Ok(Arc::new(ObjectKey::new(text_of(&self.namespace), name))),
        }
    }
}

/// An address in its canonical form. IPv4 within IPv6 is refused: it would be two names for one address.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    match text.parse().ok()? {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => None,
        address => Some(address),
    }
}

/// A range in its canonical form, without host bits.
pub(super) fn parse_range(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let range = IpNet::new(parse_address(address)?, length.parse().ok()?).ok()?;
    Some(range.trunc())
}

pub(super) fn parse_port(value: i64, field: impl FnOnce() -> Box<str>) -> Result<u16, ViewProblem> {
    match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ViewProblem::Port { field: field(), value }),
    }
}

/// A protocol as objects state it; TCP where they do not.
pub(super) fn parse_protocol(
    text: &Option<Text<'_>>,
    field: impl FnOnce() -> Box<str>,
) -> Result<Protocol, ViewProblem> {
    match text_of(text) {
        "" => Ok(Protocol::Tcp),
        text => text.parse().map_err(|_| ViewProblem::Unknown { field: field(), value: text.into() }),
    }
}

/// `list`, or `single` alone from servers that know no lists.
pub(super) fn listed<'t, 'a>(list: &'t Option<Vec<Text<'a>>>, single: &'t Option<Text<'a>>) -> &'t [Text<'a>] {
    list.as_deref().filter(|list| !list.is_empty()).unwrap_or(single.as_slice())
}

/// Each text as `parse` takes it; one that is wrong becomes a problem of its place in `field`. Empty ones are passed over.
pub(super) fn read_each<'t, T>(
    texts: impl Iterator<Item = (usize, &'t str)>,
    field: impl Fn(usize) -> String,
    parse: impl Fn(&str) -> Option<T>,
    problems: &mut Vec<ViewProblem>,
) -> Vec<T> {
    let mut read = Vec::with_capacity(1);
    for (index, text) in texts.filter(|(_, text)| !text.is_empty()) {
        match parse(text) {
            Some(value) => read.push(value),
            None => problems.push(ViewProblem::Address { field: field(index).into(), value: text.into() }),
        }
    }
    read
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

struct TextVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
    type Value = Text<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor(PhantomData))
    }
}

struct LabelsVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for LabelsVisitor<'a> {
    type Value = Labels<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut labels = Labels::default();
        while let Some(name) = map.next_key::<Text<'a>>()? {
            match name.as_str() {
                "kubernetes.io/service-name" => labels.service_name = map.next_value()?,
                "topology.kubernetes.io/zone" => labels.zone = map.next_value()?,
                other => {
                    labels.has_proxy_name |= other == "service.kubernetes.io/service-proxy-name";
                    labels.is_headless |= other == "service.kubernetes.io/headless";
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(labels)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor(PhantomData))
    }
}

struct AnnotationsVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for AnnotationsVisitor<'a> {
    type Value = Annotations<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut annotations = Annotations::default();
        while let Some(name) = map.next_key::<Text<'a>>()? {
            match name.as_str() {
                "stead.local/algorithm" => annotations.algorithm = map.next_value()?,
                "stead.local/weights" => annotations.weights = map.next_value()?,
                "endpoints.kubernetes.io/last-change-trigger-time" => annotations.last_change = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(annotations)
    }
}

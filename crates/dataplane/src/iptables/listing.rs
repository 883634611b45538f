//! What `iptables-save` prints, read back.

use std::{borrow::Cow, collections::HashMap, net::IpAddr};

use stead_model::{Family, Frontend, Protocol};

/// The chains of one table, and of each the rules in their order, without `-A` and the chain's name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing<'t> {
    pub(super) chains: HashMap<&'t str, Vec<Cow<'t, str>>>,
}

impl<'t> Listing<'t> {
    /// Of a listing of one table; lines that are no chains and no rules are passed over.
    pub(super) fn parse(text: &'t str) -> Self {
        let mut chains = HashMap::<&str, Vec<Cow<'_, str>>>::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix(':') {
                chains.entry(rest.split(' ').next().unwrap_or(rest)).or_default();
            } else if let Some(rest) = line.strip_prefix("-A ") {
                let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
                chains.entry(chain).or_default().push(plain(rule));
            }
        }
        Self { chains }
    }

    pub(super) fn rules(&self, chain: &str) -> Option<&[Cow<'t, str>]> {
        self.chains.get(chain).map(Vec::as_slice)
    }
}

/// A rule as all versions would print it: some show what is understood anyway.
fn plain(rule: &str) -> Cow<'_, str> {
    match rule.strip_suffix(' ') {
        Some(rule) => Cow::Owned(rule.to_owned()),
        None => Cow::Borrowed(rule),
    }
}

/// What a rule of a chain of dispatch matches: where it leads is nothing here.
pub(super) fn frontends(rule: &str, family: Family, node: &[IpAddr]) -> Vec<Frontend> {
    let mut words = rule.split(' ');
    let (mut address, mut protocol, mut port) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "!" => {
                words.next();
                words.next();
            }
            "-d" => address = words.next().and_then(|range| range.split('/').next()?.parse::<IpAddr>().ok()),
            "-p" => protocol = words.next().and_then(|name| name.to_ascii_uppercase().parse::<Protocol>().ok()),
            "--dport" => port = words.next().and_then(|number| number.parse::<u16>().ok()),
            _ => {}
        }
    }
    let (Some(protocol), Some(port)) = (protocol, port) else { return Vec::new() };
    let frontend = |address| Frontend { address, protocol, port };
    match address {
        Some(address) => vec![frontend(address)],
        None => node.iter().copied().filter(|address| Family::of(*address) == family).map(frontend).collect(),
    }
}

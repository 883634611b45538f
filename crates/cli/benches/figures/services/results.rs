//! What was measured at each size, kept in `docs/scaling.tsv`: a run replaces the values it takes, and draws the pictures of docs/scaling.md
//! from all there are.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::size::Size;

/// What a value is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) what: String,
    pub(crate) proxy: String,
    pub(crate) size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Exactly(f64),
    /// It was not waited for any longer.
    MoreThan(f64),
}

#[derive(Debug, Default)]
pub(crate) struct Results(BTreeMap<Key, Value>);

impl Results {
    pub(crate) fn load() -> Self {
        let text = fs::read_to_string(path("scaling.tsv")).unwrap_or_default();
        Self(text.lines().skip(1).map(|line| parse(line).unwrap_or_else(|| panic!("{line:?} is no result"))).collect())
    }

    pub(crate) fn put(&mut self, what: &str, proxy: &str, size: Size, value: Value) {
        self.0.insert(Key { what: what.to_owned(), proxy: proxy.to_owned(), size }, value);
    }

    pub(crate) fn exactly(&mut self, what: &str, proxy: &str, size: Size, value: f64) {
        self.put(what, proxy, size, Value::Exactly(value));
    }

    /// Values of one proxy by size, in ascending order of what there is to plan.
    pub(crate) fn line(&self, what: &str, proxy: &str) -> Vec<(Size, Value)> {
        let of = |key: &&Key| key.what == what && key.proxy == proxy;
        let mut line: Vec<_> = self.0.keys().filter(of).map(|key| (key.size, self.0[key])).collect();
        line.sort_by_key(|(size, _)| size.objects());
        line
    }

    pub(crate) fn keep(&self) {
        let mut text = "what\tproxy\tsize\tvalue\n".to_owned();
        for (Key { what, proxy, size }, value) in &self.0 {
            let value = match value {
                Value::Exactly(value) => format!("{value:.3}"),
                Value::MoreThan(value) => format!(">{value}"),
            };
            text += &format!("{what}\t{proxy}\t{size}\t{value}\n");
        }
        fs::write(path("scaling.tsv"), text).expect("the results are kept");
        super::pictures::draw(self);
    }
}

/// A file in `docs`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).join(name)
}

fn parse(line: &str) -> Option<(Key, Value)> {
    let mut words = line.split('\t');
    let (what, proxy) = (words.next()?.to_owned(), words.next()?.to_owned());
    let size = words.next()?.parse().ok()?;
    let value = words.next()?;
    let value = match value.strip_prefix('>') {
        Some(bound) => Value::MoreThan(bound.parse().ok()?),
        None => Value::Exactly(value.parse().ok()?),
    };
    Some((Key { what, proxy, size }, value))
}

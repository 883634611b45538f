//! What a bench of the API server found, and how it is printed beside the peer's.

use std::time::Duration;

use crate::stats;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// One number of one server.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// Spread, and what it cost.
    pub(crate) note: String,
}

impl Figure {
    /// A percentile of `series` in milliseconds; the whole spread is its note.
    pub(crate) fn of_series(what: impl Into<String>, share: f64, series: Vec<Duration>, cost: &str) -> Self {
        Self {
            what: what.into(),
            value: stats::percentile(&series, share).as_secs_f64() * 1e3,
            unit: "ms",
            better: Better::Lower,
            note: format!("{}   {cost}", stats::spread(series)),
        }
    }
}

/// Each of ours, with the same of the peer below it and the ratio: above 1 where ours is better.
pub(crate) fn print(ours: &[Figure], theirs: Option<&[Figure]>) {
    for (place, figure) in ours.iter().enumerate() {
        println!("   {:<44} {:>10.2} {:<5} {}", figure.what, figure.value, figure.unit, figure.note);
        let Some(theirs) = theirs.map(|theirs| &theirs[place]) else { continue };
        assert_eq!(figure.what, theirs.what, "both are asked for the same");
        let ratio = match figure.better {
            Better::Higher => figure.value / theirs.value,
            Better::Lower => theirs.value / figure.value,
        };
        println!("   {:<44} {:>10.2} {:<5} {}", "  kube-apiserver + etcd", theirs.value, theirs.unit, theirs.note);
        println!("   {:<44} {ratio:>10.1} ×", "  ratio");
    }
}

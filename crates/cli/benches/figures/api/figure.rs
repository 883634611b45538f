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

pub(crate) fn print(figures: &[Figure]) {
    for figure in figures {
        println!("   {:<48} {:>10.2} {:<4} {}", figure.what, figure.value, figure.unit, figure.note);
    }
}

/// The peer's, each with its ratio to ours: above 1 where ours is better.
pub(crate) fn print_beside(theirs: &[Figure], ours: &[Figure]) {
    println!("   kube-apiserver + etcd");
    print(theirs);
    for (theirs, ours) in theirs.iter().zip(ours) {
        assert_eq!(theirs.what, ours.what, "both are asked for the same");
        let ratio = match ours.better {
            Better::Higher => ours.value / theirs.value,
            Better::Lower => theirs.value / ours.value,
        };
        println!("   ratio: {:<41} {ratio:>10.1} ×", ours.what);
    }
}

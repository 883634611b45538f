//! How many Services there are, and how many endpoints each has.

use std::{env, fmt, str::FromStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size {
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
}

const ALL: &str = "100x5 1000x5 10000x5 29000x1 44000x1 5000x50 100000x5";

impl Size {
    /// Those that `STEAD_BENCH_SIZES` names, such as `100x5 10000x5`; all where it is not set.
    pub(crate) fn chosen() -> Vec<Self> {
        let text = env::var("STEAD_BENCH_SIZES").unwrap_or_else(|_| ALL.to_owned());
        text.split_whitespace().map(|word| word.parse().expect("STEAD_BENCH_SIZES: SERVICESxENDPOINTS …")).collect()
    }

    /// Services and endpoints together: what there is to plan.
    pub(crate) fn objects(self) -> usize {
        self.services * (1 + self.endpoints)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (services, endpoints) = text.split_once('x').ok_or_else(|| format!("{text} is no size"))?;
        let number = |part: &str| part.parse().map_err(|_| format!("{part} is no number"));
        Ok(Self { services: number(services)?, endpoints: number(endpoints)? })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.services, self.endpoints)
    }
}

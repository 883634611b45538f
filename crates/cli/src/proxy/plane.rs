//! Which data plane serves, and what the others may have left.

use std::sync::Arc;

use anyhow::{Result, bail};
use stead_dataplane::{
    DataPlane, Mode,
    probe::{Capabilities, probe},
};
use stead_proxy::{Config, InsteadOf, Predecessors};

use super::settings::Planes;

/// What this machine's kernel is told in.
pub(crate) struct Plane {
    choice: Choice,
    pub(crate) plane: Box<dyn DataPlane>,
    /// Any of the others may have served before.
    pub(crate) predecessors: Predecessors,
}

/// The mode that can be had.
pub(crate) struct Choice {
    mode: Mode,
    instead_of: Option<InsteadOf>,
    found: Capabilities,
}

impl Plane {
    /// Changes nothing.
    pub(crate) fn open(planes: &Planes) -> Result<Self> {
        let choice = Choice::among(planes)?;
        let plane = choice.mode.open(&planes.options)?;
        let others = Mode::ALL.into_iter().filter(|other| *other != choice.mode);
        let opened = |mode: Mode| {
            let options = planes.options.clone();
            (mode, Box::new(move || mode.open(&options)) as _)
        };
        let predecessors = Predecessors::new(others.map(opened));
        Ok(Self { choice, plane, predecessors })
    }

    /// What the proxy is told of it.
    pub(crate) fn describe(&self, config: &mut Config) {
        let Choice { mode, instead_of, found } = &self.choice;
        config.mode = *mode;
        config.instead_of.clone_from(instead_of);
        config.without_hashes = mode.without_hashes(found).map(Arc::from);
    }
}

impl Choice {
    /// The mode that is wanted, or the first of its stand-ins that can be had.
    ///
    /// # Errors
    /// Where none can, why each cannot and what to do about it, in one line.
    pub(crate) fn among(planes: &Planes) -> Result<Self> {
        let found = probe();
        let (mode, instead_of) = choose(planes.mode, &planes.stand_ins, |mode| mode.problem(&found))?;
        Ok(Self { mode, instead_of, found })
    }
}

fn choose(
    wanted: Mode,
    stand_ins: &[Mode],
    problem: impl Fn(Mode) -> Option<String>,
) -> Result<(Mode, Option<InsteadOf>)> {
    let Some(why) = problem(wanted) else { return Ok((wanted, None)) };
    let mut all = why.clone();
    for mode in stand_ins.iter().copied().filter(|mode| *mode != wanted) {
        match problem(mode) {
            None => return Ok((mode, Some(InsteadOf { mode: wanted, why: why.into() }))),
            Some(problem) => all = format!("{all}; instead, {mode}: {problem}"),
        }
    }
    bail!("{all}")
}

#[cfg(test)]
mod tests {
    use stead_dataplane::probe::Missing;

    use super::*;

    #[test]
    fn a_missing_feature_is_named_with_its_remedy() {
        let found = Capabilities { missing: vec![Missing::Nat, Missing::Masquerade] };
        let text = choose(Mode::Nftables, &[], |mode| mode.problem(&found)).unwrap_err().to_string();
        assert!(text.starts_with("kernel lacks nf_tables NAT (nft_nat); load module nft_nat"), "{text}");
        assert!(text.contains("nft_masq") && !text.contains('\n'), "{text}");
        choose(Mode::Nftables, &[], |mode| mode.problem(&Capabilities::default())).unwrap();
    }

    #[test]
    fn the_first_that_can_be_had_stands_in() {
        let check = |lacking: &[Mode], expect: Result<(Mode, bool), &str>| {
            let problem = |mode| lacking.contains(&mode).then(|| format!("no {mode}"));
            let chosen = choose(Mode::Ipvs, &[Mode::Ipvs, Mode::Iptables, Mode::Nftables], problem);
            let chosen =
                chosen.map(|(mode, instead_of)| (mode, instead_of.is_some())).map_err(|error| error.to_string());
            assert_eq!(chosen, expect.map_err(str::to_owned), "{lacking:?}");
        };
        check(&[], Ok((Mode::Ipvs, false)));
        check(&[Mode::Ipvs], Ok((Mode::Iptables, true)));
        check(&[Mode::Ipvs, Mode::Iptables], Ok((Mode::Nftables, true)));
        check(&Mode::ALL, Err("no ipvs; instead, iptables: no iptables; instead, nftables: no nftables"));
        let (_, instead_of) =
            choose(Mode::Ipvs, &[Mode::Iptables], |mode| (mode == Mode::Ipvs).then(|| "gone".into())).unwrap();
        assert_eq!(instead_of, Some(InsteadOf { mode: Mode::Ipvs, why: "gone".into() }));
    }
}

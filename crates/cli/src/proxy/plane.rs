//! Which data plane serves, and what the others may have left.

use std::sync::Arc;

use anyhow::{Result, bail};
use stead_dataplane::{
    DataPlane, Mode,
    probe::{Capabilities, probe},
    userspace::{self, UserSpace},
};
use stead_proxy::{Config, Predecessors};

/// What this machine's kernel is told in.
pub(crate) struct Plane {
    mode: Mode,
    found: Capabilities,
    pub(crate) plane: Box<dyn DataPlane>,
    /// Any of the others may have served before.
    pub(crate) predecessors: Predecessors,
}

impl Plane {
    /// Changes nothing.
    pub(crate) fn open(mode: Mode, userspace: &userspace::Options) -> Result<Self> {
        let found = probe();
        check(mode, &found)?;
        let open = |mode: Mode| -> Result<Box<dyn DataPlane>, stead_dataplane::Error> {
            match mode {
                Mode::Userspace => Ok(Box::new(UserSpace::open(userspace.clone())?)),
                mode => mode.open(),
            }
        };
        let plane = open(mode)?;
        let others = Mode::ALL.into_iter().filter(|other| *other != mode);
        // One that cannot even be opened has left nothing that could be removed.
        let others = others.filter_map(|mode| Some((mode, open(mode).ok()?)));
        Ok(Self { mode, found, plane, predecessors: Predecessors::new(others) })
    }

    /// What the proxy is told of it.
    pub(crate) fn describe(&self, config: &mut Config) {
        config.without_hashes = self.mode.without_hashes(&self.found).map(Arc::from);
    }
}

/// Says in one line what is missing and what to do about it.
pub(crate) fn check(mode: Mode, found: &Capabilities) -> Result<()> {
    match mode.problem(found) {
        None => Ok(()),
        Some(problem) => bail!("{problem}"),
    }
}

#[cfg(test)]
mod tests {
    use stead_dataplane::probe::Missing;

    use super::*;

    #[test]
    fn a_missing_feature_is_named_with_its_remedy() {
        let found = Capabilities { missing: vec![Missing::Nat, Missing::Masquerade] };
        let text = check(Mode::Nftables, &found).unwrap_err().to_string();
        assert!(text.starts_with("kernel lacks nf_tables NAT (nft_nat); load module nft_nat"), "{text}");
        assert!(text.contains("nft_masq") && !text.contains('\n'), "{text}");
        check(Mode::Nftables, &Capabilities::default()).unwrap();
    }
}

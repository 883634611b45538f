//! Whether this machine's kernel can do what is about to be asked of it.

use anyhow::{Result, bail};
use stead_dataplane::probe::Capabilities;

/// Says in one line what is missing and what to do about it.
pub(crate) fn check(found: &Capabilities) -> Result<()> {
    match found.problem() {
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
        let text = check(&found).unwrap_err().to_string();
        assert!(text.starts_with("kernel lacks nf_tables NAT (nft_nat); load module nft_nat"), "{text}");
        assert!(text.contains("nft_masq") && !text.contains('\n'), "{text}");
        check(&Capabilities::default()).unwrap();
    }
}

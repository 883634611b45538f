//! What a command cannot do for want of rights, in one line with what to do about it.

use std::{io, path::Path};

use anyhow::{Error, Result, anyhow, bail};

/// Refuses whoever is not root, for a command that needs it: `stead up makes network namespaces`.
pub(crate) fn demand_root(duty: &str) -> Result<()> {
    demand(nix::unistd::geteuid().is_root(), duty)
}

fn demand(root: bool, duty: &str) -> Result<()> {
    if root { Ok(()) } else { bail!("{duty}, which needs root: run it with sudo") }
}

/// Adds to a failure that comes from missing rights what to do: `flag` has named a directory of somebody else. Any other failure
/// stays as it is.
pub(crate) fn in_directory<T, E: Into<Error>>(outcome: Result<T, E>, flag: &str, directory: &Path) -> Result<T> {
    outcome.map_err(|error| {
        let error = error.into();
        let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        if causes.any(|cause| cause.kind() == io::ErrorKind::PermissionDenied) {
            let directory = directory.display();
            anyhow!("{error:#}: run it with sudo, or name with {flag} a directory of your own in place of {directory}")
        } else {
            error
        }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn missing_rights_are_said_with_the_remedy() {
        let refused = demand(false, "stead up makes network namespaces").unwrap_err().to_string();
        assert_eq!(refused, "stead up makes network namespaces, which needs root: run it with sudo");
        demand(true, "").unwrap();
        let told = |kind: io::ErrorKind| {
            let outcome: Result<()> = Err(io::Error::from(kind)).context("opening it");
            format!("{:#}", in_directory(outcome, "--data", Path::new("/d")).unwrap_err())
        };
        assert_eq!(
            told(io::ErrorKind::PermissionDenied),
            "opening it: permission denied: run it with sudo, or name with --data a directory of your own in place of /d"
        );
        assert_eq!(told(io::ErrorKind::NotFound), "opening it: entity not found");
    }
}

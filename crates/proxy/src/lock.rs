//! At most one Stead proxy in a network namespace: two would undo each other's changes.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

/// Abstract names are the network namespace's, and are gone with their process.
const NAME: &[u8] = b"stead-proxy";

/// Held for as long as this process may change the kernel's tables.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holding it is its use")] UnixListener);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("a Stead proxy runs in this network namespace already (process {pid}); end it first")]
    Taken { pid: i32 },
    #[error("find out whether another Stead proxy runs in this network namespace")]
    Unknown(#[source] io::Error),
}

impl Lock {
    /// The lock of the calling thread's network namespace.
    pub fn take() -> Result<Self, LockError> {
        let name = SocketAddr::from_abstract_name(NAME).map_err(LockError::Unknown)?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken { pid: holder(&name) }),
            Err(error) => Err(LockError::Unknown(error)),
        }
    }
}

/// The process that holds the lock; 0 where it cannot be told.
fn holder(name: &SocketAddr) -> i32 {
    let Ok(stream) = UnixStream::connect_addr(name) else { return 0 };
    rustix::net::sockopt::socket_peercred(&stream).map_or(0, |credentials| credentials.pid.as_raw_pid())
}

#[cfg(test)]
mod tests {
    use stead_sys::namespace::Namespace;

    use super::*;

    #[test]
    fn the_second_in_a_namespace_is_refused_with_the_first_ones_name() {
        let [here, elsewhere] = [(); 2].map(|()| Namespace::create().unwrap());
        let first = here.run(|| Lock::take().unwrap()).unwrap();
        let refused = here.run(|| Lock::take().unwrap_err().to_string()).unwrap();
        let expect = format!(
            "a Stead proxy runs in this network namespace already (process {}); end it first",
            std::process::id()
        );
        assert_eq!(refused, expect);
        elsewhere.run(|| drop(Lock::take().unwrap())).unwrap();
        drop(first);
        here.run(|| drop(Lock::take().unwrap())).unwrap();
    }
}

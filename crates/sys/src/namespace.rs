//! Network namespaces, held by a descriptor: one lives as long as a descriptor, a process or a mount refers to it.
//!
//! Nothing here gives a namespace a name in the file system; who wants that mounts `/proc/self/fd/N` himself.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// A new, empty network namespace whose loopback device is up. Needs CAP_SYS_ADMIN.
    pub fn create() -> io::Result<Self> {
        let namespace = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })?;
        let mut links = crate::link::Links::open_in(&namespace)?;
        let loopback = links.index("lo").map_err(io::Error::other)?;
        links.set_up(loopback).map_err(io::Error::other)?;
        Ok(namespace)
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace that a path such as `/proc/PID/ns/net` or a bind mount stands for.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: File::open(path)?.into() })
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Runs `work` on a thread of its own inside this namespace and waits for it. Sockets opened there stay there.
    ///
    /// # Errors
    /// Where the kernel refuses to enter the namespace (EPERM without CAP_SYS_ADMIN).
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_own_thread(|| {
            setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Namespace {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Namespace> for OwnedFd {
    fn from(namespace: Namespace) -> Self {
        namespace.fd
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inode(namespace: &Namespace) -> u64 {
        File::from(namespace.fd.try_clone().unwrap()).metadata().unwrap().ino()
    }

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        let before = inode(&Namespace::current().unwrap());
        let namespace = Namespace::create().unwrap();
        assert_ne!(inode(&namespace), before);
        let inside = namespace.run(|| inode(&Namespace::current().unwrap())).unwrap();
        assert_eq!(inside, inode(&namespace));
        assert_eq!(inode(&Namespace::current().unwrap()), before);
    }

    #[test]
    fn a_new_namespace_has_loopback_and_nothing_else() {
        let namespace = Namespace::create().unwrap();
        let links = crate::link::Links::open_in(&namespace).unwrap().list().unwrap();
        assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
        assert!(links[0].up);
    }
}

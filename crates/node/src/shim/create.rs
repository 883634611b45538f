//! Making a container and taking away what is left of it.
//!
//! All mounts are made in a mount namespace of the shim's own, so that they end with it however it ends.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::{fs::OpenOptionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
};

use libcontainer::{container::builder::ContainerBuilder, syscall::syscall::SyscallType};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::Pid,
};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};

use super::{
    console,
    environment::InOrder,
    frame::ATTACH,
    read_bounded,
    stdio::{self, Ends},
};
use crate::{
    cgroup::Hierarchies,
    container::{Cgroups, Container, InvalidUser, Mount, User, oci_spec},
};

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("cannot make a mount namespace")]
    MountNamespace(#[source] io::Error),
    #[error("cannot mount the container's root file system")]
    RootFs(#[source] io::Error),
    #[error(transparent)]
    User(#[from] InvalidUser),
    #[error("cannot make the working directory {path}")]
    WorkingDir { path: String, source: io::Error },
    #[error("cannot mount subPath {path:?} at {destination}", path = path.display(), destination = destination.display())]
    SubPath { path: PathBuf, destination: PathBuf, source: io::Error },
    #[error("cannot write the container's specification")]
    Spec(#[from] oci_spec::OciSpecError),
    #[error("cannot prepare {0}")]
    Prepare(&'static str, #[source] io::Error),
    #[error("cannot make its standard input and output")]
    Stdio(#[source] io::Error),
    #[error("the runtime could not create the container")]
    Create(#[source] libcontainer::error::LibcontainerError),
    #[error("the runtime could not start the container")]
    Start(#[source] libcontainer::error::LibcontainerError),
    #[error("the runtime gave no process id")]
    NoProcess,
}

/// A container whose program runs.
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) ends: Ends,
    /// Where those come who attach.
    pub(super) attaching: UnixListener,
}

/// The largest `passwd` or `group` file that is looked into.
const MAX_USER_FILE: u64 = 1 << 20;

pub(super) fn start(dir: &Path, container: &Container) -> Result<Started, CreateError> {
    own_mount_namespace().map_err(CreateError::MountNamespace)?;
    let rootfs = mount_rootfs(dir, &container.lower_dirs).map_err(CreateError::RootFs)?;
    let root = open_directory(&rootfs).map_err(CreateError::RootFs)?;
    let user = User::find(
        &container.process.user,
        &user_file(root.as_fd(), "etc/passwd"),
        &user_file(root.as_fd(), "etc/group"),
    )?;
    make_directory_inside(root.as_fd(), &container.process.working_dir)
        .map_err(|source| CreateError::WorkingDir { path: container.process.working_dir.clone(), source })?;
    drop(root);
    let cgroups = prepare_cgroups(&container.cgroup).map_err(|e| CreateError::Prepare("cgroups", e))?;
    let pinned = Container { mounts: pin_sub_paths(dir, &container.mounts)?, ..container.clone() };
    let spec = oci_spec(&pinned, &user, &rootfs, cgroups)?;
    spec.save(dir.join("config.json"))?;
    let state = dir.join("runtime");
    fs::create_dir_all(&state).map_err(|e| CreateError::Prepare("the runtime's directory", e))?;
    let builder = ContainerBuilder::new(container.id.clone(), SyscallType::default())
        .with_root_path(state)
        .map_err(CreateError::Create)?
        .with_executor(InOrder);
    let attaching =
        console::listen(dir, ATTACH).map_err(|e| CreateError::Prepare("a socket for those who attach", e))?;
    let (prepared, builder) = stdio::prepare(dir, container, builder).map_err(CreateError::Stdio)?;
    stead_sys::signal::restore_defaults().map_err(|e| CreateError::Prepare("signals", e.into()))?;
    let mut created = builder.as_init(dir).with_systemd(false).build().map_err(CreateError::Create)?;
    let ends = prepared.finish().map_err(CreateError::Stdio)?;
    let pid = created.pid().map(|pid| Pid::from_raw(pid.as_raw())).ok_or(CreateError::NoProcess)?;
    created.start().map_err(CreateError::Start)?;
    Ok(Started { pid, ends, attaching })
}

/// Takes away what the container leaves: its writable files and its cgroups. Its log and status stay.
pub(super) fn clean_up(dir: &Path, container: &Container) {
    let _ = umount2(&dir.join("rootfs"), MntFlags::MNT_DETACH);
    // Never emptied: parts of volumes may still be mounted there.
    let _ = umount2(&dir.join(PINNED), MntFlags::MNT_DETACH);
    let _ = fs::remove_dir(dir.join(PINNED));
    for part in ["rootfs", "upper", "work", "runtime"] {
        if let Err(error) = fs::remove_dir_all(dir.join(part))
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("remove {part}: {error}");
        }
    }
    match Hierarchies::read() {
        Ok(hierarchies) => hierarchies.remove(&container.cgroup),
        Err(error) => eprintln!("remove cgroups: {error}"),
    }
}

/// Mounts made here stay here; those taken away outside go here too, so that nothing is kept busy.
fn own_mount_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    Ok(())
}

/// Layers are named by descriptor, because all of `mount(2)`'s options must fit one page.
fn mount_rootfs(dir: &Path, lower_dirs: &[PathBuf]) -> io::Result<PathBuf> {
    let part = |name: &str| {
        let path = dir.join(name);
        fs::create_dir_all(&path).map(|()| path)
    };
    let (upper, work, rootfs) = (part("upper")?, part("work")?, part("rootfs")?);
    let by_fd = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let lower = lower_dirs.iter().map(|path| open_directory(path)).collect::<io::Result<Vec<_>>>()?;
    let (upper, work) = (open_directory(&upper)?, open_directory(&work)?);
    let lower_option = lower.iter().map(by_fd).collect::<Vec<_>>().join(":");
    // Nothing written here is read again after a crash, so it need not be synced when it is unmounted.
    let options = format!("lowerdir={lower_option},upperdir={},workdir={},volatile", by_fd(&upper), by_fd(&work));
    mount(Some("overlay"), &rootfs, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))?;
    Ok(rootfs)
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// A file of the image, empty where there is none. Links in it lead nowhere but inside the image.
fn user_file(root: BorrowedFd<'_>, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let text = opened.map_err(io::Error::from).and_then(|fd| {
        let file = File::from(fd);
        if file.metadata()?.is_file() { read_bounded(file, MAX_USER_FILE) } else { Ok(String::new()) }
    });
    text.unwrap_or_default()
}

/// Makes a directory and those above it inside the image, as image builders expect of `WORKDIR`.
fn make_directory_inside(root: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut so_far = PathBuf::new();
    for component in Path::new(path).components() {
        let std::path::Component::Normal(name) = component else { continue };
        let parent_path = if so_far.as_os_str().is_empty() { Path::new(".") } else { &so_far };
        let parent = openat2(root, parent_path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        so_far.push(name);
    }
    Ok(())
}

/// Parts of volumes are mounted below this directory of the shim's, in its own mount namespace.
const PINNED: &str = "pinned";

/// Puts in the place of each `subPath` a mount of just that part. Whoever writes to the volume meanwhile cannot lead the mount out of it:
/// the part is opened beneath the volume, and it is what was opened that is mounted.
fn pin_sub_paths(dir: &Path, mounts: &[Mount]) -> Result<Vec<Mount>, CreateError> {
    if mounts.iter().all(|mount| mount.sub_path.is_none()) {
        return Ok(mounts.to_vec());
    }
    let place = dir.join(PINNED);
    fs::create_dir_all(&place)
        .and_then(|()| Ok(mount(Some("pinned"), &place, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=700"))?))
        .map_err(|error| CreateError::Prepare("a place for subPaths", error))?;
    let pin = |(number, original): (usize, &Mount)| {
        let Some(sub_path) = &original.sub_path else { return Ok(original.clone()) };
        let target = place.join(number.to_string());
        match pin_sub_path(&original.source, sub_path, &target) {
            Ok(()) => Ok(Mount { source: target, sub_path: None, ..original.clone() }),
            Err(source) => {
                let destination = original.destination.clone();
                Err(CreateError::SubPath { path: sub_path.clone(), destination, source })
            }
        }
    };
    mounts.iter().enumerate().map(pin).collect()
}

fn pin_sub_path(volume: &Path, sub_path: &Path, target: &Path) -> io::Result<()> {
    let root = open_directory(volume)?;
    let beneath = || {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(&root, sub_path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let part = match beneath() {
        Err(rustix::io::Errno::NOENT) => {
            make_directory_inside(root.as_fd(), &sub_path.to_string_lossy())?;
            beneath()?
        }
        opened => opened?,
    };
    let part = File::from(part);
    if part.metadata()?.is_dir() {
        fs::create_dir(target)?
    } else {
        drop(File::create_new(target)?)
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", part.as_raw_fd()));
    let none: Option<&str> = None;
    mount(Some(&source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    Ok(())
}

/// Where cgroups cannot be written, they are hidden from the runtime, which then goes on without.
fn prepare_cgroups(cgroup: &Path) -> io::Result<Cgroups> {
    let error = match Hierarchies::read()?.create(cgroup) {
        Ok(Cgroups::Uncontrolled) => {
            eprintln!("cgroup {} has no controllers: the container runs without limits", cgroup.display());
            return Ok(Cgroups::Uncontrolled);
        }
        Ok(cgroups) => return Ok(cgroups),
        Err(error) => error,
    };
    eprintln!("cgroup {} cannot be made ({error}): the container runs without limits", cgroup.display());
    const MOUNTED: &str = "/sys/fs/cgroup";
    match umount2(MOUNTED, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(error) => return Err(error.into()),
    }
    mount(Some("none"), MOUNTED, Some("tmpfs"), MsFlags::MS_NOSUID, None::<&str>)?;
    Ok(Cgroups::Unavailable)
}

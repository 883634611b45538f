//! The cgroup directories of containers: whether they can be had, why a container died, and removing them.
//!
//! Joining a cgroup and writing its limits is libcontainer's; this module only touches directories below the path it is given.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::container::Cgroups;

/// How long the kernel may take to let go of a cgroup whose last process was killed.
const RELEASE: Duration = Duration::from_millis(500);

/// Where controllers are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// Version 1: a tree for each controller, or none at all.
    Separate(Vec<PathBuf>),
    /// Version 2: one tree, in which each group passes controllers on to those below it.
    Unified(PathBuf),
}

/// What limits are set in, or may be. A group of version 2 has a controller only if the one above it passes it on.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

impl Default for Hierarchies {
    fn default() -> Self {
        Self::Separate(Vec::new())
    }
}

impl Hierarchies {
    /// # Errors
    /// Where `/proc/self/mountinfo` cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// From the text of `mountinfo` (proc_pid_mountinfo(5)).
    fn parse(mountinfo: &str) -> Self {
        let (mut first, mut second) = (Vec::new(), Vec::<PathBuf>::new());
        for line in mountinfo.lines() {
            let Some((mount, file_system)) = line.split_once(" - ") else { continue };
            let Some(place) = mount.split(' ').nth(4) else { continue };
            let mut words = file_system.split(' ');
            let kind = words.next();
            let options = words.nth(1).unwrap_or_default();
            match kind {
                Some("cgroup") if !options.split(',').any(|o| o.starts_with("name=")) => first.push(place.into()),
                Some("cgroup2") => second.push(place.into()),
                _ => {}
            }
        }
        // In a hybrid setup the second version's tree has no controllers.
        match second.into_iter().next() {
            Some(unified) if first.is_empty() => Self::Unified(unified),
            _ => Self::Separate(first),
        }
    }

    /// Makes the directories of `cgroup` in every hierarchy; whether limits can be set there.
    pub(crate) fn create(&self, cgroup: &Path) -> io::Result<Cgroups> {
        match self {
            Self::Separate(mounts) if mounts.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted"))
            }
            Self::Separate(_) => self.paths(cgroup).try_for_each(fs::create_dir_all).map(|()| Cgroups::Enforced),
            Self::Unified(mount) => {
                // The runtime passes controllers on only to groups that it makes itself.
                let mut group = mount.clone();
                for name in below_root(cgroup).components() {
                    pass_on(&group);
                    group.push(name);
                    match fs::create_dir(&group) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                        _ => {}
                    }
                }
                let has = controllers_of(&group);
                let has_all = CONTROLLERS.iter().all(|controller| has.iter().any(|has| has == controller));
                Ok(if has_all { Cgroups::Enforced } else { Cgroups::Uncontrolled })
            }
        }
    }

    /// Removes `cgroup`, and the directory above it once that is empty. What still has processes stays.
    pub(crate) fn remove(&self, cgroup: &Path) {
        let deadline = Instant::now() + RELEASE;
        for path in self.paths(cgroup) {
            while let Err(error) = fs::remove_dir(&path) {
                if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() >= deadline {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
            if let Some(parent) = path.parent() {
                let _ = fs::remove_dir(parent);
            }
        }
    }

    /// The processes in `cgroup`, as this PID namespace numbers them.
    pub(crate) fn processes(&self, cgroup: &Path) -> Vec<i32> {
        let Some(path) = self.paths(cgroup).next() else { return Vec::new() };
        let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
    }

    /// Whether the kernel has killed a process of `cgroup` for want of memory.
    pub(crate) fn was_out_of_memory(&self, cgroup: &Path) -> bool {
        let counts = ["memory.oom_control", "memory.events"];
        self.paths(cgroup).any(|path| {
            counts.iter().any(|file| {
                let text = fs::read_to_string(path.join(file)).unwrap_or_default();
                text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
            })
        })
    }

    fn paths(&self, cgroup: &Path) -> impl Iterator<Item = PathBuf> {
        let below = below_root(cgroup).to_owned();
        // An empty path would mean the root of the hierarchy, which is never ours.
        let ours = below.components().next().is_some();
        let mounts = match self {
            Self::Separate(mounts) => mounts.as_slice(),
            Self::Unified(mount) => std::slice::from_ref(mount),
        };
        mounts.iter().filter(move |_| ours).map(move |mount| mount.join(&below))
    }
}

fn below_root(cgroup: &Path) -> &Path {
    cgroup.strip_prefix("/").unwrap_or(cgroup)
}

/// What a group of version 2 has of controllers; nothing where it cannot be read.
fn controllers_of(group: &Path) -> Vec<String> {
    let text = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Lets the groups below `group` have what it has of controllers. One that it may not pass on, as a group with processes in a container may
/// not, is left out: the group below then lacks it, which is looked at.
fn pass_on(group: &Path) {
    for controller in controllers_of(group).iter().filter(|name| CONTROLLERS.contains(&name.as_str())) {
        if let Err(error) = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(%error, controller, group = %group.display(), "is not passed on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_in_every_setup() {
        let hybrid = "\
            25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            26 25 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
            27 25 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
            28 25 0:25 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let unified = "28 25 0:25 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Hierarchies::parse(hybrid), Hierarchies::Separate(vec!["/sys/fs/cgroup/cpu".into()]));
        assert_eq!(Hierarchies::parse(unified), Hierarchies::Unified("/sys/fs/cgroup".into()));
        assert_eq!(Hierarchies::parse("garbage\n"), Hierarchies::Separate(Vec::new()));
    }

    /// On files of a tree that looks like the kernel's: what is written to them is what would be asked of it.
    #[test]
    fn controllers_are_passed_on_from_the_root_down() {
        let tree = tempfile::tempdir().unwrap();
        let unified = Hierarchies::Unified(tree.path().to_owned());
        let at = |path: &str| tree.path().join(path);
        fs::write(at("cgroup.controllers"), "cpuset pids\n").unwrap();
        assert_eq!(unified.create(Path::new("/stead/pod/one-0")).unwrap(), Cgroups::Uncontrolled);
        assert_eq!(fs::read_to_string(at("cgroup.subtree_control")).unwrap(), "+pids");
        fs::write(at("stead/cgroup.controllers"), "memory\n").unwrap();
        fs::write(at("stead/pod/one-0/cgroup.controllers"), "cpu io memory pids\n").unwrap();
        assert_eq!(unified.create(Path::new("/stead/pod/one-0")).unwrap(), Cgroups::Enforced);
        assert_eq!(fs::read_to_string(at("stead/cgroup.subtree_control")).unwrap(), "+memory");
        assert!(!at("stead/pod/one-0/cgroup.subtree_control").exists(), "a group with processes passes nothing on");
    }

    #[test]
    fn the_root_of_a_hierarchy_is_never_touched() {
        let hierarchies = Hierarchies::Separate(vec!["/sys/fs/cgroup/cpu".into()]);
        assert_eq!(hierarchies.paths(Path::new("/")).count(), 0);
        assert_eq!(hierarchies.paths(Path::new("")).count(), 0);
        assert_eq!(
            hierarchies.paths(Path::new("/stead/x")).collect::<Vec<_>>(),
            [Path::new("/sys/fs/cgroup/cpu/stead/x")]
        );
    }
}

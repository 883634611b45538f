//! The cgroup directories of containers: whether they can be had, why a container died, and removing them.
//!
//! Joining a cgroup and writing its limits is libcontainer's; this module only touches directories below the path it is given.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long the kernel may take to let go of a cgroup whose last process was killed.
const RELEASE: Duration = Duration::from_millis(500);

/// Where controllers are mounted: each of version 1, or the one tree of version 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies(Vec<PathBuf>);

impl Hierarchies {
    /// # Errors
    /// Where `/proc/self/mountinfo` cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// From the text of `mountinfo` (proc_pid_mountinfo(5)).
    fn parse(mountinfo: &str) -> Self {
        let (mut first, mut second) = (Vec::new(), Vec::new());
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
        Self(if first.is_empty() { second } else { first })
    }

    /// Makes the directories of `cgroup` in every hierarchy.
    pub(crate) fn create(&self, cgroup: &Path) -> io::Result<()> {
        if self.0.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted"));
        }
        self.paths(cgroup).try_for_each(fs::create_dir_all)
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
        let below = cgroup.strip_prefix("/").unwrap_or(cgroup).to_owned();
        // An empty path would mean the root of the hierarchy, which is never ours.
        let ours = below.components().next().is_some();
        self.0.iter().filter(move |_| ours).map(move |mount| mount.join(&below))
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
        assert_eq!(Hierarchies::parse(hybrid).0, [Path::new("/sys/fs/cgroup/cpu")]);
        assert_eq!(Hierarchies::parse(unified).0, [Path::new("/sys/fs/cgroup")]);
        assert_eq!(Hierarchies::parse("garbage\n").0, Vec::<PathBuf>::new());
    }

    #[test]
    fn the_root_of_a_hierarchy_is_never_touched() {
        let hierarchies = Hierarchies(vec!["/sys/fs/cgroup/cpu".into()]);
        assert_eq!(hierarchies.paths(Path::new("/")).count(), 0);
        assert_eq!(hierarchies.paths(Path::new("")).count(), 0);
        assert_eq!(
            hierarchies.paths(Path::new("/stead/x")).collect::<Vec<_>>(),
            [Path::new("/sys/fs/cgroup/cpu/stead/x")]
        );
    }
}

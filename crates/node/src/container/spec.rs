//! From a [`Container`] to the OCI runtime specification.
//!
//! The fences are those that container users know: its own PID, mount, IPC, host-name and cgroup namespaces, the usual capability
//! list, masked and read-only paths, a device list. `CAP_MKNOD` is left out, for where only cgroup v2 is mounted no device list
//! is enforced.

use std::{collections::HashSet, path::Path};

use oci_spec::{
    OciSpecError,
    runtime::{
        Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
        LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources,
        LinuxResourcesBuilder, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
    },
};

use super::{Access, Container, Limits, Stdio};

/// Whether cgroups can be written on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    Enforced,
    /// Groups can be made, but without what limits are set in: containers run without any.
    Uncontrolled,
    /// Read-only or missing: containers run without limits.
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image has no user or group {0:?} in /etc/passwd and /etc/group")]
pub struct InvalidUser(pub String);

/// Who a container's process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Option<String>,
}

const CAPABILITIES: [Capability; 13] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::SysChroot,
    Capability::AuditWrite,
    Capability::Setfcap,
];

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Processes and threads that one container may have.
const MAX_PIDS: i64 = 32_768;

/// The specification for `container` with its root file system mounted at `rootfs`.
pub fn oci_spec(container: &Container, user: &User, rootfs: &Path, cgroups: Cgroups) -> Result<Spec, OciSpecError> {
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(container)?)
        .cgroups_path(&container.cgroup)
        .masked_paths(MASKED.map(str::to_owned).to_vec())
        .readonly_paths(READ_ONLY.map(str::to_owned).to_vec())
        .build()?;
    linux.set_resources(match cgroups {
        Cgroups::Enforced => Some(resources(container.limits)?),
        Cgroups::Uncontrolled | Cgroups::Unavailable => None,
    });
    linux.set_devices(None);
    SpecBuilder::default()
        .version("1.0.2")
        .hostname(container.hostname.clone())
        .root(RootBuilder::default().path(rootfs).readonly(false).build()?)
        .process(process(container, user)?)
        .mounts(mounts(container)?)
        .linux(linux)
        .build()
}

fn process(container: &Container, user: &User) -> Result<oci_spec::runtime::Process, OciSpecError> {
    let set: HashSet<Capability> = CAPABILITIES.into_iter().collect();
    let none = HashSet::new();
    let held = if user.uid == 0 { set.clone() } else { none.clone() };
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set)
        .effective(held.clone())
        .permitted(held)
        .inheritable(none.clone())
        .ambient(none)
        .build()?;
    let mut env = container.process.env.clone();
    if let (Some(home), false) = (&user.home, env.iter().any(|line| line.starts_with("HOME="))) {
        env.push(format!("HOME={home}"));
    }
    if container.stdio == Stdio::Terminal && !env.iter().any(|line| line.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    ProcessBuilder::default()
        .terminal(container.stdio == Stdio::Terminal)
        .user(UserBuilder::default().uid(user.uid).gid(user.gid).additional_gids(user.groups.clone()).build()?)
        .args(container.process.args.clone())
        .env(env)
        .cwd(&container.process.working_dir)
        .capabilities(capabilities)
        .no_new_privileges(false)
        .build()
}

fn namespaces(container: &Container) -> Result<Vec<oci_spec::runtime::LinuxNamespace>, OciSpecError> {
    let own = [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    let mut namespaces = own
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &container.network {
        namespaces.push(LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network).path(path).build()?);
    }
    Ok(namespaces)
}

fn mounts(container: &Container) -> Result<Vec<oci_spec::runtime::Mount>, OciSpecError> {
    let system: [(&str, &str, &str, &[&str]); 6] = [
        ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    let text = |options: &[&str]| options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>();
    let mut mounts = Vec::new();
    for (destination, kind, source, options) in system {
        mounts.push(
            MountBuilder::default().destination(destination).typ(kind).source(source).options(text(options)).build()?,
        );
    }
    for mount in &container.mounts {
        let options: &[&str] = match mount.access {
            Access::ReadWrite => &["rbind", "rprivate", "nodev", "rw"],
            Access::ReadOnly => &["rbind", "rprivate", "nodev", "ro"],
        };
        mounts.push(
            MountBuilder::default()
                .destination(&mount.destination)
                .typ("bind")
                .source(&mount.source)
                .options(text(options))
                .build()?,
        );
    }
    Ok(mounts)
}

fn resources(limits: Limits) -> Result<LinuxResources, OciSpecError> {
    let nothing = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    let pids = LinuxPidsBuilder::default().limit(MAX_PIDS).build()?;
    let mut resources = LinuxResourcesBuilder::default().devices(vec![nothing]).pids(pids).build()?;
    if let Some(memory) = limits.memory {
        let bytes = i64::try_from(memory).unwrap_or(i64::MAX);
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(bytes).build()?));
    }
    if let Some(milli) = limits.cpu {
        // The kernel's smallest quota is 1 ms.
        let quota = i64::try_from(milli.saturating_mul(100)).unwrap_or(i64::MAX).max(1000);
        resources.set_cpu(Some(LinuxCpuBuilder::default().period(100_000u64).quota(quota).build()?));
    }
    Ok(resources)
}

impl User {
    /// Looks `text` up in the image's own `passwd` and `group` files, given as text.
    pub fn find(text: &str, passwd: &str, group: &str) -> Result<Self, InvalidUser> {
        let invalid = || InvalidUser(text.to_owned());
        let (user, wanted_group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let number = user.parse::<u32>().ok();
        let line = fields(passwd).find(|line| match number {
            Some(number) => line.get(2) == Some(&number.to_string().as_str()),
            None => line.first() == Some(&user),
        });
        let column = |n: usize| line.as_ref().and_then(|line| line.get(n).copied());
        let uid = number.or_else(|| column(2).and_then(|uid| uid.parse().ok())).ok_or_else(invalid)?;
        let own_group = column(3).and_then(|gid| gid.parse().ok()).unwrap_or(0);
        let gid = match wanted_group {
            None | Some("") => own_group,
            Some(wanted) => match wanted.parse() {
                Ok(gid) => gid,
                Err(_) => fields(group)
                    .find(|line| line.first() == Some(&wanted))
                    .and_then(|line| line.get(2).and_then(|gid| gid.parse().ok()))
                    .ok_or_else(invalid)?,
            },
        };
        let name = column(0).unwrap_or(user);
        let groups = fields(group)
            .filter(|line| line.get(3).is_some_and(|members| members.split(',').any(|member| member == name)))
            .filter_map(|line| line.get(2).and_then(|gid| gid.parse().ok()))
            .collect();
        let home = column(5).filter(|home| home.starts_with('/')).map(str::to_owned);
        Ok(Self { uid, gid, groups, home })
    }
}

fn fields(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_those_of_the_control_group() {
        let check = |memory, cpu: Option<u64>, expect: (Option<i64>, Option<i64>)| {
            let resources = resources(Limits { memory, cpu }).unwrap();
            let bytes = resources.memory().as_ref().and_then(|memory| memory.limit());
            let share = resources.cpu().as_ref().map(|cpu| (cpu.quota().unwrap(), cpu.period().unwrap()));
            assert_eq!((bytes, share.map(|share| share.0)), expect);
            assert!(share.is_none_or(|(_, period)| period == 100_000), "microseconds");
        };
        check(None, None, (None, None));
        check(Some(64 << 20), Some(1500), (Some(64 << 20), Some(150_000)));
        check(None, Some(1), (None, Some(1000)));
        check(Some(u64::MAX), Some(u64::MAX), (Some(i64::MAX), Some(i64::MAX)));
    }

    #[test]
    fn users_are_found_in_the_images_own_files() {
        let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:33:34:Web:/var/www:/bin/false\n# c\n";
        let group = "root:x:0:\nweb:x:34:\nextra:x:50:web,other\n";
        let check = |text: &str, expect: Option<(u32, u32, &[u32], Option<&str>)>| {
            let user = User::find(text, passwd, group).ok();
            let expect = expect.map(|(uid, gid, groups, home)| User {
                uid,
                gid,
                groups: groups.to_vec(),
                home: home.map(str::to_owned),
            });
            assert_eq!(user, expect, "{text:?}");
        };
        check("", Some((0, 0, &[], Some("/root"))));
        check("web", Some((33, 34, &[50], Some("/var/www"))));
        check("33", Some((33, 34, &[50], Some("/var/www"))));
        check("65532:65533", Some((65532, 65533, &[], None)));
        check("65532", Some((65532, 0, &[], None)));
        check("web:extra", Some((33, 50, &[50], Some("/var/www"))));
        check("nobody", None);
        check("web:nothing", None);
        check("-1", None);
    }
}

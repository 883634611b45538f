//! The host's iptables programs: which there are, which of the two kinds the host uses, and running them.
//!
//! A machine may have both kinds, `legacy` (x_tables) and `nft` (nf_tables); their rules live beside each other in the kernel, and packets meet
//! both. So rules must go where those of the kubelet and of the network are: [`choose`] says where that is. What is fed to the programs is their
//! callers' matter. A program that is killed or loses its input before `COMMIT` changes nothing of that table.

use std::{
    ffi::OsString,
    fmt, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use stead_model::Family;
use stead_sys::{
    namespace::Namespace,
    nft::{self, Name, Nftables},
};

/// Where the kernel keeps the rules, and so which program writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// x_tables.
    Legacy,
    /// nf_tables.
    Nft,
}

impl Variant {
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Nft];
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        })
    }
}

/// `major.minor.patch` of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The first whose `iptables-restore` waits for the lock and whose MASQUERADE knows `--random-fully`.
pub const OLDEST: Version = Version(1, 6, 2);

/// How long a program waits while another one holds the lock of iptables. The error after it is one that passes.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Looked into where `PATH` leads to nothing.
const DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("iptables is not installed; install the package iptables or choose another --proxy-mode")]
    NotInstalled,
    #[error("iptables of kind {0} is not installed, or its programs are of the other kind")]
    WrongKind(Variant),
    #[error("{program} is version {found}; {OLDEST} or newer is needed")]
    TooOld { program: String, found: Version },
    #[error("{program} prints no version that can be read: {output:?}")]
    NoVersion { program: String, output: String },
    #[error("run {program}")]
    Run { program: String, source: io::Error },
    #[error("another program holds the lock of iptables; {program} waited {} s", LOCK_WAIT.as_secs())]
    Locked { program: String },
    #[error("{program} failed: {output}{}", line.as_deref().map(|line| format!(" (`{line}`)")).unwrap_or_default())]
    Failed { program: String, output: String, line: Option<String> },
    #[error("look for rules in nf_tables")]
    Look(#[source] nft::Error),
}

impl Error {
    /// Whether the same may work later, nobody having done anything about it.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Locked { .. } | Self::Failed { .. } | Self::Look(_))
    }
}

/// The programs of one kind, run in one network namespace.
#[derive(Debug)]
pub struct Programs {
    variant: Variant,
    version: Version,
    /// As `iptables`, which the names of the others are made from: `iptables`, `/usr/sbin/iptables-nft`.
    names: [String; 2],
    /// `None`: the one of the thread that runs them.
    namespace: Option<Namespace>,
    lock: Option<PathBuf>,
}

impl Programs {
    /// Those of the kind that the host uses, for the calling thread's network namespace.
    pub fn find() -> Result<Self, Error> {
        Self::find_for(None)
    }

    /// Those of the kind that is in use in `namespace`, to be run there.
    pub fn find_in(namespace: &Namespace) -> Result<Self, Error> {
        Self::find_for(Some(namespace))
    }

    fn find_for(namespace: Option<&Namespace>) -> Result<Self, Error> {
        let signs = match namespace {
            Some(namespace) => inside(namespace, Signs::read)?,
            None => Signs::read()?,
        };
        let host = named("iptables", None).map(|(_, variant, _)| variant);
        let mut wanted = Variant::ALL.map(|variant| Self::of(variant, namespace));
        wanted.sort_by_key(|found| found.is_err());
        let installed: Vec<_> = wanted.iter().flatten().map(|programs| programs.variant).collect();
        let Some(variant) = choose(&installed, host.ok(), &signs) else {
            return wanted.into_iter().find(is_telling).unwrap_or(Err(Error::NotInstalled));
        };
        Self::of(variant, namespace)
    }

    /// Those of one kind.
    pub fn of(variant: Variant, namespace: Option<&Namespace>) -> Result<Self, Error> {
        let own = format!("iptables-{variant}");
        let (name, found, version) = match named(&own, Some(variant)) {
            Err(Error::NotInstalled) => named("iptables", None)?,
            found => found?,
        };
        fit(variant, &name, found, version)?;
        let (directory, file) = name.rsplit_once('/').map_or(("", &*name), |(directory, file)| (directory, file));
        let separator = if directory.is_empty() { "" } else { "/" };
        let six = format!("{directory}{separator}{}", file.replacen("iptables", "ip6tables", 1));
        let namespace = namespace.map(Namespace::try_clone).transpose();
        let namespace = namespace.map_err(|source| Error::Run { program: name.clone(), source })?;
        Ok(Self { variant, version, names: [name, six], namespace, lock: None })
    }

    /// The same with a lock of their own instead of the host's. The nft kind has none, and neither has a legacy one before 1.8.5.
    #[must_use]
    pub fn with_lock(self, path: PathBuf) -> Self {
        Self { lock: Some(path), ..self }
    }

    pub const fn variant(&self) -> Variant {
        self.variant
    }

    pub const fn version(&self) -> Version {
        self.version
    }

    /// What `iptables-save` prints of one table.
    pub fn save(&self, family: Family, table: &str) -> Result<String, Error> {
        let program = self.program(family, "-save");
        let output = self.run(&program, &["-t".into(), table.into()], "")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Feeds `iptables-restore --noflush`, which waits for the lock for up to 5 s. Each table of the input comes into effect at once, at its
    /// `COMMIT`.
    pub fn restore(&self, family: Family, input: &str) -> Result<(), Error> {
        let program = self.program(family, "-restore");
        let wait = LOCK_WAIT.as_secs().to_string();
        self.run(&program, &["--noflush".into(), "-w".into(), wait.into()], input).map(drop)
    }

    /// Whether the kernel has the table already, so that asking for it does not make it.
    pub fn has(&self, family: Family, table: &str) -> Result<bool, Error> {
        match &self.namespace {
            Some(namespace) => inside(namespace, || has_table(self.variant, family, table)),
            None => has_table(self.variant, family, table),
        }
    }

    /// Whether the kernel speaks the family at all.
    pub fn speaks(&self, family: Family) -> Result<bool, Error> {
        let speaks = || Ok(family == Family::V4 || Path::new("/proc/thread-self/net/if_inet6").exists());
        match &self.namespace {
            Some(namespace) => inside(namespace, speaks),
            None => speaks(),
        }
    }

    fn program(&self, family: Family, suffix: &str) -> String {
        let [four, six] = &self.names;
        let name = match family {
            Family::V4 => four,
            Family::V6 => six,
        };
        format!("{name}{suffix}")
    }

    fn run(&self, program: &str, arguments: &[OsString], input: &str) -> Result<Output, Error> {
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(lock) = &self.lock {
            command.env("XTABLES_LOCKFILE", lock);
        }
        let output = match &self.namespace {
            Some(namespace) => inside(namespace, || feed(program, command, input)),
            None => feed(program, command, input),
        }?;
        if output.status.success() { Ok(output) } else { Err(failure(program, &output, input)) }
    }
}

/// Whether a program is of the kind that is wanted, and new enough.
fn fit(wanted: Variant, name: &str, found: Variant, version: Version) -> Result<(), Error> {
    if found != wanted {
        Err(Error::WrongKind(wanted))
    } else if version < OLDEST {
        Err(Error::TooOld { program: name.to_owned(), found: version })
    } else {
        Ok(())
    }
}

/// Whether an error says more than that nothing is there.
fn is_telling(found: &Result<Programs, Error>) -> bool {
    matches!(found, Err(error) if !matches!(error, Error::NotInstalled | Error::WrongKind(_)))
}

/// A child is made in the namespace of the thread that makes it.
fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let enter = |source| Error::Run { program: "iptables in another network namespace".to_owned(), source };
    namespace.run(work).map_err(enter)?
}

fn feed(program: &str, mut command: Command, input: &str) -> Result<Output, Error> {
    let run = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::NotInstalled,
        _ => Error::Run { program: program.to_owned(), source },
    };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(run)?;
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(input.as_bytes()),
        None => Ok(()),
    };
    let output = child.wait_with_output().map_err(run)?;
    match written {
        // It has ended early, and says why.
        Err(error) if output.status.success() => Err(run(error)),
        _ => Ok(output),
    }
}

fn failure(program: &str, output: &Output, input: &str) -> Error {
    /// `RESOURCE_PROBLEM` of xtables.h.
    const RESOURCE_PROBLEM: i32 = 4;
    let text = String::from_utf8_lossy(&output.stderr);
    let program = program.to_owned();
    if output.status.code() == Some(RESOURCE_PROBLEM) && text.contains("lock") {
        return Error::Locked { program };
    }
    let advice = |line: &&str| !line.is_empty() && !line.starts_with("Try `");
    let lines: Vec<_> = text.lines().map(str::trim).filter(advice).collect();
    let text = if lines.is_empty() { output.status.to_string() } else { lines.join("; ") };
    let line = line_number(&text).and_then(|number| input.lines().nth(number.checked_sub(1)?)).map(str::to_owned);
    Error::Failed { program, output: text, line }
}

/// Of the line that a program complains about.
fn line_number(text: &str) -> Option<usize> {
    let rest = text.split_once("line: ").or_else(|| text.split_once("line "))?.1;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// The program of this name with its kind and version.
fn named(name: &str, wanted: Option<Variant>) -> Result<(String, Variant, Version), Error> {
    let candidates = [name.to_owned()].into_iter();
    let elsewhere = DIRECTORIES.iter().map(|directory| format!("{directory}/{name}"));
    for program in candidates.chain(elsewhere) {
        let mut command = Command::new(&program);
        command.arg("--version");
        match feed(&program, command, "") {
            Err(Error::NotInstalled) => {}
            Err(error) => return Err(error),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let (variant, version) =
                    parse_version(&text).ok_or(Error::NoVersion { program: program.clone(), output: text })?;
                match wanted {
                    Some(wanted) if wanted != variant => return Err(Error::WrongKind(wanted)),
                    _ => return Ok((program, variant, version)),
                }
            }
        }
    }
    Err(Error::NotInstalled)
}

/// Of `iptables v1.8.9 (nf_tables)`; before 1.8 there was but one kind, which is not named.
fn parse_version(text: &str) -> Option<(Variant, Version)> {
    let (_, rest) = text.split_once(" v")?;
    let (number, kind) = rest.split_once(' ').unwrap_or((rest, ""));
    let variant = if kind.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
    let mut parts = number.split('.').map(str::parse);
    let mut part = || parts.next().unwrap_or(Ok(0)).ok();
    Some((variant, Version(part()?, part()?, part()?)))
}

/// What of iptables a network namespace holds already, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Chains that a kubelet or kube-proxy made, or this plane.
    pub kubernetes: Vec<Variant>,
    /// Any rules, or chains that are not the kernel's.
    pub any: Vec<Variant>,
}

impl Signs {
    /// Of the calling thread's network namespace; nothing is made by looking.
    fn read() -> Result<Self, Error> {
        let mut signs = Self::default();
        let mut add = |variant, chains: &[String]| {
            let is_kubernetes = chains.iter().any(|chain| chain.starts_with("KUBE-"));
            signs.kubernetes.extend(is_kubernetes.then_some(variant));
            signs.any.extend((!chains.is_empty()).then_some(variant));
        };
        add(Variant::Nft, &chains_of_nft()?);
        add(Variant::Legacy, &chains_of_legacy());
        Ok(signs)
    }
}

fn has_table(variant: Variant, family: Family, table: &str) -> Result<bool, Error> {
    match variant {
        Variant::Legacy => Ok(tables_of_legacy(family).split_whitespace().any(|name| name == table)),
        Variant::Nft => {
            let tables = Nftables::open().and_then(|mut nft| nft.tables(family)).map_err(Error::Look)?;
            Ok(tables.iter().any(|found| found.name == table))
        }
    }
}

/// In the namespace of the thread, which may be another one than its process's. A table that was never asked for is not named.
fn tables_of_legacy(family: Family) -> String {
    let list = match family {
        Family::V4 => "ip_tables_names",
        Family::V6 => "ip6_tables_names",
    };
    fs::read_to_string(Path::new("/proc/thread-self/net").join(list)).unwrap_or_default()
}

const TABLES: [&str; 3] = ["nat", "filter", "mangle"];
/// The kernel's own chains.
const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

fn chains_of_nft() -> Result<Vec<String>, Error> {
    let Ok(mut nft) = Nftables::open() else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for family in Family::ALL {
        let tables = nft.tables(family).map_err(Error::Look)?;
        for table in TABLES.into_iter().filter(|name| tables.iter().any(|table| table.name == **name)) {
            let chains = nft.chains(Name { family, table }).map_err(Error::Look)?;
            names.extend(chains.into_iter().map(|chain| chain.name).filter(|name| !BUILT_IN.contains(&name.as_str())));
        }
    }
    Ok(names)
}

fn chains_of_legacy() -> Vec<String> {
    let mut names = Vec::new();
    for (family, program) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
        if tables_of_legacy(family).trim().is_empty() {
            continue;
        }
        let names_of = |program: String| {
            let output = feed(&program, Command::new(&program), "").ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let listing = names_of(format!("{program}-legacy-save")).or_else(|| names_of(format!("{program}-save")));
        names.extend(listing.iter().flat_map(|listing| listing.lines()).filter_map(foreign_name).map(str::to_owned));
    }
    names
}

/// The chain of a line of a listing: a rule's, or one that is not the kernel's.
fn foreign_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("-A ");
    let is_own = |chain: &&str| !BUILT_IN.contains(chain);
    rest.and_then(|rest| rest.split(' ').next())
        .or_else(|| line.strip_prefix(':').and_then(|rest| rest.split(' ').next()).filter(is_own))
}

/// The kind whose rules the host lives by: the one with Kubernetes' chains, else the only one with any, else the one that the host calls
/// `iptables`, else nft. `None` where nothing is installed.
pub fn choose(installed: &[Variant], host: Option<Variant>, signs: &Signs) -> Option<Variant> {
    let has = |variant: &Variant| installed.contains(variant);
    let single = |variants: &[Variant]| match variants {
        [only] => Some(*only),
        _ => None,
    };
    // Where both have them, the newer kind is the one in use and the other a leftover.
    let kubernetes = [Variant::Nft, Variant::Legacy].into_iter().find(|variant| signs.kubernetes.contains(variant));
    let preferred = [kubernetes, single(&signs.any), host, Some(Variant::Nft)];
    preferred.into_iter().flatten().find(has).or(installed.first().copied())
}

#[cfg(test)]
mod tests;

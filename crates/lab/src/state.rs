//! What a running lab leaves for other commands to find: a directory per name, a lock that says whether it lives, and a state file.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};
use stead_sys::namespace::Namespace;

const LOCK: &str = "lock";
const STATE: &str = "lab.json";

/// How long a lock may be held before the name counts as taken: who only looks has it for microseconds.
const PATIENCE: Duration = Duration::from_millis(100);

/// The directory of a lab under `base` (`/run/stead` unless told otherwise).
pub fn directory(base: &Path, name: &str) -> PathBuf {
    base.join(name)
}

/// The exclusive right to a lab's name; given up when dropped or when the process ends in whatever way.
#[derive(Debug)]
pub struct Claim {
    directory: PathBuf,
    lock: Flock<File>,
}

/// What `stead exec-node` and `stead down` need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub name: String,
    /// Process id of the supervisor.
    pub supervisor: i32,
    pub kubeconfig: PathBuf,
    /// Hosts of the lab, each with the number of the supervisor's descriptor that holds its network namespace.
    pub hosts: Vec<(String, i32)>,
    pub processes: Vec<ProcessState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessState {
    pub name: String,
    pub pid: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "a lab named {name} is running already: choose another name with --name, or end it with `stead down --name {name}`"
    )]
    Taken { name: String },
    #[error("no lab named {name} is running: start one with `stead up --name {name}`")]
    NotRunning { name: String },
    #[error("lab {name} is just starting or ending: try again")]
    Unpublished { name: String },
    #[error("lab {lab} has no host {host}: it has {known}")]
    NoHost { lab: String, host: String, known: String },
    #[error("{step} {path} failed")]
    File { step: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is no state of a lab")]
    Malformed { path: PathBuf, source: serde_json::Error },
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::File { step, path, source }
}

impl Claim {
    /// Takes the name, or says that it is taken. Changes nothing but the directory and its lock file.
    pub fn take(base: &Path, name: &str) -> Result<Self, StateError> {
        let directory = directory(base, name);
        let path = directory.join(LOCK);
        let begun = Instant::now();
        loop {
            match fs::create_dir_all(&directory) {
                Ok(()) => {}
                // A lab that ends removed it between two looks of this call.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && !is_no_directory(&directory)
                        && begun.elapsed() < PATIENCE =>
                {
                    continue;
                }
                Err(error) => return Err(failed("making directory", &directory)(error)),
            }
            let file = match File::options().create(true).append(true).open(&path) {
                Ok(file) => file,
                // A lab that ends has just removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("opening", &path)(error)),
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) if is_at(&lock, &path).map_err(failed("looking at", &path))? => {
                    let claim = Self { directory, lock };
                    claim.forget_the_last()?;
                    return Ok(claim);
                }
                // The lab that held this lock has removed it; others look for the name in a new one.
                Ok(_) => {}
                // Or somebody who looked whether it is held has it for this moment.
                Err((_, Errno::EWOULDBLOCK)) if begun.elapsed() < PATIENCE => thread::sleep(PATIENCE / 20),
                Err((_, Errno::EWOULDBLOCK)) => return Err(StateError::Taken { name: name.to_owned() }),
                Err((_, errno)) => return Err(failed("locking", &path)(errno.into())),
            }
        }
    }

    /// From now on the name is a lab's that runs: what was published of one that is gone would be taken for this one's.
    fn forget_the_last(&self) -> Result<(), StateError> {
        let path = self.directory.join(STATE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", &path)(error)),
            _ => Ok(()),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Publishes the state, whole or not at all.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        let path = self.directory.join(STATE);
        let fresh = self.directory.join("lab.json.new");
        let text = serde_json::to_vec_pretty(state).expect("a state has only text keys");
        fs::write(&fresh, text).map_err(failed("writing", &fresh))?;
        fs::rename(&fresh, &path).map_err(failed("renaming to", &path))
    }

    /// Removes the whole directory and gives the name up.
    ///
    /// The lock goes last: from then on the directory may be another's, who has taken the name, and stays.
    pub fn release(self) -> Result<(), StateError> {
        for entry in fs::read_dir(&self.directory).map_err(failed("removing", &self.directory))? {
            let path = entry.map_err(failed("removing", &self.directory))?.path();
            if path != self.directory.join(LOCK) {
                let is_directory = path.is_dir() && !path.is_symlink();
                let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(failed("removing", &path))?;
            }
        }
        fs::remove_file(self.directory.join(LOCK)).map_err(failed("removing", &self.directory))?;
        let removed = match fs::remove_dir(&self.directory) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(failed("removing", &self.directory)(error))
            }
            _ => Ok(()),
        };
        drop(self.lock);
        removed
    }
}

/// Whether something else lies at `path`.
fn is_no_directory(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_dir())
}

/// Whether `file` is what lies at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The state of a lab that runs now.
pub fn find(base: &Path, name: &str) -> Result<State, StateError> {
    let not_running = || StateError::NotRunning { name: name.to_owned() };
    let directory = directory(base, name);
    let lock = File::open(directory.join(LOCK)).map_err(|_| not_running())?;
    // Who gets the lock proves that nobody holds it: what the directory says is of a lab that is gone.
    if Flock::lock(lock, FlockArg::LockSharedNonblock).is_ok() {
        return Err(not_running());
    }
    let path = directory.join(STATE);
    let text = fs::read(&path).map_err(|_| StateError::Unpublished { name: name.to_owned() })?;
    serde_json::from_slice(&text).map_err(|source| StateError::Malformed { path, source })
}

/// All labs that run now; those that are just starting or ending are left out.
pub fn running(base: &Path) -> impl Iterator<Item = State> + use<'_> {
    let names =
        fs::read_dir(base).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| find(base, &name).ok())
}

impl State {
    /// The network namespace of a host.
    pub fn namespace(&self, host: &str) -> Result<Namespace, StateError> {
        let Some((_, fd)) = self.hosts.iter().find(|(name, _)| name == host) else {
            let known = self.hosts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(StateError::NoHost { lab: self.name.clone(), host: host.to_owned(), known });
        };
        let path = PathBuf::from(format!("/proc/{}/fd/{fd}", self.supervisor));
        Namespace::open(&path).map_err(failed("opening", &path))
    }

    /// Hosts as they stand in the state: the descriptor numbers are this process's own.
    pub fn hosts_of<'a>(hosts: impl Iterator<Item = (&'a str, &'a Namespace)>) -> Vec<(String, i32)> {
        use std::os::fd::AsFd;
        hosts.map(|(name, namespace)| (name.to_owned(), namespace.as_fd().as_raw_fd())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str) -> State {
        State {
            name: name.to_owned(),
            supervisor: std::process::id() as i32,
            kubeconfig: "/nowhere".into(),
            hosts: Vec::new(),
            processes: vec![ProcessState { name: "server".to_owned(), pid: 1 }],
        }
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_afterwards() {
        let base = tempfile::tempdir().unwrap();
        let claim = Claim::take(base.path(), "a").unwrap();
        assert!(matches!(Claim::take(base.path(), "a"), Err(StateError::Taken { name }) if name == "a"));
        Claim::take(base.path(), "b").unwrap();
        claim.release().unwrap();
        assert!(!directory(base.path(), "a").exists());
        Claim::take(base.path(), "a").unwrap();
    }

    #[test]
    fn a_place_that_is_no_directory_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", directory(base.path(), "a")).unwrap();
        assert!(matches!(Claim::take(base.path(), "a"), Err(StateError::File { .. })));
    }

    /// Labs that end and labs that begin want it at once; a second holder would remove the first one's file.
    #[test]
    fn a_name_that_is_given_up_and_taken_by_many_has_one_holder() {
        let base = tempfile::tempdir().unwrap();
        let hold = || {
            for _ in 0..300 {
                match Claim::take(base.path(), "a") {
                    Ok(claim) => {
                        let mark = claim.directory().join("mark");
                        File::create_new(&mark).unwrap();
                        std::thread::yield_now();
                        fs::remove_file(&mark).unwrap();
                        claim.release().unwrap();
                    }
                    Err(StateError::Taken { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        std::thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(hold))));
        assert!(!directory(base.path(), "a").exists());
    }

    #[test]
    fn a_state_is_found_only_while_its_lab_lives() {
        let base = tempfile::tempdir().unwrap();
        assert!(matches!(find(base.path(), "a"), Err(StateError::NotRunning { .. })));
        let claim = Claim::take(base.path(), "a").unwrap();
        claim.write(&state("a")).unwrap();
        assert_eq!(find(base.path(), "a").unwrap(), state("a"));
        drop(claim);
        let next = Claim::take(base.path(), "a").unwrap();
        assert!(matches!(find(base.path(), "a"), Err(StateError::Unpublished { .. })), "the last lab's");
        assert_eq!(running(base.path()).count(), 0);
        next.write(&state("a")).unwrap();
        assert_eq!(running(base.path()).collect::<Vec<_>>(), [state("a")]);
        drop(next);
        let error = find(base.path(), "a").unwrap_err();
        assert_eq!(error.to_string(), "no lab named a is running: start one with `stead up --name a`");
    }

    #[test]
    fn a_host_is_entered_by_the_supervisors_descriptor() {
        let namespace = Namespace::create().unwrap();
        let mut state = state("a");
        state.hosts = State::hosts_of([("node1", &namespace)].into_iter());
        state.namespace("node1").unwrap().run(|| ()).unwrap();
        let error = state.namespace("node9").unwrap_err();
        assert_eq!(error.to_string(), "lab a has no host node9: it has node1");
    }
}

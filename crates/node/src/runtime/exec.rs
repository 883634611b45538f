//! Processes run in a container beside its own, each under a shim of its own while it lasts.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::termios::{Winsize, tcsetwinsize};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixListener,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::oneshot,
    time::timeout,
};

use super::ShimCommand;
use crate::shim::{
    console::{self, TERMINAL},
    exec::{ENDED_FILE, EXEC_FILE, Ended, Exec, Stdio as Kind},
};

/// How long a terminal may take to be there.
const START: Duration = Duration::from_secs(30);

/// What of a process's input and output somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Pipes {
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    /// Output comes from the terminal; input goes there where it is wanted.
    Terminal {
        stdin: bool,
    },
}

/// A process in a container.
#[derive(Debug)]
pub struct Executing {
    pub io: ExecIo,
    /// Its exit code, or why it never ran. The process goes on where nobody asks.
    pub exit: oneshot::Receiver<Result<i32, String>>,
}

#[derive(Debug)]
pub enum ExecIo {
    Pipes {
        stdin: Option<ChildStdin>,
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
    },
    /// Dropping it hangs up.
    Terminal(Terminal),
}

/// The master side of a terminal.
#[derive(Debug)]
pub struct Terminal(AsyncFd<OwnedFd>);

/// Starts `args` in the container whose run has the directory `run`, and which runs.
pub(super) async fn start(shim: &ShimCommand, run: &Path, args: Vec<String>, wanted: Wanted) -> io::Result<Executing> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Unique among those of this agent and, with its process id, of earlier ones.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = ExecDir(run.join(format!("exec-{}-{number}", std::process::id())));
    fs::create_dir(&dir.0)?;
    let stdio = if let Wanted::Terminal { .. } = wanted { Kind::Terminal } else { Kind::Inherited };
    fs::write(dir.0.join(EXEC_FILE), serde_json::to_vec(&Exec { args, stdio })?)?;
    let listener = match wanted {
        Wanted::Terminal { .. } => Some(UnixListener::from_std(console::listen(&dir.0, TERMINAL)?)?),
        Wanted::Pipes { .. } => None,
    };
    let pipe = |is_wanted: bool| if is_wanted { Stdio::piped() } else { Stdio::null() };
    let (stdin, stdout, stderr) = match wanted {
        Wanted::Pipes { stdin, stdout, stderr } => (pipe(stdin), pipe(stdout), pipe(stderr)),
        Wanted::Terminal { .. } => (Stdio::null(), Stdio::null(), Stdio::null()),
    };
    let mut child = Command::new(&shim.program)
        .args(&shim.args)
        .arg(&dir.0)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (told, exit) = oneshot::channel();
    let io = match listener {
        None => ExecIo::Pipes { stdin, stdout, stderr },
        Some(listener) => match timeout(START, terminal(&listener, &mut child)).await {
            Ok(Ok(Some(terminal))) => ExecIo::Terminal(terminal),
            // It ended without ever having one, and says why.
            Ok(Ok(None)) => ExecIo::Pipes { stdin: None, stdout: None, stderr: None },
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
        },
    };
    tokio::spawn(async move {
        let waited = child.wait().await;
        let ended = waited.and_then(|_| dir.ended());
        drop(dir);
        // Whoever asked may be gone.
        let _ = told.send(match ended {
            Ok(Ended::Code(code)) => Ok(code),
            Ok(Ended::Failed(message)) => Err(message),
            Err(error) => Err(error.to_string()),
        });
    });
    Ok(Executing { io, exit })
}

/// The directory of one process, gone with it.
struct ExecDir(PathBuf);

impl ExecDir {
    fn ended(&self) -> io::Result<Ended> {
        Ok(serde_json::from_slice(&fs::read(self.0.join(ENDED_FILE))?)?)
    }
}

impl Drop for ExecDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(dir = %self.0.display(), %error, "it could not be removed");
        }
    }
}

/// The terminal that the process's shim sends; `None` where it ends without.
async fn terminal(listener: &UnixListener, child: &mut Child) -> io::Result<Option<Terminal>> {
    let stream = tokio::select! {
        accepted = listener.accept() => accepted?.0,
        ended = child.wait() => return ended.map(|_| None),
    };
    let master = stream.async_io(Interest::READABLE, || console::receive(&stream)).await?;
    #[expect(
        deprecated,
        reason = "its unsafe successor matters for types that let their descriptor go; OwnedFd keeps it"
    )]
    let master = AsyncFd::new(master)?;
    Ok(Some(Terminal(master)))
}

impl Terminal {
    /// What the process shows next; 0 bytes when nobody is left there.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.async_io(Interest::READABLE, |master| Ok(rustix::io::read(master, &mut *buffer)?)).await;
        match read {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
            other => other,
        }
    }

    /// As if it were typed.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.0.async_io(Interest::WRITABLE, |master| Ok(rustix::io::write(master, bytes)?)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.0.get_ref(), size)?)
    }
}

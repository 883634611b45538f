//! The streams of a remote command, whichever protocol carries them, and a process at their other end.
//!
//! What the process writes waits until the client has taken it, and the other way round, so nothing gathers here. When the client is
//! gone the process's standard input ends and its outputs are closed, or its terminal hangs up; it is not killed.

use std::io;

use bytes::Bytes;
use futures::StreamExt;
use hyper::upgrade::Upgraded;
use serde::Deserialize;
use serde_json::{Value, json};
use stead_streams::channel::{self, Channel, Version};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    spdy,
    transport::{self, Activity},
    upgrade::{Agreed, Carrier},
    writer::{Socket, Writer},
};
use crate::runtime::{Attached, AttachedInput, ExecIo, Executing, Piece, Terminal, Wanted};

/// What is spoken here, the best first.
pub(super) const SPDY: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
pub(super) const WEB_SOCKET: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Until a client has opened the streams that it asked for.
const OPEN: std::time::Duration = std::time::Duration::from_secs(30);
/// Bytes of output read at a time.
const PIECE: usize = 16 << 10;
/// Messages of a client that wait to be taken.
const QUEUE: usize = 32;

/// One connection's streams.
pub(super) struct Streams {
    pub(super) stdin: Option<mpsc::Receiver<Bytes>>,
    resize: Option<mpsc::Receiver<Bytes>>,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    error: ErrorWriter,
    /// Ready, with an error, when the client is gone.
    gone: oneshot::Receiver<()>,
    /// While it is held, the connection is kept.
    _keeps: Keeps,
}

/// What keeps a connection from being closed.
enum Keeps {
    Spdy(#[expect(dead_code, reason = "it is what is held")] mpsc::Receiver<spdy::Stream>),
    WebSocket(#[expect(dead_code, reason = "it is what is held")] oneshot::Sender<()>),
}

/// How the end is told.
struct ErrorWriter {
    writer: Writer,
    form: ErrorForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorForm {
    /// A Status, also of success.
    Status,
    /// Text, and nothing on success.
    Text,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Exited(i32),
    Failed(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Takes the connection over, and waits for the streams that are wanted.
pub(super) async fn open(upgraded: Upgraded, agreed: Agreed, wanted: Wanted) -> io::Result<Streams> {
    match agreed.carrier {
        Carrier::Spdy => open_spdy(upgraded, agreed.protocol, wanted).await,
        Carrier::WebSocket => {
            let version = Version::choose([agreed.protocol]).map_or(Version::V4, |(version, _)| version);
            Ok(open_channels(upgraded, version, wanted).await)
        }
    }
}

async fn open_spdy(upgraded: Upgraded, protocol: &str, wanted: Wanted) -> io::Result<Streams> {
    let (mut opened, gone) = spdy::start(transport::raw(upgraded));
    let has_resize = matches!(protocol, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let mut missing = vec!["error"];
    let (stdin, stdout, stderr, terminal) = parts(wanted);
    missing.extend(
        [(stdin, "stdin"), (stdout, "stdout"), (stderr, "stderr"), (terminal && has_resize, "resize")]
            .into_iter()
            .filter_map(|(is_wanted, name)| is_wanted.then_some(name)),
    );
    let (mut error, mut out, mut err, mut input, mut resize) = (None, None, None, None, None);
    let gather = async {
        while !missing.is_empty() {
            let stream = opened.recv().await.ok_or(io::ErrorKind::UnexpectedEof)?;
            let kind = stream.headers.get("streamtype").unwrap_or_default().to_owned();
            missing.retain(|name| *name != kind);
            match kind.as_str() {
                "error" => error = Some(stream.writer),
                "stdin" => input = Some(stream.reader),
                "stdout" => out = Some(stream.writer),
                "stderr" => err = Some(stream.writer),
                "resize" => resize = Some(stream.reader),
                _ => {}
            }
        }
        io::Result::Ok(())
    };
    timeout(OPEN, gather).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let form = if protocol == "v4.channel.k8s.io" { ErrorForm::Status } else { ErrorForm::Text };
    let writer = Writer::Spdy(error.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(Streams {
        stdin: input,
        resize,
        stdout: out.map(Writer::Spdy),
        stderr: err.map(Writer::Spdy),
        error: ErrorWriter { writer, form },
        gone,
        _keeps: Keeps::Spdy(opened),
    })
}

/// Standard input, output and error, and whether there is a terminal.
fn parts(wanted: Wanted) -> (bool, bool, bool, bool) {
    match wanted {
        Wanted::Pipes { stdin, stdout, stderr } => (stdin, stdout, stderr, false),
        Wanted::Terminal { stdin } => (stdin, true, false, true),
    }
}

async fn open_channels(upgraded: Upgraded, version: Version, wanted: Wanted) -> Streams {
    let (sink, mut messages) = transport::web_socket(upgraded).await.split();
    let activity = Activity::new();
    let socket = std::sync::Arc::new(Socket::new(sink, activity.clone()));
    let (wants_stdin, wants_stdout, wants_stderr, terminal) = parts(wanted);
    let (stdin, input) = mpsc::channel(QUEUE);
    let (resize, sizes) = mpsc::channel(QUEUE);
    let ((left, gone), (keeps, mut kept)) = (oneshot::channel(), oneshot::channel::<()>());
    tokio::spawn(async move {
        let _left: oneshot::Sender<()> = left;
        let (mut stdin, mut resize) = (wants_stdin.then_some(stdin), terminal.then_some(resize));
        let read = async {
            while let Some(Ok(message)) = messages.next().await {
                activity.mark();
                let parsed = match message {
                    Message::Binary(bytes) => version.parse(bytes),
                    Message::Close(_) => break,
                    _ => continue,
                };
                let Ok(parsed) = parsed else { break };
                let is = |number: u8, channel: Channel| number == channel.number();
                match parsed {
                    channel::Message::Data(number, bytes) if is(number, Channel::Stdin) => {
                        if let Some(stdin) = &stdin {
                            // The process may have closed it.
                            let _ = stdin.send(bytes).await;
                        }
                    }
                    channel::Message::Data(number, bytes) if is(number, Channel::Resize) => {
                        if let Some(resize) = &resize {
                            let _ = resize.send(bytes).await;
                        }
                    }
                    channel::Message::Close(number) if is(number, Channel::Stdin) => stdin = None,
                    channel::Message::Close(number) if is(number, Channel::Resize) => resize = None,
                    _ => {}
                }
            }
        };
        tokio::pin!(read);
        tokio::select! {
            () = &mut read => {}
            () = activity.idle() => {}
            // What the client still sends is read, or the kernel would cut off what it has not read yet itself.
            _ = &mut kept => drop(timeout(transport::LINGER, &mut read).await),
        }
    });
    let writer = |channel: Channel| Writer::Channel { socket: socket.clone(), number: channel.number() };
    Streams {
        stdin: wants_stdin.then_some(input),
        resize: terminal.then_some(sizes),
        stdout: wants_stdout.then(|| writer(Channel::Stdout)),
        stderr: wants_stderr.then(|| writer(Channel::Stderr)),
        error: ErrorWriter { writer: writer(Channel::Error), form: ErrorForm::Status },
        gone,
        _keeps: Keeps::WebSocket(keeps),
    }
}

impl Streams {
    /// Joins them with a process until it has ended and everything has been said, or the client is gone.
    pub(super) async fn carry(mut self, executing: Executing) {
        match executing.io {
            ExecIo::Pipes { stdin, stdout, stderr } => {
                if let (Some(mut from), Some(mut to)) = (self.stdin.take(), stdin) {
                    tokio::spawn(async move {
                        while let Some(bytes) = from.recv().await {
                            if to.write_all(&bytes).await.is_err() {
                                break;
                            }
                        }
                    });
                }
                let shown = async {
                    tokio::join!(show(stdout, self.stdout.as_ref()), show(stderr, self.stderr.as_ref()));
                };
                tokio::select! {
                    () = shown => {}
                    _ = &mut self.gone => return,
                }
            }
            ExecIo::Terminal(terminal) => self.carry_terminal(&terminal).await,
        }
        let ended = tokio::select! {
            ended = executing.exit => ended,
            _ = &mut self.gone => return,
        };
        let outcome = match ended {
            Ok(Ok(code)) => Outcome::Exited(code),
            Ok(Err(message)) => Outcome::Failed(message),
            Err(_) => Outcome::Failed("the agent ends".to_owned()),
        };
        self.end(&outcome).await;
    }

    /// Joins them with a container's own program until that has ended or lets go of the client, or the client is gone.
    pub(super) async fn attach(mut self, attached: Attached) {
        let Attached { mut input, mut output } = attached;
        let (stdin, resize) = (self.stdin.take(), self.resize.take());
        let said = async {
            // An error here is the end of the output too.
            let _ = say(stdin, resize, &mut input).await;
            std::future::pending::<()>().await;
        };
        let shown = async {
            while let Ok(Some(piece)) = output.next().await {
                let (writer, bytes) = match piece {
                    Piece::Output(bytes) => (&self.stdout, bytes),
                    Piece::Error(bytes) => (&self.stderr, bytes),
                };
                let Some(writer) = writer else { continue };
                if writer.write(bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = shown => {}
            () = said => {}
            _ = &mut self.gone => return,
        }
        self.end(&Outcome::Exited(0)).await;
    }

    async fn carry_terminal(&mut self, terminal: &Terminal) {
        let (stdin, resize) = (self.stdin.take(), self.resize.take());
        let typed = async {
            let Some(mut stdin) = stdin else { return };
            while let Some(bytes) = stdin.recv().await {
                if terminal.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        };
        let resized = async {
            let Some(mut resize) = resize else { return };
            let mut begun = Vec::new();
            while let Some(bytes) = resize.recv().await {
                for size in sizes(&mut begun, &bytes) {
                    let _ = terminal.resize(size.width, size.height);
                }
            }
        };
        let shown = async {
            let mut piece = vec![0; PIECE];
            while let Ok(length) = terminal.read(&mut piece).await {
                let Some(stdout) = self.stdout.as_ref().filter(|_| length > 0) else { break };
                if stdout.write(Bytes::copy_from_slice(&piece[..length])).await.is_err() {
                    break;
                }
            }
        };
        let said = async {
            tokio::join!(typed, resized);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = shown => {}
            () = said => {}
            _ = &mut self.gone => {}
        }
    }

    /// Tells how it ended, and ends the streams.
    pub(super) async fn end(&self, outcome: &Outcome) {
        let said = match self.error.form {
            ErrorForm::Status => status(outcome).to_string(),
            ErrorForm::Text => outcome.text(),
        };
        if !said.is_empty() {
            let _ = self.error.writer.write(said.into()).await;
        }
        for writer in [Some(&self.error.writer), self.stdout.as_ref(), self.stderr.as_ref()].into_iter().flatten() {
            writer.finish().await;
        }
        if let Writer::Channel { socket, .. } = &self.error.writer {
            socket.finish().await;
        }
    }
}

/// A process's output, to its end or the client's.
async fn show(from: Option<impl AsyncRead + Unpin>, to: Option<&Writer>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut piece = vec![0; PIECE];
    while let Ok(length) = from.read(&mut piece).await {
        if length == 0 || to.write(Bytes::copy_from_slice(&piece[..length])).await.is_err() {
            return;
        }
    }
}

/// Passes on what a client types, and the sizes of his terminal, until there is neither.
async fn say(
    mut stdin: Option<mpsc::Receiver<Bytes>>,
    mut resize: Option<mpsc::Receiver<Bytes>>,
    to: &mut AttachedInput,
) -> io::Result<()> {
    async fn next(from: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
        match from {
            Some(from) => from.recv().await,
            None => std::future::pending().await,
        }
    }
    let mut begun = Vec::new();
    if stdin.is_some() {
        to.write(&[]).await?;
    }
    while stdin.is_some() || resize.is_some() {
        tokio::select! {
            typed = next(&mut stdin) => match typed {
                Some(bytes) => to.write(&bytes).await?,
                None => {
                    stdin = None;
                    to.end().await?;
                }
            },
            told = next(&mut resize) => match told {
                Some(bytes) => {
                    for size in sizes(&mut begun, &bytes) {
                        to.resize(size.width, size.height).await?;
                    }
                }
                None => resize = None,
            },
        }
    }
    Ok(())
}

/// The sizes in a stream of JSON objects; what is not whole yet stays in `begun`, within bounds.
fn sizes(begun: &mut Vec<u8>, bytes: &[u8]) -> Vec<Size> {
    const LONGEST: usize = 1024;
    begun.extend_from_slice(bytes);
    let mut found = serde_json::Deserializer::from_slice(begun).into_iter::<Size>();
    let sizes = found.by_ref().map_while(Result::ok).collect();
    let read = found.byte_offset();
    begun.drain(..read);
    if begun.len() > LONGEST {
        begun.clear();
    }
    sizes
}

impl Outcome {
    fn text(&self) -> String {
        match self {
            Self::Exited(0) => String::new(),
            Self::Exited(code) => format!("command terminated with non-zero exit code: exit status {code}"),
            Self::Failed(message) => message.clone(),
        }
    }
}

/// As `kubectl` reads the exit code from it.
fn status(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        Outcome::Exited(code) => json!({
            "metadata": {}, "status": "Failure", "message": outcome.text(), "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Outcome::Failed(message) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("Internal error occurred: error executing command in container: {message}"),
            "details": {"causes": [{"message": message}]},
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_in_the_status() {
        let code = |outcome| status(&outcome)["details"]["causes"][0]["message"].as_str().map(str::to_owned);
        assert_eq!(code(Outcome::Exited(3)).as_deref(), Some("3"));
        assert_eq!(status(&Outcome::Exited(0))["status"], "Success");
        assert_eq!(code(Outcome::Failed("no such program".into())).as_deref(), Some("no such program"));
        assert_eq!(Outcome::Exited(0).text(), "");
    }

    #[test]
    fn sizes_come_whole_or_in_parts() {
        let mut begun = Vec::new();
        let mut check = |bytes: &str, expected: &[(u16, u16)]| {
            let found = sizes(&mut begun, bytes.as_bytes());
            assert_eq!(found.iter().map(|size| (size.width, size.height)).collect::<Vec<_>>(), expected, "{bytes}");
        };
        check("{\"Width\":80,\"Height\":24}\n", &[(80, 24)]);
        check("{\"Width\":1,\"Height\":2}{\"Width\":3,\"Hei", &[(1, 2)]);
        check("ght\":4}", &[(3, 4)]);
        check(&"x".repeat(5000), &[]);
        check("{\"Width\":5,\"Height\":6}", &[(5, 6)]);
    }
}

//! `stead exec POD -- CMD`: a command in a container, with this process's standard streams, and its exit code. `stead attach POD`:
//! the same with the container's own program.

use std::{
    io::{self, Read as _, Write},
    thread,
};

use bytes::Bytes;
use clap::Args;
use serde_json::Value;
use stead_streams::spdy::Headers;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    api::{Api, escape},
    connection::Connection,
    duration::Span,
    error::VerbError,
    kinds::Kinds,
    pods,
    streaming::{self, PIECE, Stream, StreamWriter},
    terminal,
};

/// The version whose end is told as a Status.
const PROTOCOL: &str = "v4.channel.k8s.io";

/// Which container, and whether it gets standard input.
#[derive(Debug, Args)]
struct Target {
    /// POD, or TYPE/NAME of what has pods: its first one is taken
    #[arg(value_name = "POD")]
    pod: String,
    /// The container (default: the first)
    #[arg(long, short)]
    container: Option<String>,
    /// Pass standard input on
    #[arg(long, short = 'i')]
    stdin: bool,
    /// Show nothing but what comes from there
    #[arg(long, short)]
    quiet: bool,
    /// With TYPE/NAME: how long to wait for a pod, as 20s or 5m
    #[arg(long, value_name = "TIME", default_value = "1m0s")]
    pod_running_timeout: Span,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    target: Target,
    /// Give the command a terminal, when standard input is one
    #[arg(long, short)]
    tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Which streams there are besides output and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    None,
    Pipe,
    Terminal,
}

#[derive(Debug, Args)]
pub struct AttachArgs {
    #[command(flatten)]
    target: Target,
    /// Standard input is a terminal
    #[arg(long, short)]
    tty: bool,
}

/// How somebody wants to be joined with a container's own program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
    pub(crate) quiet: bool,
}

pub(crate) async fn run(args: &ExecArgs) -> Result<(), VerbError> {
    let Place { api, path, container, .. } = place(&args.target, "exec into").await?;
    let input = input(args.target.stdin, args.tty, args.target.quiet);
    let path = format!("{path}/exec?{}", query(&args.command, container.as_deref(), input));
    outcome(&join(&api, &path, input).await?)
}

pub(crate) async fn attach(args: &AttachArgs) -> Result<(), VerbError> {
    let Place { api, pod, container, .. } = place(&args.target, "attach a container in").await?;
    let wishes = Wishes { stdin: args.target.stdin, tty: args.tty, quiet: args.target.quiet };
    join_program(&api, &pod, container.as_deref(), wishes).await
}

/// Joins this process's streams with those of a container's own program, until that ends or standard input does.
pub(crate) async fn join_program(
    api: &Api,
    pod: &Value,
    container: Option<&str>,
    wishes: Wishes,
) -> Result<(), VerbError> {
    let name = container.unwrap_or_default();
    let mut containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let has_terminal = containers.any(|one| one["name"] == name && one["tty"] == true);
    if wishes.tty && !has_terminal && !wishes.quiet {
        eprintln!("error: Unable to use a TTY - container {name} did not allocate one");
    }
    let input = input(wishes.stdin, has_terminal, wishes.quiet);
    if !wishes.quiet {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    let path = format!("{}/attach?{}", path_of(api, pod), query(&[], container, input));
    let said = join(api, &path, input).await?;
    // Who attaches is told nothing when the program ends well.
    if !said.is_empty() {
        outcome(&said)?;
    }
    if input == Input::Terminal && !wishes.quiet && pod["spec"]["restartPolicy"] == "Always" {
        let pod = stead_api::meta::name(pod);
        println!("Session ended, resume using 'stead attach {pod} -c {name} -i -t' command when the pod is running");
    }
    Ok(())
}

/// The pod, its path, and the container in it.
struct Place {
    api: Api,
    pod: Value,
    path: String,
    container: Option<String>,
}

async fn place(target: &Target, what: &str) -> Result<Place, VerbError> {
    let api = target.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let pod = pods::find(&api, &kinds, &target.pod, target.pod_running_timeout).await?;
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        let place = if what.ends_with("in") { "a completed pod" } else { "a container in a completed pod" };
        return Err(VerbError::Remote(format!("cannot {what} {place}; current phase is {phase}")));
    }
    let container = target.container.clone().or_else(|| pods::default_container(&pod));
    let path = path_of(&api, &pod);
    Ok(Place { api, pod, path, container })
}

fn path_of(api: &Api, pod: &Value) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", api.namespace, stead_api::meta::name(pod))
}

/// Joins this process's streams with the far ones, and returns what was said at the end.
async fn join(api: &Api, path: &str, input: Input) -> Result<Vec<u8>, VerbError> {
    let connection = streaming::open(api, path, PROTOCOL).await?;
    let stream = |kind: &'static str| connection.stream(Headers::new([("streamtype", kind)]));
    let mut end = stream("error").await?;
    let stdin = if input == Input::None { None } else { Some(stream("stdin").await?) };
    let stdout = stream("stdout").await?;
    let stderr = if input == Input::Terminal { None } else { Some(stream("stderr").await?) };
    let resize = if input == Input::Terminal { Some(stream("resize").await?) } else { None };
    let raw = if input == Input::Terminal { Some(terminal::Raw::new()?) } else { None };
    if let Some(resize) = resize {
        tokio::spawn(tell_sizes(resize.writer));
    }
    if let Some(stdin) = stdin {
        tokio::spawn(pass_on(stdin.writer));
    }
    let errors = async {
        match stderr {
            Some(stderr) => copy(stderr, io::stderr()).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(copy(stdout, io::stdout()), errors)?;
    let mut said = Vec::new();
    while let Some(bytes) = end.reader.recv().await {
        said.extend_from_slice(&bytes);
    }
    drop(raw);
    Ok(said)
}

fn input(stdin: bool, tty: bool, quiet: bool) -> Input {
    match (stdin, tty) {
        (false, _) => Input::None,
        (true, false) => Input::Pipe,
        (true, true) if terminal::is_at_stdin() => Input::Terminal,
        (true, true) => {
            if !quiet {
                eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
            }
            Input::Pipe
        }
    }
}

fn query(command: &[String], container: Option<&str>, input: Input) -> String {
    let mut parts: Vec<String> = command.iter().map(|word| format!("command={}", escape(word))).collect();
    parts.extend(container.map(|name| format!("container={}", escape(name))));
    parts.extend((input != Input::None).then(|| "stdin=true".to_owned()));
    parts.push("stdout=true".to_owned());
    parts.push(if input == Input::Terminal { "tty=true" } else { "stderr=true" }.to_owned());
    parts.join("&")
}

/// Standard input, to its end. It is read by a thread of its own: a read under way ends with the process only.
async fn pass_on(writer: StreamWriter) {
    let (queue, mut pieces) = mpsc::channel::<Bytes>(1);
    thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = io::stdin().read(&mut piece) {
            if queue.blocking_send(Bytes::copy_from_slice(&piece[..length])).is_err() {
                return;
            }
        }
    });
    while let Some(bytes) = pieces.recv().await {
        if writer.write(bytes).await.is_err() {
            return;
        }
    }
    writer.finish().await;
}

/// The terminal's size, now and whenever it changes.
async fn tell_sizes(writer: StreamWriter) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Some(size) = terminal::size()
            && writer.write(size.into()).await.is_err()
        {
            return;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

async fn copy(mut stream: Stream, mut to: impl Write) -> io::Result<()> {
    while let Some(bytes) = stream.reader.recv().await {
        to.write_all(&bytes)?;
        to.flush()?;
    }
    Ok(())
}

/// Reads the Status that a command ends with.
fn outcome(said: &[u8]) -> Result<(), VerbError> {
    if said.is_empty() {
        return Err(VerbError::Remote("the connection ended before the command did".to_owned()));
    }
    let Ok(status) = serde_json::from_slice::<Value>(said) else {
        return Err(VerbError::Remote(String::from_utf8_lossy(said).into_owned()));
    };
    if status["status"] == "Success" {
        return Ok(());
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code = causes.filter(|cause| cause["reason"] == "ExitCode").find_map(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse::<i32>().ok()) {
        // What a process can exit with is a byte here.
        Some(code) => Err(VerbError::Exited(u8::try_from(code).unwrap_or(u8::MAX))),
        None => Err(VerbError::Remote(status["message"].as_str().unwrap_or("error stream protocol error").to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_asked_for_word_by_word() {
        let check = |words: &[&str], container, input, expect: &str| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(query(&words, container, input), expect);
        };
        check(&["ls"], None, Input::None, "command=ls&stdout=true&stderr=true");
        check(
            &["sh", "-c", "a & b"],
            Some("main"),
            Input::Pipe,
            "command=sh&command=-c&command=a%20%26%20b&container=main&stdin=true&stdout=true&stderr=true",
        );
        check(&["sh"], None, Input::Terminal, "command=sh&stdin=true&stdout=true&tty=true");
    }

    #[test]
    fn ends_are_told_as_kubectl_tells_them() {
        let check = |said: &str, expect: Option<(&str, Option<u8>)>| {
            let found = outcome(said.as_bytes()).err().map(|error| {
                let code = if let VerbError::Exited(code) = error { Some(code) } else { None };
                (error.to_string(), code)
            });
            assert_eq!(found, expect.map(|(text, code)| (text.to_owned(), code)), "{said}");
        };
        check(r#"{"status":"Success"}"#, None);
        check(
            r#"{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",
                "details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#,
            Some(("command terminated with exit code 7", Some(7))),
        );
        check(
            r#"{"status":"Failure","reason":"InternalError","message":"Internal error occurred: no such file"}"#,
            Some(("error: Internal error occurred: no such file", None)),
        );
        check("plain text", Some(("error: plain text", None)));
        check("", Some(("error: the connection ended before the command did", None)));
    }
}

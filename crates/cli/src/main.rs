//! The binary `stead`: reads arguments and environment, and wires the crates together.

mod args;
mod check;
mod complete;
mod config;
mod console;
mod credentials;
mod down;
mod exec_node;
mod image;
mod log;
mod manual;
mod node;
mod proxy;
mod rights;
mod server;
mod store;
mod up;

use std::{env, io, io::Write as _, path::Path, process::ExitCode};

use clap::Parser;

use self::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A shim stays as small as it can: it needs neither the argument parser nor anything else of this program.
    let mut words = env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "shim")
        && let Some(directory) = words.next()
    {
        return stead_node::shim::main(Path::new(&directory));
    }
    if cfg!(target_feature = "crt-static") {
        stead_sys::names::look_up_by_files_and_dns();
    }
    if env::args_os().nth(1).is_some_and(|word| word == "__complete") {
        return complete::run(&env::args_os().skip(2).collect::<Vec<_>>());
    }
    let cli = match Cli::try_parse_from(args::verb_first(env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => {
            // Whoever closed the stream that it goes to wants no more of it.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            console::complain(&format!("stead: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Client(verb) => return Ok(stead_verbs::run(&verb)),
        Command::Up(args) => return up::run(&args),
        Command::Down(args) => down::run(&args),
        Command::ExecNode(args) => exec_node::run(args),
        Command::Image(args) => image::run(&args),
        Command::Server(args) => server::run(&args),
        Command::Credentials(args) => credentials::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Node(args) => node::run(&args),
        Command::Proxy(args) => proxy::run(args),
        Command::Check(args) => return check::run(&args),
        Command::Completion { shell } => Ok(io::stdout().write_all(shell.script().as_bytes())?),
        Command::Man { directory } => manual::write_pages(&directory),
        Command::Anchor { lab } => Ok(stead_lab::anchor::run(&lab)?),
        Command::Relay { socket } => Ok(stead_dataplane::userspace::keep(&socket)?),
        Command::Shim { directory } => {
            let _ = stead_node::shim::main(&directory);
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

//! The command line of `stead proxy`: one flag for each row of the table, so that help, completion and man pages have it too.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};

use super::{
    said::Said,
    table::{ROWS, Row, Verdict},
    value::Form,
};

#[derive(Clone, Debug)]
pub(crate) struct ProxyArgs {
    pub(crate) config: Option<PathBuf>,
    pub(crate) said: Said,
}

const CONFIG: &str = "config";

impl Args for ProxyArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .overrides_with(CONFIG)
            .help("A KubeProxyConfiguration, which counts more than flags, or a YAML file of ours, whose sections `proxy` and `server` count less");
        let version = Arg::new("version").long("version").action(ArgAction::Version).help("Print version");
        let command = command.version(env!("CARGO_PKG_VERSION")).disable_version_flag(true);
        ROWS.iter()
            .filter(|row| row.is_flag())
            .fold(command.arg(config), |command, row| command.arg(argument(row)))
            .arg(version)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(row: &Row) -> Arg {
    let mut help = row.help.to_owned();
    if !row.default.is_empty() && row.default != "false" {
        help += &format!(" (default {})", row.default);
    }
    if let Verdict::Ignored(why) = row.verdict {
        help += &format!("; without effect: {why}");
    }
    let argument = Arg::new(row.name).value_name(row.form.word()).help(help).action(ArgAction::Append);
    let argument = match row.name {
        "v" => argument.short('v').long("v"),
        name => argument.long(name),
    };
    // kube-proxy takes underscores for dashes.
    let argument = if row.name.contains('-') { argument.alias(row.name.replace('-', "_")) } else { argument };
    if row.form == Form::Switch {
        argument.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        argument.num_args(1).allow_hyphen_values(true)
    }
}

impl FromArgMatches for ProxyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut said = Said::default();
        for row in ROWS.iter().filter(|row| row.is_flag()) {
            let Some(mut texts) = matches.get_many::<String>(row.name) else { continue };
            let text = match row.form.is_list() {
                true => texts.cloned().collect::<Vec<_>>().join(","),
                false => texts.next_back().cloned().unwrap_or_default(),
            };
            said.say(row, text.clone()).map_err(|problem| {
                let text = format!("invalid value {text:?} for --{}: {problem}\n", row.name);
                clap::Error::raw(ErrorKind::ValueValidation, text)
            })?;
        }
        Ok(Self { config: matches.get_one(CONFIG).cloned(), said })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<ProxyArgs, clap::Error> {
        let words = ["stead", "proxy"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        match Cli::try_parse_from(words)?.command {
            Command::Proxy(args) => Ok(args),
            command => panic!("{command:?}"),
        }
    }

    #[test]
    fn flags_are_taken_as_kube_proxy_takes_them() {
        let check = |line: &str, name: &str, expect: &str| {
            let args = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(args.said.get(name), Some(expect), "{line}");
        };
        check("--masquerade-all", "masquerade-all", "true");
        check("--masquerade-all=false", "masquerade-all", "false");
        check("--masquerade_all", "masquerade-all", "true");
        check("--oom-score-adj -5", "oom-score-adj", "-5");
        check("--oom-score-adj=-5 --oom-score-adj=7", "oom-score-adj", "7");
        check(
            "--nodeport-addresses 10.0.0.0/8 --nodeport-addresses=fd00::/8,127.0.0.0/8",
            "nodeport-addresses",
            "10.0.0.0/8,fd00::/8,127.0.0.0/8",
        );
        check("-v=4", "v", "4");
        check("-v 4", "v", "4");
        check("--v=4", "v", "4");
        check("--metrics-bind-address=", "metrics-bind-address", "");
        check("--ipvs-scheduler=rr", "ipvs-scheduler", "rr");
        assert_eq!(parse("--config a.yaml").unwrap().config, Some("a.yaml".into()));
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        let check = |line: &str, expect: &str| {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.contains(expect), "{line}: {text}");
        };
        check("--proxy-ports=1-2", "unexpected argument '--proxy-ports'");
        check(
            "--oom-score-adj=2000",
            "invalid value \"2000\" for --oom-score-adj: must be within the range [-1000, 1000]",
        );
        check("--detect-local-mode=Cidr", "must be one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix");
        check("--config-sync-period=0s", "must be greater than 0");
        check("something", "unexpected argument 'something'");
        assert_eq!(parse("--version").unwrap_err().kind(), ErrorKind::DisplayVersion);
    }
}

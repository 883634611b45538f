//! Every flag of kubectl 1.32 is a flag of the same verb here, or stands in the table of `docs/compatibility.md` with the reason why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use crate::lab::{ok, run, stead};

const MINOR: &str = "32";
const TABLE: &str = include_str!("../../../../docs/compatibility.md");
const HEADING: &str = "### Flags of kubectl";

/// Verbs of both, with their subcommands.
const VERBS: &[&str] = &[
    "annotate",
    "api-resources",
    "api-versions",
    "apply",
    "attach",
    "auth can-i",
    "auth whoami",
    "cluster-info",
    "cordon",
    "create",
    "create configmap",
    "create deployment",
    "create namespace",
    "create secret docker-registry",
    "create secret generic",
    "create secret tls",
    "create service clusterip",
    "create service externalname",
    "create service loadbalancer",
    "create service nodeport",
    "create serviceaccount",
    "create token",
    "delete",
    "describe",
    "diff",
    "drain",
    "edit",
    "events",
    "exec",
    "explain",
    "expose",
    "get",
    "label",
    "logs",
    "patch",
    "port-forward",
    "replace",
    "rollout history",
    "rollout pause",
    "rollout restart",
    "rollout resume",
    "rollout status",
    "rollout undo",
    "run",
    "scale",
    "set env",
    "set image",
    "set selector",
    "uncordon",
    "version",
    "wait",
];

/// Flags by their long names, with the letter where there is one.
type Flags = BTreeMap<String, Option<char>>;

/// Lines such as `  -n, --namespace='':` or `      --namespace <NAMESPACE>`.
fn flags(help: &str) -> Flags {
    let flag = |line: &str| {
        let line = line.trim_start();
        let (letter, long) = match line.strip_prefix('-')?.split_once(", --") {
            Some((letter, long)) if letter.len() == 1 => (letter.chars().next(), long),
            _ => (None, line.strip_prefix("--")?),
        };
        let end = long.find(|one: char| !one.is_ascii_alphanumeric() && one != '-').unwrap_or(long.len());
        Some((long[..end].to_owned(), letter))
    };
    help.lines().filter(|line| line.starts_with(' ')).filter_map(flag).collect()
}

fn help(mut command: Command, words: &str) -> Flags {
    command.args(words.split(' '));
    flags(&ok(words, run(command, "")))
}

/// Pairs of a verb, or `all`, and a flag that the table names.
fn table() -> BTreeSet<(String, String)> {
    let (_, rest) = TABLE.split_once(HEADING).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let pairs = rows.skip(2).flat_map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let (verbs, flags) = (quoted(cells[1]), quoted(cells[2]));
        let verbs = if verbs.is_empty() { vec!["all".to_owned()] } else { verbs };
        verbs.into_iter().flat_map(move |verb| {
            flags.clone().into_iter().map(move |flag| (verb.clone(), flag.trim_start_matches('-').to_owned()))
        })
    });
    pairs.collect()
}

#[test]
fn every_flag_of_kubectl_is_here_or_in_the_table() {
    let mut version = Command::new("kubectl");
    version.args(["version", "--client", "-o", "json"]);
    let version: serde_json::Value = serde_json::from_str(&ok("version", run(version, ""))).unwrap();
    if version["clientVersion"]["minor"].as_str().unwrap_or_default().trim_end_matches('+') != MINOR {
        eprintln!("kubectl is not 1.{MINOR}, whose flags these are: nothing compared");
        return;
    }
    let table = table();
    let mut needed = BTreeSet::new();
    let mut problems = Vec::new();
    let mut check = |verb: &str, theirs: &Flags, ours: &Flags| {
        for (flag, letter) in theirs {
            let rows = [verb, "all"].map(|verb| (verb.to_owned(), flag.clone()));
            match ours.get(flag) {
                Some(own) if letter.is_none() || own == letter => {}
                Some(own) => problems.push(format!("{verb} --{flag}: -{letter:?} is {own:?}")),
                None => match rows.into_iter().find(|row| table.contains(row)) {
                    Some(row) => drop(needed.insert(row)),
                    None => problems.push(format!("{verb} --{flag}")),
                },
            }
        }
    };
    for verb in VERBS {
        check(
            verb,
            &help(Command::new("kubectl"), &format!("{verb} --help")),
            &help(stead(), &format!("{verb} --help")),
        );
    }
    check("get", &help(Command::new("kubectl"), "options"), &help(stead(), "get --help"));
    assert!(problems.is_empty(), "neither here nor in the table:\n{}", problems.join("\n"));
    let idle: Vec<_> = table.difference(&needed).collect();
    assert!(idle.is_empty(), "in the table and not needed there: {idle:?}");
}

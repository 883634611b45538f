//! Runs the transcripts under `testdata`: what happens in a cluster, and every write and event that follows.
//!
//! A transcript is a list of steps, each of them a command, what it is given (YAML), `----`, and what follows from it.
//! `STEAD_REWRITE=1 cargo test -p stead-controllers transcripts` writes what follows anew; read the difference.

use std::{fmt::Write as _, fs, path::Path};

use jiff::SignedDuration;
use serde_json::Value;
use stead_api::snapshot::Kind;
use stead_client::write::Propagation;
use stead_model::ObjectKey;

use crate::{
    work::Work,
    world::{World, text},
};

struct Step {
    /// Comment lines before the command, kept as they are.
    comment: String,
    command: String,
    input: String,
    output: String,
}

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let before = fs::read_to_string(&file).unwrap();
        let after = run(&before);
        if std::env::var_os("STEAD_REWRITE").is_some() {
            fs::write(&file, &after).unwrap();
        } else if before != after {
            wrong.push(format!("{}:\n{}", file.display(), first_difference(&before, &after)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(transcript: &str) -> String {
    let (mut world, mut text) = (World::new(), String::new());
    for mut step in parse(transcript) {
        world.log.clear();
        carry_out(&mut world, &step);
        step.output = world.log.iter().map(|line| format!("{line}\n")).collect();
        let Step { comment, command, input, output } = step;
        write!(text, "{comment}{command}\n{input}----\n{output}\n").unwrap();
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn parse(transcript: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = transcript.lines().peekable();
    while lines.peek().is_some() {
        let mut comment = String::new();
        while let Some(line) = lines.next_if(|line| line.is_empty() || line.starts_with('#')) {
            comment += &if line.is_empty() { String::new() } else { format!("{line}\n") };
        }
        let Some(command) = lines.next() else { break };
        let take_until = |lines: &mut std::iter::Peekable<std::str::Lines<'_>>, end: &str| {
            let taken = lines.by_ref().take_while(|line| *line != end);
            taken.map(|line| format!("{line}\n")).collect::<String>()
        };
        let input = take_until(&mut lines, "----");
        let output = take_until(&mut lines, "");
        steps.push(Step { comment, command: command.to_owned(), input, output });
    }
    steps
}

fn carry_out(world: &mut World, step: &Step) {
    let words: Vec<&str> = step.command.split_whitespace().collect();
    match words[..] {
        ["only", "workloads"] => {
            world.only =
                |work| matches!(work, Work::Deployment(_) | Work::ReplicaSet(_) | Work::ReplicationController(_))
        }
        ["only", "endpoints"] => {
            world.only = |work| matches!(work, Work::Endpoints(_) | Work::EndpointSlices(_) | Work::EndpointMirror(_));
        }
        ["only", "slices"] => world.only = |work| matches!(work, Work::EndpointSlices(_)),
        ["only", "scheduler"] => world.only = |work| matches!(work, Work::Schedule),
        ["only", "nodes"] => world.only = |work| matches!(work, Work::Node(_)),
        ["only", "service-cidrs"] => world.only = |work| matches!(work, Work::ServiceCidr(_)),
        ["only", "namespaces"] => world.only = |work| matches!(work, Work::Namespace(_) | Work::Garbage(..)),
        ["put"] => {
            let objects: Vec<Value> = serde_saphyr::from_multiple(&step.input).unwrap();
            objects.into_iter().for_each(|object| world.put(object));
        }
        ["delete", kind, name] => world.delete(parse_kind(kind), &parse_key(name), None, Propagation::Background),
        ["delete", kind, name, "foreground"] => {
            world.delete(parse_kind(kind), &parse_key(name), None, Propagation::Foreground);
        }
        ["delete", kind, name, "orphan"] => world.delete(parse_kind(kind), &parse_key(name), None, Propagation::Orphan),
        ["place"] => {
            for key in world.pods(|pod| pod.pointer("/spec/nodeName").is_none()) {
                world.edit(Kind::Pod, &key, |pod| pod["spec"]["nodeName"] = "node1".into());
            }
        }
        ["start"] => world.start_pods(),
        ["end"] => world.end_pods(),
        ["unready", name] => world.edit(Kind::Pod, &parse_key(name), |pod| {
            pod["status"]["conditions"][0]["status"] = "False".into();
        }),
        ["wait", seconds] => world.wait(SignedDuration::from_secs(seconds.parse().unwrap())),
        ["show", kind] => {
            let all = world.all(parse_kind(kind)).map(|(key, object)| format!("{key} {}", summary(object)));
            world.log = all.collect();
            return;
        }
        _ => panic!("no command {:?}", step.command),
    }
    world.settle();
}

fn summary(object: &Value) -> String {
    let phase = text(object, "/status/phase");
    let spec = object.pointer("/spec/replicas").map(|replicas| format!("replicas={replicas}"));
    let status = object.get("status").filter(|_| phase.is_empty()).map(ToString::to_string);
    [Some(phase.to_owned()), spec, status].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn parse_kind(name: &str) -> Kind {
    Kind::ALL.iter().copied().find(|kind| kind.name() == name).unwrap_or_else(|| panic!("no kind {name}"))
}

fn parse_key(text: &str) -> ObjectKey {
    match text.split_once('/') {
        Some((namespace, name)) => ObjectKey::new(namespace, name),
        None => ObjectKey::cluster(text),
    }
}

fn first_difference(before: &str, after: &str) -> String {
    let mut pairs = before.lines().zip(after.lines()).enumerate();
    match pairs.find(|(_, (before, after))| before != after) {
        Some((number, (before, after))) => format!("line {}\n- {before}\n+ {after}", number + 1),
        None => "one is longer than the other".to_owned(),
    }
}

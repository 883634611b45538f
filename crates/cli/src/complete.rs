//! Shell completion: `stead __complete WORDS…` says what may stand in the place of the last word, which may be empty.
//!
//! Verbs, flags and values are those of the definitions that arguments are read by; what only a server knows, such as kinds and names of
//! objects, is `stead_verbs::completion`'s. The scripts for shells do nothing but ask.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Arg, Command, CommandFactory as _, ValueEnum};
use stead_verbs::completion::{Line, Place};

use crate::args::{BEFORE_VERBS, Cli};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("complete/stead.bash"),
            Self::Zsh => include_str!("complete/stead.zsh"),
            Self::Fish => include_str!("complete/stead.fish"),
        }
    }
}

/// What may stand there: words, and what each means.
#[derive(Debug, Default)]
struct Answer {
    candidates: Vec<(String, String)>,
    spacing: Spacing,
    files: Files,
}

/// What follows a candidate that the shell puts there.
#[derive(Clone, Copy, Debug, Default)]
enum Spacing {
    #[default]
    Blank,
    Nothing,
}

/// Whether names of files may stand there too.
#[derive(Clone, Copy, Debug, Default)]
enum Files {
    #[default]
    No,
    Yes,
}

/// Prints what may stand in the place of the last of `words`, which follow the program's name.
pub(crate) fn run(words: &[OsString]) -> ExitCode {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (current, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let answer = answer(before, current);
    let number = match answer.spacing {
        Spacing::Blank => 0,
        Spacing::Nothing => 2,
    } + match answer.files {
        Files::Yes => 0,
        Files::No => 4,
    };
    let mut text = String::new();
    for (word, meaning) in answer.candidates {
        let meaning = if meaning.is_empty() { meaning } else { format!("\t{meaning}") };
        text.push_str(&format!("{word}{meaning}\n"));
    }
    match writeln!(io::stdout(), "{text}:{number}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(before: &[String], current: &str) -> Answer {
    let mut root = Cli::command();
    root.build();
    let mut read = Read::new(&root);
    before.iter().for_each(|word| read.word(word));
    read.complete(current)
}

/// The words before the cursor, as far as they say what stands there.
struct Read<'a> {
    command: &'a Command,
    /// The subcommands, `rollout status`.
    verb: Vec<String>,
    words: Vec<String>,
    flags: BTreeMap<String, Vec<String>>,
    /// The flag whose value is the next word.
    awaited: Option<String>,
    /// Behind `--`.
    is_over: bool,
}

impl<'a> Read<'a> {
    fn new(command: &'a Command) -> Self {
        let (verb, words, flags) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { command, verb, words, flags, awaited: None, is_over: false }
    }

    fn word(&mut self, word: &str) {
        if let Some(flag) = self.awaited.take() {
            self.flags.entry(flag).or_default().push(word.to_owned());
        } else if self.is_over {
            self.words.push(word.to_owned());
        } else if word == "--" {
            self.is_over = true;
        } else if let Some(long) = word.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) => self.flags.entry(name.to_owned()).or_default().push(value.to_owned()),
                None if self.has_value(long) => self.awaited = Some(long.to_owned()),
                None => {}
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            self.letters(letters);
        } else if let Some(next) = self.command.find_subcommand(word).filter(|_| self.words.is_empty()) {
            self.command = next;
            self.verb.push(next.get_name().to_owned());
        } else {
            self.words.push(word.to_owned());
        }
    }

    /// Short flags that stand together; the first with a value has the rest for it, or the next word.
    fn letters(&mut self, letters: &str) {
        for (at, letter) in letters.char_indices() {
            let Some(name) = self.long_of(letter) else { continue };
            if !self.has_value(&name) {
                continue;
            }
            let rest = letters[at + letter.len_utf8()..].trim_start_matches('=');
            match rest {
                "" => self.awaited = Some(name),
                value => self.flags.entry(name).or_default().push(value.to_owned()),
            }
            return;
        }
    }

    fn long_of(&self, letter: char) -> Option<String> {
        let arg = self.command.get_arguments().find(|arg| arg.get_short() == Some(letter));
        let own = arg.and_then(Arg::get_long).map(str::to_owned);
        let known = [('n', "-n", "namespace"), ('s', "-s", "server")];
        let before = known.into_iter().find(|(one, short, _)| *one == letter && self.may_stand_before_verbs(short));
        own.or_else(|| before.map(|(.., long)| long.to_owned()))
    }

    fn may_stand_before_verbs(&self, flag: &str) -> bool {
        self.verb.is_empty() && BEFORE_VERBS.contains(&flag)
    }

    /// Whether the flag's value is the next word where none follows a `=`.
    fn has_value(&self, long: &str) -> bool {
        match self.flag(long) {
            Some(arg) => arg.get_action().takes_values() && !arg.is_require_equals_set(),
            None => self.may_stand_before_verbs(&format!("--{long}")),
        }
    }

    fn flag(&self, long: &str) -> Option<&'a Arg> {
        self.command.get_arguments().find(|arg| arg.get_long() == Some(long))
    }

    fn complete(self, current: &str) -> Answer {
        if let Some(flag) = &self.awaited {
            return self.flag_value(flag, "", current);
        }
        if self.is_over {
            return Answer { files: Files::Yes, ..Answer::default() };
        }
        if let Some((flag, value)) = current.strip_prefix("--").and_then(|long| long.split_once('=')) {
            return self.flag_value(flag, &format!("--{flag}="), value);
        }
        if current.starts_with('-') {
            return self.flag_names(current);
        }
        let mut answer = self.positional(current);
        if self.words.is_empty() {
            let shown = self.command.get_subcommands().filter(|one| !one.is_hide_set());
            let begun = shown.filter(|one| one.get_name().starts_with(current));
            answer.candidates.extend(begun.map(|one| (one.get_name().to_owned(), meaning(one.get_about()))));
        }
        answer
    }

    fn flag_names(&self, current: &str) -> Answer {
        let shown = self.command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional());
        let names = shown.flat_map(|arg| {
            let (long, short) = (arg.get_long(), arg.get_short());
            let names =
                long.map(|name| format!("--{name}")).into_iter().chain(short.map(|letter| format!("-{letter}")));
            names.map(|name| (name, meaning(arg.get_help())))
        });
        Answer { candidates: names.filter(|(name, _)| name.starts_with(current)).collect(), ..Answer::default() }
    }

    /// `kept` is what stands before the value in the same word.
    fn flag_value(&self, flag: &str, kept: &str, current: &str) -> Answer {
        let mut answer = match (self.flag(flag), Place::of_flag(flag)) {
            (_, Some(place)) => self.asked(place, current),
            (Some(arg), None) => values(arg, current),
            (None, None) => Answer::default(),
        };
        answer.candidates.iter_mut().for_each(|(word, _)| word.insert_str(0, kept));
        answer
    }

    fn positional(&self, current: &str) -> Answer {
        let positionals: Vec<&Arg> = self.command.get_positionals().filter(|arg| !arg.is_last_set()).collect();
        let takes_many = |arg: &&Arg| arg.get_num_args().is_some_and(|count| count.max_values() > 1);
        let arg = positionals.get(self.words.len()).or_else(|| positionals.last().filter(|arg| takes_many(arg)));
        let Some(arg) = arg else { return Answer::default() };
        let name = arg.get_value_names().and_then(<[_]>::first).map(|name| name.as_str());
        match name.and_then(Place::of_word) {
            Some(place) => self.asked(place, current),
            None => values(arg, current),
        }
    }

    fn asked(&self, place: Place, current: &str) -> Answer {
        let line = Line { verb: &self.verb, words: &self.words, flags: &self.flags };
        let candidates = stead_verbs::completion::candidates(place, &line, current);
        // What ends so goes on.
        let goes_on = !candidates.is_empty() && candidates.iter().all(|word| word.ends_with('/'));
        Answer {
            candidates: candidates.into_iter().map(|word| (word, String::new())).collect(),
            spacing: if goes_on { Spacing::Nothing } else { Spacing::Blank },
            files: Files::No,
        }
    }
}

/// The values that the definition names; else, where it is one, a file.
fn values(arg: &Arg, current: &str) -> Answer {
    let possible = arg.get_possible_values();
    let begun = possible.iter().filter(|one| !one.is_hide_set() && one.get_name().starts_with(current));
    let candidates = begun.map(|one| (one.get_name().to_owned(), meaning(one.get_help()))).collect();
    let name = arg.get_value_names().and_then(<[_]>::first).map_or(arg.get_id().as_str(), |name| name.as_str());
    let is_file = ["FILE", "DIR", "KEY=FILE", "archive", "directory"].iter().any(|one| one.eq_ignore_ascii_case(name));
    Answer { candidates, files: if is_file { Files::Yes } else { Files::No }, ..Answer::default() }
}

/// The first line of a help text.
fn meaning(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_flags_and_values_come_from_the_definitions() {
        let check = |line: &str, expect: &[&str], files: bool| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (current, before) = words.split_last().unwrap();
            let answer = answer(before, current);
            let found: Vec<&str> = answer.candidates.iter().map(|(word, _)| word.as_str()).collect();
            assert_eq!((found.as_slice(), matches!(answer.files, Files::Yes)), (expect, files), "{line}");
        };
        check("ge", &["get"], false);
        check("-n web ge", &["get"], false);
        check("rollout re", &["restart", "resume"], false);
        check("get --show-l", &["--show-labels"], false);
        check("delete --cascade ", &["background", "foreground", "orphan"], false);
        check("delete --cascade=f", &["--cascade=foreground"], false);
        check("patch --type ", &["json", "merge", "strategic"], false);
        check("apply -f ", &[], true);
        check("apply -Rf ", &[], true);
        check("apply --filename=x", &[], true);
        check("up --config ", &[], true);
        check("completion ", &["bash", "zsh", "fish"], false);
        check("exec pod -- ls ", &[], true);
        check("run x --restart O", &["OnFailure"], false);
        check("shim", &[], false);
        check("nonsense ", &[], false);
    }
}

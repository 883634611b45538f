//! Reads the table of facts beside this file. The table is part of the program, so a line it cannot read is a mistake that
//! the tests of this module find.

use std::collections::BTreeMap;

use super::{ListType, PatchStrategy};

const TABLE: &str = include_str!("marks.txt");

/// Facts of a definition.
#[derive(Debug, Default)]
pub(super) struct ObjectMarks {
    pub(super) atomic: bool,
    pub(super) fields: BTreeMap<&'static str, FieldMarks>,
}

/// Facts of a field.
#[derive(Debug, Default)]
pub(super) struct FieldMarks {
    pub(super) always: bool,
    pub(super) pointer: bool,
    pub(super) value: bool,
    pub(super) default: Option<&'static str>,
    pub(super) go_type: Option<&'static str>,
    pub(super) list: ListType,
    pub(super) atomic_map: bool,
    pub(super) patch: PatchStrategy,
    pub(super) merge_key: Option<&'static str>,
}

/// The facts by definition, and the lines that could not be read.
pub(super) fn parse() -> (BTreeMap<&'static str, ObjectMarks>, Vec<&'static str>) {
    let mut objects: BTreeMap<&'static str, ObjectMarks> = BTreeMap::new();
    let mut unread = Vec::new();
    let mut current = "";
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let read = if line.starts_with(' ') {
            let marks = objects.entry(current).or_default().fields.entry(name).or_default();
            words.all(|word| marks.read(word))
        } else {
            current = name;
            let object = objects.entry(current).or_default();
            words.all(|word| {
                object.atomic = word == "map=atomic";
                object.atomic
            })
        };
        if !read {
            unread.push(line);
        }
    }
    (objects, unread)
}

impl FieldMarks {
    fn read(&mut self, word: &'static str) -> bool {
        match word.split_once('=') {
            None if word == "always" => self.always = true,
            None if word == "pointer" => self.pointer = true,
            None if word == "value" => self.value = true,
            Some(("default", text)) => self.default = Some(text),
            Some(("go", name)) => self.go_type = Some(name),
            Some(("list", "atomic")) => self.list = ListType::Atomic,
            Some(("list", "set")) => self.list = ListType::Set,
            Some(("list", "map")) => self.list = ListType::Map(Vec::new()),
            Some(("keys", keys)) => self.list = ListType::Map(keys.split(',').map(str::to_owned).collect()),
            Some(("map", "atomic")) => self.atomic_map = true,
            Some(("patch", "merge")) => self.patch = PatchStrategy::Merge,
            Some(("patch", "retainKeys")) => self.patch = PatchStrategy::RetainKeys,
            Some(("patch", "merge,retainKeys")) => self.patch = PatchStrategy::MergeRetainKeys,
            Some(("key", key)) => self.merge_key = Some(key),
            _ => return false,
        }
        true
    }
}

//! The page of a kind that has none of its own: its fields, as they are, under readable names.

use serde_json::Value;

use super::page::{Page, head, plain};

pub(super) fn describe(page: &mut Page, object: &Value) {
    head(page, object);
    let mut rest = object.clone();
    if let Some(metadata) = rest["metadata"].as_object_mut() {
        for key in ["name", "namespace", "labels", "annotations", "managedFields"] {
            metadata.remove(key);
        }
    }
    for (key, value) in rest.as_object().into_iter().flatten() {
        fields(page, 0, &words(key), value);
    }
}

fn fields(page: &mut Page, level: usize, title: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            page.line(level, format_args!("{title}:"));
            for (key, value) in map {
                fields(page, level + 1, &words(key), value);
            }
        }
        Value::Array(list) => {
            page.line(level, format_args!("{title}:"));
            for item in list {
                match item.as_object() {
                    Some(map) => map.iter().for_each(|(key, value)| fields(page, level + 1, &words(key), value)),
                    None => page.line(level + 1, plain(item)),
                }
            }
        }
        other => page.field_at(level, title, plain(other)),
    }
}

/// `creationTimestamp` as `Creation Timestamp`, `clusterIPs` as `Cluster I Ps` never: capitals stay together. Some words are nothing else.
fn words(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    let mut words = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let begins = letter.is_uppercase()
            && at > 0
            && (letters[at - 1].is_lowercase()
                || letters.get(at + 1).is_some_and(|next| next.is_lowercase() && *next != 's'));
        if begins {
            words.push(' ');
        }
        if at == 0 { words.extend(letter.to_uppercase()) } else { words.push(*letter) }
    }
    let acronym =
        |word: &str| if ["Api", "Guid", "Uid", "Url"].contains(&word) { word.to_uppercase() } else { word.to_owned() };
    words.split(' ').map(acronym).collect::<Vec<_>>().join(" ")
}

//! YAML as kubectl writes it, which quotes no more than it must: addresses stand bare, text of several lines as a block.
//!
//! Which style a string gets follows libyaml's emitter and YAML 1.1's plain values; what is read back by either is the same.

use serde_json::Value;

/// Longer lines of text are folded at blanks.
const WIDTH: usize = 80;
const INDENT: usize = 2;

pub(crate) fn render(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0, Start::OwnLine),
        Value::Array(list) if !list.is_empty() => sequence(&mut out, list, 0, Start::OwnLine),
        other => scalar(&mut out, other, 0),
    }
    out
}

/// Where a block begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    OwnLine,
    /// Behind the dash of an item.
    Behind,
}

fn mapping(out: &mut String, map: &serde_json::Map<String, Value>, indent: usize, start: Start) {
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 || start == Start::OwnLine {
            pad(out, indent);
        }
        match style(key) {
            Style::Plain => out.push_str(key),
            Style::Single => out.push_str(&format!("'{}'", key.replace('\'', "''"))),
            Style::Double | Style::Literal => double(out, key, None),
        }
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                mapping(out, map, indent + INDENT, Start::OwnLine);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                sequence(out, list, indent, Start::OwnLine);
            }
            other => {
                out.push(' ');
                scalar(out, other, indent + INDENT);
            }
        }
    }
}

fn sequence(out: &mut String, list: &[Value], indent: usize, start: Start) {
    for (at, item) in list.iter().enumerate() {
        if at > 0 || start == Start::OwnLine {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, map, indent + INDENT, Start::Behind),
            Value::Array(list) if !list.is_empty() => sequence(out, list, indent + INDENT, Start::Behind),
            other => scalar(out, other, indent + INDENT),
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A value of one line, or text in `indent`ed lines, and the line's end.
fn scalar(out: &mut String, value: &Value, indent: usize) {
    let Value::String(text) = value else {
        out.push_str(&value.to_string());
        out.push('\n');
        return;
    };
    match style(text) {
        Style::Literal => return literal(out, text, indent),
        Style::Plain => folded(out, text, indent),
        Style::Single => {
            out.push('\'');
            folded(out, &text.replace('\'', "''"), indent);
            out.push('\'');
        }
        Style::Double => double(out, text, Some(indent)),
    }
    out.push('\n');
}

fn column(out: &str) -> usize {
    out.rsplit('\n').next().unwrap_or_default().chars().count()
}

/// Text that goes on in a new line at the first single blank behind the width.
fn folded(out: &mut String, text: &str, indent: usize) {
    let letters: Vec<char> = text.chars().collect();
    let mut column = column(out);
    for (at, &letter) in letters.iter().enumerate() {
        let is_single = at > 0 && letters[at - 1] != ' ' && letters.get(at + 1).is_some_and(|&next| next != ' ');
        if letter == ' ' && column > WIDTH && is_single {
            out.push('\n');
            pad(out, indent);
            column = indent;
        } else {
            out.push(letter);
            column += 1;
        }
    }
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push_str(&INDENT.to_string());
    }
    match text.strip_suffix('\n') {
        None => out.push('-'),
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// In double quotes; folded in `indent`ed lines where that is given.
fn double(out: &mut String, text: &str, indent: Option<usize>) {
    out.push('"');
    let letters: Vec<char> = text.chars().collect();
    let mut column = column(out);
    for (at, &letter) in letters.iter().enumerate() {
        let is_inside = at > 0 && at + 1 < letters.len() && letters[at - 1] != ' ';
        if let (' ', Some(indent), true) = (letter, indent, column > WIDTH && is_inside) {
            out.push('\n');
            pad(out, indent);
            column = indent;
            if letters[at + 1] == ' ' {
                out.push('\\');
            } else {
                continue;
            }
        }
        let before = out.len();
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{a0}' => out.push_str("\\_"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            letter if is_printable(letter) => out.push(letter),
            letter => out.push_str(&match u32::from(letter) {
                code @ ..=0xff => format!("\\x{code:02X}"),
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            }),
        }
        column += out[before..].chars().count();
    }
    out.push('"');
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

fn style(text: &str) -> Style {
    let (marks, broken) = looks(text);
    if text.contains('\n') {
        return if broken || text.ends_with(' ') { Style::Double } else { Style::Literal };
    }
    match is_other_than_text(text) {
        true => Style::Double,
        false if broken => Style::Double,
        false if marks || text.starts_with(' ') || text.ends_with(' ') => Style::Single,
        false => Style::Plain,
    }
}

/// Whether marks of YAML keep the text from standing bare, and whether it has characters that only escapes can say.
fn looks(text: &str) -> (bool, bool) {
    let letters: Vec<char> = text.chars().collect();
    let is_blank = |at: usize| letters.get(at).is_none_or(|letter| " \t\r\n\u{85}\u{2028}\u{2029}".contains(*letter));
    let mut marks = text.starts_with("---") || text.starts_with("...");
    let mut broken = text.contains(" \n");
    for (at, &letter) in letters.iter().enumerate() {
        let is_followed = is_blank(at + 1);
        marks |= match letter {
            '#' if at > 0 => is_blank(at - 1),
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => at == 0,
            ':' => is_followed,
            '?' | '-' => at == 0 && is_followed,
            _ => false,
        };
        broken |= letter != '\n' && !is_printable(letter);
    }
    (marks, broken)
}

fn is_printable(letter: char) -> bool {
    matches!(letter, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && letter != '\u{feff}'
}

/// Whether YAML 1.1 reads the bare text as something else than text.
fn is_other_than_text(text: &str) -> bool {
    const WORDS: [&str; 6] = ["true", "false", "yes", "no", "on", "off"];
    if matches!(text, "" | "~" | "null" | "Null" | "NULL" | "y" | "Y" | "n" | "N") {
        return true;
    }
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        // All small, all large, or one large first: `tRue` is text.
        let is_large = |letters: &str| letters.bytes().all(|letter| letter.is_ascii_uppercase());
        return is_large(text) || text[1..] == lower[1..] && (is_large(&text[..1]) || text == lower);
    }
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(bare, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    is_number(bare) || is_time(text) || is_sexagesimal(bare)
}

/// Integers in four bases and floats; without their sign.
fn is_number(text: &str) -> bool {
    let starts = text.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.');
    let plain = text.replace('_', "").to_ascii_lowercase();
    let in_base = |prefix: &str, base: u32| {
        plain.strip_prefix(prefix).is_some_and(|digits| {
            !digits.is_empty()
                && digits.chars().all(|digit| digit.is_digit(base))
                && u64::from_str_radix(digits, base).is_ok()
        })
    };
    let is_float = || {
        let (digits, exponent) = plain.split_once('e').map_or((&*plain, None), |(digits, rest)| (digits, Some(rest)));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_exponent = |text: &str| {
            let text = text.strip_prefix(['+', '-']).unwrap_or(text);
            !text.is_empty() && are_digits(text)
        };
        are_digits(whole)
            && are_digits(part)
            && !(whole.is_empty() && part.is_empty())
            && exponent.is_none_or(is_exponent)
    };
    starts && (in_base("0x", 16) || in_base("0o", 8) || in_base("0b", 2) || is_float())
}

/// `2026-1-2`, alone or with a time of day behind it.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let are_digits = |text: &str, longest: usize| {
        !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_date = matches!(parts.as_slice(), [year, month, day]
        if year.len() == 4 && are_digits(year, 4) && are_digits(month, 2) && are_digits(day, 2));
    let is_clock = |time: &str| {
        let clock = time.split(['Z', '+', '-', '.']).next().unwrap_or_default();
        let parts: Vec<&str> = clock.split(':').collect();
        parts.len() == 3 && parts.iter().all(|part| are_digits(part, 2))
    };
    is_date && time.is_none_or(is_clock)
}

/// `1:30`, which YAML 1.1 reads as 90; without its sign.
fn is_sexagesimal(text: &str) -> bool {
    let whole = text.split('.').next().unwrap_or_default();
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let is_part = |part: &&str| part.parse::<u8>().is_ok_and(|number| number < 60) && part.len() <= 2;
    let is_first = first.starts_with(|letter: char| letter.is_ascii_digit())
        && first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    is_first && !rest.is_empty() && rest.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_are_quoted_as_kubectl_quotes_them() {
        let check = |text: &str, expect: &str| assert_eq!(render(&json!({ "a": text })), format!("a: {expect}\n"));
        for bare in [
            "10.96.1.1",
            "::1",
            "fd56:96::/112",
            "1.2.3",
            "=",
            "<<",
            "NaN",
            ":a",
            "-x",
            "a b",
            "?x",
            "a,b",
            "x]",
            "tRue",
            "ünï",
            "ä",
            "0x",
            "it's",
            "a:b",
        ] {
            check(bare, bare);
        }
        for double in [
            "",
            "1.5",
            "true",
            "Yes",
            "y",
            "null",
            "~",
            "1:30",
            "0x1f",
            "010",
            "08",
            "1e3",
            "1_000",
            "+1",
            ".5",
            "0b1",
            "0o7",
            "-0",
            "1.",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            ".inf",
            "off",
        ] {
            check(double, &format!("{double:?}"));
        }
        for single in [
            "a: b", "a:", "a #b", "#x", "- x", "-", "{a}", "[x", "*x", "&x", "!x", "%x", "@x", "`x", "|x", "---",
            " lead", "trail ", "\"q\"",
        ] {
            check(single, &format!("'{single}'"));
        }
        check("a\tb", "\"a\\tb\"");
        check("\u{1}", "\"\\x01\"");
        check("a\\b", "a\\b");
        check("line\nline\n", "|\n  line\n  line");
        check("line\nline", "|-\n  line\n  line");
        check("a\n\n\n", "|+\n  a\n\n");
        check("\n", "|2+\n");
        check("  two\nlines", "|2-\n    two\n  lines");
        check("trailing \nspace", "\"trailing \\nspace\"");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let long = "word ".repeat(60);
        let value = json!({
            "list": [1, 2.5, null, true, [], {}, ["a", {"b": "c"}], {"d": ["e"], "f": {"g": "h"}}],
            "long": long.trim(), "quoted: long": format!("# {long}"), "escaped": format!("\t{long}"),
            "y": "n", "10.96.0.1": "::", "text": "a\n\n  b\n",
        });
        let text = render(&value);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 8), "{text}");
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value, "{text}");
        assert_eq!(render(&json!({})), "{}\n");
    }
}

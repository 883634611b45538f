//! kubectl's JSONPath templates: text with `{expression}` in it, `{range …}{end}`, quoted text, and paths that need no `$`.
//!
//! What a path selects is the jsonpath-rust crate's business (RFC 9535); this module reads the template around it and writes
//! kubectl's shorthand (`.metadata.labels.a-b`, `.a\.b`) as the crate takes it.

use jsonpath_rust::JsonPath as _;
use serde_json::Value;

use crate::error::VerbError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Several paths in one pair of braces are joined by blanks.
    Paths(Vec<String>),
    Range {
        path: String,
        body: Vec<Part>,
    },
}

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Self, VerbError> {
        // kubectl takes a bare path for a template of that path alone.
        let text = if source.contains('{') { source.to_owned() } else { format!("{{{source}}}") };
        let mut rest = text.as_str();
        let parts = parse_parts(&mut rest, Depth::Top).map_err(|problem| failed(source, problem))?;
        Ok(Self { source: source.to_owned(), parts })
    }

    pub(crate) fn render(&self, value: &Value) -> Result<String, VerbError> {
        let mut out = String::new();
        render(&self.parts, value, &mut out).map_err(|problem| failed(&self.source, problem))?;
        Ok(out)
    }

    /// What its parts select in `value`, a list for each.
    pub(crate) fn values(&self, value: &Value) -> Result<Vec<Vec<Value>>, VerbError> {
        let mut found = Vec::new();
        values(&self.parts, value, &mut found).map_err(|problem| failed(&self.source, problem))?;
        Ok(found)
    }
}

/// What each part of a template selects; text is a value of its own.
fn values(parts: &[Part], value: &Value, found: &mut Vec<Vec<Value>>) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => found.push(vec![text.as_str().into()]),
            Part::Paths(paths) => {
                let mut all = Vec::new();
                for path in paths {
                    all.extend(select(path, value)?.into_iter().cloned());
                }
                found.push(all);
            }
            Part::Range { path, body } => {
                for item in select(path, value)? {
                    values(body, item, found)?;
                }
            }
        }
    }
    Ok(())
}

/// The first value that `path` (as in `--sort-by`, with or without braces) selects in `value`.
pub(crate) fn first<'a>(path: &str, value: &'a Value) -> Result<Option<&'a Value>, VerbError> {
    let bare = path.trim().trim_start_matches('{').trim_end_matches('}');
    let found = select(&normal(bare).map_err(|problem| failed(path, problem))?, value);
    Ok(found.map_err(|problem| failed(path, problem))?.into_iter().next())
}

/// All values that `path` selects.
pub(crate) fn all<'a>(path: &str, value: &'a Value) -> Result<Vec<&'a Value>, VerbError> {
    let bare = path.trim().trim_start_matches('{').trim_end_matches('}');
    let found = normal(bare).and_then(|path| select(&path, value));
    found.map_err(|problem| failed(path, problem))
}

/// A value as it stands in a line of text: strings bare, the rest as JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn failed(template: &str, problem: String) -> VerbError {
    VerbError::JsonPath { template: template.to_owned(), problem }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Top,
    InRange,
}

fn parse_parts(rest: &mut &str, depth: Depth) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some(open) = rest.find('{') else {
            if depth == Depth::InRange {
                return Err("{range} has no {end}".to_owned());
            }
            if !rest.is_empty() {
                parts.push(Part::Text((*rest).to_owned()));
            }
            return Ok(parts);
        };
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let inside = &rest[open + 1..];
        let close = closing_brace(inside).ok_or("unclosed action")?;
        let action = inside[..close].trim();
        *rest = &inside[close + 1..];
        match action {
            "end" if depth == Depth::InRange => return Ok(parts),
            "end" => return Err("{end} without {range}".to_owned()),
            _ if action.starts_with("range ") => {
                let path = normal(action["range ".len()..].trim())?;
                parts.push(Part::Range { path, body: parse_parts(rest, Depth::InRange)? });
            }
            _ if action.starts_with('"') || action.starts_with('\'') => parts.push(Part::Text(quoted(action)?)),
            _ => parts.push(Part::Paths(action.split_whitespace().map(normal).collect::<Result<_, _>>()?)),
        }
    }
}

/// Where the brace ends that is open, past quoted text.
fn closing_brace(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '}') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

fn quoted(action: &str) -> Result<String, String> {
    let inside = action.get(1..action.len() - 1).filter(|_| action.len() > 1 && action.ends_with(&action[..1]));
    let inside = inside.ok_or_else(|| format!("unterminated quoted string {action}"))?;
    let mut text = String::new();
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.push(match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(other) => other,
                None => return Err("a backslash ends the string".to_owned()),
            }),
            other => text.push(other),
        }
    }
    Ok(text)
}

/// kubectl's path as RFC 9535 writes it: rooted, and with every name in quotes.
fn normal(path: &str) -> Result<String, String> {
    let mut out = String::from("$");
    let mut rest = path.strip_prefix('$').or_else(|| path.strip_prefix('@')).unwrap_or(path);
    if !rest.is_empty() && !rest.starts_with(['.', '[']) {
        return Err(format!("unexpected path {path:?}: it begins with a dot"));
    }
    while let Some(letter) = rest.chars().next() {
        if letter == '[' {
            let end = closing_bracket(rest).ok_or_else(|| format!("unterminated array in {path:?}"))?;
            out.push_str(&subscript(&rest[1..end])?);
            rest = &rest[end + 1..];
            continue;
        }
        let is_deep = rest.starts_with("..");
        rest = rest.trim_start_matches('.');
        let (name, after) = member(rest);
        rest = after;
        match name.as_str() {
            "" if rest.starts_with('[') || is_deep => {}
            "" => return Ok(out),
            "*" => out.push_str(if is_deep { "..*" } else { "[*]" }),
            _ => out.push_str(&format!("{}[{}]", if is_deep { ".." } else { "" }, quote(&name))),
        }
    }
    Ok(out)
}

/// A member's name up to the next dot or bracket that no backslash stands before.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            '.' | '[' => return (name, &text[at..]),
            other => name.push(other),
        }
    }
    (name, "")
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

/// What stands in brackets: `0`, `-1:`, `*`, `'name'`, or a filter `?(@.type=="Ready")`, whose paths are written anew.
fn subscript(inside: &str) -> Result<String, String> {
    let Some(filter) = inside.strip_prefix('?') else { return Ok(format!("[{inside}]")) };
    let filter = filter.trim().strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(filter);
    let mut out = String::from("[?");
    let mut rest = filter;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at]);
        let path = &rest[at..];
        let end = path.find(|letter: char| " =!<>&|)".contains(letter)).unwrap_or(path.len());
        out.push('@');
        out.push_str(&normal(&path[..end])?[1..]);
        rest = &path[end..];
    }
    out.push_str(rest);
    out.push(']');
    Ok(out)
}

fn quote(name: &str) -> String {
    format!("'{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn select<'a>(path: &str, value: &'a Value) -> Result<Vec<&'a Value>, String> {
    value.query(path).map_err(|error| error.to_string())
}

fn render(parts: &[Part], value: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Paths(paths) => {
                let mut words = Vec::new();
                for path in paths {
                    words.extend(select(path, value)?.into_iter().map(plain));
                }
                out.push_str(&words.join(" "));
            }
            Part::Range { path, body } => {
                for item in select(path, value)? {
                    render(body, item, out)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_render_as_kubectl_does() {
        let list = json!({"kind": "List", "items": [
            {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x", "run-as": "r"}}, "spec": {"ports": [{"port": 80}, {"port": 443}]},
             "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]}},
            {"metadata": {"name": "b"}, "spec": {"ports": [{"port": 53}]}},
        ]});
        let check = |template: &str, expect: &str| {
            assert_eq!(Template::parse(template).unwrap().render(&list).unwrap(), expect, "{template}");
        };
        check("{.kind}", "List");
        check(".kind", "List");
        check("{$.kind}", "List");
        check("{.items[*].metadata.name}", "a b");
        check("{.items[0].spec.ports[*].port}", "80 443");
        check("{.items[-1:].metadata.name}", "b");
        check("{.items[0].metadata.labels.run-as}", "r");
        check(r"{.items[0].metadata.labels.app\.kubernetes\.io/name}", "x");
        check("{.items[0].metadata.labels['run-as']}", "r");
        check(r#"{range .items[*]}{.metadata.name}{"\t"}{.spec.ports[0].port}{"\n"}{end}"#, "a\t80\nb\t53\n");
        check(r#"{.items[0].status.conditions[?(@.type=="Ready")].status}"#, "True");
        check("{..port}", "80 443 53");
        check("name: {.items[0].metadata.name} {.nothing}!", "name: a !");
        check("{.items[0].spec.ports[0]}", r#"{"port":80}"#);
        check("{.items[0].metadata.name .items[1].metadata.name}", "a b");
        check("{@.kind}", "List");
        let check = |template: &str, expect: Value| {
            assert_eq!(json!(Template::parse(template).unwrap().values(&list).unwrap()), expect, "{template}");
        };
        check("{.items[*].metadata.name}", json!([["a", "b"]]));
        check("{.items[1].spec.ports} {.kind}", json!([[[{"port": 53}]], [" "], ["List"]]));
        check("{range .items[*]}{.metadata.name}{end}", json!([["a"], ["b"]]));
        check("{.nothing}", json!([[]]));
    }

    #[test]
    fn broken_templates_are_refused() {
        for template in ["{.kind", "{range .items[*]}x", "{end}", "{\"x}", "{.a[0}", "{kind}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}

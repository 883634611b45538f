//! Links of an HTML page led through the proxy, as the page passes by. Pure.
//!
//! It reads no more of HTML than is needed to find the attributes of start tags: comments, declarations and the text of scripts
//! pass as they are, and so does everything it does not understand. What is kept between two pieces is bounded.

/// A tag longer than this passes unread.
const LONGEST_TAG: usize = 64 << 10;

/// Attributes that hold addresses, by tag.
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is no markup.
const RAW: [&str; 8] = ["script", "style", "textarea", "title", "xmp", "noembed", "noframes", "iframe"];

/// The state between two pieces of a page.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    waiting: Vec<u8>,
    /// Inside this raw element.
    raw: Option<&'static str>,
}

/// What stands at the start of the waiting bytes.
enum Token {
    /// So many bytes that pass as they are.
    Plain(usize),
    /// A start tag of so many bytes.
    Tag(usize),
    /// More has to come before it can be said.
    Unknown,
}

impl Rewriter {
    /// Takes the next piece; appends to `out` what is settled by it.
    pub(super) fn push(&mut self, piece: &[u8], rewrite: &dyn Fn(&str) -> Option<String>, out: &mut Vec<u8>) {
        self.waiting.extend_from_slice(piece);
        let mut done = 0;
        loop {
            let rest = &self.waiting[done..];
            let length = match next_token(rest, self.raw) {
                Token::Plain(length) => {
                    out.extend_from_slice(&rest[..length]);
                    length
                }
                Token::Tag(length) => {
                    let name = tag_name(rest);
                    self.raw = RAW.into_iter().find(|raw| *raw == name);
                    write_tag(&rest[..length], &name, rewrite, out);
                    length
                }
                Token::Unknown if rest.len() > LONGEST_TAG => {
                    out.extend_from_slice(rest);
                    rest.len()
                }
                Token::Unknown => break,
            };
            if self.raw.is_some_and(|raw| ends_raw(&self.waiting[done..done + length], raw)) {
                self.raw = None;
            }
            done += length;
        }
        self.waiting.drain(..done);
    }

    /// What still waits at the end of the page.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.waiting)
    }
}

fn next_token(rest: &[u8], raw: Option<&str>) -> Token {
    let Some(open) = rest.iter().position(|byte| *byte == b'<') else {
        return if rest.is_empty() { Token::Unknown } else { Token::Plain(rest.len()) };
    };
    if open > 0 {
        return Token::Plain(open);
    }
    let until = |end: &[u8]| match find(rest, end) {
        Some(at) => Token::Plain(at + end.len()),
        None => Token::Unknown,
    };
    if let Some(raw) = raw {
        let wanted = raw.len() + 2;
        return match rest.len() < wanted {
            true => Token::Unknown,
            false if ends_raw(rest, raw) => until(b">"),
            false => Token::Plain(1),
        };
    }
    match rest.get(1) {
        None => Token::Unknown,
        Some(letter) if letter.is_ascii_alphabetic() => tag_end(rest).map_or(Token::Unknown, Token::Tag),
        Some(b'!') if rest.len() < 4 => Token::Unknown,
        Some(b'!') if rest.starts_with(b"<!--") => until(b"-->"),
        Some(b'!' | b'/' | b'?') => until(b">"),
        Some(_) => Token::Plain(1),
    }
}

/// Whether `bytes` begin with the end tag of `raw`.
fn ends_raw(bytes: &[u8], raw: &str) -> bool {
    bytes.starts_with(b"</")
        && bytes.get(2..2 + raw.len()).is_some_and(|name| name.eq_ignore_ascii_case(raw.as_bytes()))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The length of the tag that `rest` begins with, a `>` in quotes apart.
fn tag_end(rest: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut before_value = false;
    for (at, byte) in rest.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if *byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') if before_value => quote = Some(*byte),
            (None, b'>') => return Some(at + 1),
            (None, byte) if byte.is_ascii_whitespace() => continue,
            _ => {}
        }
        before_value = *byte == b'=';
    }
    None
}

fn tag_name(tag: &[u8]) -> String {
    let name = tag[1..].iter().take_while(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'>'));
    name.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

fn write_tag(tag: &[u8], name: &str, rewrite: &dyn Fn(&str) -> Option<String>, out: &mut Vec<u8>) {
    let links = LINKS.iter().find(|(tag, _)| *tag == name).map_or(&[][..], |(_, links)| links);
    let mut at = 1 + name.len();
    out.extend_from_slice(&tag[..at]);
    while let Some(attribute) = next_attribute(tag, at) {
        let is_link = links.iter().any(|link| attribute.name(tag).eq_ignore_ascii_case(link.as_bytes()));
        let value = std::str::from_utf8(&tag[attribute.value.clone()]).ok().filter(|_| is_link);
        match value.and_then(|value| rewrite(&value.replace("&amp;", "&"))) {
            Some(new) => {
                out.extend_from_slice(&tag[at..attribute.start]);
                let escaped = new.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;").replace('>', "&gt;");
                out.extend_from_slice(format!("\"{escaped}\"").as_bytes());
            }
            None => out.extend_from_slice(&tag[at..attribute.end]),
        }
        at = attribute.end;
    }
    out.extend_from_slice(&tag[at..]);
}

/// An attribute with a value, as places in its tag.
struct Attribute {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
    /// Of the value with its quotes.
    start: usize,
    end: usize,
}

impl Attribute {
    fn name<'a>(&self, tag: &'a [u8]) -> &'a [u8] {
        &tag[self.name.clone()]
    }
}

fn next_attribute(tag: &[u8], mut at: usize) -> Option<Attribute> {
    let is_end = |at: usize| at >= tag.len() - 1;
    let skip = |mut at: usize, skipped: fn(u8) -> bool| {
        while !is_end(at) && skipped(tag[at]) {
            at += 1;
        }
        at
    };
    loop {
        let from = skip(at, |byte| byte.is_ascii_whitespace() || byte == b'/');
        let to = skip(from, |byte| !byte.is_ascii_whitespace() && byte != b'=' && byte != b'/');
        if is_end(from) {
            return None;
        }
        let equals = skip(to, |byte| byte.is_ascii_whitespace());
        if is_end(equals) || tag[equals] != b'=' {
            // Without a value; or a stray sign, which is stepped over.
            at = to.max(from + 1);
            continue;
        }
        let start = skip(equals + 1, |byte| byte.is_ascii_whitespace());
        let (value, end) = match tag.get(start) {
            Some(quote @ (b'"' | b'\'')) => {
                let length = tag[start + 1..].iter().position(|byte| byte == quote)?;
                (start + 1..start + 1 + length, start + length + 2)
            }
            _ => {
                let end = skip(start, |byte| !byte.is_ascii_whitespace());
                (start..end, end)
            }
        };
        return Some(Attribute { name: from..to, value, start, end });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite(url: &str) -> Option<String> {
        url.starts_with('/').then(|| format!("/p{url}"))
    }

    fn whole(page: &[u8], size: usize) -> String {
        let (mut rewriter, mut out) = (Rewriter::default(), Vec::new());
        page.chunks(size).for_each(|piece| rewriter.push(piece, &rewrite, &mut out));
        out.extend(rewriter.finish());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn links_are_led_through_the_proxy() {
        let check = |page: &str, expected: &str| {
            for size in [1, 2, 7, 4096] {
                assert_eq!(whole(page.as_bytes(), size), expected, "in pieces of {size}");
            }
        };
        check(r#"<a href="/x">/y</a>"#, r#"<a href="/p/x">/y</a>"#);
        check("<A class=b HREF='/x'>", r#"<A class=b HREF="/p/x">"#);
        check("<img src=/x.png>", r#"<img src="/p/x.png">"#);
        check(r#"<img alt="a > b" src = "/x"/>"#, r#"<img alt="a > b" src = "/p/x"/>"#);
        check(r#"<a href="/x?a=1&amp;b=2">"#, r#"<a href="/p/x?a=1&amp;b=2">"#);
        check(r#"<a href="http://elsewhere/x" title="/x">"#, r#"<a href="http://elsewhere/x" title="/x">"#);
        check(r#"<!-- <a href="/x"> --><!DOCTYPE html><?x?>"#, r#"<!-- <a href="/x"> --><!DOCTYPE html><?x?>"#);
        check(
            r#"<script src="/s">if (a<b) '<a href="/x">'</script><a href="/x">"#,
            r#"<script src="/p/s">if (a<b) '<a href="/x">'</script><a href="/p/x">"#,
        );
        check(r#"<form action="/f"><button formaction=/g>"#, r#"<form action="/p/f"><button formaction="/p/g">"#);
        check("a < b, 3 <4", "a < b, 3 <4");
        check("<a href", "<a href");
        check("<a =x href=\"/x\">", "<a =x href=\"/p/x\">");
    }

    #[test]
    fn a_tag_without_end_is_not_gathered() {
        let mut rewriter = Rewriter::default();
        let mut out = Vec::new();
        for _ in 0..100 {
            rewriter.push(&[b'<'; 4096], &rewrite, &mut out);
            rewriter.push(b"a x=\"", &rewrite, &mut out);
            assert!(rewriter.waiting.len() <= LONGEST_TAG + 4101);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn without_links_a_page_passes_as_it_is(
            parts in prop::collection::vec(
                prop::sample::select(vec!["<", ">", "a", " ", "=", "\"", "'", "/", "!", "--", "script", "href", "</script"]),
                0..60,
            ),
            size in 1usize..20,
        ) {
            let page = parts.concat();
            let (mut rewriter, mut out) = (Rewriter::default(), Vec::new());
            page.as_bytes().chunks(size).for_each(|piece| rewriter.push(piece, &|_| None, &mut out));
            out.extend(rewriter.finish());
            prop_assert_eq!(String::from_utf8(out).unwrap(), page);
        }
    }
}

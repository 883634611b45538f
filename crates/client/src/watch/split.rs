//! Cuts bodies into objects while they arrive: the items of a list, the lines of a watch. Knows JSON's brackets and strings,
//! nothing more; whether a piece is an object of its kind is its reader's business.

/// Cuts a List into its items. What is not in `items` is kept, as a List without items.
#[derive(Debug, Default)]
pub(crate) struct ListSplitter {
    depth: u32,
    place: Place,
    in_string: bool,
    escaped: bool,
    /// The string being read, or read last, at depth 1.
    name: Vec<u8>,
    item: Vec<u8>,
    rest: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    /// Inside the list `items`, at depth 2 between items.
    Items,
}

impl ListSplitter {
    /// Takes in the next bytes and calls `on_item` with each item that is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut on_item: impl FnMut(&[u8])) {
        for &byte in bytes {
            match self.place {
                Place::Outside => self.outside(byte),
                Place::Items => self.inside(byte, &mut on_item),
            }
        }
    }

    /// The List without its items, once the body has ended.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.rest
    }

    fn outside(&mut self, byte: u8) {
        self.rest.push(byte);
        if self.in_string {
            let ends = !self.escaped && byte == b'"';
            self.track_string(byte);
            if !ends && self.depth == 1 {
                self.name.push(byte);
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.name.clear();
            }
            b'[' if self.depth == 1 && self.name == b"items" => {
                self.depth = 2;
                self.place = Place::Items;
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            // A value that is no list: the next `[` belongs to another name.
            b',' if self.depth == 1 => self.name.clear(),
            _ => {}
        }
    }

    fn inside(&mut self, byte: u8, on_item: &mut impl FnMut(&[u8])) {
        if self.in_string {
            self.item.push(byte);
            self.track_string(byte);
            return;
        }
        if self.depth == 2 && matches!(byte, b',' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
            self.between(byte, on_item);
            return;
        }
        self.item.push(byte);
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn between(&mut self, byte: u8, on_item: &mut impl FnMut(&[u8])) {
        if matches!(byte, b',' | b']') && !self.item.is_empty() {
            on_item(&self.item);
            self.item.clear();
        }
        if byte == b']' {
            self.depth = 1;
            self.place = Place::Outside;
            self.name.clear();
            self.rest.push(byte);
        }
    }

    fn track_string(&mut self, byte: u8) {
        match (self.escaped, byte) {
            (true, _) => self.escaped = false,
            (false, b'\\') => self.escaped = true,
            (false, b'"') => self.in_string = false,
            _ => {}
        }
    }
}

/// Cuts a watch body into its lines; JSON holds no raw line break inside a frame.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    line: Vec<u8>,
}

impl LineSplitter {
    /// Takes in the next bytes and calls `on_line` with each line that is complete and not blank.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            if self.line.is_empty() {
                emit(&bytes[..end], &mut on_line);
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                emit(&self.line, &mut on_line);
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.line.extend_from_slice(bytes);
    }
}

fn emit(line: &[u8], on_line: &mut impl FnMut(&[u8])) {
    if !line.trim_ascii().is_empty() {
        on_line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `body` in pieces of every size and wants the same cut each time.
    fn check_list(body: &str, items: &[&str], rest: &str) {
        for size in 1..=body.len() {
            let (mut splitter, mut found) = (ListSplitter::default(), Vec::new());
            for piece in body.as_bytes().chunks(size) {
                splitter.feed(piece, |item| found.push(String::from_utf8_lossy(item).into_owned()));
            }
            assert_eq!(found, items, "in pieces of {size}");
            assert_eq!(String::from_utf8_lossy(splitter.rest()), rest, "in pieces of {size}");
        }
    }

    #[test]
    fn lists_are_cut_at_items() {
        check_list(
            r#"{"kind":"PodList","metadata":{"resourceVersion":"7","items":[1]},"items":[{"a":"]},{\\"},{"b":[{},[]]}, {} ]}"#,
            &[r#"{"a":"]},{\\"}"#, r#"{"b":[{},[]]}"#, "{}"],
            r#"{"kind":"PodList","metadata":{"resourceVersion":"7","items":[1]},"items":[]}"#,
        );
        check_list(r#"{"items":[],"metadata":{"a":"\""}}"#, &[], r#"{"items":[],"metadata":{"a":"\""}}"#);
        check_list(r#"{"items":null,"other":[1,2]}"#, &[], r#"{"items":null,"other":[1,2]}"#);
        check_list(r#"{"kind":"items","other":[1]}"#, &[], r#"{"kind":"items","other":[1]}"#);
        check_list(r#"{"items": [ {"s":"\\\"}"} ] , "x":[]}"#, &[r#"{"s":"\\\"}"}"#], r#"{"items": [] , "x":[]}"#);
        check_list("]]}}", &[], "]]}}");
    }

    #[test]
    fn watches_are_cut_at_lines() {
        let body = "{\"a\":1}\n\n{\"b\":\"\\n\"}\r\n{\"c\":3}\n{\"half";
        for size in 1..=body.len() {
            let (mut splitter, mut found) = (LineSplitter::default(), Vec::new());
            for piece in body.as_bytes().chunks(size) {
                splitter.feed(piece, |line| found.push(String::from_utf8_lossy(line).trim().to_owned()));
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":\"\\n\"}", "{\"c\":3}"], "in pieces of {size}");
        }
    }
}

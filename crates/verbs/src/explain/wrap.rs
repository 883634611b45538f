//! Text in lines of limited width. Line breaks and the blanks between words stay as they are; only a line too long is broken.

/// `text` in lines of at most `width` characters where its words allow, each behind `indent` blanks.
pub(super) fn indented(text: &str, width: usize, indent: usize) -> String {
    let blanks = " ".repeat(indent);
    let lines = text.split('\n').flat_map(|line| broken(line, width));
    lines.map(|line| format!("{blanks}{line}")).collect::<Vec<_>>().join("\n")
}

fn broken(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut column = 0;
    let mut rest = line;
    while !rest.is_empty() {
        let (gap, after) = rest.split_at(rest.find(|letter: char| !letter.is_whitespace()).unwrap_or(rest.len()));
        let (word, after) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
        let (gap_length, length) = (gap.chars().count(), word.chars().count());
        let is_over = column + gap_length + length > width;
        match lines.last_mut() {
            // Blanks at the end that do not fit are left out.
            Some(_) if is_over && word.is_empty() => {}
            Some(last) if !is_over || column + gap_length < 2 => {
                last.push_str(gap);
                last.push_str(word);
                column += gap_length + length;
            }
            _ => {
                lines.push(word.to_owned());
                column = length;
            }
        }
        rest = after;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let check = |text: &str, expect: &str| assert_eq!(indented(text, 10, 2), expect, "{text:?}");
        check("", "  ");
        check("one two", "  one two");
        check("one two three four", "  one two\n  three four");
        check("one  two\n\n  three", "  one  two\n  \n    three");
        check("see https://example.com/long for", "  see\n  https://example.com/long\n  for");
        check("exactly 10", "  exactly 10");
        check("ends here\n", "  ends here\n  ");
    }
}

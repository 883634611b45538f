//! Query strings.

/// Names and values in their order, decoded.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// What is no encoding stays as it is.
fn decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        rest = match byte {
            Some(_) => &after[2..],
            None => after,
        };
        decoded.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let found = pairs(text);
            let found = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
            assert_eq!(found, expected, "{text}");
        };
        check(
            "command=sh&command=-c&command=echo+%22a%26b%22",
            &[("command", "sh"), ("command", "-c"), ("command", "echo \"a&b\"")],
        );
        check("a&b=&&c=%zz%4", &[("a", ""), ("b", ""), ("c", "%zz%4")]);
        check("x=%C3%A4", &[("x", "ä")]);
    }
}

//! One step from inputs that are there to one that is not: bytes, numbers, words and whole parts are changed, doubled, nested and
//! taken from another input.

use std::collections::BTreeSet;

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

/// What breaks parsers anywhere.
const ODD: [&[u8]; 28] = [
    b"",
    b"0",
    b"-1",
    b"2147483648",
    b"9223372036854775808",
    b"18446744073709551616",
    b"1e400",
    b"-0",
    b"0.1",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xc3",
    "\u{202e}".as_bytes(),
    b"\0",
    b"$patch",
    b"$setElementOrder/ports",
    b"$deleteFromPrimitiveList/x",
    b"~1",
    b"/-",
    b"k:{\"port\":80}",
    b"&a *a",
    b"<<: *a",
];

/// Pairs in which texts nest.
const PAIRS: [(&[u8], &[u8]); 5] =
    [(b"[", b"]"), (b"{\"a\":", b"}"), (b"(", b")"), (b"\"", b"\""), (b"{\"metadata\":", b"}")];

/// The words of a corpus: what stands between marks.
pub(crate) fn words(corpus: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut found = BTreeSet::new();
    for file in corpus {
        let part = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"./-_$".contains(byte));
        found.extend(file.split(part).filter(|word| (1..40).contains(&word.len())).map(<[u8]>::to_vec));
    }
    found.into_iter().chain(ODD.map(<[u8]>::to_vec)).collect()
}

/// `base` after one to a few changes.
pub(crate) fn mutate(base: &[u8], other: &[u8], words: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = base.to_vec();
    for _ in 0..1_u32 << random.random_range(0..4) {
        step(&mut input, other, words, random);
    }
    input
}

fn step(input: &mut Vec<u8>, other: &[u8], words: &[Vec<u8>], random: &mut StdRng) {
    let (start, end) = range(input, random);
    match random.random_range(0..11) {
        0 => drop(input.drain(start..end)),
        1 if start < input.len() => input[start] ^= 1 << random.random_range(0..8),
        2 if start < input.len() => input[start] = random.random(),
        3 => input.insert(start, random.random()),
        4 | 5 => {
            let (start, end) = word_at(input, start);
            let word = words.choose(random).expect("the odd words are always there");
            input.splice(start..end, word.iter().copied());
        }
        6 => {
            let part = input[start..end].to_vec();
            let times = 1_usize << random.random_range(0..8);
            input.splice(start..start, part.iter().copied().cycle().take((part.len() * times).min(8 << 10)));
        }
        7 => {
            let (from, to) = range(other, random);
            input.splice(start..end, other[from..to].iter().copied());
        }
        8 => {
            let (open, close) = PAIRS.choose(random).expect("there are pairs");
            let times = 1_usize << random.random_range(0..9);
            input.splice(end..end, close.repeat(times));
            input.splice(start..start, open.repeat(times));
        }
        9 => {
            let (start, end) = value_at(input, start);
            let (from, to) = value_at(other, random.random_range(0..=other.len()));
            input.splice(start..end, other[from..to].iter().copied());
        }
        _ => input.truncate(end),
    }
}

/// A part of `bytes`, mostly a short one.
fn range(bytes: &[u8], random: &mut StdRng) -> (usize, usize) {
    let start = random.random_range(0..=bytes.len());
    let most = if random.random_range(0..4) == 0 { bytes.len() - start } else { (bytes.len() - start).min(8) };
    (start, start + random.random_range(0..=most))
}

/// The word around a place.
fn word_at(bytes: &[u8], place: usize) -> (usize, usize) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_$".contains(byte);
    let start = bytes[..place].iter().rposition(|byte| !is_word(byte)).map_or(0, |before| before + 1);
    let end = bytes[place..].iter().position(|byte| !is_word(byte)).map_or(bytes.len(), |length| place + length);
    (start, end)
}

/// What follows the next colon or comma from a place on, up to where it closes: a value, where the text is JSON.
fn value_at(bytes: &[u8], place: usize) -> (usize, usize) {
    let from = bytes[place..].iter().position(|byte| b":,[".contains(byte)).map_or(place, |length| place + length + 1);
    let mut depth = 0_usize;
    for (length, byte) in bytes[from..].iter().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return (from, from + length),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    (from, bytes.len())
}

//! The hash in kube-proxy's chain names.

use sha2::{Digest as _, Sha256};

/// How much of the text is taken: names of chains have at most 28 bytes.
const LENGTH: usize = 16;
/// Of RFC 4648, section 6.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first 16 letters of the SHA-256 of all parts together, in base 32.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    let digest = digest.finalize();
    // Sixteen letters are ten bytes.
    let letter = |number: usize| {
        let (byte, bit) = (number * 5 / 8, number * 5 % 8);
        let word = u16::from_be_bytes([digest[byte], digest[byte + 1]]);
        char::from(LETTERS[usize::from(word >> (11 - bit)) & 31])
    };
    (0..LENGTH).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kube_proxy_gives() {
        let check = |parts: &[&str], expect| assert_eq!(hash(parts), expect, "{parts:?}");
        check(&["default/kubernetes:https", "tcp"], "NPX46M4PTMTKRN6Y");
        check(&["default/plain", "tcp"], "L7CMIJ7MLO4LHB3N");
        check(&["default/plain", "tcp", "10.244.1.2:8080"], "WC7ZHO4SGECSV3JN");
        check(&["default/plain", "tcp", "[fd56:244:2::3]:8080"], "QHEYPL2YXT5BBI5W");
    }
}

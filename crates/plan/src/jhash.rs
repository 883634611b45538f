//! The kernel's `jhash` (include/linux/jhash.h, Bob Jenkins' lookup3), as nf_tables takes it of a packet: so that we know where the kernel
//! sends a connection.
//!
//! It reads words in the byte order of the machine: nodes agree with each other where theirs is the same.

use std::net::{IpAddr, SocketAddr};

use stead_model::{Frontend, Protocol};

use crate::table::Algorithm;

/// The seed of hashes that choose backends. Never to be changed: nodes of two versions must agree.
pub const SEED: u32 = 0x7374_6561;

/// The hash of whole words.
pub fn jhash(words: &[u32], seed: u32) -> u32 {
    jhash_bytes(words, words.len() * 4, seed)
}

/// `length` bytes, zeros behind them in the last word.
fn jhash_bytes(words: &[u32], length: usize, seed: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(length as u32).wrapping_add(seed);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = words;
    while let [first, second, third, more @ ..] = rest
        && !more.is_empty()
    {
        (a, b, c) = mix(a.wrapping_add(*first), b.wrapping_add(*second), c.wrapping_add(*third));
        rest = more;
    }
    match rest {
        [] => return c,
        [first] => a = a.wrapping_add(*first),
        [first, second] => (a, b) = (a.wrapping_add(*first), b.wrapping_add(*second)),
        [first, second, third, ..] => {
            (a, b, c) = (a.wrapping_add(*first), b.wrapping_add(*second), c.wrapping_add(*third));
        }
    }
    last(a, b, c)
}

/// `reciprocal_scale`: a hash as a number below `modulus`.
pub fn scale(hash: u32, modulus: u32) -> u32 {
    ((u64::from(hash) * u64::from(modulus)) >> 32) as u32
}

/// What of a connection chooses its backend by an algorithm that hashes; `None` for the others. nf_tables is told the same by the
/// data plane.
pub fn hash(algorithm: Algorithm, source: SocketAddr, to: Frontend) -> Option<u32> {
    let source_address = Registers::default().address(source.ip());
    let registers = match algorithm {
        Algorithm::Random | Algorithm::RoundRobin => return None,
        Algorithm::SourceHash => source_address,
        Algorithm::Maglev => source_address.address(to.address).protocol(to.protocol).port(source.port()).port(to.port),
    };
    Some(registers.hash(SEED))
}

/// Fields of a packet as registers of nf_tables hold them: each from the beginning of a word, in network order, zeros behind.
#[derive(Debug, Default)]
pub(crate) struct Registers(Vec<u32>);

impl Registers {
    pub(crate) fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    pub(crate) fn protocol(self, protocol: Protocol) -> Self {
        self.bytes(&[protocol.number(), 0, 0, 0])
    }

    pub(crate) fn port(self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        self.bytes(&[high, low, 0, 0])
    }

    pub(crate) fn hash(&self, seed: u32) -> u32 {
        jhash(&self.0, seed)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word));
        self.0.extend(words);
        self
    }
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

fn last(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lookup3.c's own driver prints for `hashlittle`.
    #[test]
    fn hashes_are_those_of_lookup3() {
        let check = |text: &str, seed, expect| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(text.len().next_multiple_of(4), 0);
            let words: Vec<_> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            assert_eq!(jhash_bytes(&words, text.len(), seed), expect, "{text} {seed}");
        };
        check("", 0, 0xdead_beef);
        check("", 0xdead_beef, 0xbd5b_7dde);
        check("Four score and seven years ago", 0, 0x1777_0551);
        check("Four score and seven years ago", 1, 0xcd62_8161);
    }

    #[test]
    fn scaled_hashes_fill_the_modulus() {
        for modulus in [1, 7, 4093] {
            assert_eq!((scale(0, modulus), scale(u32::MAX, modulus)), (0, modulus - 1));
        }
    }
}

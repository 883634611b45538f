//! Quantities such as `500m`, `1.5Gi` and `1e3`: parsing, comparing, and the one canonical way to write each.
//!
//! Exact to 10⁻⁹; finer amounts are rounded away from zero. Amounts end at ±(2⁶³−1). No floating point.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The finest power of ten an amount keeps.
const NANO: i32 = -9;
const NANO_DIGITS: usize = 9;
/// Digits that an `i128` surely holds; with a binary suffix multiplied in, 2⁶⁰ at most.
const DIGITS: usize = 37;
const BINARY_DIGITS: usize = 19;
const MAX: i128 = i64::MAX as i128;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// An amount, and in which family of suffixes it was written.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// The amount is `mantissa` × 10^`scale`; NANO ≤ `scale`.
    mantissa: i128,
    scale: i32,
    format: Format,
}

/// A family of suffixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `m`, `k`, `M`, …
    DecimalSi,
    /// `Ki`, `Mi`, …
    BinarySi,
    /// `e3`, `e6`, …
    DecimalExponent,
}

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseQuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The amount that a text states, in units of 10⁻⁹; `None` where it is no quantity.
pub fn parse_nanos(text: &str) -> Option<i128> {
    text.parse().ok().map(Quantity::nanos)
}

impl Default for Quantity {
    /// Nothing.
    fn default() -> Self {
        Self { mantissa: 0, scale: 0, format: Format::DecimalSi }
    }
}

enum Suffix {
    Decimal(i32),
    Binary(u32),
    Exponent(i32),
}

impl Quantity {
    /// So many units of 10⁻⁹, written as `like` is.
    pub(crate) fn of_nanos(nanos: i128, like: Self) -> Self {
        Self { mantissa: nanos, scale: NANO, format: like.format }
    }

    /// Both amounts together, in the suffixes of the first that is not nothing.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.mantissa == 0 { other.format } else { self.format };
        let nanos = self.nanos().saturating_add(other.nanos());
        Self { mantissa: nanos.clamp(-MAX * 1_000_000_000, MAX * 1_000_000_000), scale: NANO, format }
    }

    /// The amount in units of 10⁻⁹, at the ends of the range of `i128` where it is beyond.
    pub fn nanos(self) -> i128 {
        let factor = u32::try_from(self.scale - NANO).ok().and_then(|power| 10_i128.checked_pow(power));
        let limit = if self.mantissa < 0 { i128::MIN } else { i128::MAX };
        match factor.and_then(|factor| self.mantissa.checked_mul(factor)) {
            Some(nanos) => nanos,
            None if self.mantissa == 0 => 0,
            None => limit,
        }
    }

    fn decimal(self, f: &mut fmt::Formatter<'_>, exponential: bool) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.mantissa, self.scale);
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        while exponent % 3 != 0 {
            mantissa *= 10;
            exponent -= 1;
        }
        match DECIMAL.iter().find(|(_, power)| *power == exponent) {
            _ if exponential && exponent != 0 => write!(f, "{mantissa}e{exponent}"),
            Some((suffix, _)) => write!(f, "{mantissa}{suffix}"),
            None => write!(f, "{mantissa}e{exponent}"),
        }
    }
}

/// A number of bytes, such as `64Mi`; rounded up, `None` for what is no quantity or below zero.
pub fn bytes_of_quantity(text: &str) -> Option<u64> {
    let nanos = text.parse::<Quantity>().ok()?.nanos();
    u64::try_from(nanos.div_euclid(1_000_000_000) + i128::from(nanos.rem_euclid(1_000_000_000) > 0)).ok()
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(rest);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(ParseQuantityError::Format);
        }
        let quantity = amount(whole.trim_start_matches('0'), fraction, parse_suffix(suffix)?);
        Ok(if negative { Self { mantissa: -quantity.mantissa, ..quantity } } else { quantity })
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that needs none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos() % 1_000_000_000 == 0;
        let amount = self.nanos() / 1_000_000_000;
        match self.format {
            Format::BinarySi if whole && amount.abs() >= 1024 => {
                let mut mantissa = amount;
                let mut suffix = "";
                for (larger, _) in BINARY {
                    if mantissa % 1024 != 0 {
                        break;
                    }
                    mantissa /= 1024;
                    suffix = larger;
                }
                write!(f, "{mantissa}{suffix}")
            }
            Format::DecimalExponent => self.decimal(f, true),
            Format::BinarySi | Format::DecimalSi => self.decimal(f, false),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    /// By amount, whatever the format.
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos().cmp(&other.nanos())
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn parse_suffix(suffix: &str) -> Result<Suffix, ParseQuantityError> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok(Suffix::Decimal(*power));
    }
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok(Suffix::Binary(*power));
    }
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseQuantityError::Format);
    }
    match suffix.strip_prefix(['e', 'E']).and_then(|power| power.parse::<i32>().ok()) {
        Some(power) if power.abs() <= 1000 => Ok(Suffix::Exponent(power)),
        _ => Err(ParseQuantityError::Suffix),
    }
}

/// `whole` has no leading zeros.
fn amount(whole: &str, fraction: &str, suffix: Suffix) -> Quantity {
    let fraction = fraction.trim_end_matches('0');
    let (format, power, factor) = match suffix {
        Suffix::Decimal(power) => (Format::DecimalSi, power, 1),
        Suffix::Exponent(power) => (Format::DecimalExponent, power, 1),
        Suffix::Binary(bits) => (Format::BinarySi, 0, 1_i128 << bits),
    };
    let (room, longest) = if factor > 1 { (BINARY_DIGITS, BINARY_DIGITS) } else { (DIGITS, DIGITS - NANO_DIGITS) };
    if whole.len() > longest {
        return Quantity { mantissa: large(whole, power, factor), scale: 0, format };
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(room - whole.len()));
    let mut mantissa = format!("0{whole}{kept}").parse::<i128>().unwrap_or(MAX);
    if !rest.is_empty() {
        mantissa += 1;
    }
    mantissa *= factor;
    let mut scale = power - kept.len() as i32;
    while scale < NANO && mantissa > 0 {
        mantissa = (mantissa + 9) / 10;
        scale += 1;
    }
    let quantity = Quantity { mantissa, scale: scale.max(NANO), format };
    if quantity.nanos() / 1_000_000_000 > MAX {
        return Quantity { mantissa: MAX, scale: 0, format };
    }
    let below_one = quantity.nanos() < 1_000_000_000;
    let format = if format == Format::BinarySi && below_one { Format::DecimalSi } else { format };
    Quantity { format, ..quantity }
}

/// An amount of more digits than are kept: what is beyond the range is at its end.
fn large(whole: &str, power: i32, factor: i128) -> i128 {
    let scaled = match u32::try_from(power) {
        Ok(power) => whole.parse::<i128>().ok().zip(10_i128.checked_pow(power)).and_then(|(n, p)| n.checked_mul(p)),
        Err(_) => {
            let cut = power.unsigned_abs() as usize;
            let (kept, lost) = whole.split_at(whole.len().saturating_sub(cut));
            let round_up = i128::from(lost.bytes().any(|b| b != b'0'));
            format!("0{kept}").parse::<i128>().ok().map(|n| n + round_up)
        }
    };
    scaled.and_then(|n| n.checked_mul(factor)).map_or(MAX, |n| n.min(MAX))
}

#[cfg(test)]
mod tests;

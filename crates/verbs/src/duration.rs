//! Lengths of time as Go writes them: `90s`, `1m30s`, `1.5h`, `-1s`.

use std::{str::FromStr, time::Duration};

/// A length of time that may be negative, which some flags give a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Negative,
    Positive(Duration),
}

impl Default for Span {
    fn default() -> Self {
        Self::Positive(Duration::ZERO)
    }
}

const UNITS: &[(&str, f64)] =
    &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid duration {text:?}: give a number and a unit, as 30s, 5m or 1h30m");
        let is_negative = text.starts_with('-');
        let mut rest = text.trim_start_matches(['-', '+']);
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut seconds = 0.0;
        while !rest.is_empty() && rest != "0" {
            let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(invalid)?;
            let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
            rest = &rest[end..];
            let end = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
            let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end]).ok_or_else(invalid)?;
            seconds += number * unit;
            rest = &rest[end..];
        }
        if is_negative && seconds > 0.0 {
            return Ok(Self::Negative);
        }
        Duration::try_from_secs_f64(seconds).map(Self::Positive).map_err(|_| invalid())
    }
}

impl Span {
    /// As the flags have it for which nothing or less is no limit.
    pub(crate) fn limit(self) -> Option<Duration> {
        match self {
            Self::Positive(time) if !time.is_zero() => Some(time),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_go_reads_them() {
        let check = |text: &str, expect: Option<f64>| {
            let read = text.parse::<Span>().ok().map(|span| match span {
                Span::Negative => -1.0,
                Span::Positive(time) => time.as_secs_f64(),
            });
            assert_eq!(read, expect, "{text}");
        };
        check("90s", Some(90.0));
        check("1m30s", Some(90.0));
        check("1.5h", Some(5400.0));
        check("250ms", Some(0.25));
        check("0", Some(0.0));
        check("0s", Some(0.0));
        check("-1s", Some(-1.0));
        for text in ["", "5", "s", "5 s", "5x", "-", "1..5s"] {
            check(text, None);
        }
    }
}

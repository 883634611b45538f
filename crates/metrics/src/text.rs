//! Series as text: what a registry has, what is written by hand beside it, and the older of Prometheus' two formats.

use std::fmt;

use prometheus_client::{encoding::text, registry::Registry};

/// What the registry has, as OpenMetrics without its last line, so that more can follow.
///
/// # Errors
/// Where a series cannot be written.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut encoded = String::new();
    text::encode(&mut encoded, registry)?;
    encoded.truncate(encoded.len().saturating_sub("# EOF\n".len()));
    Ok(encoded)
}

/// The two lines before series that are written by hand; `help` without a final dot.
pub fn describe(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n"));
}

/// OpenMetrics as Prometheus' own text, which knows no units, and describes counters by the name that their series have.
pub fn classic(text: &str) -> String {
    let counters = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
    let counters = counters.filter(|name| !name.ends_with("_total")).collect::<Vec<_>>();
    let mut classic = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                classic.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _ => classic.push_str(line),
        }
        classic.push('\n');
    }
    classic
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        metrics::{counter::Counter, gauge::Gauge},
        registry::Unit,
    };

    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_series_and_units_are_left_out() {
        let mut registry = Registry::default();
        registry.register("asked", "Questions", Counter::<u64>::default());
        registry.register_with_unit("age", "Since then", Unit::Seconds, Gauge::<i64>::default());
        let mut text = encode(&registry).unwrap();
        describe(&mut text, "told_total", "counter", "Answers");
        text.push_str("told_total 3\n");
        let expect = "# HELP asked_total Questions.\n# TYPE asked_total counter\nasked_total 0\n\
            # HELP age_seconds Since then.\n# TYPE age_seconds gauge\nage_seconds 0\n\
            # HELP told_total Answers.\n# TYPE told_total counter\ntold_total 3\n";
        assert_eq!(classic(&text), expect);
    }
}

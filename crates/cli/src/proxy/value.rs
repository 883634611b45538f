//! What settings may be: the forms of their texts, as Go's flags take them, and as JSON.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use serde_json::Value;
use stead_apiserver::ExternalRange;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `true` or `false`; a flag without a value is `true`.
    Switch,
    /// Anything; the word is for the usage text.
    Text(&'static str),
    /// Between the two, both included.
    Integer(i64, i64),
    /// Zero or more.
    Number,
    /// `1h2m3.5s`; at least so many nanoseconds.
    Duration(u64),
    Ip,
    /// `IP:PORT`, an IP alone, or nothing.
    Listen,
    /// CIDRs with commas between them.
    Ranges,
    /// CIDRs, or `primary`.
    Addresses,
    /// `CIDR` or `CIDR@NAMESPACE`, with commas between them.
    External,
    /// Texts with commas between them.
    List(&'static str),
    Choice(&'static str, &'static [&'static str]),
    /// `Name=true` with commas between them; a mapping in a file.
    Gates,
    /// `pattern=N` with commas between them; a list of `filePattern` and `verbosity` in a file.
    Verbosities,
}

impl Form {
    /// What the usage text calls the value.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Switch => "BOOL",
            Self::Text(word) | Self::List(word) | Self::Choice(word, _) => word,
            Self::Integer(..) | Self::Number => "N",
            Self::Duration(_) => "DURATION",
            Self::Ip => "IP",
            Self::Listen => "IP:PORT",
            Self::Ranges | Self::Addresses => "CIDR,…",
            Self::External => "CIDR[@NAMESPACE],…",
            Self::Gates => "NAME=BOOL,…",
            Self::Verbosities => "PATTERN=N,…",
        }
    }

    /// Whether several of the same flag are one list.
    pub(crate) fn is_list(self) -> bool {
        matches!(
            self,
            Self::Ranges | Self::Addresses | Self::External | Self::List(_) | Self::Gates | Self::Verbosities
        )
    }

    /// Says in one clause what is wrong with `text`.
    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Text(_) | Self::List(_) => Ok(()),
            Self::Switch => parse_switch(text).map(drop),
            Self::Integer(least, most) => match text.parse::<i64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(()),
                _ => Err(format!("must be within the range [{least}, {most}]")),
            },
            Self::Number => match text.parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => Ok(()),
                _ => Err("must be a number, 0 or greater".to_owned()),
            },
            Self::Duration(least) => {
                let duration = parse_duration(text)?;
                match duration.as_nanos() >= u128::from(least) {
                    true => Ok(()),
                    false => Err("must be greater than 0".to_owned()),
                }
            }
            Self::Ip => text.parse::<IpAddr>().map(drop).map_err(|_| "must be a valid IP".to_owned()),
            Self::Listen => parse_listen(text, 1).map(drop),
            Self::Ranges => parse_ranges(text).map(drop),
            Self::Addresses if text == "primary" => Ok(()),
            Self::Addresses if text.split(',').any(|each| each == "primary") => {
                Err("can't use both 'primary' and CIDRs".to_owned())
            }
            Self::Addresses => parse_ranges(text).map(drop),
            Self::External => text
                .split(',')
                .try_for_each(|range| range.parse::<ExternalRange>().map(drop).map_err(|error| error.to_string())),
            Self::Choice(_, words) if words.contains(&text) => Ok(()),
            Self::Choice(_, words) => Err(format!("must be one of {}", words.join(", "))),
            Self::Gates => {
                let is_good = |gate: &str| gate.split_once('=').is_some_and(|(_, value)| parse_switch(value).is_ok());
                match text.split(',').all(is_good) {
                    true => Ok(()),
                    false => Err("must be NAME=true or NAME=false, with commas between them".to_owned()),
                }
            }
            Self::Verbosities => {
                let is_good = |item: &str| item.split_once('=').is_some_and(|(_, level)| level.parse::<u32>().is_ok());
                match text.split(',').all(is_good) {
                    true => Ok(()),
                    false => Err("must be PATTERN=N, with commas between them".to_owned()),
                }
            }
        }
    }

    /// The text of a value in a file; `None` for null, which says nothing.
    pub(crate) fn text_of(self, value: &Value) -> Result<Option<String>, String> {
        let wrong = |expected: &str| Err(format!("invalid type: {}, expected {expected}", kind_of(value)));
        Ok(Some(match (self, value) {
            (_, Value::Null) => return Ok(None),
            (Self::Switch, Value::Bool(value)) => value.to_string(),
            (Self::Switch, _) => return wrong("true or false"),
            (Self::Integer(..) | Self::Number, Value::Number(number)) => number.to_string(),
            (Self::Integer(..) | Self::Number, _) => return wrong("a number"),
            // Log settings give nanoseconds.
            (Self::Duration(_), Value::Number(number)) if number.is_u64() => format!("{number}ns"),
            (Self::Duration(_), Value::String(text)) => text.clone(),
            (Self::Duration(_), _) => return wrong("a duration such as 30s"),
            (Self::Gates, Value::Object(gates)) => {
                gates.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
            }
            (Self::Verbosities, Value::Array(items)) => {
                let item = |item: &Value| {
                    let pattern = item.get("filePattern").and_then(Value::as_str).unwrap_or_default();
                    format!("{pattern}={}", item.get("verbosity").unwrap_or(&Value::Null))
                };
                items.iter().map(item).collect::<Vec<_>>().join(",")
            }
            (form, Value::Array(items)) if form.is_list() => {
                let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                match texts {
                    Some(texts) => texts.join(","),
                    None => return wrong("a list of texts"),
                }
            }
            (_, Value::String(text)) => text.clone(),
            (form, _) if form.is_list() => return wrong("a list"),
            _ => return wrong("a text"),
        }))
    }

    /// What a file says for `text`, which has passed [`Form::check`]; an empty one is said as KubeProxyConfiguration says it.
    pub(crate) fn value_of(self, text: &str) -> Value {
        match self {
            Self::Switch => parse_switch(text).unwrap_or_default().into(),
            Self::Integer(..) => text.parse::<i64>().map_or(Value::Null, Value::from),
            Self::Number => match text.parse::<i64>() {
                Ok(whole) => whole.into(),
                Err(_) => text.parse::<f64>().map_or(Value::Null, Value::from),
            },
            Self::Duration(_) if text.is_empty() => "0s".into(),
            Self::Addresses | Self::External | Self::List(_) if text.is_empty() => Value::Null,
            Self::Addresses | Self::External | Self::List(_) => text.split(',').map(Value::from).collect(),
            Self::Gates => {
                let gates = text.split(',').filter_map(|gate| gate.split_once('='));
                Value::Object(
                    gates.map(|(name, on)| (name.to_owned(), parse_switch(on).unwrap_or_default().into())).collect(),
                )
            }
            Self::Verbosities if text.is_empty() => Value::Null,
            Self::Verbosities => {
                let items = text.split(',').filter_map(|item| item.split_once('='));
                let item = |(pattern, level): (&str, &str)| serde_json::json!({"filePattern": pattern, "verbosity": level.parse::<u32>().unwrap_or_default()});
                items.map(item).collect()
            }
            Self::Text(_) | Self::Duration(_) | Self::Ip | Self::Listen | Self::Choice(..) | Self::Ranges => {
                text.into()
            }
        }
    }
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("boolean `{value}`"),
        Value::Number(number) => format!("number `{number}`"),
        Value::String(text) => format!("string {text:?}"),
        Value::Array(_) => "list".to_owned(),
        Value::Object(_) => "mapping".to_owned(),
    }
}

pub(crate) fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Go's durations: numbers with units (`h`, `m`, `s`, `ms`, `us`, `ns`) one after the other, or `0`; none below zero.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration such as 1h30m, 30s or 250ms".to_owned();
    if text.starts_with('-') {
        return Err("must be greater than or equal to 0".to_owned());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        nanoseconds += number * scale;
        rest = &rest[unit..];
    }
    // A hundred years, so that nothing that is made of it overflows.
    if nanoseconds > 3.2e18 { Err(wrong()) } else { Ok(Duration::from_nanos(nanoseconds as u64)) }
}

/// Where to listen; `None` for nothing. An IP without a port gets `port`.
pub(crate) fn parse_listen(text: &str, port: u16) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Some(SocketAddr::new(address, port)));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(Some(address)),
        _ => Err("must be IP:port".to_owned()),
    }
}

/// CIDRs without host bits; none for an empty text.
pub(crate) fn parse_ranges(text: &str) -> Result<Vec<IpNet>, String> {
    let ranges = text.split(',').map(str::trim).filter(|range| !range.is_empty());
    let wrong = |range: &str| format!("{range:?} must be a valid CIDR such as 10.244.0.0/16");
    ranges.map(|range| range.parse::<IpNet>().map(|range| range.trunc()).map_err(|_| wrong(range))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), expect.map(Duration::from_millis), "{text:?}");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("24h0m0s", Some(86_400_000));
        check("1.5s", Some(1500));
        check("1h2m3s4ms", Some(3_723_004));
        check("15m0s", Some(900_000));
        for text in ["", "30", "s", "-1s", "1x", "1s2", "1..2s", "9999999999h"] {
            check(text, None);
        }
        assert_eq!(parse_duration("2µs").unwrap(), Duration::from_micros(2));
    }

    #[test]
    fn texts_and_values_go_round() {
        let check = |form: Form, text: &str, value: Value| {
            form.check(text).unwrap();
            assert_eq!(form.value_of(text), value, "{form:?} {text:?}");
            assert_eq!(form.text_of(&value).unwrap().as_deref(), Some(text), "{form:?} {value}");
        };
        check(Form::Switch, "true", json!(true));
        check(Form::Integer(-1000, 1000), "-999", json!(-999));
        check(Form::Number, "5", json!(5));
        check(Form::Number, "2.5", json!(2.5));
        check(Form::Duration(1), "15m0s", json!("15m0s"));
        check(Form::Listen, "0.0.0.0:10256", json!("0.0.0.0:10256"));
        check(Form::Ranges, "10.0.0.0/8,fd00::/8", json!("10.0.0.0/8,fd00::/8"));
        check(Form::Addresses, "10.0.0.0/8,fd00::/8", json!(["10.0.0.0/8", "fd00::/8"]));
        check(Form::Gates, "A=true,B=false", json!({"A": true, "B": false}));
        check(
            Form::Verbosities,
            "a=1,b*=2",
            json!([{"filePattern": "a", "verbosity": 1}, {"filePattern": "b*", "verbosity": 2}]),
        );
        assert_eq!(Form::Duration(0).text_of(&json!(5_000_000_000u64)), Ok(Some("5000000000ns".to_owned())));
        assert_eq!(
            Form::Ranges.text_of(&json!(["10.0.0.0/8", "fd00::/8"])),
            Ok(Some("10.0.0.0/8,fd00::/8".to_owned()))
        );
        assert_eq!(Form::Ranges.text_of(&Value::Null), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |form: Form, text: &str, expect: &str| assert_eq!(form.check(text), Err(expect.to_owned()));
        check(Form::Integer(0, 31), "32", "must be within the range [0, 31]");
        check(Form::Duration(1), "0s", "must be greater than 0");
        check(Form::Listen, "localhost:80", "must be IP:port");
        check(Form::Listen, "127.0.0.1:0", "must be IP:port");
        check(Form::Addresses, "primary,10.0.0.0/8", "can't use both 'primary' and CIDRs");
        check(Form::Addresses, "10.0.0.0/33", "\"10.0.0.0/33\" must be a valid CIDR such as 10.244.0.0/16");
        check(Form::Choice("MODE", &["a", "b"]), "c", "must be one of a, b");
        check(Form::Gates, "A", "must be NAME=true or NAME=false, with commas between them");
        let type_of = |form: Form, value: Value| form.text_of(&value).unwrap_err();
        assert_eq!(type_of(Form::Integer(0, 31), json!("14")), "invalid type: string \"14\", expected a number");
        assert_eq!(type_of(Form::Switch, json!(1)), "invalid type: number `1`, expected true or false");
        assert_eq!(type_of(Form::Addresses, json!([1])), "invalid type: list, expected a list of texts");
        assert_eq!(type_of(Form::Text("X"), json!({})), "invalid type: mapping, expected a text");
    }
}

use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: &str) {
    let quantity: Quantity = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(quantity.to_string(), expected, "{text}");
    assert_eq!(expected.parse::<Quantity>().map(|q| q.to_string()), Ok(expected.to_owned()), "{expected} is stable");
}

#[test]
fn canonical_forms() {
    for (text, expected) in [
        ("0", "0"),
        ("0n", "0"),
        ("-0", "0"),
        ("0Mi", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("01", "1"),
        (".5", "500m"),
        ("0.5", "500m"),
        ("5.", "5"),
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("1000Ki", "1000Ki"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("512Ki", "512Ki"),
        ("0.5Mi", "512Ki"),
        ("1Ei", "1Ei"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("128974848000m", "128974848"),
        ("129e6", "129e6"),
        ("129M", "129M"),
        ("1000k", "1M"),
        ("100k", "100k"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1e2", "100"),
        ("1e-1", "100e-3"),
        ("1e+2", "100"),
        ("1E", "1E"),
        ("9E", "9E"),
        ("10E", "9223372036854775807"),
        ("-10E", "-9223372036854775807"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.0000000001", "1000000001n"),
        ("0.0001", "100u"),
        ("-1", "-1"),
        ("-1.5Gi", "-1536Mi"),
        ("12345678901.5Ki", "12641975195136"),
        ("0.0001Ki", "102400u"),
        ("1.1Ki", "1126400m"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775807"),
        ("100000000000000000000000", "9223372036854775807"),
        ("1000000000000000000000000m", "9223372036854775807"),
        ("9000000Ei", "9223372036854775807"),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_is_no_quantity() {
    use ParseQuantityError::{Format, Suffix};
    for (text, expected) in [
        ("", Format),
        ("-", Format),
        (".", Format),
        ("abc", Format),
        ("1x", Format),
        ("1 ", Format),
        (" 1", Format),
        ("1.2.3", Format),
        ("1K", Suffix),
        ("1mi", Suffix),
        ("1KiKi", Suffix),
        ("1e", Suffix),
        ("1e99999999999", Suffix),
        ("1é", Format),
    ] {
        assert_eq!(text.parse::<Quantity>().map(|q| q.to_string()), Err(expected), "{text}");
    }
}

#[test]
fn amounts_compare_whatever_the_format() {
    let parse = |text: &str| text.parse::<Quantity>().unwrap();
    assert_eq!(parse("1Gi"), parse("1073741824"));
    assert_eq!(parse("1000m"), parse("1e0"));
    assert!(parse("1G") < parse("1Gi"));
    assert!(parse("-1") < parse("0") && parse("0") == parse("0m"));
    assert!(parse("1e900") > parse("1E"));
    assert_eq!(parse("-1e900").to_string(), "-9223372036854775807");
    assert_eq!(parse("1e-900").to_string(), "1e-9");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_keeps_amount_and_form(
        text in r"[+-]?[0-9]{1,25}(\.[0-9]{0,25})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2})?",
    ) {
        let quantity: Quantity = text.parse().unwrap();
        let printed = quantity.to_string();
        let again: Quantity = printed.parse().unwrap();
        prop_assert_eq!(again.to_string(), printed);
        prop_assert_eq!(again, quantity);
    }

    #[test]
    fn nothing_panics(text in r"[-+.0-9eEinumkKMGTP]{0,40}") {
        let _ = text.parse::<Quantity>().map(|q| q.to_string());
    }
}

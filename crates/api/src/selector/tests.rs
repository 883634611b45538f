use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(selector: &str, labels: Value, expected: bool) {
    let parsed = Selector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
    assert_eq!(parsed.matches(labels.as_object()), expected, "{selector} on {labels}");
    assert_eq!(Selector::parse(&parsed.to_string()), Ok(parsed), "{selector} is printed as it is parsed");
}

fn error(selector: &str, expected: &str) {
    let error = Selector::parse(selector).expect_err(selector).to_string();
    assert!(error.starts_with(expected), "{selector}: {error}");
}

#[test]
fn label_selectors_match() {
    let web = || json!({"app": "web", "tier": "", "n": "5"});
    for (selector, expected) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        (" app = web , tier ", true),
        ("app=db", false),
        ("app!=db", true),
        ("missing!=db", true),
        ("app in (db,web)", true),
        ("app in(db)", false),
        ("app notin (db)", true),
        ("missing notin (a)", true),
        ("missing in (a)", false),
        ("app", true),
        ("!app", false),
        ("!missing", true),
        ("tier=", true),
        ("tier=,app=web", true),
        ("tier in ()", true),
        ("tier in (,x)", true),
        ("tier in (x,)", true),
        ("tier in (x)", false),
        ("in in (in)", false),
        ("n>4", true),
        ("n<5", false),
        ("app>1", false),
        ("app=web,!missing,n", true),
        ("example.com/x notin (a,b),app=web", true),
    ] {
        check(selector, web(), expected);
    }
    check("notin in (in,notin)", json!({"notin": "in"}), true);
    check("a", Value::Null, false);
}

#[test]
fn label_selector_errors_are_upstreams() {
    for (selector, expected) in [
        ("app=web,", "found '', expected: identifier after ','"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
        ("app=(", "unable to parse requirement: found '(', expected: identifier"),
        ("app=web x", "found 'x', expected: ',' or 'end of string'"),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app in (a b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
        ("app in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!=a", "found '!=', expected: !, identifier, or 'end of string'"),
        ("a b=c", "unable to parse requirement: found 'b', expected: in, notin"),
        ("-a=b", r#"unable to parse requirement: <nil>: Invalid value: "-a": name part must consist"#),
        ("a=-b", r#"unable to parse requirement: values[0][a]: Invalid value: "-b": a valid label must be"#),
        ("a>b", r#"unable to parse requirement: values[0]: Invalid value: "b": for 'Gt'"#),
    ] {
        error(selector, expected);
    }
}

#[test]
fn label_selector_objects() {
    let parse = |value: Value| parse_label_selector(Some(&value)).map(|s| s.map(|s| s.to_string()));
    assert_eq!(parse(Value::Null), Ok(None));
    assert_eq!(parse_label_selector(None), Ok(None));
    assert_eq!(parse(json!({})), Ok(Some(String::new())));
    assert_eq!(
        parse(json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"},
            {"key": "d", "operator": "Exists"}, {"key": "e", "operator": "NotIn", "values": ["z"]}]})),
        Ok(Some("a in (x,y),b=1,!c,d,e!=z".to_owned()))
    );
    assert_eq!(
        parse(json!({"matchExpressions": [{"key": "a", "operator": "Like"}]})),
        Err(SelectorError::Operator { operator: "Like".to_owned() })
    );
    let errors = validate_label_selector(
        &json!({"matchLabels": {"a b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "", "operator": "Like", "values": ["-"]}]}),
        "spec.selector",
    );
    let expected = [
        "spec.selector.matchLabels: Invalid value: \"a b\"",
        "spec.selector.matchExpressions[0].values: Required value: must be specified",
        "spec.selector.matchExpressions[1].values: Forbidden: may not be specified",
        "spec.selector.matchExpressions[2].operator: Invalid value: \"Like\": not a valid selector operator",
        "spec.selector.matchExpressions[2].key: Invalid value: \"\": name part must be non-empty",
        "spec.selector.matchExpressions[2].key: Invalid value: \"\": name part must consist",
        "spec.selector.matchExpressions[2].values[0]: Invalid value: \"-\": a valid label",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, start) in errors.iter().zip(expected) {
        assert!(error.to_string().starts_with(start), "{error}");
    }
}

#[test]
fn field_selectors() {
    let parse = |text: &str| FieldSelector::parse(text).map(|s| s.to_string()).map_err(|e| e.to_string());
    for (text, expected) in [
        ("", Ok("")),
        (",", Ok("")),
        ("spec.clusterIP!=None", Ok("spec.clusterIP!=None")),
        ("b==2,a=1", Ok("a=1,b=2")),
        (r"a=x\,y\=z\\", Ok(r"a=x\,y\=z\\")),
        ("a=", Ok("a=")),
        ("a", Err("invalid selector: 'a'; can't understand 'a'")),
        ("b=1,a", Err("invalid selector: 'b=1,a'; can't understand 'a'")),
        (r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x")),
        ("a=\\", Err(r"invalid field selector: invalid escape sequence: \")),
        ("a=b=c", Err("invalid field selector: unescaped character in value: 61")),
    ] {
        assert_eq!(parse(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }
    let selector = FieldSelector::parse("metadata.name=web,spec.type!=NodePort").unwrap();
    assert_eq!(selector.required("metadata.name"), Some("web"));
    assert_eq!(selector.required("spec.type"), None);
    let matches = |name: &'static str, ty: &'static str| {
        selector.matches_by(|field| Some(if field == "metadata.name" { name } else { ty }.to_owned()))
    };
    assert!(matches("web", "ClusterIP"));
    assert!(!matches("web", "NodePort"));
    assert!(!matches("db", "ClusterIP"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(text in r"[a-z!=(), ><\\-]{0,24}") {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }
    }
}

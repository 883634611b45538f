//! Small texts: selectors and quantities.

use stead_api::{
    quantity,
    selector::{FieldSelector, Selector},
};

#[test]
fn label_selectors() {
    stead_fuzz::run("label_selector", |input| match Selector::parse(&String::from_utf8_lossy(input)) {
        Err(error) => error.to_string(),
        Ok(selector) => {
            let _ = selector.matches_by(|_| Some("b"));
            selector.requirements().iter().take(6).map(|one| format!("{:?}", one.operator)).collect()
        }
    });
}

#[test]
fn field_selectors() {
    stead_fuzz::run("field_selector", |input| match FieldSelector::parse(&String::from_utf8_lossy(input)) {
        Err(error) => error.to_string(),
        Ok(selector) => selector.terms().iter().take(6).map(|term| format!("{term:?}")).collect(),
    });
}

#[test]
fn quantities() {
    stead_fuzz::run("quantity", |input| {
        let nanos = quantity::parse_nanos(&String::from_utf8_lossy(input));
        nanos.map_or_else(String::new, |nanos| "digit".repeat(nanos.to_string().len()))
    });
}

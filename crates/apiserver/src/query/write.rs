//! The parameters of writes: `dryRun`, `fieldValidation`, `fieldManager`. They are checked together, once, before anything is
//! read; what refuses them is named after the options of the verb, as upstream has them.

use stead_api::field::{FieldError, Reason};

use super::{InvalidQuery, Query};
use crate::path::Verb;

/// Bytes of a manager's name.
pub(crate) const MAX_MANAGER: usize = 128;

/// What happens to fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Whether a write is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Stored,
    DryRun,
}

impl Query {
    /// Fails with everything that is wrong with the options of a write that is no deletion.
    pub(crate) fn check_write(&self, verb: Verb) -> Result<(), InvalidQuery> {
        let kind = match verb {
            Verb::Patch => "PatchOptions",
            Verb::Update => "UpdateOptions",
            _ => "CreateOptions",
        };
        let manager = self.get("fieldManager").and_then(wrong_manager);
        let dry_run = wrong_dry_run(&Vec::from_iter(self.all("dryRun")));
        let validation = self.stated_validation().err();
        let problems = Vec::from_iter(manager.into_iter().chain(dry_run).chain(validation));
        if problems.is_empty() { Ok(()) } else { Err(InvalidQuery::WriteOptions(kind, problems)) }
    }

    /// Of a query that was [checked](Self::check_write).
    pub(crate) fn keep(&self) -> Keep {
        if self.all("dryRun").next().is_some() { Keep::DryRun } else { Keep::Stored }
    }

    /// Of a query that was [checked](Self::check_write); any other is strict.
    pub(crate) fn field_validation(&self) -> FieldValidation {
        self.stated_validation().unwrap_or(FieldValidation::Strict)
    }

    fn stated_validation(&self) -> Result<FieldValidation, FieldError> {
        match self.get("fieldValidation") {
            None | Some("" | "Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => {
                let supported = &["", "Ignore", "Strict", "Warn"];
                Err(FieldError::not_supported("fieldValidation", other, supported))
            }
        }
    }
}

/// `All` is the one way to try a write.
pub(crate) fn wrong_dry_run<T: AsRef<str>>(stated: &[T]) -> Option<FieldError> {
    if stated.iter().all(|value| value.as_ref() == "All") {
        return None;
    }
    let stated = Vec::from_iter(stated.iter().map(|value| format!("{:?}", value.as_ref()))).join(",");
    let text = format!("Unsupported value: [{stated}]: supported values: \"All\"");
    Some(FieldError::new(Reason::FieldValueNotSupported, "dryRun", text))
}

fn wrong_manager(manager: &str) -> Option<FieldError> {
    if manager.len() > MAX_MANAGER {
        let message = format!("Too long: may not be more than {MAX_MANAGER} bytes");
        return Some(FieldError::new(Reason::FieldValueTooLong, "fieldManager", message));
    }
    let wrong = manager.char_indices().find(|(_, letter)| letter.is_control());
    wrong.map(|(at, letter)| {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(letter));
        FieldError::invalid("fieldManager", format!("{manager:?}"), detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_with_a_write_is_said_at_once_under_its_options() {
        let check = |verb: Verb, query: &str, expected: Option<(&'static str, &[&str])>| {
            let found = Query::parse(Some(query)).unwrap().check_write(verb).err().map(|error| match error {
                InvalidQuery::WriteOptions(kind, problems) => {
                    (kind, Vec::from_iter(problems.iter().map(ToString::to_string)))
                }
                other => panic!("{other}"),
            });
            let expected = expected.map(|(kind, texts)| (kind, Vec::from_iter(texts.iter().map(ToString::to_string))));
            assert_eq!(found, expected, "{verb:?} {query}");
        };
        let unsupported = |values: &str| format!("dryRun: Unsupported value: [{values}]: supported values: \"All\"");
        check(Verb::Create, "", None);
        check(Verb::Create, "dryRun=All&fieldManager=x&fieldValidation=Strict", None);
        check(Verb::Create, "dryRun=", Some(("CreateOptions", &[&unsupported("\"\"")])));
        check(Verb::Update, "dryRun=All&dryRun=Foo", Some(("UpdateOptions", &[&unsupported("\"All\",\"Foo\"")])));
        let lax =
            "fieldValidation: Unsupported value: \"Lax\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
        let manager = "fieldManager: Invalid value: \"\\n\": invalid character U+000A (at position 0)";
        check(
            Verb::Patch,
            "fieldValidation=Lax&dryRun=Foo&fieldManager=%0a",
            Some(("PatchOptions", &[manager, &unsupported("\"Foo\""), lax])),
        );
        let query = |text: &str| Query::parse(Some(text)).unwrap();
        assert_eq!((query("dryRun=All").keep(), query("").keep()), (Keep::DryRun, Keep::Stored));
        assert_eq!(query("fieldValidation=Strict").field_validation(), FieldValidation::Strict);
    }
}

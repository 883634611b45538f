//! YAML as a request body: one document, parsed within bounds and on a stack of its own.
//!
//! The parser recurses, and what a level takes is more than the stack of a thread that serves requests has for the depth that
//! JSON may have.

use std::{panic::resume_unwind, thread};

use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy};

use super::MAX_BODY;

/// Bytes of stack for a document in YAML: its parser takes up to 20 KiB for each level, and [`stead_api::decode::MAX_DEPTH`] are
/// allowed.
const YAML_STACK: usize = 16 << 20;

/// Runs `read` on the one document in `bytes`; depth, aliases and size of what they stand for are bounded.
pub(super) fn yaml<T: Send>(
    bytes: &[u8],
    read: impl for<'e> FnOnce(serde_saphyr::Deserializer<'_, 'e>) -> Result<T, serde_saphyr::Error> + Send,
) -> Result<T, serde_saphyr::Error> {
    let parse = || {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::LastWins,
            merge_keys: MergeKeyPolicy::Merge,
            with_snippet: false,
            budget: serde_saphyr::budget! {
                max_depth: stead_api::decode::MAX_DEPTH,
                max_documents: 1,
                max_nodes: 200_000,
                max_events: 500_000,
                max_aliases: 1_000,
                max_anchors: 1_000,
                max_total_scalar_bytes: MAX_BODY,
            },
        };
        serde_saphyr::with_deserializer_from_slice_with_options(bytes, options, read)
    };
    thread::scope(|scope| {
        let parser = thread::Builder::new().name("yaml".into()).stack_size(YAML_STACK).spawn_scoped(scope, parse);
        let parser =
            parser.map_err(|error| serde::de::Error::custom(format_args!("no thread to parse it: {error}")))?;
        parser.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use crate::{body::Encoding, query::FieldValidation};

    #[test]
    fn yaml_nests_as_deep_as_json() {
        let service = stead_api::kinds::ALL.iter().find(|kind| kind.kind == "Service").unwrap();
        let read = |open: &str, close: &str, levels: usize| {
            let text = format!("kind: Service\nspec: {}x{}", open.repeat(levels), close.repeat(levels));
            Encoding::Yaml.object(text.as_bytes(), service, FieldValidation::Strict).unwrap_err().0.status.message
        };
        for (open, close) in [("{a: ", "}"), ("[", "]"), ("{? ", "}")] {
            for levels in (1..400).step_by(7).chain([100_000]) {
                let message = read(open, close, levels);
                assert!(!message.is_empty(), "{levels} levels of {open}");
            }
        }
        assert!(read("{a: ", "}", 120).contains("unknown field"), "{}", read("{a: ", "}", 120));
        assert!(read("{a: ", "}", 130).contains("depth"), "{}", read("{a: ", "}", 130));
    }

    #[test]
    fn any_body_in_yaml_is_read_or_refused() {
        let service = stead_api::kinds::ALL.iter().find(|kind| kind.kind == "Service").unwrap();
        stead_fuzz::run("yaml", |input| match Encoding::Yaml.object(input, service, FieldValidation::Strict) {
            Err(refusal) => {
                assert_eq!(refusal.0.status.code, 400, "{}", refusal.0.status.message);
                refusal.0.status.message
            }
            Ok(sent) => {
                let text = sent.object.to_string();
                let again = Encoding::Json.object(text.as_bytes(), service, FieldValidation::Strict).unwrap();
                assert_eq!(again.object, sent.object, "what YAML gives is canonical too");
                text
            }
        });
    }
}

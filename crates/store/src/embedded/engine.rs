//! The engine's database, which may panic over a damaged page: here its panics become errors, also when it closes.

use std::{
    any::Any,
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
};

use redb::Database;

use crate::StoreError;

/// Closes without a panic.
#[derive(Debug)]
pub(super) struct Engine(Option<Database>);

impl Engine {
    pub(super) const fn new(database: Database) -> Self {
        Self(Some(database))
    }
}

impl Deref for Engine {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Engine {
    fn deref_mut(&mut self) -> &mut Database {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let database = self.0.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(database))) {
            tracing::error!(cause = text(&*panic), "the store's file could not be closed in order: it is damaged");
        }
    }
}

/// Runs a call of the engine while it opens a file. What panics is what the file has in it.
pub(super) fn opening<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    // Nothing that a panic leaves half done is used again: the file is not opened.
    let result = catch_unwind(AssertUnwindSafe(call));
    result.unwrap_or_else(|panic| Err(redb::Error::Corrupted(text(&*panic))))
}

/// Runs calls of the engine for one request.
pub(super) fn guarded<T>(step: &'static str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // Readers share nothing that they change, and a committer that fails writes no more.
    let result = catch_unwind(AssertUnwindSafe(call));
    result.unwrap_or_else(|panic| {
        Err(StoreError::Engine { step, cause: format!("the file is damaged: {}", text(&*panic)) })
    })
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the engine panicked").to_owned()
}

//! How a container's program gets its environment: in the order of its specification.
//!
//! The runtime carries variables in a map without order; this hands the program the lines as they were written. Which they are is
//! the specification's.

use std::{collections::HashSet, ffi::CString};

use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError, default::get_executor};
use nix::unistd::execvpe;
use oci_spec::runtime::Spec;

/// Becomes the program of the specification.
#[derive(Clone, Debug)]
pub(super) struct InOrder;

impl Executor for InOrder {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        get_executor().validate(spec)
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let lines = |lines: Vec<String>| {
            lines.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().map_err(|_| ExecutorError::InvalidArg)
        };
        let arguments = lines(process.args().clone().unwrap_or_default())?;
        let program = arguments.first().ok_or(ExecutorError::InvalidArg)?;
        let mut environment = process.env().clone().unwrap_or_default();
        // The runtime has found out which directory is the user's.
        environment
            .insert(0, std::env::var("HOME").map_or_else(|_| "HOME=/".to_owned(), |home| format!("HOME={home}")));
        let Err(errno) = execvpe(program, &arguments, &lines(last_of_each(environment))?);
        Err(ExecutorError::Other(format!("error '{errno}' executing {program:?} with args {arguments:?}")))
    }
}

/// Of several lines with one name the last.
fn last_of_each(mut lines: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut is_last: Vec<bool> =
        lines.iter().rev().map(|line| seen.insert(line.split('=').next().unwrap_or_default())).collect();
    drop(seen);
    lines.retain(|_| is_last.pop().unwrap_or_default());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_said_again_counts_where_it_was_said_last() {
        let check = |lines: &[&str], expect: &[&str]| {
            assert_eq!(last_of_each(lines.iter().map(|line| (*line).to_owned()).collect()), expect);
        };
        check(&[], &[]);
        check(&["B=1", "A=2", "C"], &["B=1", "A=2", "C"]);
        check(&["HOME=/", "A=1=2", "A=3", "HOME=/root"], &["A=3", "HOME=/root"]);
    }
}

//! Whether pods can be started here: what stands in their way, in the words of the Node's condition Ready.
//!
//! Says only that. Who places pods leaves out a node that is not ready; the pods that it has go on, and so do attempts to start
//! those that wait. What a single object causes, as a Node whose address nobody reaches, is no fault of this machine's and counts not.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use nix::unistd::{AccessFlags, access};
use stead_client::error_text;

use super::pressure::Words;
use crate::{config::Config, image::Store};

/// What a pod needs of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Containers,
    Images,
    Networks,
    Masquerading,
}

/// What is not there, each with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Problems {
    by_need: BTreeMap<Need, String>,
    message: String,
}

impl Problems {
    /// Takes over how it stands with one need, `None` being well. Whether that is news.
    pub(super) fn note(&mut self, need: Need, problem: Option<String>) -> bool {
        if self.by_need.get(&need) == problem.as_ref() {
            return false;
        }
        match problem {
            Some(problem) => drop(self.by_need.insert(need, problem)),
            None => drop(self.by_need.remove(&need)),
        }
        self.message = self.message();
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_need.is_empty()
    }

    /// As the kubelet joins them: alone as it is, several in brackets.
    fn message(&self) -> String {
        let mut text = String::new();
        for (need, problem) in &self.by_need {
            let whose = match need {
                Need::Containers | Need::Images => "container runtime is down",
                Need::Networks | Need::Masquerading => "container runtime network not ready",
            };
            let between = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{between}{whose}: {problem}");
        }
        if self.by_need.len() > 1 { format!("[{text}]") } else { text }
    }

    pub(super) fn words(&self) -> Words<'_> {
        let (status, reason, message) = match self.is_empty() {
            true => ("True", "KubeletReady", "kubelet is posting ready status"),
            false => ("False", "KubeletNotReady", self.message.as_str()),
        };
        Words { kind: "Ready", status, reason, message }
    }
}

/// Looks at the places on disk that the start of a pod writes to or reads.
pub(super) fn read(config: &Config, store: &Store) -> [(Need, Option<String>); 3] {
    [
        (Need::Containers, unwritable(&config.state_dir.join("containers"))),
        (Need::Images, store.list().err().map(|error| error_text(&error))),
        (Need::Networks, unwritable(&config.state_dir.join("network/netns"))),
    ]
}

/// Asks the kernel, which knows of read-only file systems and immutable directories; writes nothing.
fn unwritable(directory: &Path) -> Option<String> {
    let error = access(directory, AccessFlags::W_OK | AccessFlags::X_OK).err()?;
    Some(format!("{} cannot be written to: {}", directory.display(), error.desc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_said_in_the_kubelets_words() {
        let mut problems = Problems::default();
        let words = |problems: &Problems| {
            let Words { kind, status, reason, message } = problems.words();
            format!("{kind}={status} {reason}: {message}")
        };
        assert_eq!(words(&problems), "Ready=True KubeletReady: kubelet is posting ready status");
        assert!(!problems.note(Need::Containers, None));
        assert!(problems.note(Need::Networks, Some("no room".to_owned())));
        assert!(!problems.note(Need::Networks, Some("no room".to_owned())));
        assert_eq!(words(&problems), "Ready=False KubeletNotReady: container runtime network not ready: no room");
        assert!(problems.note(Need::Containers, Some("read-only".to_owned())));
        assert_eq!(
            words(&problems),
            "Ready=False KubeletNotReady: [container runtime is down: read-only, container runtime network not ready: no room]"
        );
        assert!(problems.note(Need::Containers, None) && problems.note(Need::Networks, None));
        assert_eq!(problems, Problems::default());
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_be_written_to() {
        assert_eq!(
            unwritable(Path::new("/nowhere")).unwrap(),
            "/nowhere cannot be written to: No such file or directory"
        );
        assert_eq!(unwritable(&std::env::temp_dir()), None);
    }
}

//! `stead check`: what on this machine stands in the way of Services, before anything is installed.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;
use stead_dataplane::{
    probe::{Capabilities, probe},
    survey::{Facts, Finding, Grade, Subject, Wanted, survey},
};

use crate::{args::CheckArgs, config::Config, rights};

/// The exit code is 1 where something would keep Services from working.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode> {
    rights::demand_root("stead check looks at the kernel's tables")?;
    let config = Config::load(args.config.as_deref())?;
    let wanted = Wanted {
        service_ranges: args.service_cluster_ip_range.clone().unwrap_or(config.server.service_ranges),
        pod_ranges: args.cluster_cidr.clone().unwrap_or(config.server.pod_ranges),
    };
    let mut findings = kernel(&probe());
    findings.extend(survey(&Facts::read()?, &wanted));
    crate::console::say(&render(&findings));
    let fails = findings.iter().any(|finding| finding.grade == Grade::Failure);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn kernel(found: &Capabilities) -> Vec<Finding> {
    let needs = match found.problem() {
        None => Finding::fine(Subject::Kernel, "the kernel can do all that the nftables data plane needs"),
        Some(problem) => Finding::failure(Subject::Kernel, problem, ""),
    };
    let hashes = found.without_hashes().map(|problem| {
        let remedy = "nothing, unless Services are to have the algorithms source-hash or maglev; they are spread at random here until then";
        Finding::warning(Subject::Kernel, problem, remedy)
    });
    [needs].into_iter().chain(hashes).collect()
}

/// One line for each finding, and one more for what to do about it.
fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { subject, grade, text: found, remedy } in findings {
        let _ = writeln!(text, "{grade:<8} {subject:<12} {found}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "{:22}to do: {remedy}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_its_remedy_another() {
        let findings = [
            Finding::fine(Subject::Conntrack, "3 of 262144 connections are tracked"),
            Finding::failure(Subject::OtherProxy, "somebody else is there", "end it"),
        ];
        let expect = "ok       conntrack    3 of 262144 connections are tracked\n\
                      failure  other proxy  somebody else is there\n                      to do: end it\n";
        assert_eq!(render(&findings), expect);
    }
}

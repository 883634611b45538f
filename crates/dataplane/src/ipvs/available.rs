//! Whether this kernel has IPVS, and which of its schedulers; found out by trying, in a network namespace that is gone afterwards.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use stead_model::Family;
use stead_sys::{
    ipvs::{Change, Error, Ipvs, Name, SchedulerFlags, Server},
    namespace::Namespace,
};

use crate::probe::{self, Missing};

/// Schedulers that are looked for: those of Linux 6.18. A kernel may have others, which can be named all the same.
pub const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf", "twos"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// Why the data plane cannot run here, and what to do; empty where it can.
    pub missing: Vec<String>,
    /// Those of [`SCHEDULERS`] that the kernel has, loaded or not.
    pub schedulers: BTreeSet<&'static str>,
}

impl Availability {
    /// What is missing in one line; `None` where the data plane can run.
    pub fn problem(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| self.missing.join("; "))
    }
}

/// Tries what the IPVS data plane needs. A module that is there and not loaded is loaded; nothing else is changed.
pub fn available() -> Availability {
    let mut found = Availability::default();
    let namespace = match Namespace::create() {
        Ok(namespace) => namespace,
        Err(error) => {
            found.missing.push(format!("a network namespace to try IPVS in cannot be made: {error}; run as root"));
            return found;
        }
    };
    let ipvs = match Ipvs::open_in(&namespace) {
        Err(Error::Absent) => {
            load_module();
            Ipvs::open_in(&namespace)
        }
        result => result,
    };
    match ipvs {
        Ok(mut ipvs) => try_all(&mut ipvs, &namespace, &mut found),
        Err(error) => found.missing.push(error.to_string()),
    }
    let rules = probe::probe().missing.into_iter().filter(|missing| is_needed(*missing));
    found.missing.extend(rules.map(|missing| missing.to_string()));
    found
}

fn try_all(ipvs: &mut Ipvs, namespace: &Namespace, found: &mut Availability) {
    let has = |ipvs: &mut Ipvs, family, scheduler: &str| {
        let name = Name::Marked(family, 1);
        let server = Server { scheduler: scheduler.into(), flags: SchedulerFlags::default(), persistence: None };
        let added = ipvs.commit(&[Change::AddServer(name, server)]).map(drop);
        added.and_then(|()| ipvs.commit(&[Change::DeleteServer(name)]).map(drop))
    };
    for scheduler in SCHEDULERS {
        match has(ipvs, Family::V4, scheduler) {
            Ok(()) => {
                found.schedulers.insert(scheduler);
            }
            Err(error) if error.is_forbidden() => {
                found.missing.push("the right to change IPVS is missing (CAP_NET_ADMIN); run as root".to_owned());
                return;
            }
            Err(_) => {}
        }
    }
    let Some(scheduler) = found.schedulers.first() else {
        found.missing.push("the kernel has no scheduler of IPVS; load module ip_vs_rr or build CONFIG_IP_VS_RR".into());
        return;
    };
    if has(ipvs, Family::V6, scheduler).is_err() {
        found.missing.push("IPVS lacks IPv6; build CONFIG_IP_VS_IPV6".to_owned());
    }
    let tracks = namespace.run(|| fs::exists("/proc/sys/net/ipv4/vs/conntrack").unwrap_or(false)).unwrap_or(false);
    if !tracks {
        found.missing.push("IPVS lacks connection tracking; build CONFIG_IP_VS_NFCT".to_owned());
    }
}

/// What our rules beside IPVS are made of.
const fn is_needed(missing: Missing) -> bool {
    !matches!(missing, Missing::Nat | Missing::Random | Missing::Hash | Missing::DynamicMaps)
}

/// By the program that the kernel itself would call; where there is none, or it fails, IPVS stays absent.
fn load_module() {
    let program = fs::read_to_string("/proc/sys/kernel/modprobe").unwrap_or_default();
    if !program.trim().is_empty() {
        let _ = Command::new(program.trim())
            .args(["-q", "ip_vs"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let found = available();
        if fs::exists("/proc/net/ip_vs").unwrap() {
            assert_eq!(found.problem(), None);
            assert!(found.schedulers.contains("rr"), "{found:?}");
        } else {
            let expect = "the kernel has no IPVS; load module ip_vs or build CONFIG_IP_VS";
            assert_eq!((found.problem().as_deref(), found.schedulers.len()), (Some(expect), 0));
        }
    }
}

//! Files that every container of a pod gets: `/etc/hosts`, `/etc/hostname`.

use std::{fmt::Write, net::IpAddr};

use k8s_openapi::api::core::v1::Pod;

/// The host name of a pod's containers: the one it asks for, else its name, as much of it as a host name may have.
pub(crate) fn hostname(pod: &Pod) -> String {
    let asked = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = asked.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The content of `/etc/hosts`.
pub(crate) fn hosts_file(pod: &Pod, hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::from(
        "# Written by Stead.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         fe00::\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for address in addresses {
        writeln!(text, "{address}\t{hostname}").expect("a String takes every write");
    }
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    for alias in aliases {
        let names = alias.hostnames.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\t");
        writeln!(text, "{}\t{names}", alias.ip).expect("a String takes every write");
    }
    text
}

//! Changes as text for people: what `ipvsadm -R` takes, line by line.

use std::fmt::{self, Display, Formatter};

use stead_model::{Family, Protocol};

use super::{Change, Name, SchedulerFlags, Server};

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(frontend) => {
                let option = match frontend.protocol {
                    Protocol::Tcp => "-t",
                    Protocol::Udp => "-u",
                    Protocol::Sctp => "--sctp-service",
                };
                write!(f, "{option} {}", frontend.socket())
            }
            Self::Marked(Family::V4, mark) => write!(f, "-f {mark}"),
            Self::Marked(Family::V6, mark) => write!(f, "-f {mark} -6"),
        }
    }
}

impl Display for Server {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "-s {}", self.scheduler)?;
        if let Some(time) = self.persistence {
            write!(f, " -p {}", time.as_secs())?;
        }
        let flags = [(SchedulerFlags::FALLBACK, "flag-1"), (SchedulerFlags::PORT, "flag-2")];
        let set = flags.into_iter().filter(|(flag, _)| self.flags.0 & flag.0 != 0).map(|(_, name)| name);
        let set = set.collect::<Vec<_>>();
        if set.is_empty() { Ok(()) } else { write!(f, " -b {}", set.join(",")) }
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddServer(name, server) => write!(f, "-A {name} {server}"),
            Self::SetServer(name, server) => write!(f, "-E {name} {server}"),
            Self::DeleteServer(name) => write!(f, "-D {name}"),
            Self::AddDestination(name, address, weight) => write!(f, "-a {name} -r {address} -m -w {weight}"),
            Self::SetDestination(name, address, weight) => write!(f, "-e {name} -r {address} -m -w {weight}"),
            Self::DeleteDestination(name, address) => write!(f, "-d {name} -r {address}"),
        }
    }
}

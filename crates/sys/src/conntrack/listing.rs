//! The table of connections as text (`/proc/net/nf_conntrack`): tells less than netlink does, and keeps no packet waiting.
//!
//! For a dump over netlink the kernel takes a lock for each of its buckets, 262,144 by default, with packets held back on that processor
//! until an answer is full: where there is little to show that is ten milliseconds in one go. The text passes over what is empty
//! and holds nothing back, but costs several times as much for each entry. Which of the two is read is decided one level up.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    net::{IpAddr, SocketAddr},
};

use stead_model::Protocol;

use super::{Entry, Status, Tuple};

/// The open file: it shows the namespace that it was opened in, whoever reads it.
#[derive(Debug)]
pub(super) struct Listing {
    file: File,
}

impl Listing {
    /// That of the calling thread's namespace. `None` where the kernel has none (`CONFIG_NF_CONNTRACK_PROCFS`) or an unsteady one.
    pub(super) fn open() -> Option<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        let file = is_steady(&release).then(|| File::open("/proc/thread-self/net/nf_conntrack").ok())??;
        Some(Self { file })
    }

    /// Gives `each` every TCP, UDP and SCTP entry: without its number, and of its status as much as the text says.
    pub(super) fn read(&mut self, mut each: impl FnMut(Entry)) -> io::Result<()> {
        /// The kernel gives no more at a time.
        const PAGE: usize = 4 << 10;
        self.file.rewind()?;
        let mut text = Vec::with_capacity(2 * PAGE);
        loop {
            let kept = text.len();
            text.resize(kept + PAGE, 0);
            let read = self.file.read(&mut text[kept..])?;
            text.truncate(kept + read);
            if read == 0 {
                return Ok(());
            }
            let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            let lines = str::from_utf8(&text[..end]).map_err(io::Error::other)?;
            lines.lines().filter_map(parse).for_each(&mut each);
            text.drain(..end);
        }
    }
}

/// Whether a kernel of this release goes on after each page where it was. Before Linux 6.15 it counts entries from the first one each
/// time, so that those which go meanwhile make it pass over others.
fn is_steady(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse().ok());
    let mut number = || numbers.next().flatten().unwrap_or(0);
    (number(), number()) >= (6, 15)
}

/// `None` for what is no TCP, UDP or SCTP entry.
fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace();
    let protocol = Protocol::from_number(words.nth(3)?.parse().ok()?)?;
    let (mut addresses, mut ports) = (Vec::<IpAddr>::with_capacity(4), Vec::<u16>::with_capacity(4));
    let (mut is_over, mut zone, mut status) = (false, 0, Status::SEEN_REPLY);
    for word in words {
        match word.split_once('=') {
            Some(("src" | "dst", address)) => addresses.push(address.parse().ok()?),
            Some(("sport" | "dport", port)) => ports.push(port.parse().ok()?),
            Some(("zone", number)) => zone = number.parse().ok()?,
            None if word == "[UNREPLIED]" => status = Status::default(),
            None if protocol == Protocol::Tcp => is_over |= matches!(word, "TIME_WAIT" | "CLOSE"),
            _ => {}
        }
    }
    let [from, to, back_from, back_to] = addresses.as_slice().try_into().ok()?;
    let ports: [u16; 4] = ports.as_slice().try_into().ok()?;
    let tuple = |source, destination, ports: &[u16]| Tuple {
        source: SocketAddr::new(source, ports[0]),
        destination: SocketAddr::new(destination, ports[1]),
    };
    let (original, reply) = (tuple(from, to, &ports[..2]), tuple(back_from, back_to, &ports[2..]));
    // The kernel notes it exactly where it changed something.
    if reply.source != original.destination {
        status = status | Status::DESTINATION_NAT;
    }
    Some(Entry { protocol, original, reply, zone, status, is_over, id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: &str, destination: &str) -> Tuple {
        Tuple { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let (none, nat) = (Status::default(), Status::DESTINATION_NAT);
        let check = |line: &str, protocol, original, reply, zone, status, is_over| {
            let entry = Entry { protocol, original, reply, zone, status, is_over, id: None };
            assert_eq!(parse(line), Some(entry), "{line}");
        };
        check(
            "ipv4     2 tcp      6 431999 ESTABLISHED src=10.244.1.2 dst=10.96.0.1 sport=40000 dport=80 src=10.244.2.9 \
             dst=192.168.56.101 sport=8080 dport=40000 [ASSURED] mark=0 zone=0 use=1",
            Protocol::Tcp,
            tuple("10.244.1.2:40000", "10.96.0.1:80"),
            tuple("10.244.2.9:8080", "192.168.56.101:40000"),
            0,
            Status::SEEN_REPLY | nat,
            false,
        );
        check(
            "ipv4     2 tcp      6 117 TIME_WAIT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 \
             sport=2 dport=1 [ASSURED] mark=0 secctx=a:b:c zone=7 delta-time=3 use=2",
            Protocol::Tcp,
            tuple("10.0.0.1:1", "10.0.0.2:2"),
            tuple("10.0.0.2:2", "10.0.0.1:1"),
            7,
            Status::SEEN_REPLY,
            true,
        );
        check(
            "ipv6     10 udp      17 29 src=fd56:0000:0000:0000:0000:0000:0000:0001 \
             dst=fd56:0096:0000:0000:0000:0000:0000:0001 sport=5 dport=53 packets=1 bytes=60 [UNREPLIED] \
             src=fd56:0244:0000:0000:0000:0000:0000:0002 dst=fd56:0000:0000:0000:0000:0000:0000:0001 sport=53 \
             dport=5 packets=0 bytes=0 mark=0 use=1",
            Protocol::Udp,
            tuple("[fd56::1]:5", "[fd56:96::1]:53"),
            tuple("[fd56:244::2]:53", "[fd56::1]:5"),
            0,
            nat,
            false,
        );
        check(
            "ipv4     2 sctp     132 2 CLOSED src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [UNREPLIED] src=2.2.2.2 \
             dst=1.1.1.1 sport=2 dport=1 use=1",
            Protocol::Sctp,
            tuple("1.1.1.1:1", "2.2.2.2:2"),
            tuple("2.2.2.2:2", "1.1.1.1:1"),
            0,
            none,
            false,
        );
    }

    #[test]
    fn what_is_no_connection_of_ours_is_passed_over() {
        for line in [
            "",
            "ipv4     2 icmp     1 29 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=1 src=2.2.2.2 dst=1.1.1.1 type=0 use=1",
            "ipv4     2 tcp      6 1 CLOSE src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2",
            "ipv4     2 tcp      6 1 CLOSE src=1.1.1.1 dst=2.2.2.2 sport=1 dport=70000 src=2.2.2.2 dst=1.1.1.1 sport=2",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn only_kernels_that_keep_their_place_are_read() {
        for (release, steady) in
            [("6.18.44-fc-v657", true), ("6.15.0", true), ("7.0.0-rc1", true), ("6.14.11-1-amd64", false), ("", false)]
        {
            assert_eq!(is_steady(release), steady, "{release}");
        }
    }
}

//! Relays connections and datagrams: thousands of listening sockets in a few threads, each with an epoll of its own.
//!
//! Owns sockets and the bytes between them: who came, what is held back, half-closed connections, backends that refuse or do not answer, and what happens when
//! descriptors run out. Where a connection goes, and whether it may go on, is asked of a [`Route`]; listening sockets are the caller's to bind.
//! A connection that is idle costs two descriptors and no buffer. Knows no plan, no Service and no firewall.

mod connection;
mod counters;
mod datagram;
mod half;
mod pipes;
mod route;
mod slab;
mod socket;
mod worker;

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

use self::{
    counters::Room,
    worker::{Command, Worker},
};
pub use self::{
    counters::{Counters, Counts},
    route::{Destination, Origin, Route},
};

/// How long a client of a datagram port is remembered after its last datagram, either way.
pub const UDP_IDLE: Duration = Duration::from_secs(30);

/// Names one port of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u32);

/// What a relay is like.
#[derive(Clone, Debug)]
pub struct Options {
    pub threads: usize,
    pub udp_idle: Duration,
    /// How many descriptors connections and clients of datagram ports may have together.
    pub descriptors: usize,
}

/// A relay. Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct Relay {
    threads: Vec<Thread>,
    counters: Arc<Counters>,
    sockets: HashMap<PortId, Arc<OwnedFd>>,
    next: u32,
}

#[derive(Debug)]
struct Thread {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    handle: Option<thread::JoinHandle<()>>,
}

impl Relay {
    /// Starts the threads, in the network namespace of the calling one. `origin` tells where datagrams were sent before they were redirected.
    ///
    /// # Errors
    /// Where descriptors or threads cannot be had.
    pub fn start(options: &Options, origin: Arc<dyn Origin>) -> io::Result<Self> {
        let counters = Arc::new(Counters::new(options.descriptors));
        let mut relay = Self { threads: Vec::new(), counters, sockets: HashMap::new(), next: 0 };
        for number in 0..options.threads.max(1) {
            let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            let (commands, received) = mpsc::channel();
            let room = Room::new(Arc::clone(&relay.counters));
            let worker = Worker::new(received, Arc::clone(&wake), room, options.udp_idle, Arc::clone(&origin))?;
            let handle = thread::Builder::new().name(format!("relay-{number}")).spawn(move || worker.run())?;
            relay.threads.push(Thread { commands, wake, handle: Some(handle) });
        }
        Ok(relay)
    }

    /// Takes connections from a TCP socket that listens; it is made non-blocking.
    pub fn serve_streams(&mut self, listener: OwnedFd, route: Arc<dyn Route>) -> io::Result<PortId> {
        let listener = Arc::new(socket::prepare_listener(listener)?);
        let id = self.next_id();
        self.sockets.insert(id, Arc::clone(&listener));
        self.tell(|| Command::Streams { id, listener: Arc::clone(&listener), route: Arc::clone(&route) });
        Ok(id)
    }

    /// Takes datagrams from a bound UDP socket; it is made non-blocking.
    pub fn serve_datagrams(&mut self, socket: OwnedFd, route: Arc<dyn Route>) -> io::Result<PortId> {
        let socket = Arc::new(socket::prepare_datagrams(socket)?);
        let id = self.next_id();
        self.sockets.insert(id, Arc::clone(&socket));
        let thread = &self.threads[id.0 as usize % self.threads.len()];
        thread.tell(Command::Datagrams { id, socket, route });
        Ok(id)
    }

    /// Takes nothing more from these ports' sockets and closes them. Their connections go on as the route says, clients of datagram ports do not.
    /// Returns after that.
    pub fn close(&mut self, ids: &[PortId]) {
        ids.iter().for_each(|id| drop(self.sockets.remove(id)));
        let ids: Arc<[PortId]> = ids.into();
        self.ask(|reply| Command::Close { ids: Arc::clone(&ids), reply });
    }

    /// Ends everything of these ports that its route does not keep. Returns how many connections and clients that were, after they ended.
    pub fn judge(&self, ids: &[PortId]) -> usize {
        let ids: Arc<[PortId]> = ids.into();
        self.ask(|reply| Command::Judge { ids: Arc::clone(&ids), reply })
    }

    /// The socket of a port that is not closed.
    pub fn socket(&self, id: PortId) -> Option<&Arc<OwnedFd>> {
        self.sockets.get(&id)
    }

    /// How many descriptors connections and clients of datagram ports may have together from now on.
    pub fn set_room(&self, descriptors: usize) {
        self.counters.set_most(descriptors);
    }

    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Connections and clients that are there now.
    pub fn open(&self) -> usize {
        self.counters.open()
    }

    fn next_id(&mut self) -> PortId {
        self.next += 1;
        PortId(self.next)
    }

    fn tell(&self, command: impl Fn() -> Command) {
        self.threads.iter().for_each(|thread| thread.tell(command()));
    }

    /// The sum of what all threads answer.
    fn ask(&self, command: impl Fn(mpsc::Sender<usize>) -> Command) -> usize {
        let (reply, replies) = mpsc::channel();
        self.tell(|| command(reply.clone()));
        drop(reply);
        replies.iter().sum()
    }
}

impl Default for Options {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, Into::into).min(4);
        Self { threads, udp_idle: UDP_IDLE, descriptors: 8192 }
    }
}

impl Thread {
    fn tell(&self, command: Command) {
        // A thread that has ended has nothing to be told about.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.threads.iter().for_each(|thread| thread.tell(Command::End));
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                let _ = handle.join();
            }
        }
    }
}

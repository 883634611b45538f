//! One thread of a relay: waits for sockets, does what each can do now, and never blocks on one.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
    net::{SocketFlags, accept_with, acceptfrom_with},
};

use crate::{
    PortId,
    connection::{Connection, Side, Step, is_shortage},
    counters::{Room, count},
    datagram::{self, Client, Datagrams, Name},
    half::Means,
    route::{Destination, Origin, Route},
    slab::{Key, Slab},
    socket,
};

/// What the threads of a relay are told.
#[derive(Debug)]
pub(crate) enum Command {
    Streams { id: PortId, listener: Arc<OwnedFd>, route: Arc<dyn Route> },
    Datagrams { id: PortId, socket: Arc<OwnedFd>, route: Arc<dyn Route> },
    Close { ids: Arc<[PortId]>, reply: mpsc::Sender<usize> },
    Judge { ids: Arc<[PortId]>, reply: mpsc::Sender<usize> },
    End,
}

const EVENTS: usize = 256;
/// Connections that one event of a port leads to before others have their turn.
const ACCEPTS: usize = 64;
/// Before a port is looked at again that has connections waiting and no descriptor for any.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);
const EDGE: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

pub(crate) struct Worker {
    commands: mpsc::Receiver<Command>,
    room: Room,
    udp_idle: Duration,
    origin: Arc<dyn Origin>,
    epoll: OwnedFd,
    ports: HashMap<u32, Port>,
    connections: Slab<Connection>,
    clients: Slab<Client>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    /// Who had more to move than one turn.
    turns: Vec<Key>,
    means: Means,
    datagram: Box<[u8]>,
    control: Vec<u8>,
    /// Given up for a moment to take a connection that can only be refused.
    spare: Option<File>,
}

#[derive(Debug)]
enum Port {
    Streams { listener: Arc<OwnedFd>, route: Arc<dyn Route> },
    Datagrams(Datagrams),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The try with this number is late, unless it is over.
    Try(Key, usize),
    Idle(Key),
}

/// What an event is about, as epoll keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Wake,
    Port(u32),
    Connection(Side, Key),
    Client(Key),
}

impl Subject {
    const fn data(self) -> EventData {
        let (kind, index, generation) = match self {
            Self::Wake => (0, 0, 0),
            Self::Port(id) => (1, id, 0),
            Self::Connection(Side::Client, key) => (2, key.index, key.generation),
            Self::Connection(Side::Server, key) => (3, key.index, key.generation),
            Self::Client(key) => (4, key.index, key.generation),
        };
        EventData::new_u64((kind << 61) | ((generation as u64) << 32) | index as u64)
    }

    fn of(data: EventData) -> Self {
        let number = data.u64();
        let index = number as u32;
        let key = Key { index, generation: (number >> 32) as u32 % Key::GENERATIONS };
        match number >> 61 {
            0 => Self::Wake,
            1 => Self::Port(index),
            2 => Self::Connection(Side::Client, key),
            3 => Self::Connection(Side::Server, key),
            _ => Self::Client(key),
        }
    }
}

impl Worker {
    pub(crate) fn new(
        commands: mpsc::Receiver<Command>,
        wake: Arc<OwnedFd>,
        room: Room,
        udp_idle: Duration,
        origin: Arc<dyn Origin>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // By edges, so that it need not be read.
        epoll::add(&epoll, &wake, Subject::Wake.data(), EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            commands,
            room,
            udp_idle,
            origin,
            epoll,
            ports: HashMap::new(),
            connections: Slab::new(),
            clients: Slab::new(),
            timers: BinaryHeap::new(),
            turns: Vec::new(),
            means: Means::new(),
            datagram: vec![0; datagram::LARGEST].into(),
            control: nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo),
            spare: File::open("/dev/null").ok(),
        })
    }

    pub(crate) fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "a thread of the relay cannot wait for its sockets, and ends");
                    return;
                }
            }
            for event in events.drain(..) {
                let (flags, data) = (event.flags, event.data);
                match Subject::of(data) {
                    Subject::Wake => {
                        if self.obey().is_break() {
                            return;
                        }
                    }
                    Subject::Port(id) => self.on_port(PortId(id)),
                    Subject::Connection(side, key) => {
                        let counters = &self.room.counters;
                        let step = self
                            .connections
                            .get_mut(key)
                            .map(|connection| connection.on_event(side, flags, &mut self.means, counters));
                        step.into_iter().for_each(|step| self.on_step(key, step));
                    }
                    Subject::Client(key) => self.on_answer(key),
                }
            }
            for key in std::mem::take(&mut self.turns) {
                let step = self.connections.get_mut(key).map(|connection| connection.pump(&mut self.means));
                step.into_iter().for_each(|step| self.on_step(key, step));
            }
            self.on_time();
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        if !self.turns.is_empty() {
            return Some(Timespec::default());
        }
        let Reverse((at, _)) = self.timers.peek()?;
        // Rounded up, so that it is due then.
        let wait = at.saturating_duration_since(Instant::now()) + Duration::from_micros(100);
        Timespec::try_from(wait).ok()
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Streams { id, listener, route } => {
                    let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
                    self.watch(&listener, Subject::Port(id.0), flags);
                    self.ports.insert(id.0, Port::Streams { listener, route });
                }
                Command::Datagrams { id, socket, route } => {
                    self.watch(&socket, Subject::Port(id.0), EventFlags::IN);
                    self.ports.insert(id.0, Port::Datagrams(Datagrams { socket, route, clients: HashMap::new() }));
                }
                Command::Close { ids, reply } => {
                    ids.iter().for_each(|id| self.close(*id));
                    drop(reply);
                }
                Command::Judge { ids, reply } => {
                    // Whoever asked has gone if it fails.
                    let _ = reply.send(self.judge(&ids));
                }
                Command::End => return std::ops::ControlFlow::Break(()),
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn watch(&self, socket: &OwnedFd, subject: Subject, flags: EventFlags) {
        if let Err(error) = epoll::add(&self.epoll, socket, subject.data(), flags) {
            tracing::warn!(%error, ?subject, "a socket of the relay cannot be watched");
        }
    }

    fn close(&mut self, id: PortId) {
        match self.ports.remove(&id.0) {
            // Other threads may have it open still.
            Some(Port::Streams { listener, .. }) => drop(epoll::delete(&self.epoll, &listener)),
            Some(Port::Datagrams(datagrams)) => {
                let _ = epoll::delete(&self.epoll, &datagrams.socket);
                datagrams.clients.into_values().for_each(|key| drop(self.clients.remove(key)));
            }
            None => {}
        }
    }

    fn judge(&mut self, ids: &[PortId]) -> usize {
        let mut ended = 0;
        let counters = Arc::clone(&self.room.counters);
        let connections = self.connections.iter().filter(|(_, connection)| ids.contains(&connection.port));
        for key in connections.map(|(key, _)| key).collect::<Vec<_>>() {
            let step = self.connections.get_mut(key).and_then(|connection| connection.judge(&counters));
            if let Some(step) = step {
                ended += usize::from(matches!(step, Step::Over));
                self.on_step(key, step);
            }
        }
        let clients = self.clients.iter().filter(|(_, client)| ids.contains(&client.port) && !client.keeps());
        for key in clients.map(|(key, _)| key).collect::<Vec<_>>() {
            ended += 1;
            self.forget(key);
        }
        counters.cut.fetch_add(ended as u64, std::sync::atomic::Ordering::Relaxed);
        ended
    }

    fn on_port(&mut self, id: PortId) {
        match self.ports.get(&id.0) {
            Some(Port::Streams { listener, route }) => {
                let (listener, route) = (Arc::clone(listener), Arc::clone(route));
                self.accept(id, &listener, &route);
            }
            Some(Port::Datagrams(datagrams)) => {
                let socket = Arc::clone(&datagrams.socket);
                self.receive(id, &socket);
            }
            None => {}
        }
    }

    fn accept(&mut self, id: PortId, listener: &OwnedFd, route: &Arc<dyn Route>) {
        for _ in 0..ACCEPTS {
            let (fd, address) = match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((fd, address)) => (fd, address.and_then(socket::address)),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) if is_shortage(&error.into()) => {
                    self.refuse_one(listener);
                    continue;
                }
                Err(_) => return,
            };
            let (Some(address), counters) = (address, Arc::clone(&self.room.counters)) else { continue };
            count(&counters.connections);
            let Some(seat) = self.room.take(2) else {
                count(&counters.without_descriptor);
                socket::Socket::new(fd).reset_when_closed();
                continue;
            };
            if let Some(mut connection) = Connection::accepted(fd, address, id, route, seat, &counters) {
                let step = connection.try_next(&counters);
                let key = self.connections.insert(|_| connection);
                self.on_step(key, step);
            }
        }
    }

    /// There is no descriptor for a connection that waits: it is told so.
    fn refuse_one(&mut self, listener: &OwnedFd) {
        self.spare = None;
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(fd) => {
                count(&self.room.counters.without_descriptor);
                socket::Socket::new(fd).reset_when_closed();
            }
            Err(error) if is_shortage(&error.into()) => thread::sleep(SHORTAGE_PAUSE),
            Err(_) => {}
        }
        self.spare = File::open("/dev/null").ok();
    }

    fn on_step(&mut self, key: Key, step: Step) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match step {
            Step::Waits => {}
            Step::Turn => self.turns.push(key),
            Step::Over => drop(self.connections.remove(key)),
            Step::Watches(patience) => {
                let timer = Timer::Try(key, connection.tried());
                let added = connection
                    .server()
                    .map(|server| epoll::add(&self.epoll, server, Subject::Connection(Side::Server, key).data(), EDGE));
                self.timers.push(Reverse((Instant::now() + patience, timer)));
                if let Some(Err(error)) = added {
                    tracing::warn!(%error, "a connection cannot be watched");
                    drop(self.connections.remove(key));
                }
            }
            Step::Connected => {
                let subject = Subject::Connection(Side::Client, key);
                if let Err(error) = epoll::add(&self.epoll, connection.client(), subject.data(), EDGE) {
                    tracing::warn!(%error, "a connection cannot be watched");
                    drop(self.connections.remove(key));
                    return;
                }
                let step = connection.pump(&mut self.means);
                self.on_step(key, step);
            }
        }
    }

    fn receive(&mut self, id: PortId, socket: &OwnedFd) {
        let now = Instant::now();
        for _ in 0..datagram::TURN {
            match datagram::receive(socket, &mut self.datagram, &mut self.control) {
                Ok(Some(received)) => self.on_datagram(id, &received, now),
                // What it is cannot be told.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What came back of an answer.
                Err(_) => {}
            }
        }
    }

    fn on_datagram(&mut self, id: PortId, received: &datagram::Datagram, now: Instant) {
        let Some(Port::Datagrams(datagrams)) = self.ports.get(&id.0) else { return };
        let (key, is_first) = match datagrams.clients.get(&received.name) {
            Some(key) => (*key, false),
            None => match self.add_client(id, received.name, now) {
                Some(key) => (key, true),
                None => return,
            },
        };
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.send(&self.datagram[..received.length], is_first, now).is_err() {
            self.forget(key);
        }
    }

    fn add_client(&mut self, id: PortId, name: Name, now: Instant) -> Option<Key> {
        let counters = Arc::clone(&self.room.counters);
        count(&counters.clients);
        let seat = self.room.take(1).or_else(|| {
            self.forget_the_idlest();
            self.room.take(1)
        });
        let Some(seat) = seat else {
            count(&counters.without_descriptor);
            return None;
        };
        let Some(Port::Datagrams(datagrams)) = self.ports.get_mut(&id.0) else { return None };
        let local = rustix::net::getsockname(&datagrams.socket).ok().and_then(socket::address)?;
        let local = std::net::SocketAddr::new(name.1, local.port());
        let to = self.origin.of(name.0, local).map_or(Destination::Direct(local), Destination::Redirected);
        let client = match Client::new(datagrams, id, name, to, seat, now) {
            Ok(Some(client)) => client,
            Ok(None) => {
                count(&counters.unserved);
                return None;
            }
            Err(_) => {
                count(&counters.without_descriptor);
                return None;
            }
        };
        let key = self.clients.insert(|_| client);
        datagrams.clients.insert(name, key);
        self.timers.push(Reverse((now + self.udp_idle, Timer::Idle(key))));
        if let Some(client) = self.clients.get_mut(key) {
            let flags = EventFlags::IN;
            let _ = epoll::add(&self.epoll, client.socket(), Subject::Client(key).data(), flags);
        }
        Some(key)
    }

    fn on_answer(&mut self, key: Key) {
        let result = self.clients.get_mut(key).map(|client| client.answer(&mut self.datagram, Instant::now()));
        if let Some(Err(_)) = result {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(client) = self.clients.remove(key) else { return };
        if let Some(Port::Datagrams(datagrams)) = self.ports.get_mut(&client.port.0) {
            datagrams.clients.remove(&client.name);
        }
    }

    /// Makes room for a client that has something to say.
    fn forget_the_idlest(&mut self) {
        let idlest = self.clients.iter().min_by_key(|(_, client)| client.last_used).map(|(key, _)| key);
        idlest.into_iter().for_each(|key| self.forget(key));
    }

    fn on_time(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            match timer {
                Timer::Try(key, number) => {
                    let counters = Arc::clone(&self.room.counters);
                    let late = self.connections.get_mut(key).filter(|connection| connection.tried() == number);
                    let step = late.map(|connection| connection.on_late(&counters));
                    step.into_iter().for_each(|step| self.on_step(key, step));
                }
                Timer::Idle(key) => match self.clients.get_mut(key).map(|client| client.last_used + self.udp_idle) {
                    Some(due) if due > now => self.timers.push(Reverse((due, timer))),
                    Some(_) => self.forget(key),
                    None => {}
                },
            }
        }
    }
}

//! One TCP connection: first the backend is found that takes it, then bytes go both ways.
//!
//! A backend that refuses is passed over at once, one that does not answer after [`PATIENCE`]; the client has been accepted and notices nothing. What epoll
//! tells comes in, and what is to be done about the connection's life goes out as [`Step`]; registering and timing are the thread's.

use std::{io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{SocketType, connect},
};

use crate::{
    PortId,
    counters::{Counters, Seat, count},
    half::{Half, Means, Other, Stop},
    route::{Destination, Route},
    socket::{self, Socket},
};

/// How long the first, second, … backend has to take the connection.
pub(crate) const PATIENCE: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) port: PortId,
    route: Arc<dyn Route>,
    address: SocketAddr,
    to: Destination,
    client: Socket,
    state: State,
    #[expect(dead_code, reason = "given back with the connection")]
    seat: Seat,
}

#[derive(Debug)]
enum State {
    /// Until a backend takes it, or none is left.
    Trying(Tries),
    Relaying {
        server: Socket,
        backend: SocketAddr,
        up: Half,
        down: Half,
    },
}

#[derive(Debug)]
struct Tries {
    /// Who has not refused.
    left: Vec<SocketAddr>,
    /// Who is tried, by position in `left`.
    at: usize,
    /// Tries that began.
    count: usize,
    /// `None` before the first.
    socket: Option<OwnedFd>,
}

/// What becomes of a connection.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing until epoll tells more.
    Waits,
    /// The server's socket is new; the try has so long.
    Watches(Duration),
    /// The server has taken it: the client's socket is to be watched too.
    Connected,
    /// Others first, then more of this.
    Turn,
    /// It is over and to be dropped.
    Over,
}

/// Which of the two sockets epoll tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Connection {
    /// A connection that was accepted. `None` where nobody is to take it: it is refused.
    pub(crate) fn accepted(
        fd: OwnedFd,
        address: SocketAddr,
        port: PortId,
        route: &Arc<dyn Route>,
        seat: Seat,
        counters: &Counters,
    ) -> Option<Self> {
        let client = Socket::new(fd);
        let to = socket::destination(&client.fd).ok()?;
        let left = route.choose(address, to);
        if left.is_empty() {
            count(&counters.unserved);
            client.reset_when_closed();
            return None;
        }
        let state = State::Trying(Tries { left, at: 0, count: 0, socket: None });
        Some(Self { port, route: Arc::clone(route), address, to, client, state, seat })
    }

    pub(crate) const fn client(&self) -> &OwnedFd {
        &self.client.fd
    }

    /// The socket that goes to the backend, if there is one now.
    pub(crate) const fn server(&self) -> Option<&OwnedFd> {
        match &self.state {
            State::Trying(tries) => tries.socket.as_ref(),
            State::Relaying { server, .. } => Some(&server.fd),
        }
    }

    /// How many backends were tried; 0 where one has taken the connection.
    pub(crate) const fn tried(&self) -> usize {
        match &self.state {
            State::Trying(tries) => tries.count,
            State::Relaying { .. } => 0,
        }
    }

    /// Begins with the next backend.
    pub(crate) fn try_next(&mut self, counters: &Counters) -> Step {
        let State::Trying(tries) = &mut self.state else { return Step::Waits };
        tries.socket = None;
        loop {
            let patience = PATIENCE.get(tries.count).filter(|_| !tries.left.is_empty());
            let Some(patience) = patience else {
                count(&counters.unserved);
                return self.give_up();
            };
            tries.count += 1;
            tries.at %= tries.left.len();
            match begin(tries.left[tries.at]) {
                Ok(socket) => {
                    tries.socket = Some(socket);
                    return Step::Watches(*patience);
                }
                Err(error) if is_shortage(&error) => {
                    count(&counters.without_descriptor);
                    return self.give_up();
                }
                Err(_) => {
                    count(&counters.passed_over);
                    tries.left.remove(tries.at);
                }
            }
        }
    }

    /// The backend had its time.
    pub(crate) fn on_late(&mut self, counters: &Counters) -> Step {
        if let State::Trying(tries) = &mut self.state {
            count(&counters.passed_over);
            tries.at += 1;
        }
        self.try_next(counters)
    }

    pub(crate) fn on_event(&mut self, side: Side, flags: EventFlags, means: &mut Means, counters: &Counters) -> Step {
        let is_broken = flags.contains(EventFlags::ERR);
        match &mut self.state {
            State::Trying(tries) if side == Side::Server => {
                if is_broken || flags.contains(EventFlags::HUP) {
                    count(&counters.passed_over);
                    tries.left.remove(tries.at);
                    return self.try_next(counters);
                }
                if flags.contains(EventFlags::OUT) { self.on_connected() } else { Step::Waits }
            }
            State::Trying(_) => Step::Waits,
            State::Relaying { server, .. } => {
                let socket = if side == Side::Client { &mut self.client } else { server };
                let has_ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
                socket.ended |= has_ended;
                socket.readable |= has_ended || flags.contains(EventFlags::IN);
                socket.writable |= has_ended || flags.contains(EventFlags::OUT);
                match self.pump(means) {
                    // What had come before was passed on.
                    _ if is_broken => self.give_up(),
                    step => step,
                }
            }
        }
    }

    fn on_connected(&mut self) -> Step {
        let State::Trying(tries) = &mut self.state else { return Step::Waits };
        let backend = tries.left[tries.at];
        let Some(socket) = tries.socket.take() else { return Step::Waits };
        self.route.on_connected(self.address, self.to, backend);
        let mut server = Socket::new(socket);
        // Nothing can have come yet, or epoll tells of it.
        server.readable = false;
        self.state = State::Relaying { server, backend, up: Half::default(), down: Half::default() };
        Step::Connected
    }

    /// Moves what there is, both ways.
    pub(crate) fn pump(&mut self, means: &mut Means) -> Step {
        let State::Relaying { server, up, down, .. } = &mut self.state else { return Step::Waits };
        let over = |half: &Half| if half.is_done() { Other::Over } else { Other::Open };
        let result = up
            .pump(&mut self.client, server, over(down), means)
            .and_then(|first| Ok((first, down.pump(server, &mut self.client, over(up), means)?)));
        match result {
            Ok((Stop::Done, Stop::Done)) => Step::Over,
            Ok((first, second)) if [first, second].contains(&Stop::Turn) => Step::Turn,
            Ok(_) => Step::Waits,
            Err(_) => self.give_up(),
        }
    }

    /// What the route does not keep is ended, and not tried. Returns whether anything was.
    pub(crate) fn judge(&mut self, counters: &Counters) -> Option<Step> {
        let keeps = |backend: &SocketAddr| self.route.keeps(self.address, self.to, *backend);
        match &mut self.state {
            State::Relaying { backend, .. } if keeps(backend) => None,
            State::Relaying { .. } => Some(self.give_up()),
            State::Trying(tries) => {
                let is_tried = tries.left.get(tries.at).copied();
                tries.left.retain(keeps);
                if is_tried.is_some_and(|backend| tries.left.get(tries.at) == Some(&backend)) {
                    return None;
                }
                // Those before it in the list were late.
                Some(self.try_next(counters))
            }
        }
    }

    /// Both sides are told by a reset.
    fn give_up(&mut self) -> Step {
        self.client.reset_when_closed();
        if let State::Relaying { server, .. } = &self.state {
            server.reset_when_closed();
        }
        Step::Over
    }
}

fn begin(backend: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket::open(backend, SocketType::STREAM)?;
    match connect(&socket, &backend) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process or the machine has no more descriptors or memory for a socket.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    number.is_some_and(|number| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&number))
}

//! The process that has the listening sockets and the connections: it outlives the proxy, as rules in a kernel would, and the next proxy finds it as it was.
//!
//! Owns the relay, the sockets and what is routed where; planes tell it changes through a Unix socket that only this user can open. What the firewall sends
//! to it is the plane's. A newer keeper takes the sockets from an older one, which goes on with the connections it has, and is told through the newer
//! one what they may still do.

mod ports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    net::{Shutdown, shutdown},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use stead_relay::{Options, PortId, Relay};

use self::ports::{is_listening, listen, number_of};
use super::{
    control::{Control, receive_sockets, send_sockets},
    origin::KernelOrigin,
    route::ServicePort,
    wire::{self, Common, Counted, Held, PortName, Reply, Request, Wanted},
};

/// Descriptors that are left to everything but ports and connections.
const OTHERS: usize = 128;
/// How long an older keeper goes on with the connections it has.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The same where nobody is left to say what they may still do.
const FAREWELL: Duration = Duration::from_secs(10);
/// Until whoever was redirected just before the redirects went has been taken.
const LAST_CALLERS: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(200);

struct Keeper {
    relay: Relay,
    common: Arc<Common>,
    ports: BTreeMap<PortName, Port>,
    /// Of ports whose table has changed, and of closed ones.
    unjudged: BTreeSet<PortId>,
    /// Who had the sockets before, while it has connections.
    elder: Option<Control>,
    is_retired: bool,
    /// Whether a newer one has the sockets.
    has_heir: bool,
    /// All descriptors that this process may have.
    limit: usize,
}

struct Port {
    id: PortId,
    held: Held,
    route: Arc<ServicePort>,
}

/// What a request asks of the process.
enum Then {
    GoesOn,
    HandsOver(Vec<OwnedFd>),
    Ends,
}

/// Serves planes at `path`, in the network namespace of the calling thread, until it is told to end or another has taken its place.
///
/// # Errors
/// Where it cannot begin.
pub fn run(path: &Path) -> io::Result<()> {
    let limit = raise_limit();
    let options = Options { descriptors: limit / 2, ..Options::default() };
    let relay = Relay::start(&options, Arc::new(KernelOrigin::open()))?;
    let mut keeper = Keeper {
        relay,
        common: Arc::default(),
        ports: BTreeMap::new(),
        unjudged: BTreeSet::new(),
        elder: None,
        is_retired: false,
        has_heir: false,
        limit,
    };
    keeper.take_over(path);
    let listener = Arc::new(bind(path)?);
    let keeper = Arc::new(Mutex::new(keeper));
    // Whoever retires it shuts the listener, so that this loop ends.
    while !lock(&keeper).is_retired {
        let Ok((stream, _)) = listener.accept() else { continue };
        if is_same_user(&stream) {
            let (keeper, listener, path) = (Arc::clone(&keeper), Arc::clone(&listener), path.to_owned());
            let thread = thread::Builder::new().name("relay-control".to_owned());
            thread.spawn(move || converse(&keeper, stream, &listener, &path))?;
        }
    }
    drop(listener);
    let patience = match lock(&keeper).has_heir {
        true => PATIENCE,
        false => FAREWELL,
    };
    thread::sleep(LAST_CALLERS);
    if patience == FAREWELL {
        lock(&keeper).remove_all();
    }
    let mut waited = Duration::ZERO;
    while waited < patience && lock(&keeper).relay.open() > 0 {
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    Ok(())
}

fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody but this user gets as far as the name.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let temporary = path.with_extension(format!("{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, path)?;
    Ok(listener)
}

fn is_same_user(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// One plane, until it hangs up.
fn converse(keeper: &Mutex<Keeper>, mut stream: UnixStream, listener: &UnixListener, path: &Path) {
    let mut is_heir = false;
    while let Ok(request) = wire::read::<Request>(&mut stream) {
        let (reply, then) = {
            let mut keeper = lock(keeper);
            if keeper.is_retired && !is_heir {
                return;
            }
            keeper.answer(request)
        };
        match &then {
            Then::GoesOn => {}
            Then::HandsOver(_) => drop(shutdown(listener, Shutdown::Both)),
            Then::Ends => {
                // The next one to ask finds nobody.
                let _ = (fs::remove_file(path), shutdown(listener, Shutdown::Both));
            }
        }
        let mut is_told = wire::write(&mut stream, &reply);
        if let Then::HandsOver(sockets) = then {
            is_heir = true;
            is_told = is_told.and_then(|()| send_sockets(&stream, &sockets));
        }
        if is_told.is_err() {
            break;
        }
    }
    if is_heir {
        // Nobody is left to say what its connections may still do.
        let mut keeper = lock(keeper);
        keeper.remove_all();
        keeper.judge();
    }
}

impl Keeper {
    fn answer(&mut self, request: Request) -> (Reply, Then) {
        let reply = match request {
            Request::Hello => Reply::Hello { version: wire::version().to_owned() },
            Request::Read => {
                let ports = self.ports.iter().map(|(name, port)| (name.clone(), port.held.clone())).collect();
                Reply::State { common: (*self.common).clone(), ports }
            }
            Request::Change { common, ports } => Reply::Changed { ports: self.change(common, ports) },
            Request::Remove { ports } => {
                self.remove(&ports);
                Reply::Done
            }
            Request::Judge => Reply::Judged { ended: self.judge() },
            Request::Check => Reply::Checked { ports: self.check() },
            Request::Count => Reply::Counted(self.count()),
            Request::HandOver => return self.hand_over(),
            Request::Retire => {
                self.is_retired = true;
                return (Reply::Done, Then::Ends);
            }
            Request::End => {
                self.remove_all();
                self.judge();
                self.is_retired = true;
                return (Reply::Done, Then::Ends);
            }
        };
        (reply, Then::GoesOn)
    }

    fn change(
        &mut self,
        common: Option<Common>,
        ports: BTreeMap<PortName, Wanted>,
    ) -> BTreeMap<PortName, Result<u16, String>> {
        self.tell_elder(&Request::Change { common: common.clone(), ports: ports.clone() });
        if let Some(common) = common {
            self.common = Arc::new(common);
            for port in self.ports.values() {
                port.route.set(Arc::clone(&self.common), port.held.plan.clone());
                self.unjudged.insert(port.id);
            }
        }
        let mut numbers = BTreeMap::new();
        for (name, wanted) in ports {
            let number = match self.ports.get_mut(&name) {
                Some(port) => {
                    port.route.set(Arc::clone(&self.common), wanted.plan.clone());
                    port.held.plan = wanted.plan;
                    self.unjudged.insert(port.id);
                    Ok(port.held.number)
                }
                None if self.is_retired => Err("retired".to_owned()),
                None => self.open(name.clone(), wanted).map_err(|error| error.to_string()),
            };
            numbers.insert(name, number);
        }
        self.make_room();
        numbers
    }

    fn open(&mut self, name: PortName, wanted: Wanted) -> io::Result<u16> {
        let socket = listen(&wanted.plan, &self.common, wanted.number)?;
        self.add(name, wanted.plan, socket)
    }

    fn add(&mut self, name: PortName, plan: stead_plan::ServicePortPlan, socket: OwnedFd) -> io::Result<u16> {
        let number = number_of(&socket)?;
        let route = Arc::new(ServicePort::new(Arc::clone(&self.common), plan.clone()));
        let id = match plan.protocol {
            stead_model::Protocol::Udp => self.relay.serve_datagrams(socket, Arc::clone(&route) as _)?,
            _ => self.relay.serve_streams(socket, Arc::clone(&route) as _)?,
        };
        self.ports.insert(name, Port { id, held: Held { plan, number }, route });
        Ok(number)
    }

    fn remove(&mut self, names: &[PortName]) {
        self.tell_elder(&Request::Remove { ports: names.to_vec() });
        let mut closed = Vec::new();
        for port in names.iter().filter_map(|name| self.ports.remove(name)) {
            port.route.set(Arc::clone(&self.common), stead_plan::ServicePortPlan::default());
            self.unjudged.insert(port.id);
            closed.push(port.id);
        }
        self.relay.close(&closed);
        self.make_room();
    }

    fn remove_all(&mut self) {
        let names: Vec<_> = self.ports.keys().cloned().collect();
        self.remove(&names);
    }

    fn judge(&mut self) -> usize {
        let elders = match self.tell_elder(&Request::Judge) {
            Some(Reply::Judged { ended }) => ended,
            _ => 0,
        };
        let ids: Vec<_> = std::mem::take(&mut self.unjudged).into_iter().collect();
        if ids.is_empty() { elders } else { elders + self.relay.judge(&ids) }
    }

    fn check(&mut self) -> BTreeMap<PortName, Result<u16, String>> {
        let is_deaf = |port: &Port| !self.relay.socket(port.id).is_some_and(|socket| is_listening(socket));
        let deaf: Vec<_> = self.ports.iter().filter(|(_, port)| is_deaf(port)).map(|(name, _)| name.clone()).collect();
        let reopen = |name: PortName| {
            let number = match self.ports.remove(&name) {
                Some(port) => {
                    self.relay.close(&[port.id]);
                    let wanted = Wanted { number: Some(port.held.number), plan: port.held.plan };
                    self.open(name.clone(), wanted).map_err(|error| error.to_string())
                }
                None => Err("closed".to_owned()),
            };
            (name, number)
        };
        deaf.into_iter().map(reopen).collect()
    }

    fn count(&self) -> Counted {
        let counts = self.relay.counts();
        Counted {
            ports: self.ports.len(),
            open: self.relay.open(),
            connections: counts.connections,
            clients: counts.clients,
            passed_over: counts.passed_over,
            unserved: counts.unserved,
            without_descriptor: counts.without_descriptor,
            cut: counts.cut,
        }
    }

    fn hand_over(&mut self) -> (Reply, Then) {
        let (mut names, mut sockets) = (Vec::new(), Vec::new());
        for (name, port) in &self.ports {
            if let Some(socket) = self.relay.socket(port.id).and_then(|socket| socket.try_clone().ok()) {
                names.push(name.clone());
                sockets.push(socket);
            }
        }
        // Nothing more is taken from them here; the ports stay known for the sake of their connections.
        let ids: Vec<_> = self.ports.values().map(|port| port.id).collect();
        self.relay.close(&ids);
        (self.is_retired, self.has_heir) = (true, true);
        (Reply::HandedOver { ports: names }, Then::HandsOver(sockets))
    }

    /// From a keeper that is there already, if one is.
    fn take_over(&mut self, path: &Path) {
        let Ok(mut elder) = Control::connect(path) else { return };
        let Ok(Reply::State { common, ports }) = elder.ask(&Request::Read) else {
            // It is of another kind: its ports are needed.
            let _ = Control::connect(path).and_then(|mut elder| elder.ask(&Request::End));
            return;
        };
        self.common = Arc::new(common);
        let Ok(Reply::HandedOver { ports: names }) = elder.ask(&Request::HandOver) else { return };
        let Ok(sockets) = receive_sockets(&elder.stream, names.len()) else { return };
        for (name, socket) in names.into_iter().zip(sockets) {
            let Some(held) = ports.get(&name) else { continue };
            if let Err(error) = self.add(name, held.plan.clone(), socket) {
                tracing::warn!(%error, "a listening socket that was handed over cannot be used");
            }
        }
        self.elder = Some(elder);
    }

    /// An elder that cannot be told is gone, and its connections with it.
    fn tell_elder(&mut self, request: &Request) -> Option<Reply> {
        let reply = self.elder.as_mut()?.ask(request);
        if reply.is_err() {
            self.elder = None;
        }
        reply.ok()
    }

    fn make_room(&self) {
        self.relay.set_room(self.limit.saturating_sub(self.ports.len() + OTHERS));
    }
}

/// Raises the limit of open files as far as this process may, and says what it is then.
fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    let now = getrlimit(Resource::Nofile).current.unwrap_or(most);
    usize::try_from(now).unwrap_or(usize::MAX)
}

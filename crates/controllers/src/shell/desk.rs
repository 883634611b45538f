//! What lies before the shell: works to look at, works under way, and when to look again. Keeps a work from being looked at
//! on a snapshot that does not have its last writes. Pure: instants come in.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use stead_api::snapshot::{Kind, Snapshot};
use stead_client::{Backoff, Class};
use stead_model::{ObjectKey, Revision};

use super::carry::{Done, Written};
use crate::{Write, pods, work::Work};

/// A write that is still not in the snapshot after this long is not waited for: its event may have been a list's.
const GIVE_UP: Duration = Duration::from_secs(10);
/// An owner that the snapshot lacks and the server has will be here after that.
const LAG: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Desk {
    queue: VecDeque<Work>,
    queued: HashSet<Work>,
    /// Wait for the first list of a kind they need; looked through when one more kind has it.
    unlisted: HashSet<Work>,
    kinds_listed: usize,
    /// Wait for an object that another work is writing.
    crossed: HashSet<Work>,
    /// Wait until their Service's slices are written: those are what proxies read, and one thread of the store writes both.
    behind: HashSet<Work>,
    /// Being carried out, with the objects they write; `true`: something changed meanwhile.
    under_way: HashMap<Work, (Vec<Target>, bool)>,
    busy: HashSet<Target>,
    /// Carried out and not to be looked at before all of this holds.
    unseen: BTreeMap<Work, Unseen>,
    alarms: BTreeSet<(Instant, Work)>,
    alarm_of: HashMap<Work, Instant>,
    failures: HashMap<Work, Backoff>,
}

type Target = (Kind, ObjectKey);

#[derive(Debug)]
struct Unseen {
    written: Vec<Seen>,
    not_before: Instant,
    give_up: Instant,
}

/// What the snapshot shows once it has a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Revision(Kind, Revision),
    /// Gone, or being deleted.
    Ending(Kind, ObjectKey, String),
    Gone(Kind, ObjectKey, String),
    /// The pod has a node.
    Bound(ObjectKey, String),
}

impl Seen {
    fn holds(&self, snapshot: &Snapshot) -> bool {
        let still = |kind, key, uid: &String| {
            snapshot.metadata(kind, key).filter(|metadata| metadata.uid.as_ref().is_none_or(|known| known == uid))
        };
        match self {
            Self::Revision(kind, revision) => snapshot.has_seen(*kind, *revision),
            Self::Gone(kind, key, uid) => still(*kind, key, uid).is_none(),
            Self::Ending(kind, key, uid) => {
                still(*kind, key, uid).is_none_or(|metadata| metadata.deletion_timestamp.is_some())
            }
            Self::Bound(key, uid) => {
                still(Kind::Pod, key, uid).is_none()
                    || snapshot.pods.get(key).is_some_and(|pod| pods::node(pod).is_some())
            }
        }
    }
}

impl Desk {
    /// Something changed that this work depends on.
    pub(super) fn put(&mut self, work: Work) {
        if let Some((_, changed)) = self.under_way.get_mut(&work) {
            *changed = true;
            return;
        }
        let waits = self.unseen.contains_key(&work)
            || [&self.unlisted, &self.crossed, &self.behind].iter().any(|waiting| waiting.contains(&work));
        if !waits && self.queued.insert(work.clone()) {
            self.queue.push_back(work);
        }
    }

    /// The next work to look at; those that lack a kind's first list, or go after one that is under way, are put aside.
    pub(super) fn take(&mut self, snapshot: &Snapshot) -> Option<Work> {
        while let Some(work) = self.queue.pop_front() {
            self.queued.remove(&work);
            if !work.needs().iter().all(|kind| snapshot.synced(*kind)) {
                self.unlisted.insert(work);
            } else if work.goes_after().is_some_and(|first| self.under_way.contains_key(&first)) {
                self.behind.insert(work);
            } else {
                return Some(work);
            }
        }
        None
    }

    /// Starts carrying out what a look at `work` wanted. False if one of the objects is being written for another work:
    /// then it will be looked at anew.
    pub(super) fn begin(&mut self, work: &Work, writes: &[Write]) -> bool {
        let targets: Vec<Target> = writes.iter().filter_map(target).collect();
        if targets.iter().any(|target| self.busy.contains(target)) {
            self.crossed.insert(work.clone());
            return false;
        }
        self.busy.extend(targets.iter().cloned());
        self.under_way.insert(work.clone(), (targets, false));
        true
    }

    /// An outcome was carried out, as far as it could be.
    pub(super) fn on_done(&mut self, done: Done, now: Instant) {
        let Done { work, results } = done;
        let (targets, changed) = self.under_way.remove(&work).unwrap_or_default();
        targets.iter().for_each(|target| {
            self.busy.remove(target);
        });
        if let Some(next) = work.goes_before().filter(|next| self.behind.remove(next)) {
            self.put(next);
        }
        let (mut written, mut worst, mut skipped) = (Vec::new(), None, false);
        for result in results {
            match result {
                Ok(Written::Seen(seen)) => written.push(seen),
                Ok(Written::Skipped) => skipped = true,
                Err(class) => worst = worse(worst, class),
            }
        }
        if written.is_empty() && worst.is_none() && skipped {
            self.set_alarm(&work, Some(now + LAG));
            if changed {
                self.put(work);
            }
        } else {
            let not_before = now + self.wait(&work, worst);
            self.unseen.insert(work, Unseen { written, not_before, give_up: not_before + GIVE_UP });
        }
        std::mem::take(&mut self.crossed).into_iter().for_each(|work| self.put(work));
    }

    fn wait(&mut self, work: &Work, worst: Option<Class>) -> Duration {
        match worst {
            None => {
                self.failures.remove(work);
                Duration::ZERO
            }
            Some(class) => self.failures.entry(work.clone()).or_insert_with(|| patience(class)).next_wait(),
        }
    }

    /// Puts back what can be looked at now: works whose writes the snapshot has, whose time has come, whose kinds are complete.
    pub(super) fn wake(&mut self, snapshot: &Snapshot, now: Instant) {
        let settled = |unseen: &Unseen| {
            now >= unseen.give_up
                || (now >= unseen.not_before && unseen.written.iter().all(|seen| seen.holds(snapshot)))
        };
        let awake: Vec<Work> =
            self.unseen.iter().filter(|(_, unseen)| settled(unseen)).map(|(work, _)| work.clone()).collect();
        for work in awake {
            self.unseen.remove(&work);
            self.put(work);
        }
        while let Some((at, work)) = self.alarms.first().cloned().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, work.clone()));
            self.alarm_of.remove(&work);
            self.put(work);
        }
        let kinds_listed = Kind::ALL.iter().filter(|kind| snapshot.synced(**kind)).count();
        if kinds_listed != self.kinds_listed {
            self.kinds_listed = kinds_listed;
            std::mem::take(&mut self.unlisted).into_iter().for_each(|work| self.put(work));
        }
    }

    /// Looks again at `at`, and at no time set before; `None` at no time at all.
    pub(super) fn set_alarm(&mut self, work: &Work, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.alarm_of.insert(work.clone(), at),
            None => self.alarm_of.remove(work),
        };
        if let Some(before) = before {
            self.alarms.remove(&(before, work.clone()));
        }
        if let Some(at) = at {
            self.alarms.insert((at, work.clone()));
        }
    }

    /// When [`wake`](Self::wake) is due though nothing changes.
    pub(super) fn next_alarm(&self, now: Instant) -> Option<Instant> {
        let due = |unseen: &Unseen| if unseen.not_before > now { unseen.not_before } else { unseen.give_up };
        let unseen = self.unseen.values().map(due);
        unseen.chain(self.alarms.first().map(|(at, _)| *at)).min()
    }
}

/// The object that a write is about; none for one that has no name yet.
fn target(write: &Write) -> Option<Target> {
    (!write.key.name.is_empty()).then(|| (write.kind, write.key.clone()))
}

fn patience(class: Class) -> Backoff {
    match class {
        Class::Conflict => Backoff::new(Duration::from_millis(10), Duration::from_secs(2)),
        Class::Transient => Backoff::new(Duration::from_millis(50), Duration::from_secs(10)),
        Class::Permanent => Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
    }
}

fn worse(known: Option<Class>, class: Class) -> Option<Class> {
    match (known, class) {
        (Some(Class::Permanent), _) | (Some(Class::Transient), Class::Conflict) => known,
        _ => Some(class),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, Service};
    use serde_json::json;
    use stead_api::snapshot::{Change, KindChange};

    use super::*;
    use crate::Verb;

    fn pod(revision: u64) -> Pod {
        let metadata = json!({ "namespace": "a", "name": "p", "uid": "u", "resourceVersion": revision.to_string() });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn listed() -> Snapshot {
        let mut snapshot = Snapshot::default();
        for change in [KindChange::Pod(Change::Init), KindChange::Node(Change::Init)] {
            snapshot.apply(change);
        }
        for change in [KindChange::Pod(Change::InitDone), KindChange::Node(Change::InitDone)] {
            snapshot.apply(change);
        }
        snapshot
    }

    fn write() -> Write {
        Write::new(Kind::Pod, ObjectKey::new("a", "p"), Verb::Bind { uid: "u".into(), node: "n".into() })
    }

    #[test]
    fn a_work_waits_for_its_kinds() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        desk.put(Work::Schedule);
        desk.put(Work::Schedule);
        assert_eq!(desk.take(&Snapshot::default()), None);
        desk.wake(&listed(), now);
        assert_eq!(desk.take(&listed()), Some(Work::Schedule));
        assert_eq!(desk.take(&listed()), None);
    }

    #[test]
    fn a_work_waits_for_its_own_writes() {
        let (mut desk, now, mut snapshot) = (Desk::default(), Instant::now(), listed());
        assert!(desk.begin(&Work::Schedule, &[write()]));
        desk.put(Work::Schedule);
        assert_eq!(desk.take(&snapshot), None);
        let results = vec![Ok(Written::Seen(Seen::Revision(Kind::Pod, Revision(7))))];
        desk.on_done(Done { work: Work::Schedule, results }, now);
        desk.wake(&snapshot, now);
        assert_eq!(desk.take(&snapshot), None);
        snapshot.apply(Change::Apply(pod(6)).into());
        desk.wake(&snapshot, now);
        assert_eq!(desk.take(&snapshot), None);
        snapshot.apply(Change::Apply(pod(7)).into());
        desk.wake(&snapshot, now);
        assert_eq!(desk.take(&snapshot), Some(Work::Schedule));
        assert_eq!(desk.next_alarm(now), None);
    }

    #[test]
    fn no_two_works_write_one_object() {
        let (mut desk, now, snapshot) = (Desk::default(), Instant::now(), listed());
        let node = Work::Node(ObjectKey::cluster("n"));
        let mut snapshot_with_leases = snapshot;
        snapshot_with_leases.apply(KindChange::Lease(Change::Init));
        snapshot_with_leases.apply(KindChange::Lease(Change::InitDone));
        assert!(desk.begin(&Work::Schedule, &[write()]));
        assert!(!desk.begin(&node, &[write()]));
        assert_eq!(desk.take(&snapshot_with_leases), None);
        desk.on_done(Done { work: Work::Schedule, results: vec![] }, now);
        assert_eq!(desk.take(&snapshot_with_leases), Some(node));
    }

    #[test]
    fn endpoints_go_after_the_slices_of_their_service() {
        let (mut desk, now, mut snapshot) = (Desk::default(), Instant::now(), listed());
        for change in [Change::Init, Change::InitDone] {
            snapshot.apply(KindChange::Service(change));
        }
        for change in [Change::Init, Change::InitDone] {
            snapshot.apply(KindChange::EndpointSlice(change));
        }
        for change in [Change::Init, Change::InitDone] {
            snapshot.apply(KindChange::Endpoints(change));
        }
        for change in [Change::Init, Change::InitDone] {
            snapshot.apply(KindChange::Namespace(change));
        }
        let of = |name: &str| ObjectKey::new("a", name);
        let (slices, endpoints) = (Work::EndpointSlices(of("s")), Work::Endpoints(of("s")));
        assert!(desk.begin(&slices, &[write()]));
        desk.put(endpoints.clone());
        desk.put(endpoints.clone());
        desk.put(Work::Endpoints(of("t")));
        assert_eq!(desk.take(&snapshot), Some(Work::Endpoints(of("t"))));
        assert_eq!(desk.take(&snapshot), None);
        desk.on_done(Done { work: slices, results: vec![] }, now);
        assert_eq!(desk.take(&snapshot), Some(endpoints));
        assert_eq!(desk.take(&snapshot), None);
    }

    #[test]
    fn what_fails_is_looked_at_after_a_wait() {
        let (mut desk, now, snapshot) = (Desk::default(), Instant::now(), listed());
        assert!(desk.begin(&Work::Schedule, &[write()]));
        desk.on_done(Done { work: Work::Schedule, results: vec![Err(Class::Permanent)] }, now);
        desk.put(Work::Schedule);
        desk.wake(&snapshot, now);
        assert_eq!(desk.take(&snapshot), None);
        let alarm = desk.next_alarm(now).unwrap();
        assert!(alarm > now && alarm <= now + Duration::from_secs(1));
        desk.wake(&snapshot, alarm);
        assert_eq!(desk.take(&snapshot), Some(Work::Schedule));
    }

    #[test]
    fn an_alarm_replaces_the_one_before() {
        let (mut desk, now, mut snapshot) = (Desk::default(), Instant::now(), listed());
        let at = |seconds| now + Duration::from_secs(seconds);
        desk.set_alarm(&Work::Schedule, Some(at(5)));
        desk.set_alarm(&Work::Schedule, Some(at(9)));
        assert_eq!(desk.next_alarm(now), Some(at(9)));
        desk.wake(&snapshot, at(8));
        assert_eq!(desk.take(&snapshot), None);
        desk.wake(&snapshot, at(9));
        assert_eq!(desk.take(&snapshot), Some(Work::Schedule));
        desk.set_alarm(&Work::Schedule, Some(at(20)));
        desk.set_alarm(&Work::Schedule, None);
        assert_eq!(desk.next_alarm(now), None);
        snapshot.apply(Change::<Service>::Init.into());
    }
}

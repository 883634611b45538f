//! A large new table comes to the kernel in parts: it takes in the elements of some Services while those of the next are lowered.
//!
//! Until the last part there is no chain, so no packet sees half of a table; who ends before that leaves one that the next process takes for
//! somebody else's and replaces. What the parts hold is said by [`Mirror`], the last one is [`table`](super::table)'s.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use stead_model::Family;
use stead_plan::{Algorithm, List, Plan, TrafficPolicy};
use stead_sys::nft::{self, Change, Commit, Nftables, Transaction};

use super::{
    id::slots,
    mirror::{Mirror, Nothing, position},
    program::{Contents, Counts, Entry, SetId},
    table::{self, Known},
};
use crate::plane::Error;

/// Smaller tables come as one.
const LEAST: usize = 20_000;
/// Elements in a part.
const PART: usize = 16_384;
/// Parts that wait for the kernel at most: what is lowered is not to pile up.
const WAITING: usize = 2;

/// How many elements the sets that come in parts will have at most; they are made before all is lowered.
#[derive(Clone, Debug, Default)]
pub(super) struct Rooms([Counts; 2]);

/// What was put into the kernel.
pub(super) struct Filled {
    pub(super) mirror: Mirror,
    pub(super) known: [Known; 2],
    pub(super) commit: Commit,
    pub(super) operations: usize,
    /// The ruleset's after the last part.
    pub(super) generation: u32,
}

impl Rooms {
    /// `None` where the plan is small, or the number of its slots is known only once it is lowered.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let mut rooms = Self::default();
        let mut elements = 0;
        for port in plan.services.values().flat_map(|service| &service.ports) {
            if port.algorithm != Algorithm::Random || !port.weights.is_even() {
                return None;
            }
            let Some(first) = port.frontends.first() else { continue };
            let has_local = [port.internal_policy, port.external_policy].contains(&TrafficPolicy::Local);
            let lists = [Some(List::Cluster), has_local.then_some(List::Local)];
            let counts = &mut rooms.0[position(first.frontend.family())];
            let mut add = |set, count: usize| {
                *counts.entry(set).or_insert(0) += u32::try_from(count).unwrap_or(u32::MAX);
                elements += count;
            };
            add(SetId::Frontends, port.frontends.len());
            for list in lists.into_iter().flatten() {
                let backends = port.list(list).count();
                add(SetId::Lists, 1);
                add(SetId::Slots, slots(backends).into());
                add(SetId::Backends, backends);
            }
        }
        (elements >= LEAST).then_some(rooms)
    }

    fn counts(&self, family: Family) -> &Counts {
        &self.0[position(family)]
    }
}

/// Fills tables that are not there yet, if nobody commits meanwhile: `generation` is the ruleset's.
pub(super) fn fill(nft: &mut Nftables, plan: &Plan, rooms: &Rooms, generation: u32) -> Result<Filled, Error> {
    let mut mirror = Mirror::new(plan.settings.clone(), None, None);
    let (parts, waiting) = sync_channel(WAITING);
    thread::scope(|scope| {
        let kernel = scope.spawn(move || commit_each(nft, &waiting, generation));
        let lowered = lower(&mut mirror, plan, rooms, &parts);
        drop(parts);
        let committed = match kernel.join() {
            Ok(committed) => committed.map_err(Error::Write)?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let (commit, operations, generation) = committed;
        Ok(Filled { known: lowered?, mirror, commit, operations, generation })
    })
}

/// Sends the parts off as they are ready. Where the kernel refused one nobody takes the next; its error is told by the other end.
fn lower(
    mirror: &mut Mirror,
    plan: &Plan,
    rooms: &Rooms,
    parts: &SyncSender<Transaction>,
) -> Result<[Known; 2], Error> {
    let mut begun: [Option<Contents>; 2] = Default::default();
    let mut each = |family, entry: Entry| {
        if !entry.set().comes_in_parts() {
            return;
        }
        let contents = begun[position(family)].get_or_insert_with(|| {
            let begin = table::begin(family, rooms.counts(family));
            let _ = parts.send(Transaction { changes: begin });
            Contents::new(family)
        });
        contents.push(entry);
        if contents.len() >= PART {
            let part = std::mem::replace(contents, Contents::new(family));
            let _ = parts.send(Transaction { changes: part.into_additions(family).collect() });
        }
    };
    mirror.fill(plan, &mut Nothing, Some(&mut each))?;
    let mut changes: Vec<Change> = Vec::new();
    let known = Family::ALL.map(|family| {
        let (rest, known) = match begun[position(family)].take() {
            Some(contents) => table::complete(family, mirror, rooms.counts(family), contents),
            None => table::change(family, Known::Absent, mirror, &Default::default(), table::Rules::Maybe),
        };
        changes.extend(rest);
        known
    });
    let _ = parts.send(Transaction { changes });
    Ok(known)
}

fn commit_each(
    nft: &mut Nftables,
    parts: &Receiver<Transaction>,
    mut generation: u32,
) -> Result<(Commit, usize, u32), nft::Error> {
    let (mut all, mut operations) = (Commit::default(), 0);
    for part in parts {
        let Commit { messages, bytes } = nft.commit(&part, Some(generation))?;
        generation = super::after(generation, &part);
        all = Commit { messages: all.messages + messages, bytes: all.bytes + bytes };
        operations += part.operations();
    }
    Ok((all, operations, generation))
}

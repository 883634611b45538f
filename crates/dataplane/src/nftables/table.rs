//! One family's table: what is known of it, and the changes that lead from there to what is wanted.

use std::collections::BTreeMap;

use stead_model::Family;
use stead_sys::nft::{Chain, Change, Set, Table, Verdict, digest};

use super::{
    id::Way,
    layout::{
        AFFINITY, AFFINITY_SIZE, AFFINITY_TIMEOUT, BALANCE_SHAPE, COMMENT, Skeleton, affinity_shape, balance, name,
        skeleton,
    },
    mirror::Mirror,
    program::{Contents, Counts, Difference, SetId},
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    #[default]
    Absent,
    /// A table of our name that is not of our layout.
    Foreign,
    Ours(TableState),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableState {
    pub(crate) outline: Outline,
    pub(crate) counts: Counts,
    pub(crate) sizes: Counts,
}

/// A skeleton as far as it can be read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) chains: BTreeMap<String, ChainOutline>,
    pub(crate) verdicts: BTreeMap<(Way, u32), Option<String>>,
}

/// Hook and priority of a base chain, and the digest that each rule carries.
pub(crate) type ChainOutline = (Option<(u32, i32)>, Vec<Option<u64>>);

impl Outline {
    fn of(skeleton: &Skeleton) -> Self {
        let chains = skeleton.chains.iter().map(|(chain, (base, rules))| {
            let base = base.map(|base| (base.hook.number(), base.priority));
            (chain.to_string(), (base, rules.iter().map(|rule| Some(digest(rule))).collect()))
        });
        let verdicts = skeleton.verdicts.iter().map(|(kind, chain)| (*kind, Some(chain.to_string())));
        Self { chains: chains.collect(), verdicts: verdicts.collect() }
    }
}

/// Whether chains and rules have to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Unchanged,
    Maybe,
}

/// The changes that lead from `known` to what `mirror` wants, and what is known after them. `difference` is that of the elements.
pub(crate) fn change(
    family: Family,
    known: Known,
    mirror: &Mirror,
    difference: &Difference,
    rules: Rules,
) -> (Vec<Change>, Known) {
    match (known, mirror.wants(family)) {
        (Known::Absent, false) => (Vec::new(), Known::Absent),
        (Known::Absent, true) => fresh(family, mirror),
        (_, false) => (vec![Change::DeleteTable(name(family))], Known::Absent),
        (Known::Foreign, true) => replace(family, mirror),
        (Known::Ours(mut state), true) => {
            for (set, growth) in difference.growth() {
                let count = state.counts.entry(set).or_insert(0);
                *count = u32::try_from(i64::from(*count) + growth).unwrap_or(0);
            }
            let full = state.counts.iter().any(|(set, count)| state.sizes.get(set).is_some_and(|size| count > size));
            if full {
                return replace(family, mirror);
            }
            let mut steps = Steps::default();
            if rules == Rules::Maybe {
                let wanted = wanted(family, mirror);
                let outline = Outline::of(&wanted);
                if outline != state.outline {
                    let Some(new) = steps_between(family, &state.outline, &wanted, &outline) else {
                        return replace(family, mirror);
                    };
                    steps = new;
                    state.outline = outline;
                }
            }
            let mut changes = steps.before;
            changes.extend(difference.removals(family));
            changes.extend(steps.between);
            changes.extend(difference.additions(family));
            changes.extend(steps.after);
            (changes, Known::Ours(state))
        }
    }
}

fn wanted(family: Family, mirror: &Mirror) -> Skeleton {
    skeleton(family, &mirror.settings, mirror.kinds(family), |class| mirror.timeout(class))
}

fn replace(family: Family, mirror: &Mirror) -> (Vec<Change>, Known) {
    let (mut changes, known) = fresh(family, mirror);
    changes.insert(0, Change::DeleteTable(name(family)));
    (changes, known)
}

/// A whole new table.
fn fresh(family: Family, mirror: &Mirror) -> (Vec<Change>, Known) {
    let mut contents = Contents::new(family);
    mirror.each_entry(family, |entry| contents.push(entry));
    let counts: Counts = contents.counts().collect();
    let sizes: Counts = SetId::ALL.into_iter().map(|set| (set, room(set, &counts))).collect();
    let (skeleton, outline) = new_skeleton(family, mirror);

    let mut changes = vec![table(family)];
    changes.extend(SetId::ALL.into_iter().map(|set| add_set(family, set, &sizes)));
    changes.extend(rules_fill(family));
    changes.extend(skeleton);
    changes.extend(contents.into_additions(family));
    (changes, Known::Ours(TableState { outline, counts, sizes }))
}

/// A new table with the sets that get their elements in parts, `expected` of them at most. Without the others it is none of our layout.
pub(crate) fn begin(family: Family, expected: &Counts) -> Vec<Change> {
    let in_parts = SetId::ALL.into_iter().filter(|set| set.comes_in_parts());
    let sizes: Counts = in_parts.map(|set| (set, room(set, expected))).collect();
    [table(family)].into_iter().chain(sizes.keys().map(|set| add_set(family, *set, &sizes))).collect()
}

/// What is left to do for a table that was [begun](begin): everything but those elements that came in parts, of which `last` are the last.
pub(crate) fn complete(family: Family, mirror: &Mirror, expected: &Counts, last: Contents) -> (Vec<Change>, Known) {
    let (mut counts, mut rest) = (Counts::new(), Contents::new(family));
    mirror.each_entry(family, |entry| {
        *counts.entry(entry.set()).or_insert(0) += 1;
        if !entry.set().comes_in_parts() {
            rest.push(entry);
        }
    });
    let of = |set: SetId| if set.comes_in_parts() { expected } else { &counts };
    let sizes: Counts = SetId::ALL.into_iter().map(|set| (set, room(set, of(set)))).collect();
    let (skeleton, outline) = new_skeleton(family, mirror);

    let others = SetId::ALL.into_iter().filter(|set| !set.comes_in_parts());
    let mut changes: Vec<_> = others.map(|set| add_set(family, set, &sizes)).collect();
    changes.extend(rules_fill(family));
    changes.extend(last.into_additions(family));
    changes.extend(rest.into_additions(family));
    changes.extend(skeleton);
    (changes, Known::Ours(TableState { outline, counts, sizes }))
}

fn table(family: Family) -> Change {
    Change::AddTable(name(family), Table { comment: COMMENT.into() })
}

/// Chains, rules and verdicts where there are none.
fn new_skeleton(family: Family, mirror: &Mirror) -> (Vec<Change>, Outline) {
    let wanted = wanted(family, mirror);
    let outline = Outline::of(&wanted);
    let Steps { before, between, .. } =
        steps_between(family, &Outline::default(), &wanted, &outline).unwrap_or_default();
    (before.into_iter().chain(between).collect(), outline)
}

fn room(set: SetId, counts: &Counts) -> u32 {
    size(set, counts.get(&set).copied().unwrap_or(0))
}

fn add_set(family: Family, set: SetId, sizes: &Counts) -> Change {
    let size = sizes.get(&set).copied();
    Change::AddSet(name(family), Set { name: set.name(), shape: set.shape(family), size, dynamic: None })
}

/// The maps that rules fill, and those that lead to chains.
fn rules_fill(family: Family) -> impl Iterator<Item = Change> {
    let mut sets = Vec::with_capacity(3);
    sets.push(Set {
        name: AFFINITY,
        shape: affinity_shape(family),
        size: Some(AFFINITY_SIZE),
        dynamic: Some(AFFINITY_TIMEOUT),
    });
    let balances = [Way::Frontends, Way::Inside].map(balance);
    sets.extend(balances.map(|name| Set { name, shape: BALANCE_SHAPE, size: None, dynamic: None }));
    sets.into_iter().map(move |set| Change::AddSet(name(family), set))
}

/// Room in a new table for what there is and at least half as much again, so that tables are seldom replaced. The kernel's hash table
/// fills faster when its size is given.
fn size(set: SetId, count: u32) -> u32 {
    let least = match set {
        SetId::Slots | SetId::Backends => 12_288,
        SetId::Frontends | SetId::Lists => 6_144,
        SetId::Reserved => 12,
        _ => 768,
    };
    // The kernel takes four thirds of the size, rounds up to a power of two and clears as many places: three quarters of one waste none.
    let places = count.saturating_mul(2).checked_next_power_of_two().unwrap_or(1 << 31);
    (places / 4 * 3).max(least)
}

#[derive(Debug, Default)]
struct Steps {
    /// New chains, and rules.
    before: Vec<Change>,
    /// Verdicts, after elements were removed and before others are added.
    between: Vec<Change>,
    /// Chains that nothing leads to any more.
    after: Vec<Change>,
}

/// `None` where a base chain would have to move, which a table cannot do.
fn steps_between(family: Family, old: &Outline, wanted: &Skeleton, outline: &Outline) -> Option<Steps> {
    let table = name(family);
    let mut steps = Steps::default();
    let mut rules = Vec::new();
    for (chain, (base, chain_rules)) in &wanted.chains {
        let read = old.chains.get(chain.as_ref());
        let (new_base, digests) = &outline.chains[chain.as_ref()];
        match read {
            None => steps.before.push(Change::AddChain(table, Chain { name: chain.clone(), base: *base })),
            Some((old_base, _)) if old_base != new_base => return None,
            Some((_, old_digests)) if old_digests == digests => continue,
            Some(_) => rules.push(Change::FlushChain(table, chain.clone())),
        }
        rules.extend(chain_rules.iter().map(|rule| Change::AddRule(table, chain.clone(), rule.clone())));
    }
    steps.before.extend(rules);
    for (key, chain) in &old.verdicts {
        if outline.verdicts.get(key) != Some(chain) {
            steps.between.push(Change::DeleteVerdict(table, balance(key.0), key.1));
        }
    }
    for (key, chain) in &wanted.verdicts {
        if old.verdicts.get(key) != Some(&Some(chain.to_string())) {
            steps.between.push(Change::AddVerdict(table, balance(key.0), key.1, Verdict::Goto(chain.clone())));
        }
    }
    let gone = || old.chains.keys().filter(|chain| !outline.chains.contains_key(*chain)).cloned();
    steps.after.extend(gone().map(|chain| Change::FlushChain(table, chain.into())));
    steps.after.extend(gone().map(|chain| Change::DeleteChain(table, chain.into())));
    Some(steps)
}

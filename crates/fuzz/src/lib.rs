//! Inputs for decoders: a corpus, and what a seed makes of it.
//!
//! [`run`] shows a decoder every file of its corpus and then mutations of them, until the time is over. It looks at what a
//! decoder answers, not into it: an input whose answer has words that no other had is mutated further. So it needs
//! no instrumented build and runs as an ordinary test. What a decoder has to answer is the tests' to say; that it answers at all,
//! in time and within bounds of memory, is demanded here.
//!
//! `STEAD_FUZZ_SECONDS` is the time for each decoder, `STEAD_FUZZ_SEED` repeats a run. Without a time the run is brief and its seed
//! the same everywhere: machines see the same inputs in the same order, and differ in how far they get.

use std::{
    collections::HashSet,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

mod mutate;

/// Bytes of an input.
const MAX_INPUT: usize = 16 << 10;

/// Within which one input has to be answered on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes by which the memory of the process may grow, other tests in it included.
const MAX_MEMORY: u64 = 1 << 30;

/// How many inputs are kept for further mutation.
const MAX_POOL: usize = 4096;

/// Without `STEAD_FUZZ_SECONDS`.
const BRIEFLY: Duration = Duration::from_millis(400);

/// What a run saw.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Files of the corpus.
    pub files: usize,
    pub inputs: u64,
    /// Answers whose words differ.
    pub answers: usize,
}

/// Runs `decode`, which says in words what came of its input, over `corpus/NAME` and mutations of it.
///
/// # Panics
///
/// Where `decode` panics, takes too long or takes too much memory: the input is printed, and the seed that leads to it.
pub fn run(name: &str, decode: impl Fn(&[u8]) -> String) -> Tally {
    let time = variable("STEAD_FUZZ_SECONDS").map(Duration::from_secs);
    let seed = variable("STEAD_FUZZ_SEED").unwrap_or_else(|| time.map_or(0, |_| rand::random()));
    let time = time.unwrap_or(BRIEFLY);
    eprintln!("{name}: STEAD_FUZZ_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut pool = corpus(name);
    let files = pool.len();
    let words = mutate::words(&pool);
    let (memory, start) = (memory(), Instant::now());
    let mut answers = HashSet::new();
    let mut inputs = 0;
    while inputs < files as u64 || start.elapsed() < time {
        let nth = usize::try_from(inputs).unwrap_or(usize::MAX);
        let input = match pool.get(nth).filter(|_| nth < files) {
            Some(file) => file.clone(),
            None => {
                let pick = |random: &mut StdRng| random.random_range(0..pool.len());
                let (base, other) = (pick(&mut random), pick(&mut random));
                let mut input = mutate::mutate(&pool[base], &pool[other], &words, &mut random);
                input.truncate(MAX_INPUT);
                input
            }
        };
        if answers.insert(judge(name, seed, &input, &decode)) && nth >= files && pool.len() < MAX_POOL {
            pool.push(input);
        }
        inputs += 1;
        if inputs % 64 == 0 {
            let grown = self::memory().saturating_sub(memory);
            assert!(grown < MAX_MEMORY, "{name}, seed {seed}: {grown} more bytes of memory after {inputs} inputs");
        }
    }
    let tally = Tally { files, inputs, answers: answers.len() };
    eprintln!("{name}: {tally:?} in {:?}", start.elapsed());
    tally
}

/// Names the input of a decoder that panics.
struct Witness<'a>(&'a str, u64, &'a [u8]);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: STEAD_FUZZ_SEED={} came to b\"{}\"", self.0, self.1, self.2.escape_ascii());
        }
    }
}

/// Decodes one input; returns what tells its answer from others: its words, without numbers and what is quoted.
fn judge(name: &str, seed: u64, input: &[u8], decode: impl Fn(&[u8]) -> String) -> u64 {
    let witness = Witness(name, seed, input);
    let start = Instant::now();
    let answer = decode(input);
    let took = start.elapsed();
    assert!(took < PATIENCE, "{name} took {took:?}");
    drop(witness);
    let mut hasher = DefaultHasher::new();
    let unquoted = answer.split(['"', '\'', '`']).step_by(2);
    unquoted.flat_map(str::chars).filter(|c| c.is_ascii_alphabetic()).take(400).for_each(|c| c.hash(&mut hasher));
    hasher.finish()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The files of a corpus, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a folder in the tree can be listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| fs::read(path).expect("a file in the tree can be read")).collect()
}

/// The most that this process has had in memory at once, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() << 10
}

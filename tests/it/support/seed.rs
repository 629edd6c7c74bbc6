//! Where random histories come from: others in every run of the tests, or those of a seed that the environment names.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::cell::Cell;
use std::ops::{Add, AddAssign};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

/// `NUDGED_SEED=7 cargo test --test it oracle` tries the histories of one seed.
const SEED: &str = "NUDGED_SEED";
/// `NUDGED_ORACLE_CASES=200` tries so many histories of each property.
const CASES: &str = "NUDGED_ORACLE_CASES";
/// Fewer histories need not come across anything.
const ENOUGH: u32 = 10;
/// Refusals and late facts are in the right place in some histories only: so often more are drawn until all was met.
const ROUNDS: usize = 10;

/// What histories came across. An engine that enters nothing equals an oracle that never expects anything.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub entered: usize,
    /// Crossed and was not entered, since the rule didn't want it.
    pub refused: usize,
    /// Entered by a later sweep than the one whose turn it was.
    pub late: usize,
}

impl Seen {
    /// Something was entered and something refused.
    pub const BOTH: Self = Self { entered: 1, refused: 1, late: 0 };
    /// And something found late.
    pub const ALL: Self = Self { entered: 1, refused: 1, late: 1 };
}

impl Add for Seen {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            entered: self.entered + other.entered,
            refused: self.refused + other.refused,
            late: self.late + other.late,
        }
    }
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Runs a property on random histories. All of them together must come across as much as `least` says: as many again are
/// drawn until they have.
pub fn property<S, F>(cases: u32, least: Seen, histories: &S, run: impl Fn(S::Value) -> F)
where
    S: Strategy,
    F: Future<Output = Seen>,
{
    let cases = number(CASES).map_or(cases, |asked| u32::try_from(asked).expect("so many take too long"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let (mut runner, seed) = seeded(config.clone());
    let all = Cell::new(Seen::default());
    let met = |all: Seen| all.entered >= least.entered && all.refused >= least.refused && all.late >= least.late;
    for _ in 0..ROUNDS {
        let result = runner.run(histories, |history| {
            let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(history))));
            let came_across = played.map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                TestCaseError::fail(text.unwrap_or_else(|| "it panicked without words".to_owned()))
            })?;
            all.set(all.get() + came_across);
            Ok(())
        });
        result.unwrap_or_else(|failure| panic!("with {seed}: {failure}"));
        if met(all.get()) || cases < ENOUGH {
            return;
        }
        // A runner that has had its cases runs no more.
        let drawn_on = runner.new_rng();
        runner = TestRunner::new_with_rng(config.clone(), drawn_on);
    }
    panic!("with {seed}: {ROUNDS} times {cases} histories came across {:?} only", all.get());
}

/// For a test that draws by itself. The seed is shown where the test fails.
#[expect(clippy::print_stdout, reason = "a failing run has to show its seed")]
pub fn random() -> StdRng {
    let number = seed();
    println!("{SEED}={number}");
    StdRng::seed_from_u64(number)
}

/// For a test that draws by strategies: the same in every run, unless the environment names a seed.
pub fn runner() -> TestRunner {
    match number(SEED) {
        Some(_) => seeded(Config::default()).0,
        None => TestRunner::deterministic(),
    }
}

fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    number(SEED).unwrap_or_else(|| since.subsec_nanos().into())
}

/// A runner, and what to set for the same histories again.
fn seeded(config: Config) -> (TestRunner, String) {
    let number = seed();
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    (TestRunner::new_with_rng(config, rng), format!("{SEED}={number}"))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, not a number")))
}

//! Where random histories come from: the same ones in every run of the tests, or others when the environment asks.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// `NUDGED_SEED=7 cargo test --test it oracle` tries other histories, always the same ones for one seed.
const SEED: &str = "NUDGED_SEED";

/// A runner, and what to set for the same histories again.
pub fn seeded(config: Config) -> (TestRunner, String) {
    let Ok(asked) = std::env::var(SEED) else {
        let fixed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        return (TestRunner::new_with_rng(config, fixed), format!("no {SEED}"));
    };
    let number: u64 = asked.parse().unwrap_or_else(|_| panic!("{SEED} is `{asked}`, not a number"));
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    (TestRunner::new_with_rng(config, rng), format!("{SEED}={number}"))
}

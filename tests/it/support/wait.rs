//! Waiting for a condition, never for a duration: a test goes on the moment it may.

use std::panic::Location;
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for a machine that is busy with something else. It costs nothing: a wait ends when it may.
pub const PATIENCE: Duration = Duration::from_mins(3);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Looks until `condition` holds; fails the test, naming the caller's line, once `within` has passed.
#[track_caller]
pub fn wait_until(within: Duration, mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + within;
        while !condition().await {
            assert!(Instant::now() < deadline, "{caller}: did not come true within {within:?}");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// The same, for code outside a runtime.
#[track_caller]
pub fn poll_until(within: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "did not come true within {within:?}");
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// The same, for a condition that says what is still missing.
#[track_caller]
pub fn poll_until_ok(within: Duration, mut condition: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + within;
    while let Err(missing) = condition() {
        assert!(Instant::now() < deadline, "did not come true within {within:?}: {missing}");
        thread::sleep(BETWEEN_LOOKS);
    }
}

#[tokio::test]
async fn waiting_ends_as_soon_as_the_condition_holds() {
    let mut looks = 0;
    wait_until(Duration::from_mins(1), async || {
        looks += 1;
        looks == 3
    })
    .await;
    assert_eq!(looks, 3);
}

#[test]
#[should_panic(expected = "did not come true within")]
fn waiting_in_vain_fails_the_test() {
    poll_until(Duration::from_millis(20), || false);
}

use jiff::{Timestamp, Zoned};
use nudged::model::ManualClock;
use std::sync::Arc;

/// A clock that stands at `at` until it is moved.
pub fn test_clock(at: &str) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(instant(at)))
}

/// `2026-11-21T09:00:00Z`, or a local time with its zone: `2026-11-21T10:00[Europe/Vienna]`.
pub fn instant(text: &str) -> Timestamp {
    text.parse::<Timestamp>()
        .or_else(|_| text.parse::<Zoned>().map(|zoned| zoned.timestamp()))
        .unwrap_or_else(|error| panic!("`{text}` is no instant: {error}"))
}

#[test]
fn an_instant_is_read_in_utc_or_in_a_zone() {
    assert_eq!(instant("2026-11-21T09:00:00Z"), instant("2026-11-21T10:00[Europe/Vienna]"));
    assert_eq!(nudged::model::Clock::now(&*test_clock("2026-11-21T09:00:00Z")), instant("2026-11-21T09:00:00Z"));
}

//! Whether the process does its work, for health checks and the watchdog.

use crate::web::Vitals;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See [`Vitals`]. The scheduler's turns are counted as beats.
#[derive(Debug)]
pub struct ProcessVitals {
    ready: AtomicBool,
    last_beat: Mutex<Instant>,
    stalled: Duration,
}

impl ProcessVitals {
    /// Ill when no beat came for longer than `stalled`.
    pub fn new(stalled: Duration) -> Self {
        Self { ready: AtomicBool::new(false), last_beat: Mutex::new(Instant::now()), stalled }
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// The scheduler made a turn.
    pub fn beat(&self) {
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Vitals for ProcessVitals {
    fn illness(&self) -> Option<String> {
        let since = self.last_beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (since > self.stalled).then(|| format!("the scheduler has not moved for {} s", since.as_secs()))
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_that_stands_still_is_ill_until_it_moves() {
        let vitals = ProcessVitals::new(Duration::from_secs(60));
        *vitals.last_beat.lock().unwrap() = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        assert!(vitals.illness().is_some());
        vitals.beat();
        assert_eq!(vitals.illness(), None);
    }
}

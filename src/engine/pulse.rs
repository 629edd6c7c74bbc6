//! Signs of life of the engine's loops, so that a watchdog can tell a quiet engine from a stuck one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) enum Loop {
    Scheduler,
    Dispatcher,
}

#[derive(Debug)]
pub(super) struct Pulse {
    beats: Mutex<[Instant; 2]>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { beats: Mutex::new([Instant::now(); 2]) }
    }
}

impl Pulse {
    pub fn beat(&self, of: Loop) {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)[of as usize] = Instant::now();
    }

    /// Since the loop that has been silent longest last turned.
    pub fn age(&self) -> Duration {
        let beats = *self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.into_iter().map(|beat| beat.elapsed()).max().unwrap_or_default()
    }
}

//! Whether the process does its work, for health checks and the watchdog.

use crate::engine::Engine;
use crate::web::Vitals;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// See [`Vitals`]: ill when one of the engine's loops stands still, or a part has ended.
pub struct ProcessVitals {
    ready: AtomicBool,
    /// The part of the daemon that has ended without having been told to.
    ended: OnceLock<&'static str>,
    engine: Arc<Engine>,
    stalled: Duration,
}

impl ProcessVitals {
    pub fn new(stalled: Duration, engine: Arc<Engine>) -> Self {
        Self { ready: AtomicBool::new(false), ended: OnceLock::new(), engine, stalled }
    }

    /// This part has ended without having been told to.
    pub fn note_end(&self, part: &'static str) {
        self.ended.get_or_init(|| part);
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

impl Vitals for ProcessVitals {
    fn illness(&self) -> Option<String> {
        if let Some(part) = self.ended.get() {
            return Some(format!("the {part} has ended by itself"));
        }
        let idle = self.engine.idle_for();
        (idle > self.stalled).then(|| format!("the scheduler has not moved for {} s", idle.as_secs()))
    }

    fn source_trouble(&self) -> Option<String> {
        let (duration, reason) = self.engine.source_away()?;
        Some(format!("the source has not answered for {} s: {reason}", duration.as_secs()))
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

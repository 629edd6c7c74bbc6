//! Whether the process does its work, for health checks and the watchdog.

use crate::engine::Engine;
use crate::web::Vitals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// See [`Vitals`]: ill when one of the engine's loops stands still.
pub struct ProcessVitals {
    ready: AtomicBool,
    engine: Arc<Engine>,
    stalled: Duration,
}

impl ProcessVitals {
    pub fn new(stalled: Duration, engine: Arc<Engine>) -> Self {
        Self { ready: AtomicBool::new(false), engine, stalled }
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

impl Vitals for ProcessVitals {
    fn illness(&self) -> Option<String> {
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

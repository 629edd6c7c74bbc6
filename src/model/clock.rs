//! The clock is an argument. Production passes [`SystemClock`], tests a [`ManualClock`] that only moves when
//! they say so, and the demo one of its own.

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::sync::watch;

/// Where "now" comes from, and how to wait for a later one.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// Resolves once `now()` is at or past `instant`.
    fn sleep_until(&self, instant: Timestamp) -> BoxFuture<'_, ()>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, instant: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A wall clock can step while we wait, so look again after each short sleep.
            loop {
                let left = instant.duration_since(Timestamp::now());
                if left <= SignedDuration::ZERO {
                    return;
                }
                tokio::time::sleep(left.unsigned_abs().min(Duration::from_secs(30))).await;
            }
        })
    }
}

/// A clock that stands still until it is told to move. Waiters wake when it passes their instant.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
}

impl ManualClock {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: watch::Sender::new(now) }
    }

    /// Moves the clock, forwards or (to test a step back) backwards.
    pub fn set(&self, now: Timestamp) {
        self.now.send_replace(now);
    }

    pub fn advance(&self, by: SignedDuration) {
        self.now.send_modify(|now| *now = now.checked_add(by).unwrap_or(Timestamp::MAX));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep_until(&self, instant: Timestamp) -> BoxFuture<'_, ()> {
        let mut changes = self.now.subscribe();
        Box::pin(async move {
            // The sender lives in `self`, so the channel can't close while we borrow it.
            let _ = changes.wait_for(|now| *now >= instant).await;
        })
    }
}

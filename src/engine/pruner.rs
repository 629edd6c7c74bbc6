//! Forgets what has grown old, by the `[retention]` of the configuration: batch after batch, so that nobody waits for it.

use super::context::Context;
use super::error::EngineError;
use super::event::Event;
use super::port::Aged;
use jiff::SignedDuration;
use std::time::Duration;

/// Rows of one transaction.
const BATCH: usize = 500;

/// Between two looks.
const EVERY: Duration = Duration::from_hours(6);

/// No rule looks further back for what it refused, or for events.
const LEAST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long things are kept. The ledger stays: it says that a match happened, and never whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Attempts and what happened between them.
    pub attempts: SignedDuration,
    /// Who crossed without a match. At least 30 days.
    pub misses: SignedDuration,
    /// Enrollments, from their end on.
    pub enrollments: SignedDuration,
    /// Events of other systems. At least 30 days.
    pub events: SignedDuration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |count: i64| SignedDuration::from_hours(count * 24);
        Self { attempts: days(90), misses: days(90), enrollments: days(730), events: days(30) }
    }
}

impl Retention {
    fn of(&self, what: Aged) -> SignedDuration {
        match what {
            Aged::Attempts | Aged::Timeline => self.attempts,
            // A rule that rested for long must still know them.
            Aged::Writes => self.attempts.max(LEAST),
            Aged::Misses => self.misses.max(LEAST),
            Aged::Enrollments => self.enrollments,
            Aged::Events => self.events.max(LEAST),
        }
    }
}

/// One look: what was forgotten of each kind.
pub(super) async fn prune(context: &Context) -> Result<Vec<(Aged, u64)>, EngineError> {
    let now = context.clock.now();
    let mut pruned = Vec::new();
    for what in Aged::ALL {
        // Longer than time itself: kept for ever.
        let Ok(before) = now.checked_sub(context.settings.retention.of(what)) else { continue };
        let mut total = 0;
        loop {
            let count = context.store.prune(what, before, BATCH).await?;
            total += count;
            if count < BATCH as u64 {
                break;
            }
            tokio::task::yield_now().await;
        }
        if total > 0 {
            context.announce(|| Event::Pruned { what, count: total });
            pruned.push((what, total));
        }
    }
    Ok(pruned)
}

/// Prunes at intervals, until it is dropped.
pub(super) async fn run(context: &Context) {
    loop {
        if let Err(error) = prune(context).await {
            context.announce(|| Event::StateFailed { reason: error.to_string() });
        }
        tokio::time::sleep(EVERY).await;
    }
}

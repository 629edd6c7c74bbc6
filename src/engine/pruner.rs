//! Forgets what has grown old, by the `[retention]` of the configuration: batch after batch, so that nobody waits for it.

use super::context::Context;
use super::error::EngineError;
use super::event::Event;
use super::port::Aged;
use super::settings::Settings;
use super::sweep::keep_trying;
use crate::rule::CheckedRule;
use crate::rule::checked::Trigger;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Rows of one transaction.
const BATCH: usize = 500;

/// Between two looks.
const EVERY: Duration = Duration::from_hours(6);

/// No rule looks further back for what it refused, or for events.
const LEAST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Rows of the ledger that are looked at in one transaction.
const LEDGER_PAGE: usize = 2_000;

/// An anniversary is known by its year, and a birthday that is corrected within the year must not come twice.
const LEDGER_LEAST: SignedDuration = SignedDuration::from_hours(400 * 24);

/// More than any reading twice.
const MARGIN: SignedDuration = SignedDuration::from_hours(4 * 24);

/// How long things are kept. The ledger stays unless it is told not to: it says that a match happened, and never whose.
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
    /// Messages as they left. Zero: they are not kept.
    pub messages: SignedDuration,
    /// Matches of rules that never look back further, at least 400 days. `None`: for ever.
    pub ledger: Option<SignedDuration>,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |count: i64| SignedDuration::from_hours(count * 24);
        Self {
            attempts: days(90),
            misses: days(90),
            enrollments: days(730),
            events: days(30),
            messages: days(0),
            ledger: None,
        }
    }
}

impl Retention {
    /// Whether messages are kept at all.
    #[must_use]
    pub fn keeps_messages(&self) -> bool {
        self.messages > SignedDuration::ZERO
    }

    fn of(&self, what: Aged) -> SignedDuration {
        match what {
            Aged::Attempts | Aged::Timeline => self.attempts,
            // A rule that rested for long must still know them.
            Aged::Writes => self.attempts.max(LEAST),
            Aged::Misses => self.misses.max(LEAST),
            Aged::Enrollments => self.enrollments,
            Aged::Events => self.events.max(LEAST),
            Aged::Messages => self.messages,
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
    prune_ledger(context).await?;
    Ok(pruned)
}

/// How far back a rule may look for matches that it made; `None`: one never knows. A date may go back to an old one, a
/// query says what it likes, an event may be sent again, and an episode is told by its number.
fn reach(rule: &CheckedRule, settings: &Settings) -> Option<SignedDuration> {
    let bounded = match rule.trigger {
        Trigger::Inactivity(_)
        | Trigger::Survey(_)
        | Trigger::Created(_)
        | Trigger::Abandoned(_)
        | Trigger::Yearly(_)
        | Trigger::Schedule(_) => true,
        Trigger::Date(_)
        | Trigger::Query(_)
        | Trigger::Event(_)
        | Trigger::Count(_)
        | Trigger::Segment(_)
        | Trigger::Decline(_)
        | Trigger::Changed(_)
        | Trigger::Enrolled => false,
    };
    bounded.then(|| keep_trying(rule).max(settings.reconcile_reach).saturating_add(MARGIN))
}

/// Since when a rule's matches must be known; `None`: since ever. Nothing is looked for before it, whatever `backfill` says.
pub(super) fn ledger_since(settings: &Settings, now: Timestamp) -> Option<Timestamp> {
    now.checked_sub(settings.retention.ledger?.max(LEDGER_LEAST)).ok()
}

/// Drops matches that no rule can meet again, page by page in the order of their ids.
async fn prune_ledger(context: &Context) -> Result<u64, EngineError> {
    let Some(before) = ledger_since(&context.settings, context.clock.now()) else { return Ok(0) };
    let Ok(generation) = context.generation() else { return Ok(0) };
    let rules = generation.rules.values().map(|rule| &rule.rule);
    let rules: Vec<_> = rules.filter_map(|rule| Some((rule.id.clone(), reach(rule, &context.settings)?))).collect();
    let (mut total, mut after) = (0, None);
    loop {
        let (dropped, next) = context.store.prune_ledger(&rules, before, after, LEDGER_PAGE).await?;
        total += dropped;
        after = next;
        if after.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    if total > 0 {
        context.announce(|| Event::LedgerPruned { count: total });
    }
    Ok(total)
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

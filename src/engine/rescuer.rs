//! Takes back what dead processes held, and finishes what they, or an operator, left staged.

use super::context::Context;
use super::error::EngineError;
use super::event::Event;
use super::expectation;
use super::late_notice;
use super::port::{Rescued, StoreError};
use super::sweep::enter_staged;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Between two looks for expired leases, at least.
const SOON: Duration = Duration::from_secs(1);

/// Extends the leases of what is under way here, and of nothing else: a row that was lost on the way is
/// rescued like a dead process's.
pub(super) async fn heartbeat(context: &Context) -> Result<(), StoreError> {
    let tokens = context.flight.tokens();
    if tokens.is_empty() { Ok(()) } else { context.store.heartbeat(&tokens).await }
}

/// One look for expired leases, and for matches of sweeps that were released or dropped by somebody who did
/// not, or could not, see them into their first step.
pub(super) async fn rescue(context: &Context) -> Result<Rescued, EngineError> {
    // A machine that slept wakes up with all its leases expired; what is under way is not to be taken from it
    // by itself.
    heartbeat(context).await?;
    let rescued = context.store.rescue(&context.owner, context.clock.now()).await?;
    if rescued != Rescued::default() {
        context.announce(|| Event::Rescued(rescued));
        context.due.notify_one();
    }
    enter_staged(context).await?;
    // Boxed, as it is seldom more than a look and would make every turn of the loops carry its size.
    Box::pin(expectation::after_decisions(context)).await?;
    context.pace.share(context.gate.beat(context).await?);
    forget_sends(context).await?;
    late_notice::tell(context).await;
    Ok(rescued)
}

/// Drops what no cap counts any more. Some days stay, for outcomes that come late.
async fn forget_sends(context: &Context) -> Result<(), StoreError> {
    let sending = &context.settings.sending;
    let (limits, texts) = (&sending.limits, &sending.texts.limits);
    if limits.caps.is_empty() && texts.caps.is_empty() && !limits.budget.is_limited() {
        return Ok(());
    }
    let kept = sending.reach().saturating_add(SignedDuration::from_hours(3 * 24));
    let before = context.clock.now().saturating_sub(kept).unwrap_or(Timestamp::MIN);
    context.store.forget_sends(before).await.map(|_| ())
}

/// Rescues at intervals, and when a lease ends, until it is dropped.
pub(super) async fn run(context: &Context) {
    loop {
        if let Err(error) = rescue(context).await {
            context.announce(|| Event::StateFailed { reason: error.to_string() });
        }
        tokio::time::sleep(pause(context).await).await;
    }
}

/// What a dead node held isn't left lying for longer than its lease. The leases of the living are renewed long before
/// they end, so this one wakes nobody early in vain.
async fn pause(context: &Context) -> Duration {
    let most = context.settings.rescue_every;
    match context.store.lease_ends().await {
        Ok(Some(left)) => left.max(SOON).min(most),
        _ => most,
    }
}

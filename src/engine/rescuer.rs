//! Takes back what dead processes held, and keeps alive what this one holds.

use super::context::Context;
use super::error::EngineError;
use super::event::Event;
use super::port::Rescued;

/// One look for expired leases.
pub(super) async fn rescue(context: &Context) -> Result<Rescued, EngineError> {
    let rescued = context.store.rescue(&context.owner, context.clock.now()).await?;
    if rescued != Rescued::default() {
        context.announce(|| Event::Rescued(rescued));
        context.due.notify_one();
    }
    Ok(rescued)
}

/// Rescues at intervals, until it is dropped.
pub(super) async fn run(context: &Context) {
    loop {
        if let Err(error) = rescue(context).await {
            context.announce(|| Event::StateFailed { reason: error.to_string() });
        }
        tokio::time::sleep(context.settings.rescue_every).await;
    }
}

//! Runs due steps: claims them, asks fresh facts once per rule, decides, renders, sends, settles.

mod channel;
mod decide;
#[cfg(test)]
mod decide_tests;
mod outcome;
mod pipeline;
mod prepare;
mod render;
mod settler;
mod walk;
mod work;

use super::context::Context;
use super::error::EngineError;
use super::event::Event;
use super::pulse::Loop;
use jiff::Timestamp;
use pipeline::Pipeline;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub(super) use decide::{Decision, Situation, address, addressee, decide};
pub(super) use prepare::open_tasks;
pub(super) use render::{Draft, kind};
pub(super) use walk::walk;

/// How long a full channel is waited for before its messages are put off.
const PATIENCE: Duration = Duration::from_millis(250);

/// What one drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dispatched {
    /// Rows claimed; a sequence's steps count one by one.
    pub steps: u64,
}

pub struct Dispatcher {
    context: Arc<Context>,
}

impl Dispatcher {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Runs everything due at the clock's now, and what that makes due, until nothing is.
    pub(super) async fn drain(&self) -> Result<Dispatched, EngineError> {
        let pipeline = Pipeline::start(&self.context);
        let mut dispatched = Dispatched::default();
        let result = loop {
            match self.pass(&pipeline, None).await {
                Ok(0) if pipeline.flight.is_empty() => break Ok(dispatched),
                Ok(0) => pipeline.flight.landed().await,
                Ok(steps) => dispatched.steps += steps as u64,
                Err(error) => break Err(error),
            }
        };
        pipeline.stop(self.context.settings.drain).await;
        result
    }

    /// Until `shutdown` turns true: everything as it becomes due.
    pub(super) async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let pipeline = Pipeline::start(&self.context);
        let stopped = async { drop(shutdown.wait_for(|stop| *stop).await) };
        tokio::select! {
            () = stopped => {}
            () = self.serve(&pipeline) => {}
            () = self.keep_alive(&pipeline) => {}
        }
        pipeline.stop(self.context.settings.drain).await;
    }

    async fn serve(&self, pipeline: &Pipeline) {
        let mut pause = self.context.settings.poll;
        loop {
            self.context.pulse.beat(Loop::Dispatcher);
            match self.pass(pipeline, Some(PATIENCE)).await {
                Ok(0) => {
                    pause = self.context.settings.poll;
                    self.rest().await;
                }
                Ok(_) => {}
                Err(EngineError::NoGeneration) => self.rest().await,
                Err(error) => {
                    self.context.announce(|| Event::StateFailed { reason: error.to_string() });
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
            }
        }
    }

    /// Sleeps until something is due: told by this process, by the clock, or by a look at the state, since
    /// another process may have put a row there. One question per poll.
    async fn rest(&self) {
        let mut looked = Timestamp::MIN;
        loop {
            self.context.pulse.beat(Loop::Dispatcher);
            let next = self.context.store.next_due().await.ok().flatten();
            let now = self.context.clock.now();
            // A row that is due but wasn't claimed is somebody else's; look again after a pause, not at once.
            if next.is_some_and(|next| next <= now && next > looked) && looked > Timestamp::MIN {
                return;
            }
            looked = now;
            let ahead = next.filter(|next| *next > now);
            tokio::select! {
                () = self.context.due.notified() => return,
                () = self.context.clock.sleep_until(ahead.unwrap_or(Timestamp::MAX)), if ahead.is_some() => return,
                () = tokio::time::sleep(self.context.settings.poll) => {}
            }
            if ahead.is_none() && next.is_some() {
                return;
            }
        }
    }

    /// Extends the leases of work under way.
    async fn keep_alive(&self, pipeline: &Pipeline) {
        loop {
            tokio::time::sleep(self.context.settings.heartbeat).await;
            if pipeline.flight.is_empty() {
                continue;
            }
            if let Err(error) = self.context.store.heartbeat(&self.context.owner).await {
                self.context.announce(|| Event::StateFailed { reason: error.to_string() });
            }
        }
    }
}

//! Runs due steps: claims them, asks fresh facts once per rule, decides, renders, sends, settles.

mod addressed;
mod assigned;
mod channel;
mod decide;
#[cfg(test)]
pub(super) mod decide_tests;
mod enrolling;
mod gather;
mod keeping;
#[cfg(test)]
mod late_tests;
mod moment;
mod outcome;
mod overtaken;
mod pipeline;
mod places;
mod prepare;
mod render;
mod rivals;
mod seeds;
mod settler;
mod waiting;
mod walk;
mod work;

use super::Drained;
use super::context::{Context, told};
use super::error::EngineError;
use super::event::Event;
use super::pulse::Loop;
use super::rescuer;
use jiff::Timestamp;
use pipeline::Pipeline;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub(super) use addressed::Addressed;
pub(super) use assigned::{joined, rehearsed, stand_in};
pub(super) use decide::{Decision, Line, Situation, address, begins_late, decide, number};
pub(super) use gather::{Groups, Together, listed, meets, turn};
pub(super) use moment::Moment;
pub(super) use places::since;
pub(super) use prepare::{open_tasks, reader, said, subject, way_of};
pub(super) use render::{Draft, kind};
pub(super) use walk::Way;

/// How long a full channel is waited for before its messages are put off.
const PATIENCE: Duration = Duration::from_millis(250);

/// What one drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dispatched {
    /// Rows claimed; a sequence's steps count one by one.
    pub steps: u64,
}

enum Turn {
    Claimed,
    /// Nothing was; when the next row is due.
    Next(Option<Timestamp>),
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
            // Asked before the claim: what lands in between may have made something due behind its back.
            let landed = self.context.flight.is_empty();
            match self.pass(&pipeline, None).await {
                Ok(0) if landed => break Ok(dispatched),
                Ok(0) => self.context.flight.landed().await,
                Ok(steps) => dispatched.steps += steps as u64,
                Err(error) => break Err(error),
            }
        };
        pipeline.stop(self.context.settings.drain).await;
        result
    }

    /// Until `shutdown` turns true: everything as it becomes due.
    pub(super) async fn run(&self, shutdown: watch::Receiver<bool>) -> Drained {
        let pipeline = Pipeline::start(&self.context);
        // What is still under way while it drains is held on to like anything else.
        let serving = async {
            self.serve(&pipeline, shutdown).await;
            pipeline.stop(self.context.settings.drain).await
        };
        tokio::select! {
            drained = serving => drained,
            never = self.keep_alive() => never,
        }
    }

    /// A pass is never cut off in the middle, so every claimed row is either on its way or given back.
    async fn serve(&self, pipeline: &Pipeline, mut shutdown: watch::Receiver<bool>) {
        let mut pause = self.context.settings.poll;
        // A pass is a transaction. While nothing happens, only the time of the next row is asked for.
        let mut expects = true;
        while !*shutdown.borrow() && shutdown.has_changed().is_ok() {
            self.context.pulse.beat(Loop::Dispatcher);
            let asked_at = self.context.clock.now();
            let next = match self.turn(pipeline, expects).await {
                Ok(Turn::Claimed) => continue,
                Ok(Turn::Next(next)) => {
                    pause = self.context.settings.poll;
                    next
                }
                Err(EngineError::NoGeneration) => None,
                Err(error) => {
                    self.context.announce(|| Event::StateFailed { reason: error.to_string() });
                    pause = (pause * 2).min(Duration::from_secs(30));
                    None
                }
            };
            // One that was due before the claim and wasn't claimed is somebody else's: it is looked for again after
            // a pause, not at once.
            let due = next.filter(|next| !expects || *next > asked_at).unwrap_or(Timestamp::MAX);
            expects = tokio::select! {
                () = told(&mut shutdown) => return,
                () = self.context.due.notified() => true,
                () = self.context.clock.sleep_until(due), if due < Timestamp::MAX => true,
                () = tokio::time::sleep(pause) => false,
            };
        }
    }

    async fn turn(&self, pipeline: &Pipeline, expects: bool) -> Result<Turn, EngineError> {
        if expects && self.pass(pipeline, Some(PATIENCE)).await? > 0 {
            return Ok(Turn::Claimed);
        }
        Ok(Turn::Next(self.context.store.next_due().await?))
    }

    /// Extends the leases of work under way.
    async fn keep_alive(&self) -> Drained {
        loop {
            tokio::time::sleep(self.context.settings.heartbeat).await;
            if let Err(error) = rescuer::heartbeat(&self.context).await {
                self.context.announce(|| Event::StateFailed { reason: error.to_string() });
            }
        }
    }
}

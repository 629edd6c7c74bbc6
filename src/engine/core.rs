//! The engine as the service, the demo and tests hold it: put together once, run until told to stop, or
//! stepped by hand.

use super::adopt;
use super::context::{Context, tenants_of, told};
use super::dispatch::{Dispatched, Dispatcher};
use super::error::EngineError;
use super::event::Event;
use super::port::{Aged, Owner, Rescued, Room, RuleState, RuleStatus, Sender, Source, Store, Witness};
use super::scheduler::{self, Scheduler};
use super::settings::Settings;
use super::sweep::{Sweeper, Swept};
use super::{answer_writer, consent_writer, gate, pruner, rescuer};
use crate::model::{Clock, RuleId, Tenant};
use crate::rule::generation::Generation;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, broadcast, watch};

/// Everything the engine is made of.
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub source: Arc<dyn Source>,
    pub store: Arc<dyn Store>,
    pub senders: Senders,
    /// The running generation; a new one is adopted as soon as it is sent.
    pub generation: watch::Receiver<Option<Arc<Generation>>>,
    /// A node and its boot.
    pub owner: Owner,
    pub settings: Settings,
}

/// One sender per kind of action.
#[derive(Clone)]
pub struct Senders {
    pub email: Arc<dyn Sender>,
    pub webhook: Arc<dyn Sender>,
    pub task: Arc<dyn Sender>,
}

pub struct Engine {
    context: Arc<Context>,
    sweeper: Arc<Sweeper>,
    dispatcher: Arc<Dispatcher>,
    /// Hash of the generation that the state was last brought in line with.
    adopted: Mutex<Option<Arc<Generation>>>,
}

/// Enough for a feed that looks away for a moment: a sweep's batch and two commits of the settler. As many as were ever
/// announced stay in memory.
const EVENTS_KEPT: usize = 4_096;

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything under way was finished or given back.
    Yes,
    /// Something hung beyond the deadline; the next start rescues it.
    No,
}

impl Engine {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { clock, source, store, senders, generation, owner, settings } = parts;
        let events = broadcast::Sender::new(EVENTS_KEPT);
        let context = Arc::new(Context::new(clock, source, store, senders, generation, owner, settings, events));
        let sweeper = Arc::new(Sweeper::new(Arc::clone(&context)));
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&context)));
        Self { context, sweeper, dispatcher, adopted: Mutex::default() }
    }

    /// Nothing is sent before this witness has agreed. Without one, everything is.
    pub fn set_witness(&self, witness: Arc<dyn Witness>) {
        self.context.gate.set_witness(witness);
    }

    /// Sweeps stop when this disk is nearly full.
    pub fn set_room(&self, room: Arc<dyn Room>) {
        self.context.room.set(room);
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Listens to what happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.context.events.subscribe()
    }

    /// For how long the source has not answered, and why it didn't at first; `None` while it does.
    pub fn source_away(&self) -> Option<(Duration, String)> {
        self.context.health.away()
    }

    /// How long ago the slowest of the engine's loops last turned: for a watchdog.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        self.context.pulse.age()
    }

    /// Tells the engine that another part of the process has made deliveries due.
    pub fn wake(&self) {
        self.context.due.notify_one();
    }

    /// Tells the engine that an event of another system was kept: the rules that wait for one are swept now.
    pub fn arrived(&self) {
        self.context.arrived.notify_one();
    }

    /// Tells the engine that somebody answered a survey: the source hears of it now.
    pub fn answered(&self) {
        self.context.answered.notify_one();
    }

    /// Tells the source of the answers that it hasn't got yet; of how many.
    pub async fn tell_answers(&self) -> Result<u64, EngineError> {
        answer_writer::tell(&self.context).await
    }

    /// Sweeps, sends and rescues until `shutdown` turns true (or its sender is gone), then drains what is
    /// under way within the deadline of the settings and gives the rest back.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) -> Drained {
        if let Err(error) = self.rescue().await {
            self.context.announce(|| Event::StateFailed { reason: error.to_string() });
        }
        let scheduler = Scheduler::new(Arc::clone(&self.context), Arc::clone(&self.sweeper));
        let mut stop = shutdown.clone();
        let serving = async { tokio::join!(self.dispatcher.run(shutdown.clone()), scheduler.run(shutdown.clone())) };
        let rescuing = async {
            tokio::select! {
                () = rescuer::run(&self.context) => {}
                () = pruner::run(&self.context) => {}
                () = consent_writer::run(&self.context) => {}
                () = gate::watch(&self.context) => {}
                () = answer_writer::run(&self.context) => {}
                () = told(&mut stop) => {}
            }
        };
        let ((drained, ()), ()) = tokio::join!(serving, rescuing);
        drained
    }

    /// Brings the state in line with the running generation, unless that was done.
    pub async fn adopt(&self) -> Result<Arc<Generation>, EngineError> {
        let generation = self.context.generation()?;
        let mut adopted = self.adopted.lock().await;
        if adopted.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &generation)) {
            adopt::adopt(&self.context, &generation).await?;
            *adopted = Some(Arc::clone(&generation));
        }
        Ok(generation)
    }

    /// Counts what fresh baselines leave out, for people to read. What runs on its own does so beside its sweeps.
    pub async fn count_left_out(&self) -> Result<(), EngineError> {
        let generation = self.adopt().await?;
        adopt::count_left_out(&self.context, &generation, 0).await;
        Ok(())
    }

    /// Sweeps one rule now, whenever it is due, for every tenant.
    pub async fn sweep_rule(&self, rule: &RuleId) -> Result<Vec<Swept>, EngineError> {
        let generation = self.adopt().await?;
        let compiled = generation.rules.get(rule).ok_or_else(|| EngineError::NoSuchRule(rule.clone()))?;
        let mut swept = Vec::new();
        for tenant in tenants_of(&generation.catalog) {
            swept.push(self.sweeper.sweep(&generation, compiled, &tenant).await?);
        }
        Ok(swept)
    }

    /// Sweeps, one after another, every rule that is due at the clock's now.
    pub async fn sweep_due(&self) -> Result<Vec<Swept>, EngineError> {
        let generation = self.adopt().await?;
        let states = self.context.store.rule_states().await?;
        let now = self.context.clock.now();
        let mut swept = Vec::new();
        for (rule, tenant, due) in scheduler::timetable(&generation, &states) {
            if due <= now {
                swept.push(self.sweeper.sweep(&generation, &rule, &tenant).await?);
            }
        }
        Ok(swept)
    }

    /// Runs every step that is due at the clock's now, and those they make due, until none is left.
    pub async fn dispatch_due(&self) -> Result<Dispatched, EngineError> {
        self.adopt().await?;
        self.dispatcher.drain().await
    }

    /// Takes back what dead processes held.
    pub async fn rescue(&self) -> Result<Rescued, EngineError> {
        rescuer::rescue(&self.context).await
    }

    /// Tells the CRM what readers decided; how many decisions are done with.
    pub async fn carry_consents(&self) -> Result<u64, EngineError> {
        consent_writer::carry(&self.context).await
    }

    /// Forgets what has grown old: what, and how much of it.
    pub async fn prune(&self) -> Result<Vec<(Aged, u64)>, EngineError> {
        pruner::prune(&self.context).await
    }

    /// When the next step or sweep is due, for whoever moves the clock. Rules that an operator or the guard
    /// has stopped are waited for by nobody.
    pub async fn next_due(&self) -> Result<Option<jiff::Timestamp>, EngineError> {
        let generation = self.adopt().await?;
        let states = self.context.store.rule_states().await?;
        let stopped = |rule: &RuleId, tenant: &Tenant| {
            let of = |state: &&RuleState| state.rule == *rule && state.tenant == *tenant;
            states.iter().filter(of).any(|state| matches!(state.status, RuleStatus::Paused | RuleStatus::Held(_)))
        };
        let due = scheduler::timetable(&generation, &states).into_iter();
        let sweeps = due.filter(|(rule, tenant, _)| !stopped(&rule.rule.id, tenant)).map(|(.., due)| due).min();
        let step = self.context.store.next_due().await?;
        Ok(sweeps.into_iter().chain(step).min())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service spawns it.
    #[test]
    fn running_moves_between_threads() {
        const fn is_send<T: Send>(_: &T) {}
        let check = |engine: &'static Engine, stop| is_send(&engine.run(stop));
        let _ = check;
    }
}

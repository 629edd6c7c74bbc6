//! A running nudged: rulebook and engine, put together from whatever source, state, senders and clock.
//!
//! The command `run` gives it the configured ones, the demo its own.

use super::beside::Beside;
use super::examine::RuleExaminer;
use super::observe;
use crate::engine::port::{Owner, Sender, Source, Store};
use crate::engine::{Drained, Engine, Event, Parts, Senders, Settings, TaskWriter};
use crate::model::Clock;
use crate::rulebook::{Handle, Outside, Renew, Rulebook, RulebookError, RulebookOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a daemon is made of.
pub struct Outfit {
    pub clock: Arc<dyn Clock>,
    pub source: Arc<dyn Source>,
    pub store: Arc<dyn Store>,
    pub email: Arc<dyn Sender>,
    pub webhook: Arc<dyn Sender>,
    pub rules: RulebookOptions,
    pub outside: Outside,
    pub settings: Settings,
    /// Reads the secrets anew at a reload.
    pub renew: Option<Renew>,
    /// What lies beside the state.
    pub beside: Beside,
}

/// Rulebook and engine at work. Dropping it stops them at once; [`Daemon::stop`] drains first.
pub struct Daemon {
    engine: Arc<Engine>,
    rulebook: Handle,
    stop: watch::Sender<bool>,
    serving: JoinHandle<Drained>,
    watching: JoinHandle<()>,
    /// Its lock says that this node is alive.
    _beside: Beside,
    first_events: Option<Receiver<Event>>,
}

impl Daemon {
    /// Loads the rules and starts to work. Nothing is sent before the first generation is whole.
    pub async fn start(outfit: Outfit) -> Result<Self, RulebookError> {
        let Outfit { clock, source, store, email, webhook, rules, outside, settings, renew, mut beside } = outfit;
        let examiner = RuleExaminer::new(settings.clone()).within(rules.tests_within);
        let book = Rulebook::open(
            rules,
            outside,
            Arc::clone(&source),
            Arc::clone(&store) as Arc<dyn crate::engine::port::Register>,
            Arc::new(examiner),
            Arc::clone(&clock),
        )
        .await?
        .renewing(renew);
        let rulebook = book.handle();
        let generation = rulebook.generations();
        let task = TaskWriter::new(Arc::clone(&clock), Arc::clone(&source), Arc::clone(&store), generation.clone())
            .telling(Arc::clone(&email), Arc::new(observe::told));
        let engine = Arc::new(Engine::new(Parts {
            clock,
            source,
            store,
            senders: Senders { email, webhook, task: Arc::new(task) },
            generation,
            owner: beside.owner.take().unwrap_or_else(drawn),
            settings,
        }));
        if let Some(witness) = beside.witness.take() {
            engine.set_witness(witness);
        }
        if let Some(room) = beside.room.take() {
            engine.set_room(room);
        }
        let first_events = Some(engine.events());
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { engine.run(stopped).await }
        });
        let watching = tokio::spawn(book.run());
        Ok(Self { engine, rulebook, stop, serving, watching, _beside: beside, first_events })
    }

    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What the engine tells, from its first word on for whoever asks first: some things are told only once.
    pub fn events(&mut self) -> Receiver<Event> {
        self.first_events.take().unwrap_or_else(|| self.engine.events())
    }

    pub const fn rulebook(&self) -> &Handle {
        &self.rulebook
    }

    /// Takes no new work, waits for what is under way, gives the rest back.
    pub async fn stop(mut self, deadline: Duration) -> Drained {
        // Looked at before it is told to stop: an idle engine ends at once, and that is no accident.
        let ended_by_itself = self.serving.is_finished();
        self.watching.abort();
        self.stop.send_replace(true);
        if ended_by_itself {
            // See `ended`, which may have taken its result.
            return Drained::No;
        }
        match tokio::time::timeout(deadline, &mut self.serving).await {
            Ok(Ok(drained)) => drained,
            Ok(Err(_)) | Err(_) => Drained::No,
        }
    }

    /// Resolves when a part ends without having been told to, with its name: none ever should. Without the rulebook no
    /// rule would be swept any more.
    pub async fn ended(&mut self) -> &'static str {
        // A panic is as much of an end as a return; the panic itself is in the log.
        tokio::select! {
            _ = &mut self.serving => "engine",
            _ = &mut self.watching => "rulebook",
        }
    }
}

/// For who has no name.
fn drawn() -> Owner {
    Owner(format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple()))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.watching.abort();
        self.serving.abort();
    }
}

//! What all services of the engine share: the ports, the clock, the settings and the event channel.

use super::core::Senders;
use super::error::EngineError;
use super::event::Event;
use super::expectation::Expectations;
use super::flight::Flight;
use super::gate::Gate;
use super::health::SourceHealth;
use super::late_notice::LateNotices;
use super::pace::Pace;
use super::port::{Owner, Source, Store};
use super::pulse::Pulse;
use super::room::RoomGuard;
use super::settings::Settings;
use super::sweep::budget::Budgets;
use super::versions::Versions;
use crate::catalog::Catalog;
use crate::model::{Clock, Lane, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::Mode;
use crate::rule::generation::Generation;
use std::sync::Arc;
use tokio::sync::{Notify, broadcast, watch};

pub(super) struct Context {
    pub clock: Arc<dyn Clock>,
    pub source: Arc<dyn Source>,
    pub store: Arc<dyn Store>,
    pub senders: Senders,
    pub generation: watch::Receiver<Option<Arc<Generation>>>,
    pub owner: Owner,
    pub settings: Settings,
    pub events: broadcast::Sender<Event>,
    pub health: SourceHealth,
    pub versions: Versions,
    /// Rung when rows may have become due through this process.
    pub due: Notify,
    /// Rung when an event of another system was kept by this process.
    pub arrived: Notify,
    /// Rung when this process kept an answer to a survey.
    pub answered: Notify,
    pub pulse: Pulse,
    pub flight: Flight,
    pub expectations: Expectations,
    pub pace: Pace,
    pub gate: Gate,
    pub room: RoomGuard,
    pub budgets: Budgets,
    pub lates: LateNotices,
}

impl Context {
    #[expect(clippy::too_many_arguments, reason = "called once, with named parts, by the engine's constructor")]
    pub fn new(
        clock: Arc<dyn Clock>,
        source: Arc<dyn Source>,
        store: Arc<dyn Store>,
        senders: Senders,
        generation: watch::Receiver<Option<Arc<Generation>>>,
        owner: Owner,
        settings: Settings,
        events: broadcast::Sender<Event>,
    ) -> Self {
        let health = SourceHealth::default();
        let versions = Versions::default();
        let (due, arrived, answered) = (Notify::new(), Notify::new(), Notify::new());
        let pulse = Pulse::default();
        let flight = Flight::default();
        let expectations = Expectations::default();
        Self {
            clock,
            source,
            store,
            senders,
            generation,
            owner,
            settings,
            events,
            health,
            versions,
            due,
            arrived,
            answered,
            pulse,
            flight,
            expectations,
            pace: Pace::default(),
            gate: Gate::default(),
            room: RoomGuard::default(),
            budgets: Budgets::default(),
            lates: LateNotices::default(),
        }
    }

    /// Builds the event only when somebody listens.
    pub fn announce(&self, event: impl FnOnce() -> Event) {
        if self.events.receiver_count() > 0 {
            // A send fails only when the last listener has just left.
            let _ = self.events.send(event());
        }
    }

    pub fn generation(&self) -> Result<Arc<Generation>, EngineError> {
        self.generation.borrow().clone().ok_or(EngineError::NoGeneration)
    }
}

/// The lane a rule's matches go to; `None` while its file says `paused`.
pub(super) fn lane_of(rule: &CompiledRule) -> Option<Lane> {
    match rule.rule.mode {
        Mode::Live => Some(Lane::Live),
        Mode::Shadow => Some(Lane::Shadow),
        Mode::Paused => None,
    }
}

/// The catalog's tenants; one nameless tenant where it has none.
pub(super) fn tenants_of(catalog: &Catalog) -> Vec<Tenant> {
    catalog.tenants.as_ref().map_or_else(|| vec![Tenant::from("")], |tenants| tenants.names.clone())
}

/// Resolves once the flag is up, or its sender is gone. The flag's read guard must not outlive the wait:
/// it would keep the loops from moving between threads.
pub(super) async fn told(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

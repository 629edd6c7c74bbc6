//! The days ahead: the real engine over a source that stands still, a clock that jumps from one due thing to
//! the next, senders that only take note, and a state that nobody keeps.
//!
//! The source is frozen: nobody orders, answers or moves meanwhile. What crosses does so because time passes.

use super::account::{Account, HELD};
use super::guessed::{guessed, keeps_answer};
use super::standstill::Standstill;
use crate::catalog::{ColumnSchema, Schema, Table};
use crate::engine::core::{Engine, Parts, Senders};
use crate::engine::dispatch::stand_in;
use crate::engine::port::{
    AttemptView, Deed, Done, Message, Owner, RuleStatus, Sender, Sent, Source, SourceError, Store, Write,
};
use crate::engine::{EngineError, Sending, Settings, Swept, scheduler};
use crate::model::{ManualClock, Outcome, RuleId, Tenant};
use crate::rule::checked::Action;
use crate::rule::generation::Generation;
use crate::rule::statement::{Dialect, Row, Statement};
use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Lines of the attempt log read at once.
const PAGE: usize = 10_000;
/// How long something due that can't run now is left alone.
const PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// What a simulation is made of. The store is written to: give it one that nobody keeps.
pub struct Simulator {
    pub source: Arc<dyn Source>,
    pub store: Arc<dyn Store>,
    pub generation: Arc<Generation>,
    pub settings: Settings,
    pub from: Timestamp,
    pub until: Timestamp,
    /// Only these rules match and send; all if empty.
    pub only: Vec<RuleId>,
}

/// What one rule came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleDays {
    /// Those that a rule's `enroll` step brought as well.
    pub matched: u64,
    /// Of the matches, by what became of each: why it ended, or `under_way` or `held`.
    pub came_to: BTreeMap<String, u64>,
    /// Of those that were cancelled, by why.
    pub cancelled: BTreeMap<String, u64>,
    /// There when the rule first looked, so that nothing is done for them.
    pub left_out: u64,
    /// Of the attempts, by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Why the guard would hold it, or its script.
    pub held: Vec<String>,
    /// Why it stood still when the days began.
    pub stopped: Vec<Standstill>,
    /// Steps that went by an answer which nobody gave.
    pub guessed: Vec<String>,
}

/// What is told while it runs.
#[derive(Debug)]
pub enum Happened {
    Reached(Timestamp),
    /// Boxed, as most of what is told are instants.
    Attempt(Box<AttemptView>),
}

impl RuleDays {
    /// The guard keeps these where nobody sees them.
    fn hold(&mut self, matches: u64) {
        self.matched += matches;
        *self.came_to.entry(HELD.to_owned()).or_default() += matches;
    }
}

impl Simulator {
    /// Lets the days pass. Everything that would be sent, left out or ended is told in order.
    pub async fn run(&self, mut tell: impl FnMut(Happened)) -> Result<BTreeMap<RuleId, RuleDays>, EngineError> {
        let clock = Arc::new(ManualClock::new(self.from));
        let engine = self.engine(&clock);
        engine.adopt().await?;
        let mut days = self.standing_still().await?;
        self.rest_others().await?;
        engine.rescue().await?;
        let account = Account::open(&*self.store).await?;
        let mut seen = self.last_attempt().await?;
        let mut now = self.from;
        loop {
            for swept in engine.sweep_due().await? {
                let Swept::Done(report) = swept else { continue };
                let rule = days.entry(report.rule).or_default();
                if report.held.is_some() {
                    rule.hold(report.entered.saturating_sub(report.left_out));
                }
                rule.held.extend(report.held.into_iter().chain(report.tripped));
            }
            engine.dispatch_due().await?;
            seen = self.tell_attempts(seen, &mut days, &mut tell).await?;
            tell(Happened::Reached(now));
            match self.next(now).await? {
                Some(next) if next <= self.until => now = next,
                Some(_) | None => break,
            }
            clock.set(now);
        }
        account.close(&*self.store, &mut days).await?;
        Ok(days)
    }

    fn engine(&self, clock: &Arc<ManualClock>) -> Engine {
        let note: Arc<dyn Sender> = Arc::new(Notebook { generation: Arc::clone(&self.generation) });
        let (_, generation) = watch::channel(Some(Arc::clone(&self.generation)));
        Engine::new(Parts {
            clock: Arc::clone(clock) as Arc<dyn crate::model::Clock>,
            source: Arc::new(Frozen { source: Arc::clone(&self.source), clock: Arc::clone(clock) }),
            store: Arc::clone(&self.store),
            senders: Senders { email: Arc::clone(&note), webhook: Arc::clone(&note), task: note },
            generation,
            owner: Owner(format!("simulation-{}", uuid::Uuid::new_v4().simple())),
            settings: self.settings(),
        })
    }

    /// How fast mails would leave is not worth living through, and nobody gets copies of what isn't sent.
    fn settings(&self) -> Settings {
        let sending = Sending { rate: None, per_domain: None, seeds: Vec::new(), ..self.settings.sending.clone() };
        Settings { max_skew: None, sending, ..self.settings.clone() }
    }

    /// Rules that were asked for and don't run, each with why.
    async fn standing_still(&self) -> Result<BTreeMap<RuleId, RuleDays>, EngineError> {
        let states = self.store.rule_states().await?;
        // Those that rest are told of with what is wrong with them.
        let asked = |id: &RuleId| self.only.is_empty() || self.only.contains(id);
        let rules = self.generation.rules.iter();
        let rules = rules.filter(|(id, _)| asked(id) && !self.generation.resting.contains_key(*id));
        let told = rules
            .map(|(id, rule)| (id.clone(), RuleDays { stopped: Standstill::of(rule, &states), ..RuleDays::default() }));
        Ok(told.filter(|(_, days)| !days.stopped.is_empty()).collect())
    }

    /// The other rules neither match nor send.
    async fn rest_others(&self) -> Result<(), EngineError> {
        if self.only.is_empty() {
            return Ok(());
        }
        for rule in &self.only {
            if !self.generation.rules.contains_key(rule) {
                return Err(EngineError::NoSuchRule(rule.clone()));
            }
        }
        for state in self.store.rule_states().await? {
            if !self.only.contains(&state.rule) {
                self.store.set_paused(&state.rule, true).await?;
            }
        }
        Ok(())
    }

    async fn last_attempt(&self) -> Result<i64, EngineError> {
        let mut last = 0;
        loop {
            match self.store.attempts(last, PAGE).await?.last() {
                Some(attempt) => last = attempt.id,
                None => return Ok(last),
            }
        }
    }

    async fn tell_attempts(
        &self,
        mut seen: i64,
        days: &mut BTreeMap<RuleId, RuleDays>,
        tell: &mut impl FnMut(Happened),
    ) -> Result<i64, EngineError> {
        loop {
            let page = self.store.attempts(seen, PAGE).await?;
            let Some(last) = page.last() else { return Ok(seen) };
            seen = last.id;
            for attempt in page {
                let rule = days.entry(attempt.rule.clone()).or_default();
                *rule.outcomes.entry(attempt.outcome.clone()).or_default() += 1;
                if rule.guessed.is_empty() && attempt.outcome == "sent" {
                    rule.guessed = self.guessed_after(&attempt);
                }
                tell(Happened::Attempt(Box::new(attempt)));
            }
        }
    }

    /// Once a step has kept a made-up answer, all that ask for one go by it.
    fn guessed_after(&self, attempt: &AttemptView) -> Vec<String> {
        let rule = self.generation.rules.get(&attempt.rule).map(|rule| &rule.rule);
        rule.filter(|rule| keeps_answer(rule, &attempt.step)).map_or_else(Vec::new, |rule| guessed(rule))
    }

    /// When the next sweep or step is due. What is due and did not run (held, postponed) is looked at again
    /// after a while.
    async fn next(&self, now: Timestamp) -> Result<Option<Timestamp>, EngineError> {
        let states = self.store.rule_states().await?;
        let running =
            |rule: &RuleId| states.iter().any(|state| state.rule == *rule && state.status == RuleStatus::Running);
        let later = now.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
        let table = scheduler::timetable(&self.generation, &states).into_iter();
        let sweeps = table.filter(|(rule, ..)| running(&rule.rule.id)).map(|(_, _, due)| due);
        let steps = self.store.next_due().await?;
        Ok(sweeps.chain(steps).map(|due| if due > now { due } else { later }).min())
    }
}

/// The source as it stands, at whatever time it is asked; it can't be written to.
struct Frozen {
    source: Arc<dyn Source>,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Source for Frozen {
    fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        Ok(crate::model::Clock::now(&*self.clock))
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        self.source.rows(tenant, statement)
    }

    async fn transact(&self, _tenant: &Tenant, _steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        Err(SourceError::Refused("a simulation writes nothing into the source".to_owned()))
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.source.schema(tables).await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        self.source.describe(sql).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.source.prepare(statement).await
    }
}

/// Takes note of a message instead of sending it: its line in the attempt log says what and to whom.
struct Notebook {
    generation: Arc<Generation>,
}

#[async_trait]
impl Sender for Notebook {
    fn sessions(&self) -> usize {
        4
    }

    async fn send(&self, message: Message) -> Sent {
        Sent { outcome: Outcome::Sent { reply: message.addressed() }, answer: self.answer(&message) }
    }
}

impl Notebook {
    /// What the other side might have answered.
    fn answer(&self, message: &Message) -> Option<Json> {
        let rule: RuleId = match message {
            Message::Webhook(call) if call.keep_answer => call.body["data"]["rule"].as_str()?.into(),
            Message::Write(draft) => draft.rule.clone(),
            _ => return None,
        };
        let rule = self.generation.rules.get(&rule)?;
        let mut actions = rule.rule.nodes.iter().filter_map(|node| node.step.action());
        let action = actions.find(|action| is_of(message, action))?;
        Some(stand_in(action, rule, &self.generation.templates)?.1)
    }
}

fn is_of(message: &Message, action: &Action) -> bool {
    match (message, action) {
        (Message::Webhook(call), Action::Webhook(webhook)) => webhook.save.is_some() && webhook.to == call.destination,
        (Message::Write(draft), action) => match (&draft.what, action) {
            (Write::Assign { assign, .. }, Action::Assign(other)) => assign == other,
            (Write::Claim(claim), Action::Claim(other)) => claim == other,
            _ => false,
        },
        _ => false,
    }
}

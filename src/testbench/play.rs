//! One example on the engine: fill the source, move the clock from event to event, compare at every line.

use super::budget::{Budget, Spent};
use super::coverage::offsets;
use super::judge::{self, Got};
use super::stage::Stage;
use super::witness::{Log, Witness};
use super::world::{Folder, World};
use super::{Failure, Taken};
use crate::diagnostic::{Finding, Report};
use crate::engine::port::{
    EnrollmentFilter, EnrollmentView, Inbound, Message, Noted, Owner, Sender, Store, StoreError,
};
use crate::engine::rehearse::explain_within;
use crate::engine::{
    Engine, EngineError, Event, Horizon, Parts, PreviewScope, Previewer, Senders, TaskWriter, preview, sweeps_ahead,
};
use crate::model::{Clock, Key, ManualClock, Outcome, Period, RecordId, StepId, Tenant};
use crate::rule::checked::{Cadence, CheckedRule, Trigger};
use crate::rule::example::{Example, Incoming, Line};
use crate::rule::generation::Generation;
use crate::store::sqlite::SqliteStore;
use cron::Cron;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

/// How long an engine that can't go on is left alone before it is asked again.
const REST: SignedDuration = SignedDuration::from_mins(10);
/// What a query may not find in a test.
const MADE_TABLES: &str = "a test's tables are made from the catalog: declare all that the query reads there, under `fields` of \
                           its entity";
/// Of more records nobody is told when the next of them crosses: each is asked by itself.
const FEW: usize = 3;
/// How long is looked for that.
const LOOKS_AHEAD: std::time::Duration = std::time::Duration::from_secs(1);
/// More records in one example are not looked at.
const MANY: usize = 10_000;

pub(super) struct Played {
    pub failures: Vec<Failure>,
    pub taken: Taken,
}

/// Why a test is played no further.
enum Halt {
    Engine(EngineError),
    Spent(Spent),
}

impl From<EngineError> for Halt {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<Spent> for Halt {
    fn from(spent: Spent) -> Self {
        Self::Spent(spent)
    }
}

pub(super) async fn play(stage: &Stage, example: &Example, budget: &mut Budget) -> Played {
    match Player::set_up(stage, example, budget).await {
        Ok(mut player) => {
            let failed = player.lines().await.err();
            let mut failures = player.failures;
            failures.extend(failed.map(plain));
            Played { failures, taken: player.taken }
        }
        Err(finding) => Played { failures: vec![plain(finding)], taken: Taken::default() },
    }
}

fn plain(finding: Finding) -> Failure {
    Failure { finding, expected: Vec::new(), got: Vec::new(), reasons: Vec::new() }
}

struct Player<'a> {
    stage: &'a Stage,
    example: &'a Example,
    budget: &'a mut Budget,
    clock: Arc<ManualClock>,
    world: World<'a>,
    store: Arc<dyn Store>,
    engine: Engine,
    events: broadcast::Receiver<Event>,
    log: Arc<Log>,
    /// Since the last line that expected anything.
    got: Vec<Got>,
    reasons: Vec<String>,
    taken: Taken,
    failures: Vec<Failure>,
    changed_at: Timestamp,
    /// The generation lives as long as its sender.
    _generation: watch::Sender<Option<Arc<Generation>>>,
    _folder: Folder,
}

impl<'a> Player<'a> {
    async fn set_up(stage: &'a Stage, example: &'a Example, budget: &'a mut Budget) -> Result<Self, Finding> {
        let broken = |error: &dyn std::fmt::Display| {
            let place = Report::new(&stage.file).place(&example.name.range);
            Finding::error("test.broken", format!("the example can't be set up: {error}")).at(place)
        };
        let loaded = before(&stage.rule.rule, example.at, &stage.generation.catalog.time_zone);
        let folder = Folder::new().map_err(|error| broken(&error))?;
        let clock = Arc::new(ManualClock::new(loaded));
        let dyn_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let mut world = World::create(stage, &folder, Arc::clone(&dyn_clock), example.zone.clone())
            .await
            .map_err(|error| broken(&error))?;
        world.give(&example.given, example.at).await?;
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::scratch(folder.0.join("state.db"), loaded).await.map_err(|error| broken(&error))?);
        let (sender, generation) = watch::channel(Some(Arc::clone(&stage.generation)));
        let tasks: Arc<dyn Sender> = Arc::new(TaskWriter::new(
            Arc::clone(&dyn_clock),
            Arc::clone(&world.source),
            Arc::clone(&store),
            generation.clone(),
        ));
        let log = Arc::new(Log::default());
        let witness = |tasks| -> Arc<dyn Sender> {
            Arc::new(Witness { log: Arc::clone(&log), answers: example.answers.clone(), tasks })
        };
        let engine = Engine::new(Parts {
            clock: dyn_clock,
            source: Arc::clone(&world.source),
            store: Arc::clone(&store),
            senders: Senders { email: witness(None), webhook: witness(None), task: witness(Some(tasks)) },
            generation,
            owner: Owner("test".to_owned()),
            settings: stage.settings.clone(),
        });
        let events = engine.events();
        Ok(Self {
            stage,
            example,
            budget,
            clock,
            world,
            store,
            engine,
            events,
            log,
            got: Vec::new(),
            reasons: Vec::new(),
            taken: Taken::default(),
            failures: Vec::new(),
            changed_at: loaded,
            _generation: sender,
            _folder: folder,
        })
    }

    async fn lines(&mut self) -> Result<(), Finding> {
        let example = self.example;
        self.foresee(&example.lines)?;
        // The rule was loaded, and first looked, one interval ago.
        self.turn().await.map_err(|halt| self.stopped(halt, None))?;
        for line in &example.lines {
            let a_moment = SignedDuration::from_micros(1);
            let just_before = line.at.checked_sub(a_moment).unwrap_or(line.at);
            self.go(just_before).await.map_err(|halt| self.stopped(halt, Some(line)))?;
            self.clock.set(line.at.max(self.clock.now()));
            for (change, row) in &line.changes {
                self.world.change(*change, row, line.at).await?;
                self.changed_at = line.at;
            }
            if let Some(event) = &line.event {
                self.hear(event).await.map_err(|halt| self.stopped(halt, Some(line)))?;
            }
            self.go(line.at).await.map_err(|halt| self.stopped(halt, Some(line)))?;
            self.compare(line).await?;
        }
        Ok(())
    }

    /// What can't be played to its end isn't begun, so that its author hears of it at once.
    fn foresee(&self, lines: &[Line]) -> Result<(), Finding> {
        let (rule, catalog) = (&self.stage.rule.rule, &self.stage.generation.catalog);
        let (mut from, mut sweeps) = (self.clock.now(), 0_u32);
        for line in lines {
            sweeps = sweeps.saturating_add(sweeps_ahead(rule, catalog, from..line.at, self.budget.left() + 1));
            self.budget.allows(sweeps).map_err(|spent| self.stopped(spent.into(), Some(line)))?;
            from = line.at;
        }
        Ok(())
    }

    /// Another system tells something: whoever waits for it is swept at once.
    async fn hear(&mut self, event: &Incoming) -> Result<(), Halt> {
        let id = event.id.clone().unwrap_or_else(|| format!("test-{}", Uuid::new_v4().simple()));
        let (name, received_at, body) = (event.name.clone(), self.clock.now(), event.body.clone());
        self.budget.take_one()?;
        self.store.accept(&Inbound { name, id, received_at, body }).await?;
        self.engine.sweep_rule(&self.stage.rule.rule.id).await?;
        self.turn().await
    }

    /// Plays everything up to an instant.
    async fn go(&mut self, until: Timestamp) -> Result<(), Halt> {
        let mut last = None;
        loop {
            // To ask what comes next takes about as long as a sweep.
            self.budget.take_one()?;
            let now = self.clock.now();
            let visible = self.world.ahead.range(now..).find(|instant| **instant > now).copied();
            let reach = visible.map_or(until, |instant| instant.min(until));
            let horizon = Horizon { until: reach, changed_at: self.changed_at };
            let Some(next) = self.engine.next_eventful(horizon).await? else {
                if reach >= until {
                    break;
                }
                self.clock.set(reach);
                self.changed_at = reach;
                continue;
            };
            let mut at = next.max(now);
            if last == Some(at) {
                at = at.saturating_add(REST).unwrap_or(until);
                if at > until {
                    break;
                }
            }
            self.clock.set(at);
            self.turn().await?;
            last = Some(at);
        }
        self.clock.set(until.max(self.clock.now()));
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), Halt> {
        self.engine.sweep_due().await?;
        if self.engine.dispatch_due().await?.steps > 0 {
            // Some steps write into the source.
            self.changed_at = self.clock.now();
        }
        while let Ok(event) = self.events.try_recv() {
            self.note(event);
        }
        Ok(())
    }

    fn note(&mut self, event: Event) {
        let about = |record: &RecordId| format!("{}:{}", record.entity, record.key);
        if let Event::AttemptFinished { rule, step, .. } | Event::StepDecided { rule, step, .. } = &event
            && *rule == self.stage.rule.rule.id
        {
            self.taken.branches.extend(offsets(&self.stage.rule.rule).filter(|(first, _)| first == step));
        }
        match event {
            Event::AttemptFinished { delivery, rule, record, step, kind, outcome, .. } => match outcome {
                Outcome::Sent { .. } => {
                    let Some(message) = self.log.message(delivery) else { return };
                    let is_mail = matches!(message, Message::Email(_));
                    let template = self.stage.template_of(&rule, &step).filter(|_| is_mail);
                    self.taken.templates.extend(template.clone());
                    self.got.push(Got { step, kind, record, template, message, at: self.clock.now() });
                }
                Outcome::Skipped { reason, detail } => {
                    self.reasons.push(format!(
                        "{}: `{step}` was left out ({}): {detail}",
                        about(&record),
                        reason.as_str()
                    ));
                }
                Outcome::Ended { reason, detail } => {
                    self.reasons.push(format!(
                        "{}: ended before `{step}` ({}): {detail}",
                        about(&record),
                        reason.as_str()
                    ));
                }
                Outcome::Permanent { reason } => {
                    self.reasons.push(format!("{}: `{step}` failed: {reason}", about(&record)));
                }
                Outcome::Postponed { until, reason } => {
                    let until = until.strftime("%F %H:%MZ");
                    self.reasons.push(format!("{}: `{step}` was put off until {until}: {reason}", about(&record)));
                }
                other => self.reasons.push(format!("{}: `{step}`: {}", about(&record), other.as_str())),
            },
            Event::Missed { record, reason, .. } => {
                self.reasons.push(format!("{}: crossed, but this did not hold: {reason}", about(&record)));
            }
            Event::Unread { problem, .. } => self.reasons.push(format!("the event names no record: {problem}")),
            Event::StepDecided { rule, record, step, decided, .. } => {
                self.reasons.push(format!("{}: {}", about(&record), self.decided(&step, &decided)));
                if let (Noted::Branch(way) | Noted::Arm(way), true) = (decided, rule == self.stage.rule.rule.id) {
                    self.taken.branches.insert((step, way));
                }
            }
            Event::EnrollmentEnded { record, reason, detail, .. } if detail.is_empty() => {
                self.reasons.push(format!("{}: ended ({})", about(&record), reason.as_str()));
            }
            Event::EnrollmentHeld { record, reason, .. } => {
                self.reasons.push(format!("{}: held: {reason}", about(&record)));
            }
            Event::RuleHeld { reason, .. } => self.reasons.push(format!("the guard holds the sweep: {reason}")),
            Event::SweepPostponed { reason, .. } | Event::SweepFailed { reason, .. } => {
                self.reasons.push(format!("the sweep was put off: {reason}"));
            }
            Event::StepsPostponed { reason, .. } | Event::SourceLost { reason } => {
                self.reasons.push(format!("steps were put off: {reason}"));
            }
            Event::SweepFinished(report) if report.late > 0 => {
                self.reasons.push(format!("{} matched too late to act", report.late));
            }
            _ => {}
        }
        self.reasons.dedup();
    }

    fn decided(&self, step: &StepId, decided: &Noted) -> String {
        let local = |until: &Timestamp| until.to_zoned(self.example.zone.clone()).strftime("%F %H:%M").to_string();
        match decided {
            Noted::Branch(case) => format!("took the case `{case}`"),
            Noted::Arm(arm) => format!("drew the arm `{arm}`"),
            Noted::Waits(until) => format!("waits at `{step}` until {}", local(until)),
            Noted::Asks(until) => format!("waits at `{step}` for its condition, at most until {}", local(until)),
            Noted::CameTrue => format!("what `{step}` waited for holds"),
            Noted::TimeUp => format!("the time of `{step}` is up"),
            Noted::NoDate => format!("there is no date for `{step}` to wait for"),
            Noted::Enrolled(rule) | Noted::WouldEnroll(rule) => format!("enrolled into `{rule}`"),
            other => format!("`{step}`: {} {}", other.as_str(), other.detail()),
        }
    }

    async fn compare(&mut self, line: &Line) -> Result<(), Finding> {
        let mut failures = Vec::new();
        if let Some(expected) = &line.expect {
            failures.extend(judge::messages(&self.stage.file, expected, &self.got, &self.example.zone));
        }
        if let Some(ended) = &line.ended {
            let filter = EnrollmentFilter { limit: MANY, ..EnrollmentFilter::default() };
            let enrollments = self.store.enrollments(&filter).await;
            let enrollments = enrollments.map_err(|error| self.stopped(error.into(), Some(line)))?;
            failures.extend(judge::ends(&self.stage.file, ended, &enrollments));
        }
        let failed = !failures.is_empty() || line.because.is_some();
        if failed && self.reasons.is_empty() && self.got.is_empty() {
            let asked = self.why_nothing().await.map_err(|error| self.stopped(error.into(), Some(line)))?;
            self.reasons.extend(asked);
        }
        if let Some(because) = &line.because {
            failures.extend(judge::reason(&self.stage.file, because, &self.reasons));
        }
        for failure in failures {
            self.failures.push(failure.because(&self.reasons));
        }
        if line.expect.is_some() {
            self.got.clear();
        }
        if line.expect.is_some() || line.ended.is_some() {
            self.reasons.clear();
        }
        Ok(())
    }

    /// Nothing happened at all: what the rule says of its records now, however long ago they crossed.
    async fn why_nothing(&self) -> Result<Vec<String>, EngineError> {
        let filter = EnrollmentFilter { limit: MANY, ..EnrollmentFilter::default() };
        let entered = self.store.enrollments(&filter).await?;
        if !entered.is_empty() {
            return Ok(entered.iter().map(|enrollment| self.standing(enrollment)).collect());
        }
        let now = self.clock.now();
        let previewer = Previewer {
            generation: &self.stage.generation,
            source: self.world.source.as_ref(),
            store: self.store.as_ref(),
            sender: &self.stage.settings.sender,
            sending: Some(&self.stage.settings.sending),
            now,
            limit: MANY,
        };
        let keys: Vec<_> = self.world.keys.iter().cloned().collect();
        let found = preview(&previewer, &self.stage.rule.rule.id, &PreviewScope::Records(keys.clone())).await?;
        let mut reasons = Vec::new();
        for missed in &found.misses {
            reasons
                .push(format!("{}:{}: crossed, but this does not hold: {}", missed.0.entity, missed.0.key, missed.2));
        }
        for matched in &found.matches {
            let crossed = matched.crossed_at.to_zoned(self.example.zone.clone()).strftime("%F %H:%M");
            let record = &matched.record;
            let when = "before the rule was loaded, see `backfill`";
            reasons.push(format!("{}:{}: crossed at {crossed}, {when}", record.entity, record.key));
        }
        if reasons.is_empty() {
            let count = keys.len();
            reasons.push(format!("none of the {count} given records crossed the trigger's edge by now"));
            reasons.extend(self.next_crossing(&previewer, &keys).await?);
        }
        Ok(reasons)
    }

    /// The first that time alone brings, of the few records that an example mostly has.
    async fn next_crossing(&self, previewer: &Previewer<'_>, keys: &[Key]) -> Result<Option<String>, EngineError> {
        let rule = &self.stage.rule.rule;
        let mut next: Option<(Timestamp, RecordId)> = None;
        for key in keys.iter().take(FEW) {
            let record = RecordId { tenant: Tenant::new(""), entity: rule.for_each.clone(), key: key.clone() };
            let told = explain_within(previewer, &rule.id, &record, LOOKS_AHEAD).await?;
            let ahead = told.ahead.map(|ahead| (ahead.crossed_at, record));
            next = next.into_iter().chain(ahead).min_by_key(|(at, _)| *at);
        }
        Ok(next.map(|(at, record)| {
            let at = at.to_zoned(self.example.zone.clone()).strftime("%F %H:%M");
            format!("{}:{}: crosses at {at} if nothing changes but the time", record.entity, record.key)
        }))
    }

    /// Where a sequence is.
    fn standing(&self, enrollment: &EnrollmentView) -> String {
        let record =
            enrollment.record.as_ref().map_or_else(String::new, |record| format!("{}:{}", record.entity, record.key));
        let step = enrollment.next.and_then(|(node, due)| Some((self.stage.step_id(&enrollment.rule, node)?, due)));
        match (step, enrollment.ended) {
            (Some((step, due)), _) => {
                let due = due.to_zoned(self.example.zone.clone()).strftime("%F %H:%M");
                format!("{record}: `{step}` is due {due}")
            }
            (None, Some(reason)) => format!("{record}: has ended ({})", reason.as_str()),
            (None, None) => format!("{record}: is held"),
        }
    }

    fn stopped(&self, halt: Halt, line: Option<&Line>) -> Finding {
        let range = line.map_or(&self.example.name.range, |line| &line.range);
        let finding = match halt {
            Halt::Engine(error) => {
                let broken = Finding::error("test.broken", format!("the engine stopped: {error}"));
                let of_query = matches!(self.stage.rule.rule.trigger, Trigger::Query(_));
                if of_query { broken.help(MADE_TABLES) } else { broken }
            }
            Halt::Spent(spent) => spent.finding(),
        };
        finding.at(Report::new(&self.stage.file).place(range))
    }
}

/// One interval of the rule before an instant.
fn before(rule: &CheckedRule, at: Timestamp, zone: &TimeZone) -> Timestamp {
    let line = match (&rule.trigger, &rule.cadence) {
        (Trigger::Schedule(schedule), _) => &schedule.cron,
        (_, Cadence::Cron(cron)) => cron,
        (_, Cadence::Every(every)) => return every.before(at, zone),
    };
    let previous = Cron::from_str(&line.text).ok().and_then(|cron| {
        cron.find_previous_occurrence(&at.to_zoned(zone.clone()), false).ok().map(|zoned| zoned.timestamp())
    });
    previous.unwrap_or_else(|| Period::days(1).before(at, zone))
}

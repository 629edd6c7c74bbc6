//! When each rule is swept next, and starting it then. A rule is never swept twice at once, a few rules are
//! swept side by side, and a missed sweep is made up for once.

use super::adopt;
use super::cadence::Plan;
use super::context::{Context, lane_of, tenants_of, told};
use super::error::EngineError;
use super::event::Event;
use super::port::{Progress, RuleState};
use super::sweep::{Sweeper, Swept};
use crate::model::{RuleId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::{CheckedRule, Trigger};
use crate::rule::generation::Generation;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{self, JoinSet};

/// The longest that the loop stands still, so that a watchdog sees it alive.
const TURN: Duration = Duration::from_secs(5);
/// How soon a sweep is tried again that could not run for a reason of its own.
const RETRY: SignedDuration = SignedDuration::from_mins(1);
/// How soon a schedule asks again for records that could not be judged.
const UNJUDGED_RETRY: SignedDuration = SignedDuration::from_mins(5);
/// A panic's own words may quote a record; they go to stderr and no further.
const DEFECT: &str = "it panicked, which is a defect of nudged; please report it";

/// When each running rule is due, by its last completed sweep. Timers live in the state, so a reload leaves
/// those of unchanged rules as they are.
pub(super) fn timetable(generation: &Generation, states: &[RuleState]) -> Vec<(Arc<CompiledRule>, Tenant, Timestamp)> {
    let tenants = tenants_of(&generation.catalog);
    let known: HashMap<_, _> = states.iter().map(|state| ((&state.rule, state.lane, &state.tenant), state)).collect();
    let mut table = Vec::new();
    // Nothing in the source makes a rule match that is there for the steps of others.
    let looks = |rule: &&Arc<CompiledRule>| !matches!(rule.rule.trigger, Trigger::Enrolled);
    for rule in generation.rules.values().filter(looks) {
        let Some(lane) = lane_of(rule).filter(|_| !generation.resting.contains_key(&rule.rule.id)) else { continue };
        let plan = Plan::of(&rule.rule, &generation.catalog.time_zone);
        for tenant in &tenants {
            let due = known.get(&(&rule.rule.id, lane, tenant)).map_or(Timestamp::MIN, |state| {
                let Progress { swept_at, watermark, seeded, .. } = state.progress;
                // It is to look back, so it looks at once; or whoever comes before it looks is taken for one who was there.
                if !seeded && (state.baseline < swept_at || rule.rule.trigger.remembers_who_was_there()) {
                    return swept_at;
                }
                // A watermark that never moved from the baseline waits for nothing.
                let waits_at = (state.baseline < watermark && watermark < swept_at).then_some(watermark);
                if rule.rule.trigger.leaves_out_its_first_look() && watermark == state.baseline {
                    // The sooner it looks, the less that is new is taken for old.
                    return swept_at;
                }
                due_after(&rule.rule, &plan, swept_at, waits_at)
            });
            table.push((Arc::clone(rule), tenant.clone(), due));
        }
    }
    table
}

/// When a rule is due after a sweep at `swept_at`. Records that could not be judged are asked again at the
/// next planned instant; a schedule's next one would only read its own occasion, so that rule is swept again
/// in between, soon at first and then ever more rarely.
fn due_after(rule: &CheckedRule, plan: &Plan, swept_at: Timestamp, waits_at: Option<Timestamp>) -> Timestamp {
    let next = plan.next(swept_at);
    match (waits_at, &rule.trigger) {
        (Some(since), Trigger::Schedule(_)) => {
            let pause = (swept_at.duration_since(since) / 4).max(UNJUDGED_RETRY);
            next.min(swept_at.saturating_add(pause).unwrap_or(Timestamp::MAX))
        }
        _ => next,
    }
}

type Place = (RuleId, Tenant);

struct Timer {
    rule: Arc<CompiledRule>,
    due: Timestamp,
    running: Option<task::Id>,
    /// Somebody else had the rule when it was due, or an operator has stopped it: asked again at every turn,
    /// so that its turn is late rather than lost.
    refused: bool,
    /// Something came in while it was being swept.
    again: bool,
}

/// A finished sweep and when it began by our clock.
type Finished = (Place, Timestamp, Result<Swept, EngineError>);

pub(super) struct Scheduler {
    context: Arc<Context>,
    sweeper: Arc<Sweeper>,
    generation: Option<Arc<Generation>>,
    timers: HashMap<Place, Timer>,
    sweeps: JoinSet<Finished>,
    /// What fresh baselines leave out.
    counting: JoinSet<()>,
    /// The disk is nearly full: nothing is swept until there is room.
    short: bool,
}

impl Scheduler {
    pub fn new(context: Arc<Context>, sweeper: Arc<Sweeper>) -> Self {
        let (timers, sweeps, counting) = (HashMap::new(), JoinSet::new(), JoinSet::new());
        Self { context, sweeper, generation: None, timers, sweeps, counting, short: false }
    }

    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut generations = self.context.generation.clone();
        generations.mark_changed();
        let clock = Arc::clone(&self.context.clock);
        let mut turn = tokio::time::interval(TURN);
        let mut adopting = true;
        loop {
            self.context.pulse.beat(super::pulse::Loop::Scheduler);
            if adopting {
                adopting = !self.adopt().await;
            }
            self.start_due();
            let next = self.next_due();
            tokio::select! {
                () = told(&mut shutdown) => break,
                changed = generations.changed() => {
                    // A closed channel means that the service is going down.
                    if changed.is_err() { break }
                    adopting = true;
                }
                Some(finished) = self.sweeps.join_next(), if !self.sweeps.is_empty() => {
                    match finished {
                        Ok(finished) => self.conclude(finished),
                        Err(error) => self.note_panic(&error),
                    }
                }
                () = clock.sleep_until(next.unwrap_or(Timestamp::MAX)), if next.is_some() => {}
                () = self.context.arrived.notified() => self.hear(),
                _ = turn.tick() => self.ask_again(),
            }
        }
        // A sweep that is cut off here has committed nothing that a restart doesn't know.
        self.sweeps.shutdown().await;
        if let Err(error) = self.context.store.give_up_sweeps(&self.context.owner).await {
            self.context.announce(|| Event::StateFailed { reason: error.to_string() });
        }
    }

    /// An event came in: its rules are due now, or again once the sweep under way is done.
    fn hear(&mut self) {
        let now = self.context.clock.now();
        for timer in self.timers.values_mut().filter(|timer| matches!(timer.rule.rule.trigger, Trigger::Event(_))) {
            timer.due = timer.due.min(now);
            timer.again = timer.running.is_some();
        }
    }

    fn ask_again(&mut self) {
        let now = self.context.clock.now();
        for timer in self.timers.values_mut() {
            if std::mem::take(&mut timer.refused) {
                timer.due = timer.due.min(now);
            }
        }
    }

    /// Takes over the running generation. False: the state did not answer, so try again. Where that meets a defect, the
    /// rules before it go on.
    async fn adopt(&mut self) -> bool {
        if let Ok(adopted) = AssertUnwindSafe(self.take_over()).catch_unwind().await {
            return adopted;
        }
        self.context.announce(|| Event::StateFailed { reason: format!("when new rules were taken over, {DEFECT}") });
        tokio::time::sleep(self.context.settings.poll).await;
        false
    }

    async fn take_over(&mut self) -> bool {
        let Ok(generation) = self.context.generation() else { return true };
        // The same files under other tables, or with other rules at rest, are news too: what was held may go on.
        let news = self.generation.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &generation));
        let adopted = if news { adopt::adopt(&self.context, &generation).await } else { Ok(()) };
        let states = match adopted {
            Ok(()) => {
                if news {
                    self.count_left_out(&generation);
                }
                self.context.store.rule_states().await
            }
            Err(error) => {
                self.context.announce(|| Event::StateFailed { reason: error.to_string() });
                tokio::time::sleep(self.context.settings.poll).await;
                return false;
            }
        };
        let Ok(states) = states else { return false };
        let fresh = timetable(&generation, &states).into_iter().map(|(rule, tenant, due)| {
            let place = (rule.rule.id.clone(), tenant);
            let running = self.timers.get(&place).and_then(|timer| timer.running);
            (place, Timer { rule, due, running, refused: false, again: false })
        });
        self.timers = fresh.collect();
        self.generation = Some(generation);
        self.context.due.notify_one();
        true
    }

    /// One count at a time: what an older generation has not come to, this one counts.
    fn count_left_out(&mut self, generation: &Arc<Generation>) {
        let (context, generation) = (Arc::clone(&self.context), Arc::clone(generation));
        self.counting.abort_all();
        while self.counting.try_join_next().is_some() {}
        self.counting.spawn(async move { adopt::count_left_out(&context, &generation, adopt::REST).await });
    }

    fn start_due(&mut self) {
        self.short = self.context.room.is_short(&self.context);
        if self.short {
            return;
        }
        let Some(generation) = &self.generation else { return };
        let now = self.context.clock.now();
        let mut due: Vec<(&Place, &mut Timer)> =
            self.timers.iter_mut().filter(|(_, timer)| timer.running.is_none() && timer.due <= now).collect();
        due.sort_by_key(|(_, timer)| timer.due);
        for (place, timer) in due {
            if self.sweeps.len() >= self.context.settings.sweeps_at_once {
                break;
            }
            let (sweeper, generation) = (Arc::clone(&self.sweeper), Arc::clone(generation));
            let (place, rule) = (place.clone(), Arc::clone(&timer.rule));
            let sweep = self.sweeps.spawn(async move {
                let swept = sweeper.sweep(&generation, &rule, &place.1).await;
                (place, now, swept)
            });
            timer.running = Some(sweep.id());
        }
    }

    /// `None` while all places for sweeps are taken: the end of one wakes the loop. And while there is no room for
    /// any: that is looked for at every turn.
    fn next_due(&self) -> Option<Timestamp> {
        if self.short || self.sweeps.len() >= self.context.settings.sweeps_at_once {
            return None;
        }
        self.timers.values().filter(|timer| timer.running.is_none()).map(|timer| timer.due).min()
    }

    /// A bug met by one rule is no reason never to sweep it again.
    fn note_panic(&mut self, error: &task::JoinError) {
        let found = self.timers.iter().find(|(_, timer)| timer.running == Some(error.id()));
        if let Some(place) = found.map(|(place, _)| place.clone()) {
            self.postpone(&place);
        }
    }

    fn postpone(&mut self, place: &Place) {
        let Some(timer) = self.timers.get_mut(place) else { return };
        timer.running = None;
        timer.due = self.context.clock.now().saturating_add(RETRY).unwrap_or(Timestamp::MAX);
        let (rule, tenant) = place.clone();
        let lane = lane_of(&timer.rule).unwrap_or(crate::model::Lane::Live);
        self.context.announce(|| Event::SweepFailed { rule, lane, tenant, reason: DEFECT.to_owned() });
    }

    /// Neither is one that is met when its next turn is planned.
    fn conclude(&mut self, finished: Finished) {
        let place = finished.0.clone();
        if catch_unwind(AssertUnwindSafe(|| self.note(finished))).is_err() {
            self.postpone(&place);
        }
    }

    fn note(&mut self, (place, began, swept): Finished) {
        let now = self.context.clock.now();
        let zone = self.generation.as_ref().map(|generation| generation.catalog.time_zone.clone());
        let (Some(timer), Some(zone)) = (self.timers.get_mut(&place), zone) else { return };
        timer.running = None;
        let plan = Plan::of(&timer.rule.rule, &zone);
        let soon = now.saturating_add(RETRY).unwrap_or(Timestamp::MAX);
        timer.due = match swept {
            Ok(Swept::Done(report)) => {
                // Plans follow the source's clock; where ours is ahead, waking early would find nothing.
                let ahead = began.duration_since(report.until).max(SignedDuration::ZERO);
                let due = due_after(&timer.rule.rule, &plan, report.until, report.waits_at);
                due.saturating_add(ahead).unwrap_or(Timestamp::MAX)
            }
            Ok(Swept::NotOurs) => {
                timer.refused = true;
                plan.next(now)
            }
            Ok(Swept::Postponed(_)) => plan.next(now).min(soon),
            Err(error) => {
                let (rule, tenant) = place;
                let away = error.source_away();
                let lane = lane_of(&timer.rule).unwrap_or(crate::model::Lane::Live);
                let reason = error.to_string();
                if error.source_refused() {
                    self.context.announce(|| Event::SourceRefused { rule: rule.clone(), reason: reason.clone() });
                }
                self.context.announce(|| Event::SweepPostponed { rule, lane, tenant, reason });
                let pause = SignedDuration::try_from(self.context.health.pause()).unwrap_or(RETRY);
                if away { now.saturating_add(pause).unwrap_or(soon) } else { plan.next(now).min(soon) }
            }
        };
        if std::mem::take(&mut timer.again) {
            timer.due = timer.due.min(now);
        }
    }
}

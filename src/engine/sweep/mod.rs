//! One evaluation of one rule over the window since its watermark.
//!
//! Crossings stream in, batches of facts are asked, matches go to the ledger and the watermark moves with
//! them. Nothing here sends. The idea of a watermark that moves in the same transaction as its rows is that
//! of stream processors; bounding the query by it keeps a quiet sweep independent of the table's size.

pub(super) mod budget;
mod entry;
mod feed;
mod guard;
mod harvest;
mod window;

use super::adopt::read_count;
use super::alert;
use super::cadence::{Plan, nightly};
use super::context::{Context, lane_of, tenants_of};
use super::episode::Watch;
use super::error::EngineError;
use super::event::Event;
use super::expectation;
use super::late_notice;
use super::port::{Counted, Lease, Progress, StoreError, SweepCommit, SweepId};
use crate::model::{Lane, RecordId, RuleId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::generation::Generation;
use crate::rule::inbound::is_nobody;
use feed::{Feed, Feeder};
use futures::TryStreamExt;
use guard::Load;
use harvest::Harvest;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::Instant;

pub(super) use entry::{Namer, occasion_data, rematch, spread};
pub(super) use window::{had_its_chance, is_behind, keep_trying, leaves_out};

/// How long records that can't be judged hold the watermark back; the nightly reconcile takes over from there.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);
/// The guard's day. Two looks of a rule that looks once a day are a day apart, give or take what each took to begin, and an
/// hour less when clocks go forward; yesterday's is not today's.
const A_DAY: SignedDuration = SignedDuration::from_hours(22);

/// What one sweep came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepReport {
    pub rule: RuleId,
    pub lane: Lane,
    pub tenant: Tenant,
    /// Crossings after this and up to `until` were read.
    pub after: Timestamp,
    pub until: Timestamp,
    /// The nightly look for late and changed facts.
    pub reconcile: bool,
    pub crossed: u64,
    /// Passed every term; some may be too late to act.
    pub matched: u64,
    /// Newly in the ledger.
    pub entered: u64,
    /// In the ledger before.
    pub known: u64,
    pub missed: u64,
    /// The script had a say in them,
    pub scripted: u64,
    /// and failed for these.
    pub script_failed: u64,
    pub unreadable: u64,
    /// Records whose person has a zone nobody knows, so that the catalog's stands in; and one of them.
    pub zone_unknown: u64,
    pub zone_unknown_of: Option<RecordId>,
    /// The same of locales.
    pub locale_unknown: u64,
    pub locale_unknown_of: Option<RecordId>,
    /// Where the watermark waits for records that could not be judged.
    pub waits_at: Option<Timestamp>,
    /// Entered, but skipped as too late or overtaken.
    pub late: u64,
    /// Entered, but there when the rule looked for the first time.
    pub left_out: u64,
    /// Why the guard holds it.
    pub held: Option<String>,
    /// Why the rule is held: its script fails for too many. What matched is entered.
    pub tripped: Option<String>,
    pub took: Duration,
}

impl SweepReport {
    /// Of a sweep over this window that has found nothing yet.
    pub(super) fn begun(
        (rule, lane, tenant): (RuleId, Lane, Tenant),
        (after, until): (Timestamp, Timestamp),
        reconcile: bool,
    ) -> Self {
        Self {
            rule,
            lane,
            tenant,
            after,
            until,
            reconcile,
            crossed: 0,
            matched: 0,
            entered: 0,
            known: 0,
            missed: 0,
            scripted: 0,
            script_failed: 0,
            unreadable: 0,
            zone_unknown: 0,
            zone_unknown_of: None,
            locale_unknown: 0,
            locale_unknown_of: None,
            waits_at: None,
            late: 0,
            left_out: 0,
            held: None,
            tripped: None,
            took: Duration::ZERO,
        }
    }
}

/// What became of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swept {
    Done(Box<SweepReport>),
    /// Another node sweeps the rule, or it is held or paused.
    NotOurs,
    /// Not now, and why; nothing was lost.
    Postponed(String),
}

pub struct Sweeper {
    context: Arc<Context>,
    /// Of rules whose limit is one of all tenants together: they are counted and committed one after another.
    turns: Mutex<HashMap<RuleId, Arc<tokio::sync::Mutex<()>>>>,
}

/// One sweep under way.
struct Sweep<'a> {
    rule: &'a CompiledRule,
    lane: Lane,
    tenant: &'a Tenant,
    /// Of the whole catalog.
    tenants: &'a [Tenant],
    lease: &'a Lease,
    plan: &'a Plan,
    now: Timestamp,
}

impl Sweeper {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, turns: Mutex::default() }
    }

    /// Sweeps the rule for one tenant, and reconciles it when its night has come.
    pub(super) async fn sweep(
        &self,
        generation: &Generation,
        rule: &CompiledRule,
        tenant: &Tenant,
    ) -> Result<Swept, EngineError> {
        let Some(lane) = lane_of(rule).filter(|_| !generation.resting.contains_key(&rule.rule.id)) else {
            return Ok(Swept::NotOurs);
        };
        let outcome = self.sweep_lane(generation, rule, lane, tenant).await;
        if let Err(EngineError::Source(error)) = &outcome
            && let Some(event) = self.context.health.failed(error)
        {
            self.context.announce(|| event);
        }
        let outcome = outcome?;
        if let Swept::Postponed(reason) = &outcome {
            self.context.announce(|| Event::SweepPostponed {
                rule: rule.rule.id.clone(),
                lane,
                tenant: tenant.clone(),
                reason: reason.clone(),
            });
        }
        Ok(outcome)
    }

    async fn sweep_lane(
        &self,
        generation: &Generation,
        rule: &CompiledRule,
        lane: Lane,
        tenant: &Tenant,
    ) -> Result<Swept, EngineError> {
        let mut now = self.context.source.now().await?;
        if let Some(event) = self.context.health.answered() {
            self.context.announce(|| event);
        }
        if let Some(reason) = self.skewed(now) {
            return Ok(Swept::Postponed(reason));
        }
        if matches!(rule.rule.trigger, Trigger::Event(_)) {
            // Events were stamped by our clock, so a source whose clock is behind doesn't keep them waiting.
            now = self.context.clock.now();
        }
        let Some(lease) = self.context.store.begin_sweep(&rule.rule.id, lane, tenant, &self.context.owner).await?
        else {
            return Ok(Swept::NotOurs);
        };
        if now < lease.progress.swept_at {
            let swept = lease.progress.swept_at;
            return Ok(Swept::Postponed(format!(
                "the source's clock stepped back: it says {now}, at the last sweep {swept}"
            )));
        }
        let zone = &generation.catalog.time_zone;
        let plan = &Plan::of(&rule.rule, zone);
        let tenants = &tenants_of(&generation.catalog);
        let sweep = Sweep { rule, lane, tenant, tenants, lease: &lease, plan, now };
        let swept = self.regular(&sweep).await?;
        if matches!(&swept, Swept::Done(report) if report.tripped.is_some()) {
            return Ok(swept);
        }
        let night = nightly(lease.progress.reconciled_at, self.context.settings.reconcile_at, zone);
        if matches!(swept, Swept::Done(_)) && night <= now {
            self.reconcile(&sweep).await?;
        }
        expectation::check(&self.context, generation, rule, now).await?;
        Ok(swept)
    }

    fn skewed(&self, now: Timestamp) -> Option<String> {
        let limit = self.context.settings.max_skew?;
        let skew = now.duration_since(self.context.clock.now());
        (skew.abs() > limit).then(|| {
            let side = if skew.is_positive() { "ahead of" } else { "behind" };
            format!("the source's clock is {} s {side} ours; set both by the same time server", skew.as_secs().abs())
        })
    }

    async fn regular(&self, sweep: &Sweep<'_>) -> Result<Swept, EngineError> {
        let Lease { progress, baseline, .. } = sweep.lease;
        let checked = &sweep.rule.rule;
        let reading = window::reading(checked, sweep.plan, progress, *baseline, sweep.now, sweep.rule.tracks_changes());
        let mut harvest = self.harvest(sweep, reading.crossed.after, false);
        self.gather(sweep, &mut harvest, Feed::Sweep(reading)).await?;
        if harvest.report.crossed == 0 && self.emptied(sweep).await? {
            return Ok(Swept::Postponed(format!("the source has no {} records any more", checked.for_each)));
        }
        let patience = sweep.now.checked_sub(PATIENCE).unwrap_or(Timestamp::MIN);
        let unsettled = harvest
            .unsettled
            .map(|crossed| crossed.checked_sub(SignedDuration::from_micros(1)).unwrap_or(Timestamp::MIN).max(patience));
        let progress = Progress {
            watermark: unsettled.map_or(sweep.now, |crossed| crossed.min(sweep.now)).max(*baseline),
            swept_at: sweep.now,
            rechecked_at: if reading.recheck { sweep.now } else { progress.rechecked_at },
            reconciled_at: progress.reconciled_at,
            seeded: true,
        };
        harvest.report.waits_at = unsettled.map(|_| progress.watermark);
        self.finish(sweep, harvest, progress).await.map(|report| Swept::Done(Box::new(report)))
    }

    /// Looks for facts that were backdated, edited or deleted behind the watermark.
    async fn reconcile(&self, sweep: &Sweep<'_>) -> Result<(), EngineError> {
        let Some(lease) =
            self.context.store.begin_sweep(&sweep.rule.rule.id, sweep.lane, sweep.tenant, &self.context.owner).await?
        else {
            return Ok(());
        };
        let sweep = &Sweep { lease: &lease, ..*sweep };
        let reach = self.context.settings.reconcile_reach;
        let progress = Progress { reconciled_at: sweep.now, ..lease.progress.clone() };
        let window = window::reconcile_window(&sweep.rule.rule, &lease.progress, lease.baseline, sweep.now, reach);
        let after = window.map_or(lease.progress.watermark, |window| window.after);
        let mut harvest = self.harvest(sweep, after, true);
        if let Some(window) = window {
            harvest.report.until = window.until;
            self.gather(sweep, &mut harvest, Feed::Reconcile(window)).await?;
        }
        self.finish(sweep, harvest, progress).await?;
        Ok(())
    }

    fn harvest<'a>(&'a self, sweep: &Sweep<'a>, after: Timestamp, reconcile: bool) -> Harvest<'a> {
        let namer = self.namer(sweep);
        let timing = entry::Timing { plan: sweep.plan, swept_at: sweep.lease.progress.swept_at, now: sweep.now };
        let rule = sweep.rule.rule.id.clone();
        let id = SweepId(format!("{rule}/{}/{}/{}", sweep.lane.as_str(), sweep.tenant, sweep.lease.epoch));
        let of = (rule, sweep.lane, sweep.tenant.clone());
        let report = SweepReport::begun(of, (after, sweep.now), reconcile);
        Harvest::new(&self.context, namer, sweep.lease, timing, id, report)
    }

    /// Reads and judges at the same time, one batch ahead.
    async fn gather(&self, sweep: &Sweep<'_>, harvest: &mut Harvest<'_>, feed: Feed) -> Result<(), EngineError> {
        let started = Instant::now();
        let (batches, mut filled) = mpsc::channel(1);
        let Sweep { rule, tenant, tenants, lease, .. } = *sweep;
        let feeder = Feeder { context: &self.context, rule, tenant, tenants, lease, batches, unreadable: 0 };
        let watch = self.watch(sweep, feed);
        let reading = feeder.run(feed);
        let judging = async {
            while let Some(batch) = filled.recv().await {
                harvest.take(batch, &watch).await?;
            }
            Ok(())
        };
        let gathering = async { tokio::try_join!(reading, judging) };
        let (unreadable, ()) = tokio::select! {
            gathered = gathering => gathered?,
            lost = self.keep(sweep.lease) => return Err(lost.into()),
        };
        harvest.report.unreadable += unreadable;
        harvest.report.took = started.elapsed();
        Ok(())
    }

    fn watch<'a>(&'a self, sweep: &Sweep<'a>, feed: Feed) -> Watch<'a> {
        let (since, asked_after) = match feed {
            // Both readings begin where the longer one does, so that they find the same episodes.
            Feed::Sweep(reading) => {
                (reading.changed.map_or(reading.crossed.after, |(window, _)| window.after), reading.asked_after)
            }
            Feed::Reconcile(window) => (window.after, window.after),
        };
        Watch {
            source: self.context.source.as_ref(),
            store: self.context.store.as_ref(),
            rule: sweep.rule,
            tenant: sweep.tenant,
            namer: self.namer(sweep),
            lease: sweep.lease,
            now: sweep.now,
            since,
            asked_after,
            anew: matches!(feed, Feed::Reconcile(_)).then_some(sweep.now),
            looked: since,
        }
    }

    fn namer<'a>(&'a self, sweep: &Sweep<'a>) -> Namer<'a> {
        let secret = self.context.store.secret();
        Namer { rule: sweep.rule, lane: sweep.lane, tenant: sweep.tenant, secret }
    }

    /// Holds on to the rule's lease while a long sweep goes on; ends when it was lost.
    async fn keep(&self, lease: &Lease) -> StoreError {
        loop {
            tokio::time::sleep(self.context.settings.heartbeat).await;
            match self.context.store.keep_sweep(lease).await {
                // The commit finds out whether that mattered.
                Ok(()) | Err(StoreError::Unavailable(_)) => {}
                Err(error) => return error,
            }
        }
    }

    async fn finish(
        &self,
        sweep: &Sweep<'_>,
        mut harvest: Harvest<'_>,
        progress: Progress,
    ) -> Result<SweepReport, EngineError> {
        let started = Instant::now();
        if harvest.report.crossed > 0 {
            self.note_populated(sweep).await?;
        }
        let _turn = self.turn(sweep).await;
        let tripped = self.trip(sweep, &harvest).await?;
        let commit = self.commit(sweep, &mut harvest, &progress).await?;
        let mut report = harvest.report;
        report.took += started.elapsed();
        report.tripped = tripped;
        self.announce(sweep, &report, commit);
        if let Some(reason) = &report.held {
            let rule = &sweep.rule.rule;
            self.context.expectations.wait(&rule.id, sweep.lane);
            let text = format!(
                "A sweep of the rule {} is held for review: {reason}.\n\n\
                 `nudged hold list` and `nudged hold show` tell whom it matched; then `release` or `drop` it.\n",
                rule.id
            );
            alert::tell_owner(&self.context, rule, &format!("The rule {} is held", rule.id), &text).await;
        }
        if sweep.lane == Lane::Live {
            self.context.lates.add(&sweep.rule.rule.id, report.late);
            late_notice::tell(&self.context).await;
        }
        if let Some(reason) = &report.tripped {
            let rule = &sweep.rule.rule;
            let text = format!(
                "The rule {id} is held: {reason}.\n\n\
                 Those it failed for are asked again once the rule runs. Repair the script or the rule and the reload \
                 frees it; `nudged resume {id}` frees it as it is.\n",
                id = rule.id
            );
            alert::tell_owner(&self.context, rule, &format!("The rule {} is held", rule.id), &text).await;
        }
        Ok(report)
    }

    /// Asks the guard and commits, and asks it again where another node was faster with matches of other tenants.
    async fn commit(
        &self,
        sweep: &Sweep<'_>,
        harvest: &mut Harvest<'_>,
        progress: &Progress,
    ) -> Result<SweepCommit, EngineError> {
        loop {
            let (held, counted) = self.breach(sweep, harvest.new_matches()).await?;
            match harvest.finish(progress.clone(), held, counted).await {
                Err(EngineError::Store(StoreError::Overtaken { .. })) => {}
                committed => return committed,
            }
        }
    }

    async fn turn(&self, sweep: &Sweep<'_>) -> Option<OwnedMutexGuard<()>> {
        let rule = &sweep.rule.rule;
        if !counts_all(sweep) {
            return None;
        }
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(rule.id.clone()).or_default())
        };
        Some(turn.lock_owned().await)
    }

    /// Holds a rule whose script fails too often. Before the commit, while the lease is ours: if that fails, nothing
    /// was moved and the rule rests with everything still to do.
    async fn trip(&self, sweep: &Sweep<'_>, harvest: &Harvest<'_>) -> Result<Option<String>, EngineError> {
        let failing = (harvest.failing.as_slice(), harvest.script_error.as_deref());
        let spent = self.context.budgets.spend(&harvest.report, failing, sweep.now);
        let Some((asked, error)) = spent else { return Ok(None) };
        let reason = asked.reason(&error);
        self.context.store.trip(sweep.lease, &reason).await?;
        Ok(Some(reason))
    }

    /// Why it must be held, and what was counted over all tenants for that. The shadow lane reaches nobody, so it needs
    /// no guard.
    async fn breach(&self, sweep: &Sweep<'_>, new: u64) -> Result<(Option<String>, Option<Counted>), EngineError> {
        if new == 0 || sweep.lane == Lane::Shadow {
            return Ok((None, None));
        }
        let rule = &sweep.rule.rule;
        let day_ago = sweep.now.checked_sub(A_DAY).unwrap_or(Timestamp::MIN);
        let earlier = self.context.store.matched_since(&rule.id, sweep.lane, sweep.tenant, day_ago).await?;
        let mut counted = None;
        if counts_all(sweep) {
            let matches = self.context.store.matched_everywhere(&rule.id, sweep.lane, day_ago).await?;
            counted = Some(Counted { since: day_ago, matches });
        }
        let elsewhere = counted.map_or(0, |all| all.matches.saturating_sub(earlier));
        let days = Plan::days_covered(sweep.lease.progress.swept_at, sweep.now);
        let load = Load { earlier, elsewhere, new, days };
        let records = if guard::needs_records(&rule.guard, load) {
            let row = self.context.source.rows(sweep.tenant, sweep.rule.count_records()).try_next().await?;
            row.and_then(|row| read_count(&row))
        } else {
            None
        };
        let ordinary =
            if guard::needs_history(&rule.guard, load) { self.ordinary_day(sweep, earlier).await? } else { None };
        Ok((guard::breach(&rule.guard, load, records, ordinary), counted))
    }

    async fn ordinary_day(&self, sweep: &Sweep<'_>, today: u64) -> Result<Option<f64>, EngineError> {
        let mut weeks = [0; 4];
        for (week, matched) in (1..).zip(&mut weeks) {
            let since = sweep.now.checked_sub(SignedDuration::from_hours(week * 7 * 24)).unwrap_or(Timestamp::MIN);
            let rule = &sweep.rule.rule.id;
            *matched = self.context.store.matched_since(rule, sweep.lane, sweep.tenant, since).await?;
        }
        Ok(guard::ordinary_day(today, weeks))
    }

    /// True where an entity had records earlier and has none now: a restore or a lost permission, not the end
    /// of all customers. The watermark stays, so nothing is missed.
    async fn emptied(&self, sweep: &Sweep<'_>) -> Result<bool, EngineError> {
        let any = self.context.source.rows(sweep.tenant, sweep.rule.chunk_end(None, 1)).try_next().await?;
        if any.is_some() {
            self.note_populated(sweep).await?;
            return Ok(false);
        }
        Ok(sweep.lease.populated)
    }

    /// Kept in the state, for a restore and a restart like to come together.
    async fn note_populated(&self, sweep: &Sweep<'_>) -> Result<(), EngineError> {
        if !sweep.lease.populated {
            self.context.store.note_populated(sweep.lease).await?;
        }
        Ok(())
    }

    fn announce(&self, sweep: &Sweep<'_>, report: &SweepReport, commit: SweepCommit) {
        if report.entered > 0 && report.held.is_none() {
            self.context.due.notify_one();
        }
        if self.context.events.receiver_count() == 0 {
            return;
        }
        let rule = &sweep.rule.rule;
        let held = commit.held.is_some();
        for entered in commit.found.matches.into_iter().filter(|entered| !held && entered.skip.is_none()) {
            let step = |(node, due): (usize, Timestamp)| rule.nodes.get(node).map(|node| (node.id.clone(), due));
            self.context.announce(|| Event::Matched {
                match_id: entered.id,
                rule: entered.rule,
                lane: entered.lane,
                record: entered.record,
                occasion: entered.occasion,
                crossed_at: entered.crossed_at,
                first: entered.first.and_then(step),
            });
        }
        let (unread, misses): (Vec<_>, Vec<_>) = commit.found.misses.into_iter().partition(|miss| is_nobody(&miss.key));
        for miss in unread {
            self.context.announce(|| Event::Unread {
                rule: rule.id.clone(),
                lane: sweep.lane,
                tenant: sweep.tenant.clone(),
                event: miss.occasion.to_string(),
                problem: miss.reason,
            });
        }
        for miss in misses {
            let record = RecordId { tenant: sweep.tenant.clone(), entity: miss.entity, key: miss.key };
            self.context.announce(|| Event::Missed {
                rule: rule.id.clone(),
                lane: sweep.lane,
                record,
                occasion: miss.occasion,
                reason: miss.reason,
            });
        }
        if let Some(reason) = &report.held {
            let (rule, lane, tenant) = (report.rule.clone(), report.lane, report.tenant.clone());
            self.context.announce(|| Event::RuleHeld { rule, lane, tenant, reason: reason.clone() });
        }
        if let Some(reason) = &report.tripped {
            let (rule, lane, tenant) = (report.rule.clone(), report.lane, report.tenant.clone());
            self.context.announce(|| Event::RuleTripped { rule, lane, tenant, reason: reason.clone() });
        }
        self.context.announce(|| Event::SweepFinished(report.clone()));
    }
}

/// Whether the day's limit is one of several tenants together.
fn counts_all(sweep: &Sweep<'_>) -> bool {
    sweep.tenants.len() > 1 && sweep.rule.rule.guard.per_day.is_some()
}

/// Brings the matches of decided sweeps to their first step, whoever staged them.
pub(super) async fn enter_staged(context: &Context) -> Result<(), EngineError> {
    while context.store.expand(context.settings.batch).await? > 0 {
        context.due.notify_one();
    }
    Ok(())
}

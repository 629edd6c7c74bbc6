//! What one sweep gathers: batches of crossers in, matches and misses out, staged or committed.

use super::budget::REMEMBERED;
use super::entry::{Namer, Timing, late, new_match};
use super::feed::Batch;
use super::window::{had_its_chance, leaves_out};
use super::{SweepReport, enter_staged};
use crate::engine::context::Context;
use crate::engine::cooldown::Cooldown;
use crate::engine::episode::{Sighting, Watch};
use crate::engine::error::EngineError;
use crate::engine::evaluate::{self, Answer, Eligibility};
use crate::engine::port::{
    Candidate, Counted, EpisodeChange, Found, Lease, Miss, MissKind, Progress, Standing, SweepCommit, SweepCount,
    SweepId, Verdict,
};
use crate::model::{Key, MatchId, SkipReason};
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Crossing, Subject};
use crate::rule::inbound::Unread;
use jiff::Timestamp;
use std::collections::HashSet;

pub struct Harvest<'a> {
    pub context: &'a Context,
    pub namer: Namer<'a>,
    pub lease: &'a Lease,
    pub timing: Timing<'a>,
    pub id: SweepId,
    pub report: SweepReport,
    found: Found,
    is_staged: bool,
    /// Whom the matches that are found and not staged keep from another.
    cooldown: Cooldown,
    /// The same of those that are being staged.
    staging: Cooldown,
    /// Records whose edge was not judged for good.
    asked_again: HashSet<Key>,
    /// The earliest crossing that could not be judged: the watermark waits for it.
    pub unsettled: Option<Timestamp>,
    /// The first thing that a script failed with.
    pub script_error: Option<String>,
    /// Whom it failed for; the first of many.
    pub failing: Vec<MatchId>,
}

/// What is committed in one transaction; more is staged first, so that SQLite's one writer is never held for longer
/// than 50 ms.
const AT_ONCE: usize = 1_000;

/// A batch of crossings, and what is known of them.
struct Seen {
    asked: Vec<(Candidate, Crossing)>,
    /// Of those asked about, in their order; `None` where nobody is asked.
    answers: Option<Vec<Answer>>,
    known: u64,
    missed: u64,
}

impl<'a> Harvest<'a> {
    pub fn new(
        context: &'a Context,
        namer: Namer<'a>,
        lease: &'a Lease,
        timing: Timing<'a>,
        id: SweepId,
        report: SweepReport,
    ) -> Self {
        let (found, asked_again) = (Found::default(), HashSet::new());
        let (is_staged, unsettled, script_error, failing) = (false, None, None, Vec::new());
        let (cooldown, staging) = (Cooldown::of(&namer.rule.rule), Cooldown::default());
        Self {
            context,
            namer,
            lease,
            timing,
            id,
            report,
            found,
            is_staged,
            cooldown,
            staging,
            asked_again,
            unsettled,
            script_error,
            failing,
        }
    }

    /// Matches that will act.
    pub fn new_matches(&self) -> u64 {
        self.report.matched - self.report.late
    }

    /// Evaluates one batch.
    pub async fn take(&mut self, batch: Batch, watch: &Watch<'_>) -> Result<(), EngineError> {
        let Sighting { crossings, changes } = match batch {
            Batch::Unread(events) => return self.refuse(events).await,
            Batch::Crossings(crossings) => Sighting { crossings, changes: Vec::new() },
            Batch::Candidates(keys) => watch.candidates(&keys).await?,
            Batch::Values(values) => watch.changed(&values).await?,
            Batch::Open(open) => watch.open(&open).await?,
        };
        self.crossed(crossings, changes.len()).await?;
        self.keep(changes);
        Ok(())
    }

    /// Each once: what names nobody now never will.
    async fn refuse(&mut self, events: Vec<Unread>) -> Result<(), EngineError> {
        if self.found.len() + events.len() > self.context.settings.batch {
            let earlier = std::mem::take(&mut self.found);
            let staged = self.staged(&earlier).await?;
            self.count(staged);
        }
        let crossings: Vec<Crossing> = events.iter().map(Unread::crossing).collect();
        let candidates: Vec<Candidate> = crossings.iter().map(|crossing| self.namer.candidate(crossing)).collect();
        let standings = self.context.store.standings(self.lease, &candidates).await?;
        for ((event, crossing), standing) in events.into_iter().zip(crossings).zip(standings) {
            if standing == Standing::New {
                self.report.crossed += 1;
                self.report.missed += 1;
                self.miss(&crossing, MissKind::Refused, event.problem);
            }
        }
        Ok(())
    }

    /// A record whose leaving was not judged for good has not left yet, so that it is asked about again.
    fn keep(&mut self, changes: Vec<EpisodeChange>) {
        let leaves = matches!(&self.namer.rule.rule.trigger, Trigger::Segment(segment) if segment.leaves);
        let waits = |change: &EpisodeChange| {
            leaves && change.episode.closed_at.is_some() && self.asked_again.contains(&change.key)
        };
        let settled = changes.into_iter().filter(|change| !waits(change));
        self.found.episodes.extend(settled);
        self.asked_again.clear();
    }

    /// What earlier batches left is staged while the state and the source are asked about this one, so that memory
    /// stays flat and neither waits for the other.
    async fn crossed(&mut self, crossings: Vec<Crossing>, changes: usize) -> Result<(), EngineError> {
        let is_full = self.found.len() + crossings.len() + changes > self.context.settings.batch;
        let earlier = if is_full { std::mem::take(&mut self.found) } else { Found::default() };
        if is_full {
            self.staging = std::mem::replace(&mut self.cooldown, Cooldown::of(&self.namer.rule.rule));
        }
        self.report.crossed += crossings.len() as u64;
        let (staged, seen) = futures::future::join(self.staged(&earlier), self.look(crossings)).await;
        self.count(staged?);
        let seen = seen?;
        self.report.known += seen.known;
        self.report.missed += seen.missed;
        match seen.answers {
            None => self.leave_out(seen.asked),
            Some(answers) => {
                for ((candidate, crossing), answer) in seen.asked.into_iter().zip(answers) {
                    self.judge(candidate, &crossing, answer);
                }
            }
        }
        // The next batch finds them in the ledger.
        self.staging = Cooldown::default();
        Ok(())
    }

    async fn look(&self, crossings: Vec<Crossing>) -> Result<Seen, EngineError> {
        let mut seen = self.with_a_chance(crossings).await?;
        if !self.leaves_out() {
            let (rule, now) = (self.namer.rule, self.timing.now);
            let subjects: Vec<Subject> =
                seen.asked.iter().map(|(_, crossing)| evaluate::subject(rule, crossing, now)).collect();
            let source = self.context.source.as_ref();
            seen.answers = Some(evaluate::ask(source, rule, self.namer.tenant, &subjects, now).await?);
        }
        Ok(seen)
    }

    /// Leaves out those the ledger knows, and those that had their chance.
    async fn with_a_chance(&self, crossings: Vec<Crossing>) -> Result<Seen, EngineError> {
        let mut seen = HashSet::with_capacity(crossings.len());
        let (candidates, crossings): (Vec<Candidate>, Vec<Crossing>) = crossings
            .into_iter()
            .map(|crossing| (self.namer.candidate(&crossing), crossing))
            .filter(|(candidate, _)| seen.insert(candidate.id))
            .unzip();
        let standings = self.context.store.standings(self.lease, &candidates).await?;
        let mut result = Seen { asked: Vec::with_capacity(candidates.len()), answers: None, known: 0, missed: 0 };
        for ((candidate, crossing), standing) in candidates.into_iter().zip(crossings).zip(standings) {
            let over = |kind| had_its_chance(&self.namer.rule.rule, kind, crossing.crossed_at, self.timing.now);
            match standing {
                Standing::Known | Standing::TooClose { .. } => result.known += 1,
                Standing::Missed { kind, .. } if over(kind) => result.missed += 1,
                Standing::New | Standing::Missed { .. } => result.asked.push((candidate, crossing)),
            }
        }
        Ok(result)
    }

    fn leaves_out(&self) -> bool {
        leaves_out(&self.namer.rule.rule, Some((&self.lease.progress, self.lease.baseline)))
    }

    fn leave_out(&mut self, found: Vec<(Candidate, Crossing)>) {
        self.report.left_out += found.len() as u64;
        for (candidate, crossing) in found {
            let skip = Some(SkipReason::LeftOut);
            self.found.matches.push(new_match(&self.namer, candidate, &crossing, self.timing, skip));
        }
    }

    fn judge(&mut self, candidate: Candidate, crossing: &Crossing, answer: Answer) {
        let facts = match answer {
            Answer::Facts(facts) => facts,
            Answer::Gone if matches!(self.namer.rule.rule.trigger, Trigger::Event(_)) => {
                self.report.missed += 1;
                let reason = format!("no {} has this key", self.namer.rule.rule.for_each);
                return self.miss(crossing, MissKind::Refused, reason);
            }
            Answer::Gone => return,
            Answer::Unreadable(error) => {
                self.report.unreadable += 1;
                let reason = format!("unreadable: {}.{}: {}", error.entity, error.field, error.problem);
                return self.unjudged(crossing, reason);
            }
        };
        if evaluate::zone_unknown(self.namer.rule, &facts) {
            self.report.zone_unknown += 1;
            self.report.zone_unknown_of.get_or_insert_with(|| self.namer.record(crossing));
        }
        if evaluate::locale_unknown(self.namer.rule, &facts) {
            self.report.locale_unknown += 1;
            self.report.locale_unknown_of.get_or_insert_with(|| self.namer.record(crossing));
        }
        let eligibility = evaluate::eligibility(self.namer.rule, &facts, self.timing.now);
        self.report.scripted += u64::from(eligibility.is_scripted(self.namer.rule, &facts));
        match eligibility {
            Eligibility::Match if self.is_cooling(crossing) => self.report.known += 1,
            Eligibility::Match => {
                self.cooldown.begin(crossing);
                let skip = late(&self.namer.rule.rule, crossing, &facts, self.timing);
                self.report.matched += 1;
                self.report.late += u64::from(skip.is_some());
                self.found.matches.push(new_match(&self.namer, candidate, crossing, self.timing, skip));
            }
            Eligibility::Miss(reason) => {
                self.report.missed += 1;
                self.miss(crossing, MissKind::Refused, reason);
            }
            Eligibility::ScriptFailed(reason) => {
                self.report.script_failed += 1;
                if self.failing.len() < REMEMBERED {
                    self.failing.push(candidate.id);
                }
                self.script_error.get_or_insert_with(|| reason.clone());
                self.unjudged(crossing, reason);
            }
        }
    }

    fn is_cooling(&self, crossing: &Crossing) -> bool {
        [&self.staging, &self.cooldown].into_iter().any(|cooldown| cooldown.covers(crossing).is_some())
    }

    fn unjudged(&mut self, crossing: &Crossing, reason: String) {
        let earliest = self.unsettled.get_or_insert(crossing.crossed_at);
        *earliest = (*earliest).min(crossing.crossed_at);
        self.miss(crossing, MissKind::Unjudged, reason);
    }

    fn miss(&mut self, crossing: &Crossing, kind: MissKind, reason: String) {
        if !had_its_chance(&self.namer.rule.rule, kind, crossing.crossed_at, self.timing.now) {
            self.asked_again.insert(crossing.key.clone());
        }
        self.found.misses.push(Miss {
            entity: self.namer.rule.rule.for_each.clone(),
            key: crossing.key.clone(),
            occasion: crossing.occasion.clone(),
            crossed_at: crossing.crossed_at,
            kind,
            reason,
        });
    }

    /// `None`: there was nothing to stage.
    async fn staged(&self, found: &Found) -> Result<Option<SweepCount>, EngineError> {
        if found.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.context.store.stage(self.lease, &self.id, found).await?))
    }

    fn count(&mut self, staged: Option<SweepCount>) {
        if let Some(count) = staged {
            self.report.entered += count.entered;
            self.report.known += count.known;
            self.is_staged = true;
        }
    }

    /// Ends the sweep: one transaction for a small one, a closing transaction for a staged one. Returns what
    /// was committed at once, to be announced. Where that was refused, it may be tried again.
    pub async fn finish(
        &mut self,
        progress: Progress,
        held: Option<String>,
        counted: Option<Counted>,
    ) -> Result<SweepCommit, EngineError> {
        self.report.held.clone_from(&held);
        let crossed = self.report.crossed;
        let mut commit = SweepCommit { found: Found::default(), progress, crossed, held: None, counted };
        if self.is_staged || self.found.len() > AT_ONCE {
            let last = std::mem::take(&mut self.found);
            let count = self.staged(&last).await?;
            self.count(count);
            let verdict = held.map_or(Verdict::Released, Verdict::Held);
            let progress = &commit.progress;
            self.context.store.close_sweep(self.lease, &self.id, &verdict, progress, counted).await?;
            if verdict == Verdict::Released {
                enter_staged(self.context).await?;
            }
            return Ok(commit);
        }
        commit.found = std::mem::take(&mut self.found);
        commit.held = held.map(|reason| (self.id.clone(), reason));
        match self.context.store.commit_sweep(self.lease, &commit).await {
            Ok(count) => {
                self.report.entered += count.entered;
                self.report.known += count.known;
                Ok(commit)
            }
            Err(error) => {
                self.found = commit.found;
                Err(error.into())
            }
        }
    }
}

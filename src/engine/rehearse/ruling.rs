//! What it comes to: the first thing that decides, of all that an explanation found.

use super::explain::{Crossed, Explainer, Explanation, RecordState, Seen};
use super::horizon;
use super::later::{Later, Question};
use super::term::TermAnswer;
use super::verdict::{Because, Truth, Verdict};
use crate::engine::EngineError;
use crate::engine::adopt::baseline;
use crate::engine::cadence::Plan;
use crate::engine::evaluate::{Eligibility, term_and_score};
use crate::engine::port::{EnrollmentView, MissView, RuleState, RuleStatus, Standing, SweepId, SweepView};
use crate::engine::sweep::{had_its_chance, is_behind, keep_trying, leaves_out};
use crate::model::{EndReason, Occasion, RecordId, RuleId};
use crate::rule::checked::{CheckedRule, Mode, Step, Trigger};
use crate::rule::compiled::Crossing;
use crate::rule::condition::Condition;
use crate::rule::operands::{EdgePlan, Operand, Section};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

/// How many matches of a held sweep are looked through at once.
const PAGE: usize = 10_000;

/// What is decided about.
pub(super) struct Case<'a> {
    pub told: &'a Explanation,
    pub seen: &'a Seen,
    /// What the rule says of the record now; `None`: it isn't there, or can't be read.
    pub eligibility: Option<Eligibility>,
    pub operands: &'a [Operand],
}

impl Explainer<'_> {
    pub(super) async fn verdict(&self, case: &Case<'_>) -> Result<Verdict, EngineError> {
        let told = case.told;
        let trigger = &self.rule.rule.trigger;
        let told_once = matches!(trigger, Trigger::Query(_) | Trigger::Event(_) | Trigger::Enrolled);
        if (trigger.keeps_episodes() || told_once)
            && told.crossings.is_empty()
            && let Some(newest) = told.enrollments.first()
        {
            // Its episode is known, so nothing crosses until the next one; or what was said of it is said no more.
            let missed = self.newest_miss(told).await?.filter(|miss| miss.crossed_at > newest.entered_at);
            return Ok(match missed {
                Some(miss) => Verdict::Missed { crossed_at: miss.crossed_at, reason: miss.reason },
                None => entered(told, newest),
            });
        }
        let Some(newest) = told.deciding() else {
            return match told.crossings.first() {
                Some(Crossed { standing: Standing::TooClose { to }, crossed_at, .. }) => {
                    let matched = told.enrollments.iter().find(|found| found.occasion.is_some());
                    let (crossed_at, matched) = (*crossed_at, matched.map(|found| found.entered_at));
                    Ok(Verdict::WithinTolerance { crossed_at, to: *to, matched, closeness: told.closeness })
                }
                Some(_) | None => self.unentered(case).await,
            };
        };
        if newest.standing != Standing::Known {
            return self.unentered(case).await;
        }
        let enrolled = told.enrollments.iter().find(|found| found.occasion.as_ref() == Some(&newest.occasion));
        if let Some(enrolled) = enrolled {
            return Ok(entered(told, enrolled));
        }
        for sweep in &told.held {
            if self.is_held_by(sweep, &newest.occasion).await? {
                return Ok(Verdict::Held { reason: sweep.reason.clone() });
            }
        }
        Ok(matched(told, None))
    }

    async fn unentered(&self, case: &Case<'_>) -> Result<Verdict, EngineError> {
        let told = case.told;
        match &told.record_state {
            RecordState::Gone => return self.gone().await,
            RecordState::LeftOut => {
                return Ok(because(&told.base, false).map_or(Verdict::NoRecord, |because| Verdict::LeftOut { because }));
            }
            RecordState::Unreadable(problem) => return Ok(Verdict::Unreadable { problem: problem.clone() }),
            RecordState::Present => {}
        }
        if let Some(Eligibility::ScriptFailed(problem)) = &case.eligibility {
            return Ok(Verdict::ScriptFailed { problem: problem.clone() });
        }
        let Some(newest) = told.deciding() else { return self.not_crossed(case).await };
        let begins = self.begins(told.state.as_ref());
        // What is behind is over; what lies ahead is another occasion.
        let is_over = newest.crossed_at <= begins || self.is_passed(told, newest);
        if is_over && let Some(verdict) = self.ahead(case).await? {
            return Ok(verdict);
        }
        self.crossed_now(case, newest, begins).await
    }

    /// It is no record: there is nothing of it, or only a part.
    async fn gone(&self) -> Result<Verdict, EngineError> {
        let (previewer, rule) = (self.previewer, &self.rule.rule);
        let (source, catalog) = (previewer.source, &previewer.generation.catalog);
        let Some(alone) = EdgePlan::alone(rule, catalog, source.dialect(), &self.record.key) else {
            return Ok(Verdict::NoRecord);
        };
        if source.rows(&self.record.tenant, alone).try_next().await?.is_none() {
            return Ok(Verdict::NoRecord);
        }
        let parents = catalog.entity(&rule.for_each).map_or(&[][..], |entity| &entity.parents);
        let tables: Vec<String> = parents.iter().map(|parent| format!("`{}`", parent.table)).collect();
        Ok(Verdict::NoParent { tables: tables.join(" or ") })
    }

    /// It crossed: does it match?
    async fn crossed_now(&self, case: &Case<'_>, newest: &Crossed, begins: Timestamp) -> Result<Verdict, EngineError> {
        let (told, crossed_at) = (case.told, newest.crossed_at);
        if let Some(Eligibility::Miss(term)) = &case.eligibility {
            let crossing = case.seen.behind.iter().find(|crossing| crossing.occasion == newest.occasion);
            let later = self.holds_later(case, crossing, told.now).await?;
            let term = term.clone();
            return Ok(match later {
                Later::At(holds_at) if self.is_asked(crossed_at, holds_at) && crossed_at > begins => {
                    Verdict::NotTrueYet { crossed_at, term, holds_at }
                }
                later => Verdict::Fails { crossed_at, truth: truth_of(told, &term), term, later },
            });
        }
        if let Standing::Missed { kind, reason } = &newest.standing
            && had_its_chance(&self.rule.rule, *kind, crossed_at, told.now)
        {
            return Ok(Verdict::GaveUp { crossed_at, term: reason.clone() });
        }
        // An episode that opens with the rule is one that a first look found open.
        if crossed_at == begins && self.rule.rule.trigger.keeps_episodes() {
            return Ok(Verdict::InsideBefore { baseline: begins });
        }
        if leaves_out(&self.rule.rule, told.state.as_ref().map(|state| (&state.progress, state.baseline))) {
            return Ok(Verdict::ThereAtFirst);
        }
        if crossed_at <= begins {
            return Ok(Verdict::BeforeActivation { crossed_at, baseline: begins });
        }
        if self.is_passed(told, newest) {
            return Ok(Verdict::Passed { crossed_at });
        }
        if told.mode == Mode::Paused {
            return Ok(Verdict::Paused { crossed_at, by_file: true });
        }
        Ok(match told.state.as_ref().map(|state| &state.status) {
            Some(RuleStatus::Paused) => Verdict::Paused { crossed_at, by_file: false },
            Some(RuleStatus::Held(reason)) => Verdict::RuleHeld { crossed_at, reason: reason.clone() },
            Some(RuleStatus::Running | RuleStatus::Removed) | None => {
                let looks_back = told.state.as_ref().is_some_and(|state| is_behind(&self.rule.rule, state, crossed_at));
                if looks_back { Verdict::MatchesLookingBack { crossed_at } } else { Verdict::Matches { crossed_at } }
            }
        })
    }

    /// Whether one that crossed and failed is asked again at that instant. Those are asked once per `recheck`, which may be
    /// the last time just before.
    fn is_asked(&self, crossed_at: Timestamp, holds_at: Timestamp) -> bool {
        let (rule, trying) = (&self.rule.rule, keep_trying(&self.rule.rule));
        let recheck = SignedDuration::from_secs(rule.recheck.max_seconds());
        let tried = trying - recheck.min(trying);
        holds_at < crossed_at.saturating_add(tried).unwrap_or(Timestamp::MAX)
    }

    /// Whether one that crosses then and fails may be asked again as late as that, or crosses again by another offset of its
    /// date, or with the next planned instant.
    fn may_be_asked(&self, crosses_at: Timestamp, holds_at: Timestamp) -> bool {
        let rule = &self.rule.rule;
        let comes_again = matches!(rule.trigger, Trigger::Schedule(_)) || rule.entries.len() > 1;
        comes_again || holds_at < crosses_at.saturating_add(keep_trying(rule)).unwrap_or(Timestamp::MAX)
    }

    /// From when on the rule looks. One that has not run yet begins when it first does.
    pub(super) fn begins(&self, state: Option<&RuleState>) -> Timestamp {
        let zone = &self.previewer.generation.catalog.time_zone;
        let first = || baseline(&self.rule.rule, zone, self.previewer.now);
        state.map_or_else(first, |state| state.baseline)
    }

    /// Whether no sweep looks at it any more.
    fn is_passed(&self, told: &Explanation, newest: &Crossed) -> bool {
        horizon::is_passed(&self.rule.rule, told.state.as_ref(), newest.crossed_at, told.now)
    }

    /// Nothing has crossed: it will, or it did and the state remembers, or neither.
    async fn not_crossed(&self, case: &Case<'_>) -> Result<Verdict, EngineError> {
        if let Some(verdict) = self.ahead(case).await? {
            return Ok(verdict);
        }
        if let Some(miss) = self.newest_miss(case.told).await? {
            return Ok(Verdict::Missed { crossed_at: miss.crossed_at, reason: miss.reason });
        }
        if let Some(verdict) = self.over(case) {
            return Ok(verdict);
        }
        let open = case.seen.episode.as_ref().filter(|episode| episode.closed_at.is_none());
        Ok(match (&self.rule.rule.trigger, open) {
            (Trigger::Segment(segment), Some(episode)) if segment.leaves => {
                let since = Some(episode.opened_at).filter(|since| *since > self.begins(case.told.state.as_ref()));
                Verdict::Inside { since }
            }
            (Trigger::Segment(segment), _) => match because(&case.told.trigger, segment.leaves) {
                // All of it is true, and no sweep has seen it inside yet.
                None if segment.leaves => Verdict::Inside { since: None },
                because => Verdict::NeverCrossed { because },
            },
            (trigger, _) => match (because(&case.told.trigger, false), self.awaited(trigger, case.seen)) {
                (None, Some(what)) => Verdict::Awaited { what },
                (because, _) => Verdict::NeverCrossed { because },
            },
        })
    }

    /// It came inside within the time that the rule looks at, and was outside again before its first look.
    fn over(&self, case: &Case<'_>) -> Option<Verdict> {
        self.rule.rule.trigger.tide()?;
        let (state, episode) = (case.told.state.as_ref(), case.seen.episode.as_ref()?);
        let (crossed_at, ended_at) = (episode.opened_at, episode.closed_at?);
        let looked = state.map_or(case.told.now, |state| state.looking_since);
        let is_history = crossed_at > self.begins(state) && ended_at <= looked;
        is_history.then_some(Verdict::Over { crossed_at, ended_at })
    }

    /// What nobody has said of the record yet, for triggers that are set off from outside its tables.
    fn awaited(&self, trigger: &Trigger, seen: &Seen) -> Option<String> {
        match trigger {
            Trigger::Query(_) => Some("the rule's query returns no row for it".to_owned()),
            Trigger::Event(event) => Some(match &seen.unread {
                Some(problem) => format!("an event `{}` names it, but {problem}", event.name),
                None => format!("no event `{}` that names it is kept", event.name),
            }),
            Trigger::Enrolled => {
                let rules = self.previewer.generation.rules.values();
                let ours = rules.filter(|rule| enrolls_into(&rule.rule, &self.rule.rule.id));
                let names: Vec<String> = ours.map(|rule| format!("`{}`", rule.rule.id)).collect();
                Some(match names.as_slice() {
                    [] => "no rule has an `enroll` step that leads to this one".to_owned(),
                    names => format!("no `enroll` step of {} has brought it here", names.join(" or ")),
                })
            }
            _ => None,
        }
    }

    /// What comes by time alone, and whether it matches then.
    async fn ahead(&self, case: &Case<'_>) -> Result<Option<Verdict>, EngineError> {
        let (told, zone) = (case.told, &self.previewer.generation.catalog.time_zone);
        let is_new = told.ahead.as_ref().is_some_and(|ahead| !ahead.standing.is_spent());
        let crossing = case.seen.ahead.as_ref().filter(|_| is_new);
        let mut crosses_at = crossing.map(|ahead| ahead.crossed_at);
        if crosses_at.is_none() {
            crosses_at = horizon::planned(&self.rule.rule, zone, told.now);
        }
        if let (None, Trigger::Segment(segment)) = (crosses_at, &self.rule.rule.trigger)
            && !segment.leaves
        {
            let when = segment.when.iter().map(|term| &term.condition);
            match self.first(Question::Inside, when, case.operands, told.now).await? {
                Later::At(at) => crosses_at = Some(at),
                Later::NotUntil(until) => return Ok(Some(Verdict::NotUntil { until })),
                Later::Never => {}
            }
        }
        if crosses_at.is_none()
            && let Some(left) = self.leaves(case).await?
        {
            match left {
                Later::At(at) => crosses_at = Some(at),
                Later::NotUntil(until) => return Ok(Some(Verdict::NotUntil { until })),
                Later::Never => {}
            }
        }
        let Some(crosses_at) = crosses_at else { return Ok(None) };
        let then = self.eligible(crossing, crosses_at).await?;
        Ok(Some(match then {
            Some(Eligibility::Miss(term)) => {
                let later = self.holds_later(case, crossing, crosses_at).await?;
                let asked = later.at().is_some_and(|at| self.may_be_asked(crosses_at, at));
                Verdict::NotYetAndFails { crosses_at, term, later, asked }
            }
            Some(Eligibility::Match | Eligibility::ScriptFailed(_)) | None => Verdict::NotYet { crosses_at },
        }))
    }

    /// When it has been outside for long enough by time alone; `None`: it is not inside, or the rule waits for who comes.
    async fn leaves(&self, case: &Case<'_>) -> Result<Option<Later>, EngineError> {
        let Trigger::Segment(segment) = &self.rule.rule.trigger else { return Ok(None) };
        if !segment.leaves || because(&case.told.trigger, true).is_some() {
            return Ok(None);
        }
        let when = segment.when.iter().map(|term| &term.condition);
        let outside = self.first(Question::Outside, when, case.operands, case.told.now).await?;
        let zone = &self.previewer.generation.catalog.time_zone;
        Ok(Some(match outside {
            // It is outside from the first sweep on that sees it so.
            Later::At(at) => Later::At(segment.min_out.after(Plan::of(&self.rule.rule, zone).next(at), zone)),
            other => other,
        }))
    }

    /// When every term holds by time alone.
    async fn holds_later(
        &self,
        case: &Case<'_>,
        crossing: Option<&Crossing>,
        from: Timestamp,
    ) -> Result<Later, EngineError> {
        if !self.looks_ahead {
            return Ok(Later::Never);
        }
        let rule = &self.rule.rule;
        let terms = rule.conditions.iter().chain(&rule.only_at_entry);
        let conditions: Vec<&Condition> = terms.map(|term| &term.condition).collect();
        self.first(Question::Matches(crossing), conditions.into_iter(), case.operands, from).await
    }

    /// What the state remembers of its last crossing that came to nothing.
    async fn newest_miss(&self, told: &Explanation) -> Result<Option<MissView>, EngineError> {
        let misses = self.previewer.store.misses(self.record).await?.into_iter();
        let ours = misses.filter(|miss| miss.rule == told.rule && miss.lane == told.lane);
        Ok(ours.max_by_key(|miss| miss.crossed_at))
    }

    async fn is_held_by(&self, sweep: &SweepView, occasion: &Occasion) -> Result<bool, EngineError> {
        let (id, mut after) = (SweepId(sweep.id.clone()), 0);
        loop {
            let page = self.previewer.store.held_matches(&id, after, PAGE).await?;
            let ours = |record: &Option<RecordId>| record.as_ref() == Some(self.record);
            if page.iter().any(|held| ours(&held.record) && held.occasion.as_ref() == Some(occasion)) {
                return Ok(true);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.place,
                _ => return Ok(false),
            }
        }
    }
}

fn enrolls_into(rule: &CheckedRule, target: &RuleId) -> bool {
    rule.nodes.iter().any(|node| matches!(&node.step, Step::Enroll(into) if into == target))
}

/// In the ledger by this enrollment, which need not be a match.
fn entered(told: &Explanation, enrolled: &EnrollmentView) -> Verdict {
    match enrolled.ended {
        Some(EndReason::LeftOut) => Verdict::ThereBefore { at: enrolled.entered_at },
        _ => matched(told, Some(enrolled.entered_at)),
    }
}

/// It matched, and where its trigger comes again, it crosses again.
fn matched(told: &Explanation, at: Option<Timestamp>) -> Verdict {
    let again = told.ahead.as_ref().filter(|ahead| !ahead.standing.is_spent());
    Verdict::Matched { at, again: again.map(|ahead| ahead.crossed_at) }
}

/// The first term that is not true.
fn because(terms: &[TermAnswer], leaves: bool) -> Option<Because> {
    let failing = terms.iter().find(|term| term.holds != Some(true))?;
    let found: Vec<String> =
        failing.operands.iter().map(|operand| format!("{} = {}", operand.name, operand.found())).collect();
    let truth = Truth::of(failing.holds);
    Some(Because { term: failing.text.clone(), truth, found: found.join(", "), leaves })
}

/// What the term comes to that a miss names: what a script refuses is no term, and refused.
fn truth_of(told: &Explanation, miss: &str) -> Truth {
    let (text, _) = term_and_score(miss);
    let asked = |term: &&TermAnswer| matches!(term.section, Section::Where | Section::OnlyAtEntry);
    let failing = told.terms.iter().filter(asked).find(|term| term.text == text && term.holds != Some(true));
    failing.map_or(Truth::False, |term| Truth::of(term.holds))
}

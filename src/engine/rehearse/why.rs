//! One record under every rule: what the state remembers of it, and where it remembers nothing, what the rule
//! says of it now. One sentence a rule.

use super::explain::{Explanation, explain_now};
use super::stuck::Stuck;
use super::verdict::Verdict;
use crate::engine::EngineError;
use crate::engine::context::lane_of;
use crate::engine::evaluate::term_and_score;
use crate::engine::port::{
    DeliveryFilter, DeliveryView, EnrollmentFilter, EnrollmentView, Happening, MissView, Reacted, RuleStatus,
};
use crate::engine::preview::Previewer;
use crate::model::{EndReason, EnrollmentState, Lane, RecordId, RuleId};
use crate::rule::checked::Mode;
use crate::rule::generation::Rest;
use crate::rule::operands::Operand;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The most that is read of one record's past.
const MOST: usize = 1_000;

/// What one rule did with a record, or why it didn't.
#[derive(Debug, Clone)]
pub struct RuleStory {
    pub rule: RuleId,
    pub lane: Lane,
    /// `None`: the rule is gone from the files, and only the state knows of it.
    pub explanation: Option<Explanation>,
    /// Why nobody could ask the rule.
    pub rest: Option<Rest>,
    /// Newest first, like all that follows.
    pub enrollments: Vec<EnrollmentView>,
    pub deliveries: Vec<DeliveryView>,
    pub misses: Vec<MissView>,
    /// How its mails were read, oldest first.
    pub reactions: Vec<Happening>,
    /// Why enrollments ended before their last step, where somebody or something made them, by their numbers.
    pub ends: BTreeMap<i64, String>,
    pub outcome: StoryOutcome,
}

/// What came of it, in one word and one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryOutcome {
    pub code: &'static str,
    pub text: String,
}

/// Every rule about the record's entity, and those that are gone but wrote to it, since an instant.
pub async fn why(
    previewer: &Previewer<'_>,
    record: &RecordId,
    since: Timestamp,
) -> Result<Vec<RuleStory>, EngineError> {
    let past = Past::read(previewer, record, since).await?;
    let mut stories = Vec::new();
    let generation = previewer.generation;
    let about = generation.rules.values().filter(|rule| rule.rule.for_each == record.entity);
    let mut told = BTreeSet::new();
    for rule in about {
        let id = &rule.rule.id;
        let rest = generation.resting.get(id).copied();
        // Of a rule that rests the state alone can tell.
        let explanation = match rest {
            Some(_) => None,
            None => Some(explain_now(previewer, id, record).await?),
        };
        let usual = lane_of(rule).unwrap_or(Lane::Live);
        let lane = explanation.as_ref().map_or(usual, |explanation| explanation.lane);
        told.insert((id.clone(), lane));
        stories.push(past.story(id.clone(), lane, explanation, rest));
    }
    for (rule, lane) in past.rules() {
        if !told.contains(&(rule.clone(), lane)) {
            let rest = generation.resting.get(&rule).copied();
            stories.push(past.story(rule, lane, None, rest));
        }
    }
    Ok(stories)
}

/// What the state remembers.
struct Past {
    since: Timestamp,
    enrollments: Vec<EnrollmentView>,
    deliveries: Vec<DeliveryView>,
    misses: Vec<MissView>,
    reactions: Vec<Happening>,
    ends: BTreeMap<i64, String>,
}

impl Past {
    async fn read(previewer: &Previewer<'_>, record: &RecordId, since: Timestamp) -> Result<Self, EngineError> {
        let store = previewer.store;
        let record = Some(record.clone());
        let of = EnrollmentFilter { record: record.clone(), limit: MOST, ..EnrollmentFilter::default() };
        let mut enrollments = store.enrollments(&of).await?;
        enrollments.retain(|found| {
            let last = found.ended_at.unwrap_or(found.entered_at).max(found.entered_at);
            last >= since || found.state != EnrollmentState::Ended
        });
        let of = DeliveryFilter { record: record.clone(), limit: MOST, ..DeliveryFilter::default() };
        let mut deliveries = store.deliveries(&of).await?;
        deliveries.retain(|found| found.at >= since);
        let mut misses = match &record {
            Some(record) => store.misses(record).await?,
            None => Vec::new(),
        };
        misses.retain(|found| found.seen_at >= since);
        let ids: Vec<i64> = enrollments.iter().map(|found| found.id).collect();
        let mut reactions = store.timelines(&ids).await?;
        let is_end = |found: &&Happening| matches!(found.what.as_str(), "cancelled" | "step_gone");
        let ends = reactions.iter().filter(is_end).map(|found| (found.enrollment, found.detail.clone())).collect();
        let is_one = |found: &Happening| Reacted::ALL.iter().any(|what| what.as_str() == found.what);
        reactions.retain(|found| found.at >= since && is_one(found));
        Ok(Self { since, enrollments, deliveries, misses, reactions, ends })
    }

    fn rules(&self) -> BTreeSet<(RuleId, Lane)> {
        let enrolled = self.enrollments.iter().map(|found| (found.rule.clone(), found.lane));
        enrolled.chain(self.deliveries.iter().map(|found| (found.rule.clone(), found.lane))).collect()
    }

    fn story(&self, rule: RuleId, lane: Lane, explanation: Option<Explanation>, rest: Option<Rest>) -> RuleStory {
        let ours = |found: &RuleId, in_lane: Lane| *found == rule && in_lane == lane;
        let enrollments: Vec<_> = self.enrollments.iter().filter(|e| ours(&e.rule, e.lane)).cloned().collect();
        let deliveries: Vec<_> = self.deliveries.iter().filter(|d| ours(&d.rule, d.lane)).cloned().collect();
        let misses: Vec<_> = self.misses.iter().filter(|m| ours(&m.rule, m.lane)).cloned().collect();
        let of = |found: &&Happening| enrollments.iter().any(|enrolled| enrolled.id == found.enrollment);
        let reactions: Vec<_> = self.reactions.iter().filter(of).cloned().collect();
        let ended = |id: &i64| enrollments.iter().any(|enrolled| enrolled.id == *id && enrolled.ended.is_some());
        let ends = self.ends.iter().filter(|(id, _)| ended(id)).map(|(id, why)| (*id, why.clone())).collect();
        let outcome = StoryOutcome { code: "", text: String::new() };
        let mut story =
            RuleStory { rule, lane, explanation, rest, enrollments, deliveries, misses, reactions, ends, outcome };
        story.outcome = story.outcome(self.since);
        story
    }
}

impl RuleStory {
    fn outcome(&self, since: Timestamp) -> StoryOutcome {
        let past = self.of_the_past().map(|past| match self.ignored().or_else(|| self.pending()) {
            Some(since) => StoryOutcome { text: format!("{}; {since}", past.text), ..past },
            None => past,
        });
        let mut outcome = past.unwrap_or_else(|| self.of_now(since));
        // What keeps it from matching was said by then.
        let said = matches!(outcome.code, "paused" | "rule_held" | "rule_rests");
        if let Some(notice) = self.notice().filter(|_| !said) {
            outcome.text = format!("{}; {notice}", outcome.text);
        }
        outcome
    }

    /// Entered, and what came of its messages.
    fn of_the_past(&self) -> Option<StoryOutcome> {
        let newest = self.newest()?;
        if newest.ended == Some(EndReason::LeftOut) {
            return self.of_left_out(newest);
        }
        let entered = at(newest.entered_at);
        if let Some(stuck) = Stuck::of(newest, &self.deliveries) {
            let code = match stuck.state {
                "dead" => "failed",
                state => state,
            };
            return Some(StoryOutcome { code, text: format!("matched {entered}; {stuck}") });
        }
        let (code, state) = match (newest.state, newest.ended) {
            (EnrollmentState::Active, _) if newest.is_queued() => {
                ("in_steps", "waits for the sequence before it to end".to_owned())
            }
            (EnrollmentState::Active, _) => (
                "in_steps",
                match newest.next {
                    Some((_, due)) => format!("in its steps, the next at {}", at(due)),
                    None => "in its steps".to_owned(),
                },
            ),
            (EnrollmentState::Held, _) => ("held", "held".to_owned()),
            (EnrollmentState::Ended, Some(reason)) => {
                let why = self.ends.get(&newest.id).filter(|why| !why.is_empty());
                let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                ("ended", format!("ended: {}{why}", reason.as_str()))
            }
            (EnrollmentState::Ended, None) => ("ended", "ended".to_owned()),
        };
        let Some(last) = self.deliveries.first() else {
            return Some(StoryOutcome { code, text: format!("matched {entered}; {state}") });
        };
        let more = match self.deliveries.len() {
            1 => String::new(),
            count => format!(" ({count} messages in all)"),
        };
        let code = match last.state.as_str() {
            "sent" => "sent",
            "skipped" => "skipped",
            "recorded" => "recorded",
            "postponed" => "postponed",
            "dead" | "permanent" => "failed",
            _ => code,
        };
        Some(StoryOutcome { code, text: format!("matched {entered}; {}{more}; {state}", delivered(last)) })
    }

    /// The rule never acted on it. What has come since, or comes next, is worth more than that.
    fn of_left_out(&self, enrolled: &EnrollmentView) -> Option<StoryOutcome> {
        let told = self.explanation.as_ref().map(|told| &told.verdict);
        if told.is_some_and(|verdict| !matches!(verdict, Verdict::Matched { .. } | Verdict::ThereBefore { .. })) {
            return None;
        }
        let verdict = Verdict::ThereBefore { at: enrolled.entered_at };
        Some(StoryOutcome { code: verdict.code(), text: verdict.to_string() })
    }

    /// The newest that started anything, if one did.
    fn newest(&self) -> Option<&EnrollmentView> {
        let started = |enrolled: &&EnrollmentView| {
            enrolled.ended != Some(EndReason::LeftOut) && !self.misses.iter().any(|miss| is_of(miss, enrolled))
        };
        self.enrollments.iter().find(started).or_else(|| self.enrollments.first())
    }

    /// That it crossed again since, and nothing came of it.
    fn ignored(&self) -> Option<String> {
        let newest = self.newest()?;
        let is_later = |miss: &&MissView| is_ignored(miss) && miss.crossed_at >= newest.entered_at;
        let miss = self.misses.iter().find(is_later)?;
        Some(format!("crossed again {}, and nothing came of it: {}", at(miss.crossed_at), miss.reason))
    }

    /// That it crossed again since, and the next sweep takes it.
    fn pending(&self) -> Option<String> {
        match &self.explanation.as_ref()?.verdict {
            Verdict::Matches { crossed_at } => {
                Some(format!("crossed again {}, and the next sweep enters it", at(*crossed_at)))
            }
            Verdict::MatchesLookingBack { crossed_at } => {
                Some(format!("crossed again {}, and a sweep that looks back enters it", at(*crossed_at)))
            }
            _ => None,
        }
    }

    fn of_now(&self, since: Timestamp) -> StoryOutcome {
        let ignored = self.misses.iter().find(|miss| is_ignored(miss));
        if let Some(miss) = ignored {
            let text = format!("crossed {} while {}", at(miss.crossed_at), miss.reason);
            return StoryOutcome { code: "already_in_steps", text };
        }
        if let Some(rest) = self.rest {
            return StoryOutcome { code: "rule_rests", text: format!("the rule rests: {}", rest.reason()) };
        }
        let Some(told) = &self.explanation else {
            return StoryOutcome { code: "rule_gone", text: "its rule is gone".to_owned() };
        };
        let uncrossed = matches!(
            told.verdict,
            Verdict::NeverCrossed { .. }
                | Verdict::Awaited { .. }
                | Verdict::Missed { .. }
                | Verdict::NotYet { .. }
                | Verdict::NotYetAndFails { .. }
                | Verdict::NotUntil { .. }
        );
        if uncrossed && let Some(miss) = self.misses.first() {
            let (term, score) = term_and_score(&miss.reason);
            let (crossed, now) = (at(miss.crossed_at), found(told, term));
            let text = format!("crossed {crossed}, but `{term}` was not true{score}{now}");
            return StoryOutcome { code: "fails", text };
        }
        let code = told.verdict.code();
        if let Verdict::Matched { at: Some(entered), .. } = &told.verdict
            && *entered < since
        {
            return StoryOutcome { code, text: format!("matched {}, before the time asked about", at(*entered)) };
        }
        // These two tell the values themselves.
        let says = matches!(told.verdict, Verdict::NeverCrossed { .. } | Verdict::LeftOut { .. });
        let values = told.verdict.failed_term().filter(|_| !says).map_or_else(String::new, |term| found(told, term));
        StoryOutcome { code, text: format!("{}{values}", told.verdict) }
    }

    /// What stops the whole rule.
    fn notice(&self) -> Option<String> {
        if let Some(rest) = self.rest {
            return Some(format!("the rule rests: {}", rest.reason()));
        }
        let told = self.explanation.as_ref()?;
        if told.mode == Mode::Paused {
            return Some("the rule's file says `mode: paused`".to_owned());
        }
        match told.state.as_ref().map(|state| &state.status) {
            Some(RuleStatus::Paused) => Some("an operator paused the rule".to_owned()),
            // A match that is held has told it by then.
            Some(RuleStatus::Held(_)) if matches!(told.verdict, Verdict::Held { .. }) => None,
            Some(RuleStatus::Held(reason)) => Some(format!("the rule is held: {reason}")),
            Some(RuleStatus::Running | RuleStatus::Removed) => None,
            None => Some("the rule has not run yet".to_owned()),
        }
    }
}

/// Its record was in the rule's steps already.
fn is_ignored(miss: &MissView) -> bool {
    miss.reason.starts_with("already ")
}

/// A match that started nothing is kept both as a miss and as an enrollment that was over at once.
fn is_of(miss: &MissView, enrolled: &EnrollmentView) -> bool {
    is_ignored(miss) && enrolled.ended.is_some() && enrolled.occasion.as_ref() == Some(&miss.occasion)
}

/// `; it is now: tickets = 1`.
fn found(told: &Explanation, term: &str) -> String {
    let (term, _) = term_and_score(term);
    let found = told.terms.iter().find(|answer| answer.text == term);
    let values: Vec<String> = found.map_or_else(Vec::new, |answer| answer.operands.iter().map(value).collect());
    if values.is_empty() { String::new() } else { format!(" (now {})", values.join(", ")) }
}

fn value(operand: &Operand) -> String {
    format!("{} = {}", operand.name, operand.found())
}

/// What became of a delivery, in a few words.
#[must_use]
pub fn delivered(delivery: &DeliveryView) -> String {
    let DeliveryView { kind, step, state, detail, .. } = delivery;
    let when = at(delivery.at);
    let said = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let name = if kind.is_empty() || step.starts_with(kind.as_str()) { step.clone() } else { format!("{kind} {step}") };
    match state.as_str() {
        "sent" => format!("{name} sent {when}{said}"),
        "recorded" => format!("{name} would have been sent {when}{said}, but the rule is in shadow"),
        "skipped" => format!("{name} left out {when}{said}"),
        "dead" | "permanent" => format!("{name} failed {when}{said}"),
        "unknown" => format!("{name} may or may not have arrived {when}{said}"),
        "postponed" => format!("{name} put off {when}{said}"),
        "ended" => format!("{name} not sent {when}{said}"),
        "due" => format!("{name} waits for another try at {when}{said}"),
        other => format!("{name} {other} {when}{said}"),
    }
}

fn at(instant: Timestamp) -> String {
    instant.strftime("%F %H:%MZ").to_string()
}

//! What a due step comes to, on facts just read. Pure: no I/O, no clock, so every rule of eligibility at
//! send can be tested by itself.
//!
//! The order is that of the design: record gone, goal, exit, `where`, a moved date end the enrollment; then
//! lateness, recipient, consent, suppression and sunset leave out this message and let the sequence go on; then
//! window, rate and caps put it off. `docs/sending.md` has it as a table.

use super::moment::{Moment, address_domain};
use super::walk::walk;
use crate::engine::evaluate::first_failing;
use crate::engine::lateness;
use crate::engine::port::{Claimed, Then};
use crate::model::{EndReason, Outcome, SkipReason, StepId, SuppressionReason, zone_or_default};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Email, Purpose, Step, Task, Trigger};
use crate::rule::compiled::{Facts, PersonFacts};
use jiff::{Timestamp, tz::TimeZone};

/// Everything a decision depends on.
pub struct Situation<'a, 'c> {
    pub rule: &'a CheckedRule,
    pub claimed: &'c Claimed,
    /// The claimed node; another one only where a newer rule took over.
    pub node: usize,
    /// `None`: the record is gone.
    pub facts: Option<&'a Facts>,
    pub now: Timestamp,
    /// The state's suppression list, asked for this step's address.
    pub suppressed: Option<SuppressionReason>,
    /// `unless_open` found one.
    pub task_open: bool,
    /// When it may leave.
    pub moment: Moment<'c>,
}

#[derive(Debug, PartialEq)]
pub enum Decision<'a> {
    /// A step that sends nothing.
    Move { then: Then, branch: Option<String>, waits: Option<(StepId, Timestamp)> },
    /// A message that is not sent, and why; recorded as an attempt.
    Refuse { outcome: Outcome, then: Then, waits: Option<(StepId, Timestamp)> },
    /// Send it.
    Act { action: &'a Action, to: Option<&'a PersonFacts> },
    /// It can't run until somebody repairs it.
    Broken(String),
}

pub fn decide<'a>(situation: &Situation<'a, '_>) -> Decision<'a> {
    let rule = situation.rule;
    let Some(node) = rule.nodes.get(situation.node) else {
        return Decision::Broken(format!("its rule version has no step {}", situation.node));
    };
    let Some(facts) = situation.facts else {
        return situation.end(EndReason::RecordGone, "the record is no longer there");
    };
    match &node.step {
        Step::Wait(_) | Step::Stop => {
            let walked = walk(rule, Some(situation.node), situation.claimed.due_at, &facts.zone);
            Decision::Move { then: walked.then, branch: None, waits: walked.waits }
        }
        Step::Branch { cases, otherwise } => {
            let holds = |case: &usize| facts.cases.get(&(situation.node, *case)).copied().flatten() == Some(true);
            let taken = (0..cases.len()).find(holds);
            let (name, first) = match taken {
                Some(case) => (cases[case].name.clone(), cases[case].first),
                None => ("otherwise".to_owned(), *otherwise),
            };
            let walked = walk(rule, first.or(node.next), situation.now, &facts.zone);
            Decision::Move { then: walked.then, branch: Some(name), waits: walked.waits }
        }
        Step::Act(action) => situation.act(action, facts),
    }
}

/// The person an email goes to.
pub fn addressee<'a>(rule: &CheckedRule, email: &Email, facts: &'a Facts) -> Option<&'a PersonFacts> {
    facts.recipients.get(email.to.as_ref().or(rule.to.as_ref())?)
}

/// The address, if there is one: empty is none.
pub fn address(person: &PersonFacts) -> Option<&str> {
    person.email.as_deref().map(str::trim).filter(|address| !address.is_empty())
}

impl<'a> Situation<'a, '_> {
    fn act(&self, action: &'a Action, facts: &'a Facts) -> Decision<'a> {
        if self.claimed.discarded {
            return self.skip(SkipReason::Discarded, "an operator discarded it", &facts.zone);
        }
        if let Some((reason, detail)) = self.over(facts) {
            return self.end(reason, &detail);
        }
        if let Some(refusal) = self.too_late(action, facts) {
            return refusal;
        }
        match action {
            Action::Email(email) => self.email(action, email, facts),
            Action::Task(Task { unless_open: Some(_), .. }) if self.task_open => {
                self.skip(SkipReason::TaskOpen, "an open task is there already", &facts.zone)
            }
            Action::Webhook(_) | Action::Task(_) => Decision::Act { action, to: self.main_recipient(facts) },
        }
    }

    fn main_recipient(&self, facts: &'a Facts) -> Option<&'a PersonFacts> {
        facts.recipients.get(self.rule.to.as_ref()?)
    }

    /// Why the enrollment is over.
    fn over(&self, facts: &Facts) -> Option<(EndReason, String)> {
        let rule = self.rule;
        if let Some(goal) = rule.goal.as_ref().filter(|_| facts.goal == Some(true)) {
            return Some((EndReason::Goal, goal.name.clone()));
        }
        let exit = rule.exit_when.iter().zip(&facts.exit_when).find(|(_, holds)| **holds == Some(true));
        if let Some((term, _)) = exit {
            return Some((EndReason::Exit, term.text.clone()));
        }
        if let Some(term) = first_failing(&rule.conditions, &facts.conditions) {
            return Some((EndReason::WhereFalse, term.to_owned()));
        }
        self.date_moved(facts).then(|| (EndReason::OccasionGone, "the date it was about has changed".to_owned()))
    }

    fn date_moved(&self, facts: &Facts) -> bool {
        if !matches!(self.rule.trigger, Trigger::Date(_)) {
            return false;
        }
        let current = facts.date.as_ref().and_then(|date| lateness::day_of(date, &facts.zone));
        current != self.occasion_day()
    }

    /// The day in an occasion such as `2026-12-01/-60 days`.
    fn occasion_day(&self) -> Option<jiff::civil::Date> {
        self.claimed.occasion.as_str().split('/').next()?.parse().ok()
    }

    /// Tasks are never too late. A sequence whose first message is too late doesn't begin at all.
    fn too_late(&self, action: &Action, facts: &Facts) -> Option<Decision<'a>> {
        if matches!(action, Action::Task(_)) {
            return None;
        }
        let rule = self.rule;
        let date = matches!(rule.trigger, Trigger::Date(_)).then(|| self.occasion_day()).flatten();
        let limit = lateness::limit(rule, self.claimed.entry, date);
        let late = self.now.duration_since(self.claimed.planned_at);
        if late <= limit {
            return None;
        }
        let hours = late.as_hours();
        let detail = format!("planned for {}, {hours} h ago", self.claimed.planned_at);
        let first = rule.entries.get(self.claimed.entry).and_then(|entry| entry.first);
        Some(if first == Some(self.node) && !lateness::reaches_task(rule, self.claimed.entry) {
            self.end(EndReason::Late, &detail)
        } else {
            self.skip(SkipReason::Late, &detail, &facts.zone)
        })
    }

    fn email(&self, action: &'a Action, email: &Email, facts: &'a Facts) -> Decision<'a> {
        let Some((person, _)) = addressee(self.rule, email, facts).and_then(|person| Some((person, address(person)?)))
        else {
            return self.skip(SkipReason::NoAddress, "the recipient has no address", &facts.zone);
        };
        let staff = person.staff || self.rule.purpose == Purpose::Staff;
        if let Purpose::Topic(topic) = &self.rule.purpose
            && !staff
            && person.email_consent != Some(true)
        {
            return self.skip(SkipReason::NoConsent, &format!("no consent to {topic} by email"), &facts.zone);
        }
        if let Some(reason) = self.suppression(person, staff) {
            return self.skip(SkipReason::Suppressed, &reason, &facts.zone);
        }
        let counted = !staff && matches!(self.rule.purpose, Purpose::Topic(_));
        if let Some(detail) = self.moment.sunset(self.rule, facts, self.now).filter(|_| counted) {
            return self.skip(SkipReason::Sunset, &detail, &facts.zone);
        }
        if let Some((until, reason)) = self.not_yet(person, facts, staff, counted) {
            let then = Then::Again { due_at: until, counts: false };
            return Decision::Refuse { outcome: Outcome::Postponed { until, reason }, then, waits: None };
        }
        Decision::Act { action, to: Some(person) }
    }

    /// Until when it has to wait, and what for. The window and the caps protect readers of topics, the rate our name
    /// with mail servers; for our own people neither matters.
    fn not_yet(&self, person: &PersonFacts, facts: &Facts, staff: bool, counted: bool) -> Option<(Timestamp, String)> {
        // The reader's own zone, else that of the record's main recipient or the catalog.
        let zone = || zone_or_default(person.zone.as_deref(), &facts.zone).0;
        let closed = || counted.then(|| self.moment.closed(self.rule, &zone(), self.now)).flatten();
        let paced = || {
            let domain = address(person).map(address_domain)?;
            (!staff).then(|| (self.moment.pace)(domain)).flatten()
        };
        let capped = || {
            let own = self.claimed.token.id;
            counted.then(|| self.moment.capped(self.rule.priority, own, self.now)).flatten()
        };
        closed().or_else(paced).or_else(capped)
    }

    /// Staff only minds bounces: an address that doesn't work helps nobody.
    fn suppression(&self, person: &PersonFacts, staff: bool) -> Option<String> {
        let ours = self.suppressed.filter(|reason| !staff || *reason == SuppressionReason::Bounced);
        let theirs = || {
            let reason = person.suppressed.as_deref()?;
            (!staff || reason.to_ascii_lowercase().contains("bounce")).then(|| format!("{reason} (in the source)"))
        };
        ours.map(|reason| reason.as_str().to_owned()).or_else(theirs)
    }

    fn end(&self, reason: EndReason, detail: &str) -> Decision<'a> {
        let outcome = Outcome::Ended { reason, detail: detail.to_owned() };
        Decision::Refuse { outcome, then: Then::End { reason, at: self.now }, waits: None }
    }

    fn skip(&self, reason: SkipReason, detail: &str, zone: &TimeZone) -> Decision<'a> {
        let rule = self.rule;
        let next = rule.nodes.get(self.node).and_then(|node| node.next);
        let walked = walk(rule, next, self.now, zone);
        let outcome = Outcome::Skipped { reason, detail: detail.to_owned() };
        Decision::Refuse { outcome, then: walked.then, waits: walked.waits }
    }
}

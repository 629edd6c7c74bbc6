//! From the engine's events to lines that people read: names in place of keys, reasons in place of codes.
//!
//! Only the demo may do this: its people are invented. The daemon's own log names keys.

use super::feed::{Label, Line};
use super::mailbox;
use super::world::{Crm, CrmError, World, office_zone};
use crate::engine::Event;
use crate::model::{DeliveryId, EndReason, Occasion, Outcome, RecordId, RuleId, StepId};
use crate::rule::checked::Trigger;
use crate::rule::generation::Generation;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Turns events into lines.
#[derive(Debug)]
pub struct Narrator {
    names: HashMap<(&'static str, i64), String>,
    generation: watch::Receiver<Option<Arc<Generation>>>,
    crm: Crm,
    mailbox: PathBuf,
    /// What was said once about a record and would be said again every day.
    said: HashSet<(RuleId, RecordId, String)>,
}

impl Narrator {
    pub fn new(
        world: &World,
        crm: Crm,
        generation: watch::Receiver<Option<Arc<Generation>>>,
        mailbox: PathBuf,
    ) -> Self {
        let mut names = HashMap::new();
        for account in &world.accounts {
            names.insert(("customer", account.id), account.name.clone());
            if let Some(plan) = &account.plan {
                names.insert(("subscription", plan.id), account.name.clone());
            }
        }
        Self { names, generation, crm, mailbox, said: HashSet::new() }
    }

    /// The lines of an event; most have none or one.
    pub async fn tell(&mut self, event: &Event, now: Timestamp) -> Result<Vec<Line>, CrmError> {
        let line = match event {
            Event::Matched { rule, record, occasion, .. } => {
                let why = self.why(rule, occasion).await?;
                Some(self.line(now, Label::Match, record, rule.as_str(), &format!("{rule}: {why}")))
            }
            Event::Missed { rule, record, reason, .. } => self.missed(now, rule, record, reason),
            Event::AttemptFinished { delivery, rule, record, step, kind, outcome, .. } => {
                let told = Attempt { delivery, rule, record, step, kind, outcome };
                self.attempt(now, &told).await?
            }
            Event::LeftOut { rule, count, .. } if *count > 0 => {
                let what = format!("{count} from before are left alone (backfill)");
                Some(Line { who: rule.to_string(), ..notice(now, Label::Rules, what) })
            }
            Event::RuleHeld { rule, reason, .. } => {
                Some(notice(now, Label::Failed, format!("{rule} is held: {reason}")))
            }
            Event::EnrollmentHeld { rule, record, reason, .. } => {
                Some(self.line(now, Label::Failed, record, "", &format!("{rule} is held: {reason}")))
            }
            Event::SourceLost { reason } => {
                Some(notice(now, Label::Failed, format!("the CRM does not answer: {reason}")))
            }
            Event::StateFailed { reason } => Some(notice(now, Label::Failed, format!("the state failed: {reason}"))),
            _ => None,
        };
        Ok(line.into_iter().collect())
    }

    async fn attempt(&self, now: Timestamp, told: &Attempt<'_>) -> Result<Option<Line>, CrmError> {
        let Attempt { delivery, rule, record, step, kind, outcome } = *told;
        let line = |label, topic: &str, what: String| Some(self.line(now, label, record, topic, &what));
        // The label says what kind of step it is.
        let step = step.as_str().strip_prefix(&format!("{kind}-")).unwrap_or(step.as_str());
        Ok(match outcome {
            Outcome::Sent { .. } if kind == "email" => line(Label::Mail, step, self.mail(delivery, step)),
            Outcome::Sent { .. } if kind == "task" => line(Label::Task, rule.as_str(), self.task(delivery).await?),
            // The receiver tells what arrived.
            Outcome::Sent { .. } => None,
            Outcome::Recorded { .. } => {
                line(Label::Skipped, step, format!("{step} only recorded: {rule} is in shadow"))
            }
            Outcome::Ended { reason, detail } => {
                line(Label::Stopped, "", format!("{step} not sent: {}", ending(*reason, detail)))
            }
            Outcome::Skipped { detail, .. } => line(Label::Skipped, step, format!("{step} left out: {detail}")),
            Outcome::Postponed { until, reason } => {
                let when = until.to_zoned(office_zone()).strftime("%-d %b %H:%M");
                line(Label::Skipped, step, format!("{step} postponed until {when}: {reason}"))
            }
            Outcome::Transient { reason, .. } => line(Label::Failed, "", format!("{step}: {reason}; tried again")),
            Outcome::Permanent { reason } => line(Label::Failed, "", format!("{step}: {reason}; given up")),
            Outcome::Unknown { reason } => line(Label::Failed, "", format!("{step}: outcome unknown, {reason}")),
        })
    }

    /// Subject and reader, from the file itself.
    fn mail(&self, delivery: &DeliveryId, step: &str) -> String {
        let found = mailbox::find(&self.mailbox, *delivery).ok().flatten();
        found.map_or_else(|| step.to_owned(), |mail| format!("\u{201c}{}\u{201d}", mail.subject))
    }

    /// The row in the CRM's own table.
    async fn task(&self, delivery: &DeliveryId) -> Result<String, CrmError> {
        let Some(task) = self.crm.task(&delivery.to_string()).await? else {
            return Ok("task is not in the CRM's table".to_owned());
        };
        let assignee = task.assignee.map(|name| format!("for {name}: ")).unwrap_or_default();
        let due = task.due.and_then(|due| due.parse::<jiff::civil::Date>().ok());
        let due = due.map(|due| format!(", due {}", due.strftime("%-d %b"))).unwrap_or_default();
        Ok(format!("{assignee}\u{201c}{}\u{201d}{due}", task.title))
    }

    /// Why it matched: the occasion in words.
    async fn why(&self, rule: &RuleId, occasion: &Occasion) -> Result<String, CrmError> {
        let occasion = occasion.as_str();
        let generation = self.generation.borrow().clone();
        let compiled = generation.as_ref().and_then(|generation| generation.rules.get(rule));
        Ok(match compiled.map(|compiled| &compiled.rule.trigger) {
            Some(Trigger::Inactivity(inactivity)) => {
                let since = day_of(occasion);
                format!("silent since {since}, {}", inactivity.silent_for)
            }
            Some(Trigger::Survey(_)) => match self.crm.rating(occasion).await? {
                Some((kind, rating)) => format!("{kind} score {rating}"),
                None => format!("answer {occasion}"),
            },
            Some(Trigger::Date(date)) => {
                let (day, offset) = occasion.split_once('/').unwrap_or((occasion, ""));
                format!("{}, {} {}", distance(offset), date.field, day_of(day))
            }
            Some(Trigger::Schedule(_)) => "planned, and all holds".to_owned(),
            Some(Trigger::Event(event)) => format!("`{}` came in", event.name),
            Some(Trigger::Query(_)) => format!("its query returned {occasion}"),
            Some(Trigger::Created(_)) => "new".to_owned(),
            Some(Trigger::Abandoned(abandoned)) => format!("left open for {}", abandoned.idle),
            Some(Trigger::Yearly(yearly)) => format!("{} comes again in {occasion}", yearly.field),
            Some(Trigger::Count(count)) => format!("{} {} within {}", count.at_least, count.of, count.within),
            Some(Trigger::Decline(decline)) => format!("{} down by {} percent", decline.of, decline.by),
            Some(Trigger::Changed(changed)) => format!("{} has changed", changed.field),
            Some(Trigger::Segment(segment)) if segment.leaves => "has left the segment".to_owned(),
            Some(Trigger::Segment(_)) => "has entered the segment".to_owned(),
            Some(Trigger::Enrolled) => "enrolled by another rule".to_owned(),
            None => occasion.to_owned(),
        })
    }

    fn missed(&mut self, now: Timestamp, rule: &RuleId, record: &RecordId, reason: &str) -> Option<Line> {
        let new = self.said.insert((rule.clone(), record.clone(), reason.to_owned()));
        new.then(|| {
            let what = format!("not {rule}: {reason}");
            self.line(now, Label::Skipped, record, rule.as_str(), &what)
        })
    }

    fn line(&self, at: Timestamp, label: Label, record: &RecordId, topic: &str, what: &str) -> Line {
        Line { at, label, who: self.name(record), what: what.to_owned(), topic: topic.to_owned() }
    }

    fn name(&self, record: &RecordId) -> String {
        let known = record.key.as_str().parse().ok().and_then(|key| {
            ["customer", "subscription"]
                .into_iter()
                .find(|entity| *entity == record.entity.as_str())
                .and_then(|entity| self.names.get(&(entity, key)))
        });
        known.cloned().unwrap_or_else(|| record.to_string())
    }
}

/// What became of a try.
struct Attempt<'a> {
    delivery: &'a DeliveryId,
    rule: &'a RuleId,
    record: &'a RecordId,
    step: &'a StepId,
    kind: &'a str,
    outcome: &'a Outcome,
}

/// A line about nobody in particular.
pub fn notice(at: Timestamp, label: Label, what: String) -> Line {
    Line { at, label, who: String::new(), what, topic: String::new() }
}

fn ending(reason: EndReason, detail: &str) -> String {
    match reason {
        EndReason::Exit => format!("exit_when holds: {detail}"),
        EndReason::WhereFalse => format!("no longer true: {detail}"),
        EndReason::Late => format!("too late: {detail}"),
        EndReason::Goal | EndReason::RecordGone | EndReason::OccasionGone => detail.to_owned(),
        other => format!("{}: {detail}", other.as_str()),
    }
}

/// `25 Jul` for an instant or a date; the text itself if it is neither.
fn day_of(text: &str) -> String {
    let day = text.parse::<Timestamp>().map(|at| at.to_zoned(office_zone()).date()).or_else(|_| text.parse());
    day.map_or_else(|_: jiff::Error| text.to_owned(), |day| day.strftime("%-d %b").to_string())
}

/// `in 30 days` for `-30 days`.
fn distance(offset: &str) -> String {
    match (offset.strip_prefix('-'), offset.strip_prefix('+')) {
        (Some(before), _) => format!("in {before}"),
        (_, Some(after)) => format!("{after} ago"),
        _ => "today".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occasions_read_like_sentences() {
        assert_eq!(day_of("2026-07-25T08:30:00.000000Z"), "25 Jul");
        assert_eq!(day_of("2026-12-01"), "1 Dec");
        assert_eq!(day_of("4711"), "4711");
        assert_eq!(distance("-30 days"), "in 30 days");
        assert_eq!(distance("+1 day"), "1 day ago");
        assert_eq!(ending(EndReason::Goal, "ordered again"), "ordered again");
    }
}

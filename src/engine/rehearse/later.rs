//! When something that is not true now becomes true if nothing changes but the time: the same questions, asked as of
//! instants to come.
//!
//! Between two instants at which a period of the conditions begins or ends, an answer changes at most once; so those
//! instants are tried in order, and the one before the first that holds is closed in on by halves.

use super::explain::Explainer;
use crate::engine::EngineError;
use crate::engine::evaluate::{self, Answer, Eligibility};
use crate::model::{Period, Value, at_local};
use crate::rule::compiled::{Crossing, Reach, Subject, Window};
use crate::rule::condition::{Condition, Moment, Quantity, Test};
use crate::rule::operands::Operand;
use futures::TryStreamExt;
use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use tokio::time::Instant;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// When an answer becomes yes by time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    Never,
    At(Timestamp),
    /// Not up to then; what comes after was not looked at, as a person waits for the answer.
    NotUntil(Timestamp),
}

impl Later {
    #[must_use]
    pub const fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Never | Self::NotUntil(_) => None,
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy)]
pub(super) enum Question<'a> {
    /// Every term of the rule holds for who crossed so.
    Matches(Option<&'a Crossing>),
    /// The record is in the rule's segment.
    Inside,
    /// It is there, and not in it.
    Outside,
}

impl Explainer<'_> {
    /// The first instant after `from` at which the answer is yes, as far as time alone brings it about.
    pub(super) async fn first(
        &self,
        question: Question<'_>,
        conditions: impl Iterator<Item = &Condition>,
        operands: &[Operand],
        from: Timestamp,
    ) -> Result<Later, EngineError> {
        let mut periods = Vec::new();
        let mut relative = false;
        for condition in conditions {
            relative |= periods_of(condition, &mut periods);
        }
        if !relative {
            return Ok(Later::Never);
        }
        let (began, mut before) = (Instant::now(), from);
        for point in self.points(&periods, operands, from) {
            if began.elapsed() >= self.patience {
                return Ok(Later::NotUntil(before));
            }
            if self.holds(question, point).await? {
                return Ok(Later::At(self.close_in(question, before, point).await?));
            }
            before = point;
        }
        Ok(Later::Never)
    }

    /// The first second at which it holds, between one at which it doesn't and one at which it does.
    async fn close_in(
        &self,
        question: Question<'_>,
        mut not: Timestamp,
        mut yes: Timestamp,
    ) -> Result<Timestamp, EngineError> {
        while yes.duration_since(not) > SECOND {
            let half = SignedDuration::from_secs((yes.duration_since(not).as_secs() / 2).max(1));
            let middle = not.saturating_add(half).unwrap_or(yes);
            if middle >= yes {
                break;
            }
            *(if self.holds(question, middle).await? { &mut yes } else { &mut not }) = middle;
        }
        Ok(yes)
    }

    async fn holds(&self, question: Question<'_>, at: Timestamp) -> Result<bool, EngineError> {
        match question {
            Question::Matches(crossing) => Ok(self.eligible(crossing, at).await? == Some(Eligibility::Match)),
            Question::Outside => Ok(!self.is_inside(at).await?),
            Question::Inside => self.is_inside(at).await,
        }
    }

    async fn is_inside(&self, at: Timestamp) -> Result<bool, EngineError> {
        let window = Window { after: at, until: at, now: at };
        let keys = std::slice::from_ref(&self.record.key);
        for statement in self.rule.crossings(Reach::Of(window, keys)) {
            if self.previewer.source.rows(&self.record.tenant, statement).try_next().await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the rule would say of it at that instant; `None`: it can't be judged.
    pub(super) async fn eligible(
        &self,
        crossing: Option<&Crossing>,
        at: Timestamp,
    ) -> Result<Option<Eligibility>, EngineError> {
        let subject = crossing.map_or_else(
            || Subject { key: self.record.key.clone(), since: Some(at), entered: None },
            |crossing| evaluate::subject(self.rule, crossing, at),
        );
        let (source, asked) = (self.previewer.source, std::slice::from_ref(&subject));
        let answer = evaluate::ask(source, self.rule, &self.record.tenant, asked, at).await?.pop();
        let Some(Answer::Facts(facts)) = answer else { return Ok(None) };
        Ok(Some(evaluate::eligibility(self.rule, &facts, at)))
    }

    /// Where an answer may change: a period from now on, and from what stands in the record's fields.
    fn points(&self, periods: &[Period], operands: &[Operand], from: Timestamp) -> BTreeSet<Timestamp> {
        let zone = &self.previewer.generation.catalog.time_zone;
        let mut points: BTreeSet<Timestamp> = periods.iter().map(|period| period.after(from, zone)).collect();
        for value in operands.iter().map(|operand| &operand.value) {
            let Some(instant) = (match value {
                Value::Instant(at) => Some(*at),
                Value::Date(day) => Some(at_local(day.to_datetime(Time::midnight()), zone)),
                Value::Naive(local) => Some(at_local(*local, zone)),
                _ => None,
            }) else {
                continue;
            };
            points.insert(instant);
            for period in periods {
                points.extend([period.after(instant, zone), period.before(instant, zone)]);
            }
        }
        // A day counts as a whole, and "longer ago than" begins after it.
        let day = SignedDuration::from_hours(25);
        let beyond = |at: &Timestamp| [at.saturating_add(SECOND).ok(), at.saturating_add(day).ok()];
        points.iter().flat_map(beyond).flatten().filter(|at| *at > from).collect()
    }
}

/// Gathers a condition's periods; whether time has a part in it.
fn periods_of(condition: &Condition, periods: &mut Vec<Period>) -> bool {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().fold(false, |relative, part| periods_of(part, periods) | relative)
        }
        Condition::Not(inner) => periods_of(inner, periods),
        Condition::Field { test, .. } | Condition::Score(test) => periods_of_test(test, periods),
        Condition::Saved(_) => false,
        Condition::Related(related) => {
            let mut relative =
                related.at.iter().fold(false, |relative, test| periods_of_test(test, periods) | relative);
            for part in &related.filter {
                relative |= periods_of(part, periods);
            }
            match &related.quantity {
                Quantity::Some | Quantity::None => relative,
                Quantity::Count(test)
                | Quantity::Sum { test, .. }
                | Quantity::Min { test, .. }
                | Quantity::Max { test, .. } => periods_of_test(test, periods) | relative,
            }
        }
    }
}

fn periods_of_test(test: &Test, periods: &mut Vec<Period>) -> bool {
    match test {
        Test::OlderThan(period)
        | Test::WithinLast(period)
        | Test::WithinNext(period)
        | Test::Before(Moment::Ago(period) | Moment::Ahead(period))
        | Test::After(Moment::Ago(period) | Moment::Ahead(period)) => {
            periods.push(*period);
            true
        }
        Test::Before(Moment::Now | Moment::Today) | Test::After(Moment::Now | Moment::Today) => true,
        Test::Both(tests) => tests.iter().fold(false, |relative, test| periods_of_test(test, periods) | relative),
        _ => false,
    }
}

//! The script's score in conditions: what it came to, and conditions that SQL answers in part.
//!
//! SQL goes first. A condition with `score: {…}` in it is cut into the largest parts that SQL can answer; their
//! answers and the score are put together here, three-valued as SQL does it. A score that nobody asked for, or
//! that failed, is unknown. What earlier steps have kept (`saved.NAME`) is put in the same way.

use super::condition::{Condition, Test};
use super::saved::SavedTest;
use crate::model::Value;
use rust_decimal::Decimal;
use serde_json::Value as Json;

/// What the script's `score` came to for a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Score {
    /// No condition needed it.
    #[default]
    NotAsked,
    Is(Decimal),
    /// `scripts/vip.rhai:3: a value is missing`. Never with a value of the record.
    Failed(String),
}

impl Score {
    #[must_use]
    pub const fn number(&self) -> Option<Decimal> {
        match self {
            Self::Is(number) => Some(*number),
            Self::NotAsked | Self::Failed(_) => None,
        }
    }
}

/// A condition, cut where SQL ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cut<T> {
    Sql(T),
    Score(Test),
    Saved(SavedTest),
    All(Vec<Cut<T>>),
    Any(Vec<Cut<T>>),
    Not(Box<Cut<T>>),
}

/// What is known beside SQL's answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside<'a> {
    pub score: Option<Decimal>,
    /// What the steps before have kept.
    pub saved: Option<&'a Json>,
}

impl<'a> Cut<&'a Condition> {
    pub fn of(condition: &'a Condition) -> Self {
        if !condition.asks_score() && !condition.asks_saved() {
            return Self::Sql(condition);
        }
        match condition {
            Condition::All(parts) => Self::All(parts.iter().map(Self::of).collect()),
            Condition::Any(parts) => Self::Any(parts.iter().map(Self::of).collect()),
            Condition::Not(inner) => Self::Not(Box::new(Self::of(inner))),
            Condition::Score(test) => Self::Score(test.clone()),
            Condition::Saved(test) => Self::Saved(test.clone()),
            Condition::Field { .. } | Condition::Related(_) => Self::Sql(condition),
        }
    }
}

impl<T> Cut<T> {
    /// Puts something else in the place of each part of SQL, in order.
    pub fn try_map<U, E>(self, put: &mut impl FnMut(T) -> Result<U, E>) -> Result<Cut<U>, E> {
        Ok(match self {
            Self::All(parts) => Cut::All(parts.into_iter().map(|part| part.try_map(put)).collect::<Result<_, E>>()?),
            Self::Any(parts) => Cut::Any(parts.into_iter().map(|part| part.try_map(put)).collect::<Result<_, E>>()?),
            Self::Not(inner) => Cut::Not(Box::new(inner.try_map(put)?)),
            Self::Sql(part) => Cut::Sql(put(part)?),
            Self::Score(test) => Cut::Score(test),
            Self::Saved(test) => Cut::Saved(test),
        })
    }

    /// How many parts SQL answers.
    pub fn parts(&self) -> usize {
        match self {
            Self::Sql(_) => 1,
            Self::Score(_) | Self::Saved(_) => 0,
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::parts).sum(),
            Self::Not(inner) => inner.parts(),
        }
    }

    /// Whether SQL doesn't answer it alone.
    pub const fn is_cut(&self) -> bool {
        !matches!(self, Self::Sql(_))
    }

    /// Whether the score has a part in it.
    pub fn asks_score(&self) -> bool {
        match self {
            Self::Score(_) => true,
            Self::Sql(_) | Self::Saved(_) => false,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::asks_score),
            Self::Not(inner) => inner.asks_score(),
        }
    }

    /// Whether what was kept has a part in it.
    pub fn asks_saved(&self) -> bool {
        match self {
            Self::Saved(_) => true,
            Self::Sql(_) | Self::Score(_) => false,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::asks_saved),
            Self::Not(inner) => inner.asks_saved(),
        }
    }

    /// `answers` are SQL's, in the order of the parts.
    pub fn judge(&self, answers: &mut impl Iterator<Item = Option<bool>>, beside: Beside<'_>) -> Option<bool> {
        match self {
            Self::Sql(_) => answers.next().flatten(),
            Self::Score(test) => beside.score.map(|score| holds(test, score)),
            Self::Saved(test) => test.holds(beside.saved?),
            Self::Not(inner) => inner.judge(answers, beside).map(|holds| !holds),
            Self::All(parts) => fold(parts, answers, beside, false),
            Self::Any(parts) => fold(parts, answers, beside, true),
        }
    }
}

/// `decisive` from one part decides; else unknown from one part is unknown. Every part takes its answers.
fn fold<T>(
    parts: &[Cut<T>],
    answers: &mut impl Iterator<Item = Option<bool>>,
    beside: Beside<'_>,
    decisive: bool,
) -> Option<bool> {
    let mut told = Some(!decisive);
    for part in parts {
        match part.judge(answers, beside) {
            Some(answer) if answer == decisive => told = Some(decisive),
            None if told != Some(decisive) => told = None,
            Some(_) | None => {}
        }
    }
    told
}

/// Whether a score passes a test. Checked rules test scores as numbers only.
pub(crate) fn holds(test: &Test, score: Decimal) -> bool {
    let compared = |value: &Value, holds: fn(std::cmp::Ordering) -> bool| {
        number(value).is_some_and(|number| holds(score.cmp(&number)))
    };
    let equal = |value: &Value| number(value) == Some(score);
    match test {
        Test::Equals(value) => equal(value),
        Test::NotEquals(value) => !equal(value),
        Test::In(values) => values.iter().any(equal),
        Test::NotIn(values) => !values.iter().any(equal),
        Test::AtLeast(value) => compared(value, std::cmp::Ordering::is_ge),
        Test::AtMost(value) => compared(value, std::cmp::Ordering::is_le),
        Test::Above(value) => compared(value, std::cmp::Ordering::is_gt),
        Test::Below(value) => compared(value, std::cmp::Ordering::is_lt),
        Test::Between(low, high) => {
            compared(low, std::cmp::Ordering::is_ge) && compared(high, std::cmp::Ordering::is_le)
        }
        Test::Both(tests) => tests.iter().all(|test| holds(test, score)),
        Test::Present => true,
        Test::Contains(_)
        | Test::StartsWith(_)
        | Test::EndsWith(_)
        | Test::Missing
        | Test::Before(_)
        | Test::After(_)
        | Test::OlderThan(_)
        | Test::WithinLast(_)
        | Test::WithinNext(_) => false,
    }
}

/// A constant of a condition as a number, if it is one.
pub(super) fn number(value: &Value) -> Option<Decimal> {
    use rust_decimal::prelude::FromPrimitive;
    match value {
        Value::Int(number) => Some(Decimal::from(*number)),
        Value::Decimal(number) => Some(*number),
        Value::Float(number) => Decimal::from_f64(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_least(number: &str) -> Condition {
        Condition::Score(Test::AtLeast(Value::Decimal(number.parse().unwrap())))
    }

    fn field() -> Condition {
        Condition::Field { field: "country".into(), test: Test::Present }
    }

    fn judged(condition: &Condition, sql: &[Option<bool>], score: Option<&str>) -> Option<bool> {
        let cut = Cut::of(condition);
        assert_eq!(cut.parts(), sql.len());
        let mut answers = sql.iter().copied();
        let answer = cut.judge(&mut answers, Beside { score: score.map(|score| score.parse().unwrap()), saved: None });
        assert_eq!(answers.next(), None, "every part took its answer");
        answer
    }

    #[test]
    fn sql_and_score_are_put_together_as_sql_would() {
        let (t, f) = (Some(true), Some(false));
        let all = Condition::All(vec![field(), at_least("0.7")]);
        let any = Condition::Any(vec![at_least("0.7"), field()]);
        let not = Condition::Not(Box::new(at_least("0.7")));
        for (condition, sql, score, expected) in [
            (&all, vec![t], Some("0.7"), t),
            (&all, vec![t], Some("0.69"), f),
            (&all, vec![f], None, f),
            (&all, vec![None], Some("0.1"), f),
            (&all, vec![t], None, None),
            (&any, vec![t], None, t),
            (&any, vec![f], None, None),
            (&any, vec![f], Some("1"), t),
            (&any, vec![None], Some("0"), None),
            (&not, vec![], Some("0"), t),
            (&not, vec![], None, None),
        ] {
            assert_eq!(judged(condition, &sql, score), expected, "{condition:?} {sql:?} {score:?}");
        }
    }

    #[test]
    fn what_sql_can_answer_stays_whole() {
        let inner = Condition::Any(vec![field(), Condition::Not(Box::new(field()))]);
        assert!(!Cut::of(&inner).is_cut());
        let mixed = Condition::All(vec![inner, at_least("1")]);
        assert_eq!(Cut::of(&mixed).parts(), 1);
    }
}

//! The steps of a checked rule: what each is, and what follows it.

use super::checked::{Action, Offset};
use super::condition::Condition;
use crate::model::{FieldName, Period, RecordId, RuleId, StepId, Unit};
use jiff::civil::{Time, Weekday};
use sha2::{Digest, Sha256};

/// One step. `next` is the index of the following node, `None` the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub id: StepId,
    pub step: Step,
    pub next: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Wait(Wait),
    /// The first case that holds; otherwise `otherwise`; otherwise `next`.
    Branch {
        cases: Vec<Case>,
        otherwise: Option<usize>,
    },
    Split(Split),
    /// The record starts the steps of another rule as well.
    Enroll(RuleId),
    Stop,
    Act(Action),
}

impl Step {
    /// The first nodes of the lists of steps within it.
    #[must_use]
    pub fn inner(&self) -> Vec<usize> {
        match self {
            Self::Branch { cases, otherwise } => cases.iter().filter_map(|case| case.first).chain(*otherwise).collect(),
            Self::Split(split) => split.arms.iter().filter_map(|arm| arm.first).collect(),
            Self::Wait(Wait { until: Until::When(when), .. }) => when.otherwise.into_iter().collect(),
            Self::Wait(Wait { until: Until::Date(UntilDate { without: Some(first), .. }), .. }) => {
                first.iter().copied().collect()
            }
            Self::Wait(_) | Self::Enroll(_) | Self::Stop | Self::Act(_) => Vec::new(),
        }
    }

    /// The action, if it is one.
    #[must_use]
    pub const fn action(&self) -> Option<&Action> {
        if let Self::Act(action) = self { Some(action) } else { None }
    }

    /// The conditions within it, each with its number.
    #[must_use]
    pub fn conditions(&self) -> Vec<&Condition> {
        match self {
            Self::Branch { cases, .. } => cases.iter().map(|case| &case.when).collect(),
            Self::Wait(Wait { until: Until::When(when), .. }) => vec![&when.when],
            _ => Vec::new(),
        }
    }
}

/// A time to let pass. Never ends before it began.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub until: Until,
    /// A local time to go on to.
    pub at: Option<Time>,
    /// Days of the week to go on to; empty: any.
    pub days: Vec<Weekday>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Until {
    /// In days or longer, with `at`: that many days on, at that local time, whatever the hour it began. Shorter or
    /// none, with `at`: the first such time once it has passed.
    For(Option<Period>),
    /// The same, counted from the match.
    AfterEntry(Period),
    Date(UntilDate),
    When(Box<UntilWhen>),
}

/// A date of the record, which is read again while the wait goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct UntilDate {
    pub field: FieldName,
    pub offset: Offset,
    /// What follows where there is no date; `None`: the end.
    pub without: Option<Option<usize>>,
}

/// A condition that is asked again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct UntilWhen {
    pub when: Condition,
    pub text: String,
    pub at_most: Period,
    pub check_every: Period,
    /// Taken when the time is up.
    pub otherwise: Option<usize>,
}

impl Wait {
    /// Whether its end depends on the zone or the calendar, which may change while it goes on.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let by_calendar = match &self.until {
            Until::For(Some(period)) | Until::AfterEntry(period) => period.unit == Unit::BusinessDay,
            Until::For(None) | Until::Date(_) | Until::When(_) => false,
        };
        by_calendar || self.at.is_some() || !self.days.is_empty()
    }
}

/// Each record takes one arm, and always the same one.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    pub salt: String,
    pub arms: Vec<Arm>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    pub name: String,
    pub weight: u32,
    /// What follows; of a holdout nothing does.
    pub first: Option<usize>,
    /// The sequence ends here, for comparison.
    pub holdout: bool,
}

impl Split {
    /// The arm of a record. It follows from salt and record alone, so it is the same after a restart, a second match
    /// or a restore.
    #[must_use]
    pub fn arm(&self, record: &RecordId) -> Option<&Arm> {
        let mut hash = Sha256::new();
        for part in [&self.salt, record.tenant.as_str(), record.entity.as_str(), record.key.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut drawn = [0; 8];
        drawn.copy_from_slice(&hash.finalize()[..8]);
        let total: u64 = self.arms.iter().map(|arm| u64::from(arm.weight)).sum();
        let mut place = (u128::from(u64::from_be_bytes(drawn)) * u128::from(total)) >> 64;
        self.arms.iter().find(|arm| {
            let weight = u128::from(arm.weight);
            let taken = place < weight;
            place = place.saturating_sub(weight);
            taken
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub name: String,
    pub when: Condition,
    pub text: String,
    pub first: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(salt: &str, weights: &[u32]) -> Split {
        let arm =
            |(n, weight): (usize, &u32)| Arm { name: n.to_string(), weight: *weight, first: None, holdout: false };
        Split { salt: salt.to_owned(), arms: weights.iter().enumerate().map(arm).collect() }
    }

    fn record(key: usize) -> RecordId {
        RecordId { tenant: "".into(), entity: "customer".into(), key: key.to_string().as_str().into() }
    }

    #[test]
    fn arms_get_their_shares() {
        let split = split("renewal/split", &[5, 3, 2, 0]);
        let mut counts = [0; 4];
        for key in 0..20_000 {
            counts[split.arm(&record(key)).unwrap().name.parse::<usize>().unwrap()] += 1;
        }
        for (count, share) in counts.iter().zip([10_000, 6_000, 4_000, 0_i32]) {
            // Five standard deviations of the widest arm.
            assert!((count - share).abs() < 350, "{counts:?}");
        }
        assert_eq!(counts[3], 0);
    }

    #[test]
    fn an_arm_is_for_ever() {
        // Written down: another hash would move people between arms in the middle of an experiment.
        let drawn = |salt| -> String {
            let split = split(salt, &[1, 1]);
            (1..=16).map(|key| split.arm(&record(key)).unwrap().name.as_str().to_owned()).collect()
        };
        assert_eq!(drawn("renewal/split"), drawn("renewal/split"));
        assert_eq!(drawn("renewal/split"), "1100100100000100");
        assert_ne!(drawn("renewal/split"), drawn("other"), "another salt draws anew");
    }
}

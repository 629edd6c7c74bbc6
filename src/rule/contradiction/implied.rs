//! What is true of whoever crosses, by the trigger alone.

use crate::model::{FieldName, Period, RelationName, Unit, Value};
use crate::rule::checked::{Backfill, Cadence, Count, Created, Trigger};
use crate::rule::condition::{Condition, Moment, Quantity, Related, Test};

/// Conditions that hold for every record at the moment it crosses. What isn't certain is left out.
pub(in crate::rule) fn implied(trigger: &Trigger) -> Vec<Condition> {
    let rows = |of: &RelationName, quantity, at| {
        Condition::Related(Related { relation: of.clone(), filter: Vec::new(), at, since_entry: false, quantity })
    };
    let some = |of: &RelationName| vec![rows(of, Quantity::Some, None)];
    let is = |field: &FieldName, test| vec![Condition::Field { field: field.clone(), test }];
    match trigger {
        Trigger::Inactivity(inactivity) => {
            let of = &inactivity.of;
            let mut found = vec![rows(of, Quantity::None, Some(Test::WithinLast(inactivity.silent_for)))];
            // With a fallback it also crosses for those who never had any.
            if inactivity.fallback.is_none() {
                found.extend(some(of));
            }
            found
        }
        Trigger::Survey(survey) => some(&survey.of),
        Trigger::Count(count) => counted(count),
        Trigger::Decline(decline) => some(&decline.of),
        Trigger::Abandoned(abandoned) => match &abandoned.of {
            // The cart is one, and open.
            Some(of) => {
                let open = abandoned.open.iter().map(|term| term.condition.clone()).collect();
                let quantity = Quantity::Some;
                let open = Related { relation: of.clone(), filter: open, at: None, since_entry: false, quantity };
                some(of).into_iter().chain([Condition::Related(open)]).collect()
            }
            None => abandoned.open.iter().map(|term| term.condition.clone()).collect(),
        },
        Trigger::Segment(segment) if !segment.leaves => {
            segment.when.iter().map(|term| term.condition.clone()).collect()
        }
        Trigger::Date(date) => is(&date.field, Test::Present),
        Trigger::Yearly(yearly) => is(&yearly.field, Test::Present),
        Trigger::Created(created) => is(&created.at, Test::Present),
        Trigger::Changed(changed) => changed.to.iter().map(|to| turned(&changed.field, to)).collect(),
        Trigger::Segment(_) | Trigger::Schedule(_) | Trigger::Query(_) | Trigger::Event(_) | Trigger::Enrolled => {
            Vec::new()
        }
    }
}

/// What a watched field is now: one of these, of which null is a missing value.
fn turned(field: &FieldName, to: &[Value]) -> Condition {
    let (missing, values): (Vec<&Value>, Vec<&Value>) = to.iter().partition(|value| value.is_missing());
    let is = |test| Condition::Field { field: field.clone(), test };
    let missing = missing.first().map(|_| is(Test::Missing));
    let values = (!values.is_empty()).then(|| is(Test::In(values.into_iter().cloned().collect())));
    Condition::Any(missing.into_iter().chain(values).collect())
}

/// How the nightly reading of late facts reaches back, and how late a sweep may be before it counts as too late.
const LATE: Period = Period::days(7);

/// That nobody crosses who has been there for much longer than the trigger waits. A sweep may be late, and so may a
/// fact; only what is older than both together never crosses.
pub(in crate::rule) fn youngest(
    created: &Created,
    (keep_trying, late): (Option<Period>, Option<Period>),
    backfill: Backfill,
    cadence: &Cadence,
) -> Option<Condition> {
    let (Cadence::Every(every), Backfill::None | Backfill::Since(_)) = (cadence, backfill) else { return None };
    let since = if let Backfill::Since(since) = backfill { since.max_seconds() } else { 0 };
    let trying = keep_trying.map_or(0, Period::max_seconds);
    let lengths = [created.settle, LATE, late.unwrap_or(LATE), *every].map(Period::max_seconds);
    // Over columns of days the first and the last day count whole.
    let days = (lengths.iter().sum::<i64>() + trying + since).div_euclid(86_400) + 2;
    let oldest = Period::new(u32::try_from(days).ok()?, Unit::Day);
    let (field, test) = (created.at.clone(), Test::After(Moment::Ago(oldest)));
    Some(Condition::Field { field, test })
}

/// So many rows lie in its window, and so at least as many anywhere, and at least as many that needn't pass its filter.
fn counted(count: &Count) -> Vec<Condition> {
    let quantity = || Quantity::Count(Test::AtLeast(Value::Int(i64::try_from(count.at_least).unwrap_or(i64::MAX))));
    let rows = |filter: &[Condition], at| {
        let (relation, filter) = (count.of.clone(), filter.to_vec());
        Condition::Related(Related { relation, filter, at, since_entry: false, quantity: quantity() })
    };
    let filters: &[&[Condition]] = if count.only.is_empty() { &[&[]] } else { &[&[], &count.only] };
    let found =
        filters.iter().flat_map(|filter| [rows(filter, None), rows(filter, Some(Test::WithinLast(count.within)))]);
    found.collect()
}

//! What is true of whoever crosses, by the trigger alone.

use crate::model::{FieldName, RelationName, Value};
use crate::rule::checked::{Count, Trigger};
use crate::rule::condition::{Condition, Quantity, Related, Test};

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
            Some(of) => some(of),
            None => abandoned.open.iter().map(|term| term.condition.clone()).collect(),
        },
        Trigger::Segment(segment) if !segment.leaves => {
            segment.when.iter().map(|term| term.condition.clone()).collect()
        }
        Trigger::Date(date) => is(&date.field, Test::Present),
        Trigger::Yearly(yearly) => is(&yearly.field, Test::Present),
        Trigger::Created(created) => is(&created.at, Test::Present),
        Trigger::Changed(changed) => {
            changed.to.iter().flat_map(|to| is(&changed.field, Test::In(to.clone()))).collect()
        }
        Trigger::Segment(_) | Trigger::Schedule(_) | Trigger::Query(_) | Trigger::Event(_) | Trigger::Enrolled => {
            Vec::new()
        }
    }
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

//! What must hold where a condition must not: the same without `not`, as far as that can be said.

use crate::rule::condition::{Condition, Quantity, Related, Test};

/// Without any `not` whose opposite is known. Where it isn't, nothing is asked in its place, which only makes more
/// possible.
pub(super) fn plain(condition: &Condition) -> Condition {
    match condition {
        Condition::All(parts) => Condition::All(parts.iter().map(plain).collect()),
        Condition::Any(parts) => Condition::Any(parts.iter().map(plain).collect()),
        Condition::Not(inner) => opposite(inner).unwrap_or(Condition::All(Vec::new())),
        other => other.clone(),
    }
}

/// Null matches neither a condition nor its opposite, so the opposite of a test is one of values that are there.
pub(super) fn opposite(condition: &Condition) -> Option<Condition> {
    Some(match condition {
        // One of these fails; if any of them is beyond us, nothing is known.
        Condition::All(parts) => Condition::Any(parts.iter().map(opposite).collect::<Option<_>>()?),
        Condition::Any(parts) => Condition::All(parts.iter().filter_map(opposite).collect()),
        Condition::Not(inner) => plain(inner),
        Condition::Field { field, test } => {
            let tests = opposites(test)?;
            let one = |test| Condition::Field { field: field.clone(), test };
            Condition::Any(tests.into_iter().map(one).collect())
        }
        Condition::Score(test) => Condition::Any(opposites(test)?.into_iter().map(Condition::Score).collect()),
        Condition::Related(related) => {
            let quantities = match &related.quantity {
                Quantity::Some => vec![Quantity::None],
                Quantity::None => vec![Quantity::Some],
                Quantity::Count(test) => opposites(test)?.into_iter().map(Quantity::Count).collect(),
                Quantity::Sum { .. } | Quantity::Min { .. } | Quantity::Max { .. } => return None,
            };
            let one = |quantity| Condition::Related(Related { quantity, ..related.clone() });
            Condition::Any(quantities.into_iter().map(one).collect())
        }
        Condition::Saved(_) => return None,
    })
}

/// One of these holds where the test fails. `None`: nothing can be said.
pub(super) fn opposites(test: &Test) -> Option<Vec<Test>> {
    let one = |test: Test| Some(vec![test]);
    match test {
        Test::Equals(value) => one(Test::NotEquals(value.clone())),
        Test::NotEquals(value) => one(Test::Equals(value.clone())),
        Test::In(values) => one(Test::NotIn(values.clone())),
        Test::NotIn(values) => one(Test::In(values.clone())),
        Test::AtLeast(value) => one(Test::Below(value.clone())),
        Test::AtMost(value) => one(Test::Above(value.clone())),
        Test::Above(value) => one(Test::AtMost(value.clone())),
        Test::Below(value) => one(Test::AtLeast(value.clone())),
        Test::Between(low, high) => Some(vec![Test::Below(low.clone()), Test::Above(high.clone())]),
        Test::Present => one(Test::Missing),
        Test::Missing
        | Test::OlderThan(_)
        | Test::Contains(_)
        | Test::StartsWith(_)
        | Test::EndsWith(_)
        | Test::Before(_)
        | Test::After(_)
        | Test::WithinLast(_)
        | Test::WithinNext(_) => one(Test::Present),
        Test::Both(tests) => {
            let each: Option<Vec<Vec<Test>>> = tests.iter().map(opposites).collect();
            Some(each?.into_iter().flatten().collect())
        }
    }
}

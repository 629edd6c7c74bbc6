//! Cases that nobody takes because an earlier one takes everybody who fits.

use super::negated::{opposite, opposites, plain};
use super::{Ground, MOST, Together, flat};
use crate::model::FieldName;
use crate::rule::condition::{Condition, Moment, Test};

/// Whether all of `holds` can't hold where every one of `failed` doesn't.
pub(in crate::rule) fn taken_before(ground: Option<Ground<'_>>, holds: &[&Condition], failed: &[&Condition]) -> bool {
    let granted = flat(holds.iter().copied());
    if failed.iter().any(|condition| flat([*condition]).iter().all(|part| granted.contains(part))) {
        return true;
    }
    let plain: Vec<Condition> =
        holds.iter().map(|condition| plain(condition)).chain(failed.iter().filter_map(|one| failing(one))).collect();
    Together::of(ground, &plain).clash(&mut { MOST }).is_some()
}

/// What is so where a condition isn't true, be it false or unknown: what is missing answers nothing. `None`: nothing
/// can be said.
fn failing(condition: &Condition) -> Option<Condition> {
    Some(match condition {
        Condition::All(parts) => Condition::Any(parts.iter().map(failing).collect::<Option<_>>()?),
        Condition::Any(parts) => Condition::All(parts.iter().filter_map(failing).collect()),
        Condition::Not(inner) => match &**inner {
            Condition::Field { field, .. } => Condition::Any(vec![plain(inner), of(field, Test::Missing)]),
            _ => return None,
        },
        Condition::Field { field, test } => {
            Condition::Any(failures(test)?.into_iter().map(|test| of(field, test)).collect())
        }
        // There are so many rows or there aren't, and a score is never missing.
        Condition::Related(_) | Condition::Score(_) => opposite(condition)?,
        Condition::Saved(_) => return None,
    })
}

fn of(field: &FieldName, test: Test) -> Condition {
    Condition::Field { field: field.clone(), test }
}

/// One of these holds where the test doesn't.
fn failures(test: &Test) -> Option<Vec<Test>> {
    let present = match test {
        Test::Missing | Test::Present => return opposites(test),
        Test::Both(tests) => {
            let each: Option<Vec<Vec<Test>>> = tests.iter().map(failures).collect();
            return Some(each?.into_iter().flatten().collect());
        }
        Test::OlderThan(period) => vec![Test::After(Moment::Ago(*period))],
        Test::WithinLast(period) => vec![Test::OlderThan(*period), Test::After(Moment::Now)],
        other => opposites(other)?,
    };
    Some(present.into_iter().chain([Test::Missing]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Period, RelationName, Value};
    use crate::rule::condition::{Quantity, Related};

    fn field(name: &str, test: Test) -> Condition {
        of(&FieldName::from(name), test)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn orders(quantity: Quantity) -> Condition {
        let relation = RelationName::from("orders");
        Condition::Related(Related { relation, filter: vec![], at: None, since_entry: false, quantity })
    }

    fn taken(holds: &[Condition], failed: &[Condition]) -> bool {
        taken_before(None, &holds.iter().collect::<Vec<_>>(), &failed.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_an_earlier_case_takes_whole_is_told() {
        let is = |value: &str| field("country", Test::Equals(text(value)));
        let (days, name) = (Period::days, || field("name", Test::Contains("x".into())));
        let count = |test| orders(Quantity::Count(test));
        for (holds, failed) in [
            (vec![field("country", Test::In(vec![text("AT")]))], vec![is("AT")]),
            (vec![field("country", Test::In(vec![text("AT"), text("DE")]))], vec![is("AT"), is("DE")]),
            (vec![is("AT"), field("tier", Test::Missing)], vec![is("AT")]),
            (vec![name(), is("AT")], vec![name()]),
            (vec![name(), is("AT"), field("tier", Test::Missing)], vec![Condition::All(vec![name(), is("AT")])]),
            (vec![is("AT")], vec![Condition::Any(vec![is("DE"), is("AT")])]),
            (vec![field("country", Test::Missing)], vec![field("country", Test::Missing)]),
            (vec![field("n", Test::AtLeast(Value::Int(9)))], vec![field("n", Test::AtLeast(Value::Int(5)))]),
            (vec![field("t", Test::OlderThan(days(60)))], vec![field("t", Test::OlderThan(days(30)))]),
            (vec![field("t", Test::WithinLast(days(30)))], vec![field("t", Test::WithinLast(days(60)))]),
            (vec![count(Test::AtLeast(Value::Int(3)))], vec![orders(Quantity::Some)]),
            (vec![is("AT")], vec![Condition::Not(Box::new(is("DE")))]),
        ] {
            assert!(taken(&holds, &failed), "{holds:?} after {failed:?}");
        }
    }

    /// Most of all what is missing, for which a case neither holds nor its opposite does.
    #[test]
    fn what_somebody_still_takes_is_left_alone() {
        let is = |value: &str| field("country", Test::Equals(text(value)));
        let not = |condition| Condition::Not(Box::new(condition));
        let days = Period::days;
        for (holds, failed) in [
            (vec![is("AT")], vec![is("DE")]),
            (vec![field("country", Test::Missing)], vec![is("AT"), not(is("AT"))]),
            (vec![is("AT")], vec![Condition::All(vec![is("AT"), field("tier", Test::Present)])]),
            (vec![field("country", Test::Present)], vec![is("AT"), is("DE")]),
            (vec![field("t", Test::OlderThan(days(30)))], vec![field("t", Test::OlderThan(days(60)))]),
            (vec![field("t", Test::WithinLast(days(60)))], vec![field("t", Test::WithinLast(days(30)))]),
            (vec![field("t", Test::WithinNext(days(9)))], vec![field("t", Test::WithinLast(days(9)))]),
            (vec![orders(Quantity::Some)], vec![orders(Quantity::Count(Test::AtLeast(Value::Int(3))))]),
            (vec![field("name", Test::Contains("x".into()))], vec![field("name", Test::Contains("xy".into()))]),
            (vec![is("AT")], vec![]),
        ] {
            assert!(!taken(&holds, &failed), "{holds:?} after {failed:?}");
        }
    }
}

//! Conditions that can never hold together: a rule that matches nobody, a case that nobody takes.
//!
//! It knows bounds, lists, words and presence of one value, and looks into `any`, related rows and their counts.
//! What it doesn't know it takes for possible, so a warning is never wrong.

use super::condition::{Condition, Quantity, Related, Test};
use crate::model::Value;
use rust_decimal::Decimal;
use std::cmp::Ordering;
use std::collections::BTreeMap;

mod earlier;
mod ground;
mod implied;
mod negated;
mod times;

pub(in crate::rule) use earlier::taken_before;
pub(in crate::rule) use ground::Ground;
pub(in crate::rule) use implied::{implied, youngest};

/// Alternatives that are tried at most: more are taken for possible.
const MOST: usize = 1_000;

/// The name of what is asked to be two things at once.
pub(in crate::rule) fn clash<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Option<String> {
    clash_on(None, conditions)
}

/// As [`clash`], of rows of which the catalog says something as well.
pub(in crate::rule) fn clash_on<'a>(
    ground: Option<Ground<'_>>,
    conditions: impl IntoIterator<Item = &'a Condition>,
) -> Option<String> {
    let conditions: Vec<&Condition> = conditions.into_iter().collect();
    if let Some(name) = denied(&conditions) {
        return Some(name);
    }
    let plain: Vec<Condition> = conditions.into_iter().map(negated::plain).collect();
    Together::of(ground, &plain).clash(&mut { MOST })
}

/// A condition that must hold and must not, whatever it says.
fn denied(conditions: &[&Condition]) -> Option<String> {
    let all = flat(conditions.iter().copied());
    let denied = all.iter().filter_map(|one| if let Condition::Not(inner) = one { Some(&**inner) } else { None });
    denied.filter(|inner| all.contains(inner)).find_map(|inner| match inner {
        Condition::Field { field, .. } => Some(field.to_string()),
        Condition::Related(related) => Some(related.relation.to_string()),
        Condition::Score(_) => Some("score".to_owned()),
        Condition::All(_) | Condition::Any(_) | Condition::Not(_) | Condition::Saved(_) => None,
    })
}

/// The single conditions that must all hold.
fn flat<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<&'a Condition> {
    let parts = conditions.into_iter().map(|condition| match condition {
        Condition::All(parts) => flat(parts),
        other => vec![other],
    });
    parts.flatten().collect()
}

/// All that must hold.
#[derive(Clone, Default)]
struct Together<'a> {
    ground: Option<Ground<'a>>,
    fields: BTreeMap<&'a str, Vec<&'a Test>>,
    related: Vec<&'a Related>,
    any: Vec<&'a [Condition]>,
    scores: Option<Vec<&'a Test>>,
}

impl<'a> Together<'a> {
    fn of(ground: Option<Ground<'a>>, conditions: &'a [Condition]) -> Self {
        let mut together = Self { ground, ..Self::default() };
        for condition in conditions {
            together.add(condition);
        }
        together
    }

    fn add(&mut self, condition: &'a Condition) {
        match condition {
            Condition::All(inner) => inner.iter().for_each(|condition| self.add(condition)),
            Condition::Any(inner) if inner.len() == 1 => inner.iter().for_each(|condition| self.add(condition)),
            Condition::Any(inner) => self.any.push(inner),
            Condition::Field { field, test } => flatten(test, self.fields.entry(field.as_str()).or_default()),
            Condition::Related(related) => self.related.push(related),
            Condition::Score(test) => flatten(test, self.scores.get_or_insert_default()),
            Condition::Not(_) | Condition::Saved(_) => {}
        }
    }

    fn clash(&self, budget: &mut usize) -> Option<String> {
        let refuted = |name: &str, tests: &[&Test]| self.ground.is_some_and(|ground| ground.refutes(name, tests));
        let field = self.fields.iter().find(|(name, tests)| excluded(tests) || refuted(name, tests));
        let field = field.map(|(name, _)| (*name).to_owned());
        let score = self.scores.as_deref().filter(|tests| excluded(tests)).map(|_| "score".to_owned());
        field.or(score).or_else(|| self.related_clash()).or_else(|| self.none_of(budget))
    }

    /// What clashes with every alternative of one `any`, each beside those of all others.
    fn none_of(&self, budget: &mut usize) -> Option<String> {
        let mut others = self.any.clone();
        let alternatives = others.pop()?;
        let mut found = None;
        for alternative in alternatives {
            *budget = budget.checked_sub(1)?;
            let mut together = Self { any: others.clone(), ..self.clone() };
            together.add(alternative);
            found = Some(together.clash(budget)?);
        }
        found
    }

    fn related_clash(&self) -> Option<String> {
        for (place, related) in self.related.iter().enumerate() {
            let name = || Some(related.relation.as_str().to_owned());
            let ground = self.ground.and_then(|ground| ground.related(&related.relation));
            let needs_a_row = match &related.quantity {
                Quantity::Some | Quantity::Min { .. } | Quantity::Max { .. } => true,
                Quantity::Count(test) => excluded(&[test, &Test::Equals(Value::Int(0))]),
                Quantity::None | Quantity::Sum { .. } => false,
            };
            if needs_a_row
                && (clash_on(ground, &related.filter).is_some()
                    || related.at.as_ref().is_some_and(|at| excluded(&[at])))
            {
                return name();
            }
            if needs_a_row && self.related.iter().any(|other| covers(other, related)) {
                return name();
            }
            let alike = |other: &&&Related| {
                other.relation == related.relation
                    && other.filter == related.filter
                    && other.at == related.at
                    && other.since_entry == related.since_entry
            };
            let counts: Vec<&Related> = self.related[place..].iter().filter(alike).copied().collect();
            // Who has so many rows in a shorter time has them in a longer one as well.
            let within = self.related.iter().filter(|other| includes(related, other));
            let fewest: Vec<Test> = within.filter_map(|other| fewest(&other.quantity)).collect();
            let (any, none, one) =
                (Test::AtLeast(Value::Int(1)), Test::Equals(Value::Int(0)), Test::AtLeast(Value::Int(0)));
            let tests: Vec<&Test> = counts
                .iter()
                .map(|related| match &related.quantity {
                    Quantity::Some => &any,
                    Quantity::None => &none,
                    Quantity::Count(test) => test,
                    Quantity::Sum { .. } | Quantity::Min { .. } | Quantity::Max { .. } => &one,
                })
                .chain([&one])
                .chain(fewest.iter().filter(|_| counts_rows(&related.quantity)))
                .collect();
            if excluded(&tests) {
                return name();
            }
        }
        None
    }
}

/// Whether the first says that there is no row among which all of the second's are.
fn covers(none: &Related, some: &Related) -> bool {
    none.quantity == Quantity::None && includes(none, some)
}

/// Whether every row that the second counts is one of the first's.
fn includes(wide: &Related, narrow: &Related) -> bool {
    let longer = match (&wide.at, &narrow.at) {
        // Rows that are still to come don't count as rows, unless somebody asks for them.
        (None, None | Some(Test::WithinLast(_) | Test::OlderThan(_))) => true,
        (Some(Test::WithinLast(wide)), Some(Test::WithinLast(narrow))) => {
            times::lengths(*narrow, *wide).is_some_and(Ordering::is_le)
        }
        _ => false,
    };
    let passes = wide.filter.iter().all(|condition| narrow.filter.contains(condition));
    wide.relation == narrow.relation && !wide.since_entry && passes && longer
}

const fn counts_rows(quantity: &Quantity) -> bool {
    matches!(quantity, Quantity::Some | Quantity::None | Quantity::Count(_))
}

/// The least number of rows that there is.
fn fewest(quantity: &Quantity) -> Option<Test> {
    let Quantity::Count(test) = quantity else { return None };
    let mut tests = Vec::new();
    flatten(test, &mut tests);
    tests.into_iter().find_map(|test| match test {
        Test::AtLeast(least) | Test::Equals(least) | Test::Between(least, _) => Some(Test::AtLeast(least.clone())),
        Test::Above(less) => Some(Test::Above(less.clone())),
        _ => None,
    })
}

fn flatten<'a>(test: &'a Test, into: &mut Vec<&'a Test>) {
    match test {
        Test::Both(tests) => tests.iter().for_each(|test| flatten(test, into)),
        test => into.push(test),
    }
}

/// No value passes all of these.
fn excluded(tests: &[&Test]) -> bool {
    let mut flat = Vec::new();
    for test in tests {
        flatten(test, &mut flat);
    }
    let missing = flat.iter().any(|test| matches!(test, Test::Missing));
    if missing {
        return flat.iter().any(|test| !matches!(test, Test::Missing));
    }
    beyond_bounds(&flat) || none_allowed(&flat) || times::apart(&flat) || starts_apart(&flat)
}

/// Whether a bound, with the values that it allows itself, leaves room for the other.
fn beyond_bounds(tests: &[&Test]) -> bool {
    let low = |test: &Test| match test {
        Test::AtLeast(value) | Test::Between(value, _) => Some((value.clone(), true)),
        Test::Above(value) => Some((value.clone(), false)),
        _ => None,
    };
    let high = |test: &Test| match test {
        Test::AtMost(value) | Test::Between(_, value) => Some((value.clone(), true)),
        Test::Below(value) => Some((value.clone(), false)),
        _ => None,
    };
    let highs: Vec<_> = tests.iter().filter_map(|test| high(test)).collect();
    tests.iter().filter_map(|test| low(test)).any(|(low, with_low)| {
        highs.iter().any(|(high, with_high)| match order(&low, high) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => !(with_low && *with_high),
            _ => false,
        })
    })
}

fn none_allowed(tests: &[&Test]) -> bool {
    let lists = tests.iter().filter_map(|test| match test {
        Test::Equals(value) => Some(std::slice::from_ref(value)),
        Test::In(values) => Some(values.as_slice()),
        _ => None,
    });
    let lists: Vec<&[Value]> = lists.collect();
    let Some(first) = lists.first() else { return false };
    !first.iter().any(|value| tests.iter().all(|test| may_pass(value, test)))
}

/// Whether a value may pass a test; true where that can't be told.
fn may_pass(value: &Value, test: &Test) -> bool {
    // Beside a time, a day is all of its hours; and a number may be what a text holds.
    let is_open = |other: &Value| !same_kind(value, other);
    let is = |other: &Value| order(value, other).map_or(value == other, Ordering::is_eq);
    let ordered = |other: &Value, wanted: fn(Ordering) -> bool| order(value, other).is_none_or(wanted);
    match test {
        Test::Equals(other) => is_open(other) || is(other),
        Test::NotEquals(other) => is_open(other) || !is(other),
        Test::In(values) => values.iter().any(|other| is_open(other) || is(other)),
        Test::NotIn(values) => !values.iter().any(|other| !is_open(other) && is(other)),
        Test::AtLeast(low) => ordered(low, Ordering::is_ge),
        Test::AtMost(high) => ordered(high, Ordering::is_le),
        Test::Above(low) => ordered(low, Ordering::is_gt),
        Test::Below(high) => ordered(high, Ordering::is_lt),
        Test::Between(low, high) => ordered(low, Ordering::is_ge) && ordered(high, Ordering::is_le),
        Test::Contains(part) => value.as_text().is_none_or(|text| text.contains(part)),
        Test::StartsWith(part) => value.as_text().is_none_or(|text| text.starts_with(part)),
        Test::EndsWith(part) => value.as_text().is_none_or(|text| text.ends_with(part)),
        Test::Missing => false,
        Test::Both(tests) => tests.iter().all(|test| may_pass(value, test)),
        Test::Present
        | Test::Before(_)
        | Test::After(_)
        | Test::OlderThan(_)
        | Test::WithinLast(_)
        | Test::WithinNext(_) => true,
    }
}

fn starts_apart(tests: &[&Test]) -> bool {
    let starts: Vec<&str> = tests
        .iter()
        .filter_map(|test| if let Test::StartsWith(start) = test { Some(start.as_str()) } else { None })
        .collect();
    starts.iter().any(|one| starts.iter().any(|other| !one.starts_with(other) && !other.starts_with(one)))
}

fn same_kind(one: &Value, other: &Value) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other) || (number(one).is_some() && number(other).is_some())
}

/// How two values of a kind compare; `None` for others.
fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Date(one), Value::Date(other)) => Some(one.cmp(other)),
        (Value::Instant(one), Value::Instant(other)) => Some(one.cmp(other)),
        _ => Some(number(one)?.cmp(&number(other)?)),
    }
}

fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Int(number) => Some(Decimal::from(*number)),
        Value::Decimal(number) => Some(*number),
        Value::Float(number) => Decimal::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FieldName, Period, RelationName, Unit};

    fn field(name: &str, test: Test) -> Condition {
        Condition::Field { field: FieldName::from(name), test }
    }

    fn int(number: i64) -> Value {
        Value::Int(number)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn rows(quantity: Quantity, filter: Vec<Condition>) -> Condition {
        let relation = RelationName::from("orders");
        Condition::Related(Related { relation, filter, at: None, since_entry: false, quantity })
    }

    fn not(condition: Condition) -> Condition {
        Condition::Not(Box::new(condition))
    }

    fn within(quantity: Quantity, days: u32) -> Condition {
        let (relation, at) = (RelationName::from("orders"), Some(Test::WithinLast(Period::days(days))));
        Condition::Related(Related { relation, filter: vec![], at, since_entry: false, quantity })
    }

    #[test]
    fn what_no_value_can_be_is_named() {
        let impossible = [
            vec![field("x", Test::AtLeast(int(5))), field("x", Test::Below(int(3)))],
            vec![field("x", Test::Above(int(5))), field("x", Test::AtMost(Value::Decimal(Decimal::from(5))))],
            vec![field("x", Test::Equals(int(5))), field("x", Test::Below(int(5)))],
            vec![field("x", Test::In(vec![text("a"), text("b")])), field("x", Test::NotIn(vec![text("b"), text("a")]))],
            vec![field("x", Test::In(vec![text("ab")])), field("x", Test::StartsWith("b".into()))],
            vec![field("x", Test::StartsWith("ab".into())), field("x", Test::StartsWith("b".into()))],
            vec![field("x", Test::Missing), field("x", Test::NotEquals(int(1)))],
            vec![
                field("x", Test::OlderThan(Period::days(30))),
                field("x", Test::WithinLast(Period::new(2, Unit::Week))),
            ],
            vec![field("x", Test::OlderThan(Period::days(1))), field("x", Test::WithinNext(Period::days(1)))],
            vec![field("x", Test::Both(vec![Test::Above(int(1)), Test::Below(int(1))]))],
            vec![
                field("x", Test::Equals(int(1))),
                Condition::Any(vec![field("x", Test::Equals(int(2))), field("x", Test::Missing)]),
            ],
            vec![field("x", Test::Equals(text("AT"))), not(field("x", Test::Equals(text("AT"))))],
            vec![field("x", Test::Equals(text("AT"))), not(field("x", Test::In(vec![text("AT"), text("DE")])))],
            vec![field("x", Test::Contains("a".into())), not(field("x", Test::Contains("a".into())))],
            vec![field("x", Test::Present), not(field("x", Test::Present))],
            vec![field("x", Test::Missing), not(field("x", Test::Equals(int(1))))],
            vec![
                field("x", Test::AtLeast(int(5))),
                not(Condition::Any(vec![field("x", Test::Above(int(4))), field("y", Test::Missing)])),
            ],
            vec![
                Condition::Any(vec![field("x", Test::Equals(text("AT")))]),
                Condition::Any(vec![field("x", Test::Equals(text("DE")))]),
            ],
            vec![
                Condition::Any(vec![field("x", Test::Equals(text("AT"))), field("x", Test::Equals(text("CH")))]),
                Condition::Any(vec![field("x", Test::Equals(text("DE"))), field("x", Test::Missing)]),
            ],
            vec![field(
                "x",
                Test::Both(vec![Test::OlderThan(Period::new(1, Unit::Year)), Test::WithinLast(Period::days(30))]),
            )],
        ];
        for conditions in impossible {
            assert_eq!(clash(&conditions).as_deref(), Some("x"), "{conditions:?}");
        }
        let impossible = [
            vec![rows(Quantity::Count(Test::Below(int(0))), vec![])],
            vec![rows(Quantity::Some, vec![]), rows(Quantity::None, vec![])],
            vec![
                rows(Quantity::Count(Test::AtLeast(int(3))), vec![]),
                rows(Quantity::Count(Test::AtMost(int(1))), vec![]),
            ],
            vec![rows(Quantity::Some, vec![field("y", Test::Missing), field("y", Test::Present)])],
        ];
        let impossible = [
            impossible.to_vec(),
            vec![
                vec![rows(Quantity::None, vec![]), rows(Quantity::Some, vec![field("y", Test::Equals(int(1)))])],
                vec![not(rows(Quantity::Some, vec![])), rows(Quantity::Count(Test::AtLeast(int(2))), vec![])],
                vec![within(Quantity::None, 90), within(Quantity::Some, 30)],
                vec![
                    within(Quantity::Count(Test::AtLeast(int(3))), 14),
                    within(Quantity::Count(Test::Below(int(3))), 30),
                ],
                vec![
                    rows(Quantity::Some, vec![field("y", Test::Equals(int(1))), field("z", Test::Present)]),
                    rows(Quantity::None, vec![field("y", Test::Equals(int(1)))]),
                ],
            ],
        ]
        .concat();
        for conditions in impossible {
            assert_eq!(clash(&conditions).as_deref(), Some("orders"), "{conditions:?}");
        }
    }

    #[test]
    fn what_may_be_is_left_alone() {
        let possible = [
            vec![field("x", Test::AtLeast(int(5))), field("x", Test::AtMost(int(5)))],
            vec![field("x", Test::AtLeast(int(5))), field("y", Test::Below(int(3)))],
            vec![field("x", Test::In(vec![int(1), int(9)])), field("x", Test::Above(int(5)))],
            vec![field("x", Test::Missing), field("x", Test::Missing)],
            vec![not(field("x", Test::Equals(text("a")))), field("x", Test::In(vec![text("a"), text("b")]))],
            vec![not(field("x", Test::Contains("a".into()))), field("x", Test::Contains("b".into()))],
            vec![
                not(Condition::All(vec![field("x", Test::Equals(int(1))), field("y", Test::Equals(int(1)))])),
                field("x", Test::Equals(int(1))),
            ],
            vec![not(field("x", Test::Missing)), field("y", Test::Missing)],
            vec![
                Condition::Any(vec![field("x", Test::Equals(text("AT"))), field("x", Test::Equals(text("CH")))]),
                Condition::Any(vec![field("x", Test::Equals(text("DE"))), field("x", Test::Equals(text("CH")))]),
            ],
            // Different rows may be either.
            vec![
                rows(Quantity::Some, vec![field("y", Test::Equals(int(1)))]),
                rows(Quantity::Some, vec![field("y", Test::Equals(int(2)))]),
                not(rows(Quantity::Some, vec![field("y", Test::Equals(int(3)))])),
            ],
            vec![rows(Quantity::Some, vec![]), within(Quantity::None, 30)],
            vec![within(Quantity::None, 30), within(Quantity::Some, 90)],
            vec![
                field("x", Test::OlderThan(Period::days(30))),
                field("x", Test::WithinLast(Period::new(1, Unit::Year))),
            ],
            vec![field("x", Test::StartsWith("ab".into())), field("x", Test::StartsWith("a".into()))],
            vec![
                field("x", Test::Equals(int(1))),
                Condition::Any(vec![field("x", Test::Equals(int(2))), field("y", Test::Missing)]),
            ],
            vec![rows(Quantity::Some, vec![]), rows(Quantity::None, vec![field("y", Test::Equals(int(1)))])],
            vec![rows(Quantity::None, vec![field("y", Test::Missing), field("y", Test::Present)])],
            vec![rows(Quantity::Count(Test::AtMost(int(2))), vec![])],
            vec![within(Quantity::Count(Test::AtLeast(int(3))), 30), within(Quantity::Count(Test::Below(int(3))), 14)],
            vec![within(Quantity::Count(Test::AtLeast(int(3))), 14), within(Quantity::Count(Test::Below(int(4))), 30)],
            vec![
                rows(Quantity::Some, vec![field("y", Test::Equals(int(1)))]),
                rows(Quantity::None, vec![field("y", Test::Equals(int(1))), field("z", Test::Present)]),
            ],
        ];
        for conditions in possible {
            assert_eq!(clash(&conditions), None, "{conditions:?}");
        }
    }
}

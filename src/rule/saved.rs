//! What an answer that a step has kept says in conditions: `saved.lead.score: {at_least: 50}`.
//!
//! No database knows it, so it is compared here, by the rules that SQL follows for fields: text byte by byte, numbers as
//! numbers, and what isn't there, or is of another kind, is unknown and never matches, also not under `not`.

use super::condition::Test;
use super::score::number;
use crate::model::Value;
use rust_decimal::Decimal;
use serde_json::Value as Json;
use std::cmp::Ordering;

/// A test of one value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedTest {
    /// The name under which it was kept, and the way into it.
    pub path: String,
    pub test: Test,
}

impl SavedTest {
    /// Whether it holds; `None`: unknown.
    #[must_use]
    pub fn holds(&self, saved: &Json) -> Option<bool> {
        test(&self.test, self.found(saved))
    }

    fn found<'a>(&self, saved: &'a Json) -> Option<&'a Json> {
        let step = |place: &'a Json, part: &str| match place {
            Json::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        };
        self.path.split('.').try_fold(saved, step).filter(|value| !value.is_null())
    }
}

fn test(asked: &Test, found: Option<&Json>) -> Option<bool> {
    let any =
        |values: &[Value]| all_of(values.iter().map(|value| equal(found?, value).map(|same| !same))).map(|none| !none);
    let ordered = |value: &Value, holds: fn(Ordering) -> bool| order(found?, value).map(holds);
    let text = |holds: &dyn Fn(&str) -> bool| found?.as_str().map(holds);
    match asked {
        Test::Missing => Some(found.is_none()),
        Test::Present => Some(found.is_some()),
        Test::Equals(value) => equal(found?, value),
        Test::NotEquals(value) => equal(found?, value).map(|same| !same),
        Test::In(values) => any(values),
        Test::NotIn(values) => any(values).map(|one| !one),
        Test::AtLeast(value) => ordered(value, Ordering::is_ge),
        Test::AtMost(value) => ordered(value, Ordering::is_le),
        Test::Above(value) => ordered(value, Ordering::is_gt),
        Test::Below(value) => ordered(value, Ordering::is_lt),
        Test::Between(low, high) => all_of([ordered(low, Ordering::is_ge), ordered(high, Ordering::is_le)].into_iter()),
        Test::Contains(part) => text(&|text| text.contains(part.as_str())),
        Test::StartsWith(part) => text(&|text| text.starts_with(part.as_str())),
        Test::EndsWith(part) => text(&|text| text.ends_with(part.as_str())),
        Test::Both(tests) => all_of(tests.iter().map(|one| test(one, found))),
        // The check lets none of them through.
        Test::Before(_) | Test::After(_) | Test::OlderThan(_) | Test::WithinLast(_) | Test::WithinNext(_) => None,
    }
}

/// One that doesn't hold decides; else one that is unknown is.
fn all_of(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for answer in answers {
        match answer {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = None,
        }
    }
    all
}

/// `None`: of different kinds.
fn equal(found: &Json, value: &Value) -> Option<bool> {
    match (found, value) {
        (Json::Bool(found), Value::Bool(value)) => Some(found == value),
        (Json::String(found), Value::Text(value)) => Some(found == value),
        _ => order(found, value).map(Ordering::is_eq),
    }
}

/// Of numbers; also of those that an answer writes as text.
fn order(found: &Json, value: &Value) -> Option<Ordering> {
    Some(number_in(found)?.cmp(&number(value)?))
}

fn number_in(found: &Json) -> Option<Decimal> {
    match found {
        Json::Number(number) => decimal(&number.to_string()),
        Json::String(text) => decimal(text.trim()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn decimal(text: &str) -> Option<Decimal> {
    text.parse().ok().or_else(|| Decimal::from_scientific(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const T: Option<bool> = Some(true);
    const F: Option<bool> = Some(false);

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[rstest]
    #[case::text("lead.stage", Test::Equals(text("hot")), T)]
    #[case::byte_by_byte("lead.stage", Test::Equals(text("Hot")), F)]
    #[case::not_this("lead.stage", Test::NotEquals(text("cold")), T)]
    #[case::one_of("lead.stage", Test::In(vec![text("cold"), text("hot")]), T)]
    #[case::none_of("lead.stage", Test::NotIn(vec![text("cold"), text("hot")]), F)]
    #[case::part("lead.stage", Test::Contains("o".to_owned()), T)]
    #[case::number("lead.score", Test::AtLeast(Value::Int(70)), T)]
    #[case::fraction("lead.score", Test::Above(Value::Decimal("70.5".parse().unwrap())), F)]
    #[case::between("lead.score", Test::Between(Value::Int(60), Value::Int(70)), F)]
    #[case::as_text("lead.amount", Test::AtMost(Value::Int(13)), T)]
    #[case::postcode("lead.zip", Test::Equals(Value::Int(1067)), T)]
    #[case::flag("lead.ok", Test::Equals(Value::Bool(true)), T)]
    #[case::flag_as_text("lead.ok", Test::Equals(text("true")), None)]
    #[case::text_as_number("lead.stage", Test::AtLeast(Value::Int(1)), None)]
    #[case::text_is_no_number("lead.stage", Test::NotEquals(Value::Int(1)), None)]
    #[case::an_item("lead.tags.1", Test::Equals(text("b")), T)]
    #[case::no_such_item("lead.tags.7", Test::Missing, T)]
    #[case::null_is_missing("lead.none", Test::Missing, T)]
    #[case::absent_is_unknown("lead.absent", Test::Equals(text("x")), None)]
    #[case::also_under_not("lead.absent", Test::NotEquals(text("x")), None)]
    #[case::not_kept_yet("other.stage", Test::Missing, T)]
    #[case::not_kept_yet_either("other.stage", Test::Present, F)]
    #[case::all_of_it("lead", Test::Present, T)]
    #[case::both("lead.score", Test::Both(vec![Test::AtLeast(Value::Int(1)), Test::Below(Value::Int(5))]), F)]
    fn a_kept_answer_is_compared_as_a_field_is(#[case] path: &str, #[case] test: Test, #[case] expected: Option<bool>) {
        let saved = json!({"lead": {"stage": "hot", "score": 70.5, "amount": "12.90", "zip": "01067", "ok": true,
                                    "none": null, "tags": ["a", "b"]}});
        assert_eq!(SavedTest { path: path.to_owned(), test }.holds(&saved), expected);
    }
}

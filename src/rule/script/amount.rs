//! Money and lists of numbers. Amounts are exact decimals; whatever number is given is taken as one.

use super::engine::Fallible;
use super::problem;
use rhai::{Array, Dynamic, Engine, EvalAltResult, FLOAT, INT, Position};
use rust_decimal::prelude::FromPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

/// Of a decimal, after its point.
const DIGITS: INT = 28;

pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("decimal", |text: &str| text.trim().parse::<Decimal>().map_err(|_| Box::new(not_a_number())));
    engine.register_fn("decimal", |number: INT| Decimal::from(number));
    engine.register_fn("decimal", exact);
    engine.register_fn("decimal", |number: Decimal| number);
    engine.register_fn("rounded", |number: Dynamic, digits: INT| rounded(&number, digits));
    engine.register_fn("fixed", |number: Dynamic, digits: INT| {
        let places = usize::try_from(digits.clamp(0, DIGITS)).unwrap_or_default();
        rounded(&number, digits).map(|number| format!("{number:.places$}"))
    });
    engine.register_fn("percent", |part: Dynamic, whole: Dynamic| percent(&part, &whole));
    engine.register_fn("sum", |list: Array| numbers(&list).and_then(|numbers| sum(&numbers)));
    engine.register_fn("average", |list: Array| numbers(&list).and_then(|numbers| average(&numbers)));
    engine.register_fn("smallest", |list: Array| extreme(&list, Iterator::min));
    engine.register_fn("largest", |list: Array| extreme(&list, Iterator::max));
    engine.register_fn("unique", |list: Array| unique(&list));
    engine.register_fn("joined", |list: Array, between: &str| joined(&list, between));
}

/// Any number as an exact one.
pub(super) fn number(value: &Dynamic) -> Option<Decimal> {
    if let Ok(whole) = value.as_int() {
        return Some(Decimal::from(whole));
    }
    if let Ok(float) = value.as_float() {
        return Decimal::from_f64(float);
    }
    value.read_lock::<Decimal>().map(|decimal| *decimal)
}

/// A float as the decimal that it is written as.
pub(super) fn exact(float: FLOAT) -> Fallible<Decimal> {
    let message = "a number is too large or too small to calculate with exactly";
    Decimal::from_f64(float).ok_or_else(|| EvalAltResult::ErrorArithmetic(message.into(), Position::NONE).into())
}

pub(super) fn overflow() -> EvalAltResult {
    EvalAltResult::ErrorArithmetic("overflow".into(), Position::NONE)
}

fn not_a_number() -> EvalAltResult {
    EvalAltResult::ErrorSystem(problem::OURS.into(), "a value is not a number; write it as \"12.50\"".into())
}

/// Half away from zero, as on invoices.
fn rounded(value: &Dynamic, digits: INT) -> Fallible<Decimal> {
    let number = number(value).ok_or_else(not_a_number)?;
    let digits = u32::try_from(digits.clamp(0, DIGITS)).unwrap_or_default();
    Ok(number.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero))
}

/// Missing of nothing.
fn percent(part: &Dynamic, whole: &Dynamic) -> Fallible<Dynamic> {
    let (part, whole) = (number(part).ok_or_else(not_a_number)?, number(whole).ok_or_else(not_a_number)?);
    if whole.is_zero() {
        return Ok(Dynamic::UNIT);
    }
    let share = part.checked_mul(Decimal::ONE_HUNDRED).and_then(|part| part.checked_div(whole));
    share.map(Dynamic::from_decimal).ok_or_else(|| overflow().into())
}

/// Missing values are left out.
fn numbers(list: &Array) -> Fallible<Vec<Decimal>> {
    let there = list.iter().filter(|value| !value.is_unit());
    there.map(|value| number(value).ok_or_else(|| not_a_number().into())).collect()
}

fn sum(numbers: &[Decimal]) -> Fallible<Decimal> {
    let total = numbers.iter().try_fold(Decimal::ZERO, |total, number| total.checked_add(*number));
    total.ok_or_else(|| overflow().into())
}

fn average(numbers: &[Decimal]) -> Fallible<Dynamic> {
    if numbers.is_empty() {
        return Ok(Dynamic::UNIT);
    }
    let count = Decimal::from(numbers.len());
    sum(numbers)?.checked_div(count).map(Dynamic::from_decimal).ok_or_else(|| overflow().into())
}

fn extreme(list: &Array, pick: fn(std::vec::IntoIter<Decimal>) -> Option<Decimal>) -> Fallible<Dynamic> {
    Ok(pick(numbers(list)?.into_iter()).map_or(Dynamic::UNIT, Dynamic::from_decimal))
}

/// Texts and numbers once each, in their order.
fn unique(list: &Array) -> Array {
    let mut seen = std::collections::HashSet::new();
    list.iter().filter(|value| seen.insert(format!("{}\0{value}", value.type_name()))).cloned().collect()
}

fn joined(list: &Array, between: &str) -> Fallible<String> {
    super::engine::in_time()?;
    let mut text = String::new();
    for (number, value) in list.iter().enumerate() {
        if number > 0 {
            text.push_str(between);
        }
        text.push_str(&value.to_string());
        if text.len() > super::engine::TEXT {
            return Err(EvalAltResult::ErrorDataTooLarge("Length of string".into(), Position::NONE).into());
        }
    }
    Ok(text)
}

//! `number`, `percent` and `plural`.

use super::custom;
use super::{decimal, is_missing, missing, problem, reader};
use crate::model::Locale;
use minijinja::value::Kwargs;
use minijinja::{Error, State, Value};
use rust_decimal::{Decimal, RoundingStrategy};

/// The plural categories of CLDR.
pub(in crate::rule::message) const CATEGORIES: [&str; 6] = ["zero", "one", "two", "few", "many", "other"];

/// Rounded half away from zero, with exactly that many digits behind the point.
pub(super) fn rounded(number: Decimal, places: u32) -> Decimal {
    let mut number = number.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    number.rescale(places);
    // Not "-0.00".
    if number.is_zero() { number.abs() } else { number }
}

fn places(options: &Kwargs) -> Result<Option<u32>, Error> {
    let places: Option<u32> = options.get("places")?;
    Ok(places.map(|places| places.min(8)))
}

/// `{{ record.employees | number }}`, `| number(places=1)`. Without `places`: as many as there are.
#[expect(clippy::needless_pass_by_value, reason = "the template engine hands options over by value")]
pub(super) fn number(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let places = places(&options)?;
    options.assert_all_used()?;
    if is_missing(value)? {
        return Ok(missing());
    }
    let number = decimal(value).ok_or_else(|| problem("`number` needs a number, and this is none"))?;
    let number = places.map_or_else(|| number.normalize(), |places| rounded(number, places));
    written(&reader(state).locale, number).map(Value::from)
}

fn written(locale: &Locale, number: Decimal) -> Result<String, Error> {
    custom::number(locale, number).ok_or_else(|| problem("`number` can't write this number"))
}

/// `{{ record.discount | percent }}`: 0.25 is 25 %.
#[expect(clippy::needless_pass_by_value, reason = "the template engine hands options over by value")]
pub(super) fn percent(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let places = places(&options)?.unwrap_or(0);
    options.assert_all_used()?;
    if is_missing(value)? {
        return Ok(missing());
    }
    let share = decimal(value).and_then(|share| share.checked_mul(Decimal::ONE_HUNDRED));
    let share = share.ok_or_else(|| problem("`percent` needs a number, and this is none"))?;
    let locale = &reader(state).locale;
    let digits = written(locale, rounded(share, places))?;
    Ok(Value::from(match locale.language() {
        "tr" => format!("%{digits}"),
        "eu" => format!("%\u{a0}{digits}"),
        // A blank before the sign, as CLDR has it.
        "de" | "fr" | "es" | "ca" | "gl" | "cs" | "sk" | "sl" | "hr" | "bs" | "ro" | "da" | "sv" | "nb" | "nn"
        | "no" | "fi" | "et" | "lt" | "be" | "ru" | "uk" | "hy" | "az" | "kk" | "ky" | "mk" => {
            format!("{digits}\u{a0}%")
        }
        _ => format!("{digits}%"),
    }))
}

/// `{{ n | plural(one="1 order", other="{} orders") }}`: the text of the number's category in the reader's language,
/// `{}` replaced by the number; a category that isn't given is `other`.
#[expect(clippy::needless_pass_by_value, reason = "the template engine hands options over by value")]
pub(super) fn plural(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let mut given = Vec::new();
    for category in CATEGORIES {
        let text: Option<String> = options.get(category)?;
        given.extend(text.map(|text| (category, text)));
    }
    options.assert_all_used()?;
    if is_missing(value)? {
        return Ok(missing());
    }
    let number = decimal(value).ok_or_else(|| problem("`plural` needs a number, and this is none"))?.normalize();
    let locale = &reader(state).locale;
    let category = custom::category(locale, number);
    let text = |wanted: &str| given.iter().find(|(category, _)| *category == wanted).map(|(_, text)| text);
    let text = text(category).or_else(|| text("other")).ok_or_else(|| problem("`plural` needs `other=\"…\"`"))?;
    Ok(Value::from(text.replace("{}", &written(locale, number)?)))
}

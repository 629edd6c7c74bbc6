//! `money`: exact amounts, with the sign of their currency where the reader's language puts it.
//!
//! ICU4X has no stable currency formatting yet; the digits are its own, and the few forms of CLDR around them
//! are listed here.

use super::custom;
use super::number::rounded;
use super::{decimal, is_missing, missing, problem, reader};
use crate::model::Locale;
use crate::rule::message::context::Amount;
use minijinja::value::Kwargs;
use minijinja::{Error, State, Value};

/// `{{ record.total | money }}` in the catalog's currency of the field, `| money("EUR")` in a given one,
/// `| money("EUR", places=0)` rounded.
#[expect(clippy::needless_pass_by_value, reason = "the template engine hands options over by value")]
pub(super) fn money(
    state: &State<'_, '_>,
    value: &Value,
    currency: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let places: Option<u32> = options.get("places")?;
    options.assert_all_used()?;
    if is_missing(value)? {
        return Ok(missing());
    }
    let own = value.downcast_object_ref::<Amount>().map(|amount| amount.currency.as_str());
    let currency = currency.or(own).ok_or_else(|| {
        problem("`money` knows no currency for this; give one, `money(\"EUR\")`, or the field's in the catalog")
    })?;
    if !is_code(currency) {
        return Err(problem("`money` needs a currency code such as `EUR`"));
    }
    let amount = decimal(value).ok_or_else(|| problem("`money` needs an amount, and this is none"))?;
    let amount = rounded(amount, places.unwrap_or_else(|| minor_digits(currency)).min(8));
    let locale = &reader(state).locale;
    let digits = custom::number(&grouping(locale), amount.abs());
    let digits = digits.ok_or_else(|| problem("`money` can't write this amount"))?;
    let minus = if amount.is_sign_negative() { "-" } else { "" };
    let sign = sign(locale, currency);
    Ok(Value::from(match position(locale) {
        // A code of letters keeps a distance that a sign doesn't need.
        Position::Before if sign.ends_with(char::is_alphabetic) => format!("{minus}{sign}\u{a0}{digits}"),
        Position::Before => format!("{minus}{sign}{digits}"),
        Position::BeforeWithBlank => format!("{minus}{sign}\u{a0}{digits}"),
        Position::After => format!("{minus}{digits}\u{a0}{sign}"),
    }))
}

/// Whether this can be a currency's code.
pub(in crate::rule::message) fn is_code(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// How many digits a currency has behind the point (ISO 4217).
fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// Austrian amounts are grouped by points, though Austrian numbers are not.
fn grouping(locale: &Locale) -> Locale {
    let austrian = locale.language() == "de" && locale.region() == Some("AT");
    if austrian { Locale::parse("de").unwrap_or_default() } else { locale.clone() }
}

fn sign<'a>(locale: &Locale, currency: &'a str) -> &'a str {
    let (language, region) = (locale.language(), locale.region());
    match (currency, language) {
        ("EUR", _) => "€",
        ("GBP", _) => "£",
        ("JPY", "ja") => "￥",
        ("JPY", "zh") => "JP¥",
        ("JPY", _) | ("CNY", "zh") => "¥",
        ("INR", _) => "₹",
        ("KRW", _) => "₩",
        ("ILS", _) => "₪",
        ("VND", _) => "₫",
        ("BRL", _) => "R$",
        ("UAH", "uk") => "₴",
        ("TRY", "tr") => "₺",
        ("RUB", "ru") => "₽",
        ("PLN", "pl") => "zł",
        ("CZK", "cs") => "Kč",
        ("HUF", "hu") => "Ft",
        ("SEK", "sv") | ("NOK", "nb" | "nn" | "no") => "kr",
        ("DKK", "da") => "kr.",
        ("RON", "ro") => "RON",
        ("USD", _) => match region {
            Some("CA" | "AU" | "NZ" | "SG" | "HK" | "MX") => "US$",
            _ => "$",
        },
        ("CAD", _) if region == Some("CA") => "$",
        ("AUD", _) if region == Some("AU") => "$",
        ("NZD", _) if region == Some("NZ") => "$",
        ("MXN", _) if region == Some("MX") => "$",
        _ => currency,
    }
}

enum Position {
    Before,
    BeforeWithBlank,
    After,
}

fn position(locale: &Locale) -> Position {
    match (locale.language(), locale.region()) {
        ("de", Some("AT" | "CH" | "LI")) | ("it", Some("CH")) | ("nl" | "id" | "ms" | "sw", _) => {
            Position::BeforeWithBlank
        }
        ("pt", Some("PT")) => Position::After,
        ("pt", _) | ("es", Some("AR" | "UY" | "PY" | "CO")) => Position::BeforeWithBlank,
        ("es", Some("MX" | "US" | "CL" | "PE" | "EC" | "GT" | "PR" | "419"))
        | (
            "en" | "zh" | "yue" | "ja" | "ko" | "th" | "hi" | "mr" | "gu" | "pa" | "ta" | "te" | "kn" | "ml" | "or"
            | "si" | "ur" | "am" | "ga" | "gd" | "cy" | "mt" | "tr" | "fil" | "zu" | "ig" | "yo",
            _,
        ) => Position::Before,
        _ => Position::After,
    }
}

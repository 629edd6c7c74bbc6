//! The filters that templates have beyond the usual ones: `date`, `money`, and a `default` that also
//! stands in for empty fields.
//!
//! Their errors name no values: values are personal data.

use jiff::{Timestamp, civil, tz::TimeZone};
use minijinja::{Environment, Error, ErrorKind, State, Value, value::Kwargs};
use rust_decimal::{Decimal, RoundingStrategy};
use std::str::FromStr;

/// Under this name the context holds the recipient's zone. No template can write it.
pub(super) const ZONE: &str = "@zone";

pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_filter("date", date);
    environment.add_filter("money", money);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    for unbounded in ["indent", "batch", "slice", "replace"] {
        environment.remove_filter(unbounded);
    }
    environment.add_filter("replace", replace);
    // Each of these makes text that is printed as it stands, which would let a value become HTML.
    for raw in ["safe", "escape", "e", "tojson"] {
        environment.remove_filter(raw);
    }
}

fn problem(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

/// `{{ record.renews_on | date }}`, `{{ … | date("%d.%m.%Y") }}`. Instants are shown in the recipient's zone.
fn date(state: &State<'_, '_>, value: &Value, format: Option<&str>) -> Result<String, Error> {
    let format = match format.unwrap_or("long") {
        "long" => "%-d %B %Y",
        "short" => "%-d %b %Y",
        "iso" => "%Y-%m-%d",
        "time" => "%H:%M",
        other => other,
    };
    let text = value.as_str().ok_or_else(|| problem("`date` needs a date, and there is none"))?;
    let shown = if let Ok(instant) = Timestamp::from_str(text) {
        let zone = state.lookup(ZONE).and_then(|name| TimeZone::get(name.as_str()?).ok()).unwrap_or(TimeZone::UTC);
        jiff::fmt::strtime::format(format, &instant.to_zoned(zone))
    } else if let Ok(naive) = civil::DateTime::from_str(text) {
        jiff::fmt::strtime::format(format, naive)
    } else {
        return Err(problem("`date` needs a date or an instant, and this is neither"));
    };
    shown.map_err(|_| problem("the format given to `date` is not a valid one"))
}

/// `{{ record.total | money("EUR") }}` gives `€1,234.50`; `money("EUR", thousands=".", decimal=",")`
/// follows another custom. Exact: amounts come as decimal text and are rounded half away from zero.
#[expect(clippy::needless_pass_by_value, reason = "the template engine hands options over by value")]
fn money(value: &Value, currency: Option<&str>, options: Kwargs) -> Result<String, Error> {
    let thousands: Option<String> = options.get("thousands")?;
    let point: Option<String> = options.get("decimal")?;
    let places: Option<u32> = options.get("places")?;
    options.assert_all_used()?;
    let amount = amount(value).ok_or_else(|| problem("`money` needs an amount, and this is none"))?;
    let places = places.unwrap_or(2).min(8);
    let rounded = amount.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    let digits = format!("{:.*}", places as usize, rounded.abs());
    let (whole, cents) = digits.split_once('.').unwrap_or((&digits, ""));
    let mut out = String::with_capacity(digits.len() + 12);
    if rounded.is_sign_negative() && !rounded.is_zero() {
        out.push('-');
    }
    match currency {
        Some("EUR") => out.push('€'),
        Some("USD") => out.push('$'),
        Some("GBP") => out.push('£'),
        Some(code) => {
            out.push_str(code);
            out.push('\u{a0}');
        }
        None => {}
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push_str(thousands.as_deref().unwrap_or(","));
        }
        out.push(digit);
    }
    if !cents.is_empty() {
        out.push_str(point.as_deref().unwrap_or("."));
        out.push_str(cents);
    }
    Ok(out)
}

/// As usual, but never to more than a mail may hold.
fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let times = if from.is_empty() { text.chars().count() + 1 } else { text.matches(from).count() };
    if text.len().saturating_add(times.saturating_mul(to.len())) > super::LONGEST {
        return Err(problem("`replace` would make the text too long"));
    }
    Ok(text.replace(from, to))
}

fn amount(value: &Value) -> Option<Decimal> {
    if let Some(text) = value.as_str() {
        let text = text.trim();
        return Decimal::from_str(text).or_else(|_| Decimal::from_scientific(text)).ok();
    }
    if let Some(whole) = value.as_i64() {
        return Some(Decimal::from(whole));
    }
    f64::try_from(value.clone()).ok().and_then(|float| Decimal::try_from(float).ok())
}

/// The other text where the field is unknown, null or empty.
fn default(value: &Value, other: Option<Value>) -> Value {
    let missing = value.is_undefined() || value.is_none() || value.as_str().is_some_and(str::is_empty);
    if missing { other.unwrap_or_else(|| Value::from("")) } else { value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn show(template: &str, x: &str) -> Result<String, Error> {
        let mut environment = Environment::new();
        install(&mut environment);
        environment.render_str(template, context! { x => x, none => (), zone => "" })
    }

    #[test]
    fn money_is_exact_and_grouped() {
        assert_eq!(show("{{ x | money('EUR') }}", "1234567.895").unwrap(), "€1,234,567.90");
        assert_eq!(show("{{ x | money('CHF') }}", "-12.3").unwrap(), "-CHF\u{a0}12.30");
        assert_eq!(show("{{ x | money('EUR', thousands='.', decimal=',') }}", "1000").unwrap(), "€1.000,00");
        assert_eq!(show("{{ x | money }}", "0.1").unwrap(), "0.10");
        assert!(show("{{ x | money }}", "a secret").unwrap_err().to_string().contains("needs an amount"));
        assert!(!show("{{ x | money }}", "a secret").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn dates_follow_the_recipients_zone_and_the_wanted_form() {
        assert_eq!(show("{{ x | date }}", "2026-12-01").unwrap(), "1 December 2026");
        assert_eq!(show("{{ x | date('%d.%m.%Y') }}", "2026-12-01").unwrap(), "01.12.2026");
        assert_eq!(show("{{ x | date('time') }}", "2026-12-01T10:30:00Z").unwrap(), "10:30");
        assert!(show("{{ x | date }}", "Tom").is_err());
    }

    #[test]
    fn default_stands_in_for_null_and_for_empty_text() {
        assert_eq!(show("{{ x | default('you') }}", "").unwrap(), "you");
        assert_eq!(show("{{ none | default('you') }}", "").unwrap(), "you");
        assert_eq!(show("{{ x | default('you') }}", "Tom").unwrap(), "Tom");
    }
}

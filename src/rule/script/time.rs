//! Instants and days as scripts see them.
//!
//! A record's instants become [`Moment`]s, its dates [`Day`]s; `now` is a `Moment`. They compare with each
//! other and with ISO text, and count the time between: `now.days_since(record.last_login) > 90`.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, civil};
use rhai::{Engine, EvalAltResult, INT, Position};
use std::cmp::Ordering;
use std::sync::Arc;

/// Seconds.
const DAY: INT = 86_400;
const HOUR: INT = 3_600;

/// A point in time, shown in the recipient's zone.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub at: Timestamp,
    pub zone: Arc<TimeZone>,
}

/// A calendar day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day(pub civil::Date);

impl Moment {
    fn local(&self) -> jiff::Zoned {
        self.at.to_zoned((*self.zone).clone())
    }

    /// Full 24-hour days from `earlier`; negative when it lies ahead.
    fn days_since(&self, earlier: &Self) -> INT {
        self.at.duration_since(earlier.at).as_hours() / 24
    }
}

fn days_between(later: civil::Date, earlier: civil::Date) -> INT {
    INT::from(earlier.until(later).map_or(0, |span| span.get_days()))
}

fn wrong(message: &str) -> EvalAltResult {
    EvalAltResult::ErrorSystem(super::problem::OURS.into(), message.into())
}

fn read_day(text: &str) -> Result<Day, Box<EvalAltResult>> {
    text.parse().map(Day).map_err(|_| wrong("a text is not a date; write it as \"2026-12-01\"").into())
}

fn read_moment(text: &str) -> Result<Timestamp, Box<EvalAltResult>> {
    text.parse().map_err(|_| wrong("a text is not an instant; write it as \"2026-12-01T10:00:00Z\"").into())
}

fn moved(date: civil::Date, days: INT) -> Result<civil::Date, Box<EvalAltResult>> {
    let days = i32::try_from(days).ok().and_then(|days| 0.days().try_days(days).ok());
    let moved = days.and_then(|span| date.checked_add(span).ok());
    moved.ok_or_else(|| EvalAltResult::ErrorArithmetic("a date beyond the calendar".into(), Position::NONE).into())
}

/// By units of that many seconds, whatever the clocks do meanwhile.
fn shifted(moment: &Moment, count: INT, unit: INT) -> Result<Moment, Box<EvalAltResult>> {
    let seconds = count.checked_mul(unit).map(jiff::SignedDuration::from_secs);
    let at = seconds.and_then(|by| moment.at.checked_add(by).ok()).ok_or_else(beyond)?;
    Ok(Moment { at, zone: Arc::clone(&moment.zone) })
}

fn beyond() -> EvalAltResult {
    EvalAltResult::ErrorArithmetic("beyond the calendar".into(), Position::NONE)
}

/// Calendar months: 31 January and one month is the last of February.
fn months(count: INT) -> Result<Span, Box<EvalAltResult>> {
    let count = i32::try_from(count).map_err(|_| beyond())?;
    Span::new().try_months(count).map_err(|_| beyond().into())
}

fn months_on(date: civil::Date, count: INT) -> Result<civil::Date, Box<EvalAltResult>> {
    date.checked_add(months(count)?).map_err(|_| beyond().into())
}

/// The same local time.
fn months_later(moment: &Moment, count: INT) -> Result<Moment, Box<EvalAltResult>> {
    let moved = moment.local().checked_add(months(count)?).map_err(|_| beyond())?;
    Ok(Moment { at: moved.timestamp(), zone: Arc::clone(&moment.zone) })
}

/// The same instant, seen elsewhere.
fn in_zone(moment: &Moment, name: &str) -> Result<Moment, Box<EvalAltResult>> {
    let zone = TimeZone::get(name).map_err(|_| wrong("a time zone is unknown; write it as \"Europe/Vienna\""))?;
    Ok(Moment { at: moment.at, zone: Arc::new(zone) })
}

type Holds = fn(Ordering) -> bool;

/// One relation between two values, under its sign.
const COMPARISONS: [(&str, Holds); 6] = [
    ("<", Ordering::is_lt),
    ("<=", Ordering::is_le),
    (">", Ordering::is_gt),
    (">=", Ordering::is_ge),
    ("==", Ordering::is_eq),
    ("!=", Ordering::is_ne),
];

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Moment>("instant").register_type_with_name::<Day>("date");
    engine.register_fn("date", read_day);
    engine
        .register_fn("instant", |text: &str| read_moment(text).map(|at| Moment { at, zone: Arc::new(TimeZone::UTC) }));
    register_comparisons(engine);
    register_moments(engine);
    register_days(engine);
}

fn register_comparisons(engine: &mut Engine) {
    for (sign, holds) in COMPARISONS {
        engine.register_fn(sign, move |a: Moment, b: Moment| holds(a.at.cmp(&b.at)));
        engine.register_fn(sign, move |a: Day, b: Day| holds(a.0.cmp(&b.0)));
        engine.register_fn(sign, move |a: Moment, b: Day| holds(a.local().date().cmp(&b.0)));
        engine.register_fn(sign, move |a: Day, b: Moment| holds(a.0.cmp(&b.local().date())));
        engine.register_fn(sign, move |a: Day, b: &str| read_day(b).map(|b| holds(a.0.cmp(&b.0))));
        engine.register_fn(sign, move |a: &str, b: Day| read_day(a).map(|a| holds(a.0.cmp(&b.0))));
        engine.register_fn(sign, move |a: Moment, b: &str| match read_day(b) {
            Ok(day) if b.len() <= 10 => Ok(holds(a.local().date().cmp(&day.0))),
            _ => read_moment(b).map(|b| holds(a.at.cmp(&b))),
        });
    }
}

fn register_moments(engine: &mut Engine) {
    engine.register_fn("days_since", |a: &mut Moment, b: Moment| a.days_since(&b));
    engine.register_fn("days_until", |a: &mut Moment, b: Moment| b.days_since(a));
    engine.register_fn("hours_since", |a: &mut Moment, b: Moment| a.at.duration_since(b.at).as_hours());
    engine.register_fn("minutes_since", |a: &mut Moment, b: Moment| a.at.duration_since(b.at).as_mins());
    engine.register_fn("days_since", |a: &mut Moment, b: Day| days_between(a.local().date(), b.0));
    engine.register_fn("days_until", |a: &mut Moment, b: Day| days_between(b.0, a.local().date()));
    engine.register_fn("plus_days", |a: &mut Moment, days: INT| shifted(a, days, DAY));
    engine.register_fn("minus_days", |a: &mut Moment, days: INT| shifted(a, days.saturating_neg(), DAY));
    engine.register_fn("plus_hours", |a: &mut Moment, hours: INT| shifted(a, hours, HOUR));
    engine.register_fn("minus_hours", |a: &mut Moment, hours: INT| shifted(a, hours.saturating_neg(), HOUR));
    engine.register_fn("plus_months", |a: &mut Moment, months: INT| months_later(a, months));
    engine.register_fn("minus_months", |a: &mut Moment, months: INT| months_later(a, months.saturating_neg()));
    engine.register_fn("in_zone", |a: &mut Moment, name: &str| in_zone(a, name));
    engine.register_fn("days_between", |a: Moment, b: Moment| b.days_since(&a));
    engine.register_fn("days_between", |a: Moment, b: Day| days_between(b.0, a.local().date()));
    engine.register_fn("days_between", |a: Day, b: Moment| days_between(b.local().date(), a.0));
    engine.register_get("time", |a: &mut Moment| a.local().strftime("%H:%M").to_string());
    engine.register_get("is_weekend", |a: &mut Moment| weekday(a.local().date()) > 5);
    engine.register_get("date", |a: &mut Moment| Day(a.local().date()));
    engine.register_get("year", |a: &mut Moment| INT::from(a.local().year()));
    engine.register_get("month", |a: &mut Moment| INT::from(a.local().month()));
    engine.register_get("day", |a: &mut Moment| INT::from(a.local().day()));
    engine.register_get("hour", |a: &mut Moment| INT::from(a.local().hour()));
    engine.register_get("minute", |a: &mut Moment| INT::from(a.local().minute()));
    engine.register_get("weekday", |a: &mut Moment| weekday(a.local().date()));
    engine.register_fn("to_string", |a: &mut Moment| a.at.to_string());
}

fn register_days(engine: &mut Engine) {
    engine.register_fn("days_since", |a: &mut Day, b: Day| days_between(a.0, b.0));
    engine.register_fn("days_until", |a: &mut Day, b: Day| days_between(b.0, a.0));
    engine.register_fn("days_since", |a: &mut Day, b: Moment| days_between(a.0, b.local().date()));
    engine.register_fn("days_until", |a: &mut Day, b: Moment| days_between(b.local().date(), a.0));
    engine.register_fn("plus_days", |a: &mut Day, days: INT| moved(a.0, days).map(Day));
    engine.register_fn("minus_days", |a: &mut Day, days: INT| moved(a.0, days.saturating_neg()).map(Day));
    engine.register_fn("plus_months", |a: &mut Day, months: INT| months_on(a.0, months).map(Day));
    engine.register_fn("minus_months", |a: &mut Day, months: INT| months_on(a.0, months.saturating_neg()).map(Day));
    engine.register_fn("days_between", |a: Day, b: Day| days_between(b.0, a.0));
    engine.register_get("is_weekend", |a: &mut Day| weekday(a.0) > 5);
    engine.register_get("year", |a: &mut Day| INT::from(a.0.year()));
    engine.register_get("month", |a: &mut Day| INT::from(a.0.month()));
    engine.register_get("day", |a: &mut Day| INT::from(a.0.day()));
    engine.register_get("weekday", |a: &mut Day| weekday(a.0));
    engine.register_fn("to_string", |a: &mut Day| a.0.to_string());
}

/// 1 is Monday, 7 Sunday, as in ISO 8601.
fn weekday(date: civil::Date) -> INT {
    INT::from(date.weekday().to_monday_one_offset())
}

//! How a language writes numbers and dates: CLDR, by way of ICU4X and its compiled data.

use crate::model::Locale;
use icu_calendar::Gregorian;
use icu_datetime::fieldsets::{E, M, T, YMD, YMDE};
use icu_datetime::input::{Date, Time};
use icu_datetime::{FixedCalendarDateTimeFormatter, NoCalendarFormatter};
use icu_decimal::DecimalFormatter;
use icu_decimal::input::Decimal as Digits;
use icu_locale_core::Locale as Tag;
use icu_plurals::{PluralCategory, PluralOperands, PluralRules};
use jiff::civil;
use rust_decimal::Decimal;

/// The length of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Short,
    Medium,
    Long,
    /// With the day of the week.
    Full,
}

fn tag(locale: &Locale) -> Tag {
    // Every locale of ours is a well-formed tag.
    locale.as_str().parse().unwrap_or(Tag::UNKNOWN)
}

fn calendar_date(date: civil::Date) -> Option<Date<Gregorian>> {
    Date::try_new_gregorian(i32::from(date.year()), date.month() as u8, date.day() as u8).ok()
}

/// `None`: the calendar has no such day, or the data no such form.
pub(super) fn date(locale: &Locale, date: civil::Date, length: Length) -> Option<String> {
    let day = calendar_date(date)?;
    let shown = match length {
        Length::Full => {
            FixedCalendarDateTimeFormatter::try_new(tag(locale).into(), YMDE::long()).ok()?.format(&day).to_string()
        }
        Length::Long => {
            FixedCalendarDateTimeFormatter::try_new(tag(locale).into(), YMD::long()).ok()?.format(&day).to_string()
        }
        Length::Medium => {
            FixedCalendarDateTimeFormatter::try_new(tag(locale).into(), YMD::medium()).ok()?.format(&day).to_string()
        }
        Length::Short => {
            FixedCalendarDateTimeFormatter::try_new(tag(locale).into(), YMD::short()).ok()?.format(&day).to_string()
        }
    };
    Some(shown)
}

/// Hours and minutes.
pub(super) fn time(locale: &Locale, time: civil::Time) -> Option<String> {
    let shown = Time::try_new(time.hour() as u8, time.minute() as u8, time.second() as u8, 0).ok()?;
    Some(NoCalendarFormatter::try_new(tag(locale).into(), T::hm()).ok()?.format(&shown).to_string())
}

/// The month's name as it stands by itself.
pub(super) fn month(locale: &Locale, date: civil::Date, short: bool) -> Option<String> {
    let fields = if short { M::medium() } else { M::long() };
    let formatter = FixedCalendarDateTimeFormatter::try_new(tag(locale).into(), fields).ok()?;
    Some(formatter.format(&calendar_date(date)?).to_string())
}

pub(super) fn weekday(locale: &Locale, date: civil::Date, short: bool) -> Option<String> {
    let fields = if short { E::medium() } else { E::long() };
    let formatter = FixedCalendarDateTimeFormatter::try_new(tag(locale).into(), fields).ok()?;
    Some(formatter.format(&calendar_date(date)?).to_string())
}

/// All digits that the number has, grouped.
pub(super) fn number(locale: &Locale, number: Decimal) -> Option<String> {
    let digits: Digits = number.to_string().parse().ok()?;
    let formatter =
        DecimalFormatter::try_new(tag(locale).into(), icu_decimal::options::DecimalFormatterOptions::default());
    Some(formatter.ok()?.format(&digits).to_string())
}

/// The category's name in CLDR. The digits behind the point count: in English it is one day, but 1.0 days.
pub(super) fn category(locale: &Locale, number: Decimal) -> &'static str {
    let digits = number.abs().to_string().parse::<Digits>();
    let rules = PluralRules::try_new_cardinal(tag(locale).into());
    let (Ok(digits), Ok(rules)) = (digits, rules) else { return "other" };
    match rules.category_for(PluralOperands::from(&digits)) {
        PluralCategory::Zero => "zero",
        PluralCategory::One => "one",
        PluralCategory::Two => "two",
        PluralCategory::Few => "few",
        PluralCategory::Many => "many",
        PluralCategory::Other => "other",
    }
}

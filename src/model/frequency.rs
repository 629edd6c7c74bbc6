//! How often and how fast: caps per person, rates of a channel, a budget per day that grows.

use super::{Period, Unit};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// At most so many messages to one person in any stretch of that length: `3 per 7 days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    pub count: u32,
    /// Of seconds up to weeks, so that its length is the same at any time of the year.
    pub per: Period,
}

/// At most so many messages in any stretch of that length: `5/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub unit: Unit,
}

/// A budget that doubles, for addresses and domains that mail servers don't know yet: `50/day, double every 3 days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmUp {
    pub first: u32,
    /// In days.
    pub double_every: u32,
}

/// How many mails may leave in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    pub per_day: Option<u32>,
    pub warm_up: Option<WarmUp>,
}

/// What every message that takes a place is held against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    pub caps: Vec<Cap>,
    pub budget: Budget,
}

/// Why a text is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct FrequencyError {
    text: String,
    what: &'static str,
}

impl Cap {
    #[must_use]
    pub fn length(self) -> SignedDuration {
        SignedDuration::from_secs(self.per.max_seconds())
    }

    fn counts(self, sends: &[Timestamp], now: Timestamp) -> usize {
        let since = now.saturating_sub(self.length()).unwrap_or(Timestamp::MIN);
        sends.iter().filter(|at| **at > since).count()
    }
}

impl Limits {
    /// How far back sends count.
    #[must_use]
    pub fn reach(&self) -> SignedDuration {
        self.caps.iter().map(|cap| cap.length()).max().unwrap_or(SignedDuration::ZERO)
    }

    /// How many more the caps let through now.
    #[must_use]
    pub fn places(&self, sends: &[Timestamp], now: Timestamp) -> usize {
        let left = |cap: &Cap| (cap.count as usize).saturating_sub(cap.counts(sends, now));
        self.caps.iter().map(left).min().unwrap_or(usize::MAX)
    }

    /// Where no place is left: when the next one is, and which cap it is that counts longest.
    #[must_use]
    pub fn capped(&self, sends: &[Timestamp], now: Timestamp) -> Option<(Timestamp, Cap)> {
        let mut latest = sends.to_vec();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        let full = self.caps.iter().filter(|cap| cap.counts(sends, now) >= cap.count as usize);
        full.filter_map(|cap| {
            let oldest = latest.get((cap.count as usize).checked_sub(1)?)?;
            Some((oldest.saturating_add(cap.length()).unwrap_or(Timestamp::MAX), *cap))
        })
        .max_by_key(|(until, _)| *until)
    }
}

impl Budget {
    /// There is something to count.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.per_day.is_some() || self.warm_up.is_some()
    }

    /// How many may leave on the day that comes so many days after the first.
    #[must_use]
    pub fn on_day(&self, day: u64) -> u64 {
        let fixed = self.per_day.map_or(u64::MAX, u64::from);
        let warm = self.warm_up.map_or(u64::MAX, |warm_up| {
            let doublings = u32::try_from(day / u64::from(warm_up.double_every.max(1))).unwrap_or(u32::MAX);
            2_u64.checked_pow(doublings).map_or(u64::MAX, |factor| factor.saturating_mul(warm_up.first.into()))
        });
        fixed.min(warm)
    }
}

impl Rate {
    #[must_use]
    pub fn length(self) -> SignedDuration {
        SignedDuration::from_secs(Period::new(1, self.unit).max_seconds())
    }
}

/// Words before and after a separator, without blanks around them.
fn halves<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let (before, after) = text.split_once(separator)?;
    Some((before.trim(), after.trim()))
}

fn positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| *count > 0)
}

impl FromStr for Cap {
    type Err = FrequencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (count, per) = halves(text, " per ")?;
            let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1 {per}") };
            let per = per.parse::<Period>().ok().filter(|per| per.count > 0 && !per.is_calendar())?;
            Some(Self { count: positive(count)?, per })
        };
        let what = "a cap; write `1 per day` or `3 per 7 days`, in units up to weeks";
        read().ok_or_else(|| FrequencyError { text: text.to_owned(), what })
    }
}

impl FromStr for Rate {
    type Err = FrequencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (count, unit) = halves(text, "/")?;
            let unit = format!("1 {unit}").parse::<Period>().ok().filter(|per| !per.is_calendar())?.unit;
            Some(Self { count: positive(count)?, unit })
        };
        let what = "a rate; write `5/s`, `30/min` or `1000/hour`";
        read().ok_or_else(|| FrequencyError { text: text.to_owned(), what })
    }
}

impl FromStr for WarmUp {
    type Err = FrequencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (first, double) = halves(text, ",")?;
            let rate = first.parse::<Rate>().ok().filter(|rate| rate.unit == Unit::Day)?;
            let every = double.strip_prefix("double every ")?.parse::<Period>().ok()?;
            let double_every = match every.unit {
                Unit::Day => every.count,
                Unit::Week => every.count * 7,
                _ => return None,
            };
            (double_every > 0).then_some(Self { first: rate.count, double_every })
        };
        let what = "a warm-up; write `50/day, double every 3 days`";
        read().ok_or_else(|| FrequencyError { text: text.to_owned(), what })
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = self.per.to_string();
        write!(f, "{} per {}", self.count, per.strip_prefix("1 ").unwrap_or(&per))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = Period::new(1, self.unit).to_string();
        write!(f, "{}/{}", self.count, per.strip_prefix("1 ").unwrap_or(&per))
    }
}

impl fmt::Display for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/day, double every {}", self.first, Period::days(self.double_every))
    }
}

macro_rules! as_text {
    ($($name:ident),*) => { $(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}
as_text!(Cap, Rate, WarmUp);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn limits(caps: &[&str]) -> Limits {
        Limits { caps: caps.iter().map(|cap| cap.parse().unwrap()).collect(), ..Limits::default() }
    }

    fn at(hours: i64) -> Timestamp {
        "2026-11-20T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
    }

    #[test]
    fn the_cap_that_counts_longest_says_when() {
        let limits = limits(&["1 per day", "3 per 7 days"]);
        assert_eq!(limits.capped(&[], at(0)), None);
        let (until, cap) = limits.capped(&[at(-2)], at(0)).unwrap();
        assert_eq!((until, cap.to_string().as_str()), (at(22), "1 per day"));
        let (until, cap) = limits.capped(&[at(-26), at(-2), at(-50)], at(0)).unwrap();
        assert_eq!((until, cap.to_string().as_str()), (at(7 * 24 - 50), "3 per 7 days"));
        assert_eq!(limits.capped(&[at(-24)], at(0)), None, "a day is over after 24 hours");
    }

    #[test]
    fn places_are_what_the_narrowest_cap_leaves() {
        let limits = limits(&["2 per day", "3 per 7 days"]);
        assert_eq!(limits.places(&[], at(0)), 2);
        assert_eq!(limits.places(&[at(-30), at(-60)], at(0)), 1);
        assert_eq!(limits.places(&[at(-1), at(-2), at(-3)], at(0)), 0);
        assert_eq!(Limits::default().places(&[at(0)], at(0)), usize::MAX);
        // A clock that is ahead on another node counts as well.
        assert_eq!(limits.places(&[at(1)], at(0)), 1);
    }

    #[test]
    fn a_warm_up_doubles_up_to_the_budget() {
        let warm_up = Some("50/day, double every 3 days".parse().unwrap());
        let budget = Budget { per_day: Some(300), warm_up };
        let days: Vec<u64> = [0, 2, 3, 6, 9, 400].into_iter().map(|day| budget.on_day(day)).collect();
        assert_eq!(days, [50, 50, 100, 200, 300, 300]);
        assert_eq!(Budget { per_day: None, ..budget }.on_day(100_000), u64::MAX);
        assert!(!Budget::default().is_limited());
    }

    #[rstest]
    #[case("1 per day", Some("1 per day"))]
    #[case("3 per 7 days", Some("3 per 7 days"))]
    #[case("2 per week", Some("2 per week"))]
    #[case("0 per day", None)]
    #[case("3 per month", None)]
    #[case("often", None)]
    fn caps_as_people_write_them(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(text.parse::<Cap>().ok().map(|cap| cap.to_string()).as_deref(), expected);
    }

    #[rstest]
    #[case("5/s", Some("5/second"))]
    #[case("30/min", Some("30/minute"))]
    #[case("0/s", None)]
    #[case("5", None)]
    #[case("5/fortnight", None)]
    fn rates_as_people_write_them(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(text.parse::<Rate>().ok().map(|rate| rate.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_warm_up_says_how_it_is_written() {
        assert!("50/hour, double every 3 days".parse::<WarmUp>().is_err());
        let wrong = "50 a day".parse::<WarmUp>().unwrap_err().to_string();
        assert_eq!(wrong, "`50 a day` is not a warm-up; write `50/day, double every 3 days`");
    }
}

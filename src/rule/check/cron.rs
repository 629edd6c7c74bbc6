use super::Checker;
use crate::diagnostic::yaml::At;
use crate::rule::checked::Cron;
use cron::errors::CronError;
use cron::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{ToSpan, civil};
use std::collections::BTreeSet;

const FIRST_DAY: civil::Date = civil::date(2096, 1, 1);

impl Checker<'_> {
    /// A line of five fields that comes round: 30 February is a valid line that never does.
    pub(super) fn cron(&mut self, written: &At<String>) -> Option<Cron> {
        let parser = parser();
        if let Err(error) = parser.parse(written) {
            let message = format!("`{}` is not a cron line: {}", written.value, in_words(&error));
            let help = "write minute, hour, day of month, month, day of week: \"0 9 * * MON-FRI\"";
            self.wrong(&written.range, "rule.cron", message, help);
            return None;
        }
        if !comes(parser, written) {
            let message = format!("`{}` never comes", written.value);
            self.wrong(&written.range, "rule.cron-never", message, "no calendar has such a day: check day and month");
            return None;
        }
        Some(Cron { text: written.value.clone() })
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

/// Whether any day fits.
fn comes(parser: CronParser, line: &str) -> bool {
    days(parser, line).is_none_or(|mut days| days.next().is_some())
}

/// The days that fit, of the eight years around a skipped leap day: what comes at all comes within them. The library
/// itself would look through five thousand years. `None` for a line that isn't written in fields.
fn days(parser: CronParser, line: &str) -> Option<impl Iterator<Item = civil::Date>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, _, day, month, weekday] = fields.as_slice() else { return None };
    let days = parser.parse(&format!("0 0 {day} {month} {weekday}")).ok()?;
    let dates = FIRST_DAY.series(1.day()).take_while(|date| date.year() < 2105);
    Some(dates.filter(move |date| {
        let midnight = date.to_zoned(TimeZone::UTC);
        midnight.is_ok_and(|midnight| days.is_time_matching(&midnight).unwrap_or(false))
    }))
}

/// When a line comes round: on these days, at these times.
pub(in crate::rule) struct Rounds {
    days: BTreeSet<civil::Date>,
    times: BTreeSet<civil::Time>,
}

impl Rounds {
    /// `None` for a line that isn't written in fields.
    pub fn of(line: &str) -> Option<Self> {
        let days = days(parser(), line)?.collect();
        let mut fields = line.split_whitespace();
        let daily = parser().parse(&format!("{} {} * * *", fields.next()?, fields.next()?)).ok()?;
        let minutes = FIRST_DAY.to_zoned(TimeZone::UTC).ok()?.series(1.minute()).take(24 * 60);
        let times = minutes.filter(|minute| daily.is_time_matching(minute).unwrap_or(false));
        Some(Self { days, times: times.map(|minute| minute.time()).collect() })
    }

    /// Whether both come at the same moment, now or later.
    pub fn meet(&self, other: &Self) -> bool {
        !self.times.is_disjoint(&other.times) && !self.days.is_disjoint(&other.days)
    }
}

fn in_words(error: &CronError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Invalid pattern: ").unwrap_or(&text);
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_when_any_of_its_days_does() {
        for (line, expected) in [
            ("0 9 30 2 *", false),
            ("0 9 31 4,6,9,11 *", false),
            ("0 9 29 2 *", true),
            ("0 9 31 * *", true),
            ("30 2 * * *", true),
            ("0 9 L 2 *", true),
            ("0 9 * * MON#5", true),
            ("@daily", true),
        ] {
            assert_eq!(comes(parser(), line), expected, "{line}");
        }
    }

    #[test]
    fn lines_meet_where_they_share_a_minute_of_a_day() {
        let rounds = |line| Rounds::of(line).unwrap();
        for (one, other, expected) in [
            ("0 8 * * MON", "0 8 * * *", true),
            ("0 8 * * *", "0 8 29 2 *", true),
            ("*/20 * * * *", "40 9-17 * * MON-FRI", true),
            ("0 8 * * MON", "0 8 * * TUE", false),
            ("0 8 * * *", "30 8 * * *", false),
            ("0 8 31 * *", "0 8 * 2 *", false),
        ] {
            assert_eq!(rounds(one).meet(&rounds(other)), expected, "{one} and {other}");
        }
        assert!(Rounds::of("@daily").is_none());
    }
}

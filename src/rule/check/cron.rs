use super::Checker;
use crate::diagnostic::yaml::At;
use crate::rule::checked::Cron;
use cron::errors::CronError;
use cron::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{ToSpan, civil};

impl Checker<'_> {
    /// A line of five fields that comes round: 30 February is a valid line that never does.
    pub(super) fn cron(&mut self, written: &At<String>) -> Option<Cron> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
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

/// Whether any day fits. What comes at all comes within the eight years around a skipped leap day; the library itself
/// would look through five thousand years.
fn comes(parser: CronParser, line: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, _, day, month, weekday] = fields.as_slice() else { return true };
    let Ok(days) = parser.parse(&format!("0 0 {day} {month} {weekday}")) else { return true };
    let first = civil::date(2096, 1, 1);
    let mut dates = first.series(1.day()).take_while(|date| date.year() < 2105);
    dates.any(|date| {
        let midnight = date.to_zoned(TimeZone::UTC);
        midnight.is_ok_and(|midnight| days.is_time_matching(&midnight).unwrap_or(false))
    })
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
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
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
            assert_eq!(comes(parser, line), expected, "{line}");
        }
    }
}

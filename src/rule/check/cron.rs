use super::Checker;
use crate::diagnostic::yaml::At;
use crate::rule::checked::Cron;
use cron::errors::CronError;
use cron::parser::{CronParser, Seconds, Year};
use jiff::civil;

impl Checker<'_> {
    /// A line of five fields that comes round: 30 February is a valid line that never does.
    pub(super) fn cron(&mut self, written: &At<String>) -> Option<Cron> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = match parser.parse(written) {
            Ok(parsed) => parsed,
            Err(error) => {
                let message = format!("`{}` is not a cron line: {}", written.value, in_words(&error));
                let help = "write minute, hour, day of month, month, day of week: \"0 9 * * MON-FRI\"";
                self.wrong(&written.range, "rule.cron", message, help);
                return None;
            }
        };
        // Any start will do: what comes at all comes within the eight years around a skipped leap day.
        let start = civil::date(2096, 1, 1).to_zoned(self.known.catalog.time_zone.clone()).ok()?;
        if parsed.find_next_occurrence(&start, false).is_err() {
            let message = format!("`{}` never comes", written.value);
            self.wrong(&written.range, "rule.cron-never", message, "no calendar has such a day: check day and month");
            return None;
        }
        Some(Cron { text: written.value.clone() })
    }
}

fn in_words(error: &CronError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Invalid pattern: ").unwrap_or(&text);
    text.trim_end_matches('.').to_owned()
}

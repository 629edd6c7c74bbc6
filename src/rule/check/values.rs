use super::Checker;
use crate::catalog::{self, ColumnType};
use crate::diagnostic::yaml::{At, Node};
use crate::diagnostic::{Finding, suggest};
use crate::model::{Period, Value};
use crate::rule::condition::Moment;
use jiff::civil::{Date, Time};
use std::ops::Range;

/// What a test is about: a field, or a number computed from related rows.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub name: String,
    pub ty: ColumnType,
    /// The only words it can have, for fields with `means`.
    pub words: Option<Vec<String>>,
    /// The only words that the database lets it hold; none where it lets it hold any text.
    pub labels: Vec<String>,
    pub currency: Option<String>,
    /// The column of several values that it is, and its type.
    pub array: Option<(String, String)>,
}

impl Subject {
    /// No field, or one that isn't known.
    pub fn plain(name: &str, ty: ColumnType) -> Self {
        Self { name: name.to_owned(), ty, words: None, labels: Vec::new(), currency: None, array: None }
    }
}

impl Checker<'_> {
    /// A constant, read by the subject's type from the source text.
    pub(super) fn constant(&mut self, subject: &Subject, node: &Node) -> Option<Value> {
        let source = self.report.source().to_owned();
        let Some(text) = node.text(&source) else {
            let message = format!("expected a value, found {}", node.kind());
            self.wrong(&node.range, "rule.value", message, "write a single value here");
            return None;
        };
        if node.is_null(&source) {
            self.wrong(&node.range, "rule.null", "null never equals anything", "write `missing` or `present`");
            return None;
        }
        // Read as one text, it may be compared with how the database writes it.
        if let Some((column, declared)) = subject.array.as_ref().filter(|_| !text.starts_with('{')) {
            let message = format!("`{}` is {declared} in the database, and never a single value", subject.name);
            self.wrong(&node.range, "rule.operator-type", message, &catalog::way_out_of_array(column));
            return None;
        }
        if let Some(words) = &subject.words {
            return self.word(words, subject, &text, &node.range);
        }
        if !subject.labels.is_empty() {
            return self.word(&subject.labels, subject, &text, &node.range);
        }
        let amount = if subject.ty.is_number() || subject.ty == ColumnType::Unknown {
            self.without_currency(&text, subject, &node.range)?
        } else {
            text.into_owned()
        };
        let zone = &self.known.catalog.time_zone;
        if let Some(day) = whole_day(&subject.ty, amount.trim()) {
            return Some(Value::Date(day));
        }
        match catalog::value(&amount, node.is_plain(&source), &subject.ty, zone) {
            Ok(value) => Some(value),
            Err(misfit) => {
                let finding = Finding::error("rule.value", misfit.to_string()).label(format!(
                    "`{}` is {}",
                    subject.name,
                    subject.ty.in_words()
                ));
                self.report.add(&node.range, finding);
                None
            }
        }
    }

    fn word(&mut self, words: &[String], subject: &Subject, text: &str, range: &Range<usize>) -> Option<Value> {
        if words.iter().any(|word| word == text) {
            return Some(Value::Text(text.to_owned()));
        }
        let mut finding = Finding::error("rule.unknown-word", format!("`{}` is never `{text}`", subject.name));
        if let Some(help) = suggest::help(text, words.iter().map(String::as_str)) {
            finding = finding.help(help);
        }
        self.report.add(range, finding);
        None
    }

    /// `500 EUR` of a field in euros is 500; of any other field it can't be compared.
    fn without_currency(&mut self, text: &str, subject: &Subject, range: &Range<usize>) -> Option<String> {
        let Some((amount, code)) = text.rsplit_once(' ') else { return Some(text.to_owned()) };
        let is_code = code.len() == 3 && code.chars().all(|c| c.is_ascii_uppercase());
        if !is_code || !amount.trim().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return Some(text.to_owned());
        }
        match &subject.currency {
            Some(currency) if currency == code => Some(amount.trim().to_owned()),
            Some(currency) => {
                let message = format!("`{}` is in {currency}, and {code} is another currency", subject.name);
                self.wrong(
                    range,
                    "rule.currency",
                    message,
                    "amounts are compared in one currency; convert it yourself",
                );
                None
            }
            None => {
                let message = format!("the catalog names no currency of `{}`", subject.name);
                self.wrong(range, "rule.currency", message, "add `currency:` to the field, or write the number alone");
                None
            }
        }
    }

    /// `90 days`
    pub(super) fn period(&mut self, text: &str, range: &Range<usize>) -> Option<Period> {
        match text.parse::<Period>() {
            Ok(period) if period.count > 0 => Some(period),
            Ok(_) => {
                self.wrong(range, "rule.period", "a length of zero", "write at least `1 minute`, or remove it");
                None
            }
            Err(error) => {
                self.report.add(range, Finding::error("rule.period", error.to_string()));
                None
            }
        }
    }

    pub(super) fn period_of(&mut self, written: Option<&At<String>>) -> Option<Period> {
        written.and_then(|written| self.period(written, &written.range))
    }

    pub(super) fn period_in(&mut self, node: &Node) -> Option<Period> {
        let source = self.report.source().to_owned();
        let Some(text) = node.text(&source) else {
            let message = format!("expected a length of time, found {}", node.kind());
            self.wrong(&node.range, "rule.period", message, "write `30 days`");
            return None;
        };
        self.period(&text, &node.range)
    }

    /// A period in units that are the same length everywhere.
    pub(super) fn clock_period(&mut self, written: Option<&At<String>>) -> Option<Period> {
        let written = written?;
        let period = self.period(written, &written.range)?;
        if period.is_calendar() {
            let message = format!("`{}` has no fixed length", written.value);
            self.wrong(&written.range, "rule.period", message, "use seconds, minutes, hours, days or weeks here");
            return None;
        }
        Some(period)
    }

    /// `"09:00"`
    pub(super) fn local_time(&mut self, written: &At<String>) -> Option<Time> {
        let time = written.split_once(':').filter(|(hour, _)| hour.len() <= 2).and_then(|_| {
            let padded =
                if written.find(':') == Some(1) { format!("0{}", written.value) } else { written.value.clone() };
            padded.parse::<Time>().ok()
        });
        if time.is_none() {
            let message = format!("`{}` is not a time of day", written.value);
            self.wrong(&written.range, "rule.time", message, "write hours and minutes in quotes: \"09:00\"");
        }
        time
    }

    /// `2026-12-31`, `2026-12-31T09:00:00Z`, `now`, `today`, `30 days ago`, `in 30 days`
    pub(super) fn moment(&mut self, node: &Node) -> Option<Moment> {
        let source = self.report.source().to_owned();
        let found = node.text(&source).and_then(|text| moment(text.trim(), &self.known.catalog.time_zone));
        if found.is_none() {
            let message = format!("`{}` is not a point in time", node.one_line(&source));
            let help = "write `2026-12-31`, `2026-12-31T09:00:00Z`, `now`, `today`, `30 days ago` or `in 30 days`";
            self.wrong(&node.range, "rule.moment", message, help);
        }
        found
    }
}

/// A day beside a time means all of it, in the catalog's zone: no hour of it is neither before, nor in, nor after.
fn whole_day(ty: &ColumnType, text: &str) -> Option<Date> {
    let is_day = matches!(ty, ColumnType::Instant(_)) && text.len() == 10;
    is_day.then(|| text.parse().ok()).flatten()
}

/// A fixed or relative point in time, as people write it.
pub(crate) fn moment(text: &str, zone: &jiff::tz::TimeZone) -> Option<Moment> {
    match text {
        "now" => return Some(Moment::Now),
        "today" => return Some(Moment::Today),
        _ => {}
    }
    if let Some(period) = text.strip_suffix(" ago") {
        return period.parse().ok().map(Moment::Ago);
    }
    if let Some(period) = text.strip_prefix("in ").or_else(|| text.strip_suffix(" ahead")) {
        return period.parse().ok().map(Moment::Ahead);
    }
    if let (Ok(date), 10) = (text.parse(), text.len()) {
        return Some(Moment::On(date));
    }
    catalog::instant(text, zone).map(Moment::At)
}

//! Calendars of business days: weekdays, public holidays and days of the company's own.

use super::Checker;
use crate::catalog::written::{CalendarEntry, CatalogFile, WorkdayWord};
use crate::diagnostic::yaml::At;
use crate::diagnostic::{Finding, Place, SourceFile};
use crate::model::BusinessCalendar;
use jiff::civil::{Date, Weekday};
use std::collections::BTreeMap;
use std::sync::Arc;

const FOLDER: &str = "calendars/";

impl Checker {
    /// All calendars, and the one of rules that name none.
    pub(super) fn calendars(
        &mut self,
        written: &CatalogFile,
    ) -> (BTreeMap<String, BusinessCalendar>, BusinessCalendar) {
        let mut calendars = BTreeMap::new();
        for (name, entry) in written.calendars.iter() {
            let calendar = self.one_calendar(entry);
            calendars.insert(name.value.clone(), calendar);
        }
        let usual = written.calendar.as_ref().map(|name| {
            let found = calendars.get(name.as_str()).cloned().or_else(|| BusinessCalendar::bundled(name));
            if found.is_none() {
                let own = calendars.keys().cloned();
                let known: Vec<String> = own.chain(BusinessCalendar::names().map(str::to_owned)).collect();
                self.unknown("catalog.calendar", "calendar", name, &known);
            }
            found.unwrap_or_default()
        });
        (calendars, usual.unwrap_or_default())
    }

    fn one_calendar(&mut self, written: &CalendarEntry) -> BusinessCalendar {
        let mut calendar = BusinessCalendar::default();
        if !written.workdays.is_empty() {
            calendar.set_weekdays(written.workdays.iter().map(|day| weekday(day.value)));
        }
        for country in &written.holidays {
            if !calendar.add_country(country) {
                let known: Vec<String> = BusinessCalendar::names().map(str::to_owned).collect();
                self.unknown("catalog.calendar", "country", country, &known);
            }
        }
        if let Some(file) = &written.file {
            self.own_days(file, &mut calendar);
        }
        calendar
    }

    fn own_days(&mut self, name: &At<String>, calendar: &mut BusinessCalendar) {
        let Some(files) = self.calendar_files.clone() else { return };
        let stem = |file: &Arc<SourceFile>| file.path.strip_prefix(FOLDER).map(str::to_owned);
        let Some(file) = files.iter().find(|file| stem(file).as_deref() == Some(name.as_str())) else {
            let known: Vec<String> = files.iter().filter_map(stem).collect();
            self.unknown("catalog.calendar", "file of `calendars/`:", name, &known);
            return;
        };
        let mut start = 0;
        for line in file.text.split_inclusive('\n') {
            let range = start..start + line.trim_end().len();
            start += line.len();
            let text = line.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            // The rest of the line is for people: `2026-12-24 Christmas Eve`.
            let Ok(date) = text.split_whitespace().next().unwrap_or_default().parse::<Date>() else {
                let finding = Finding::error("catalog.calendar", format!("`{text}` does not begin with a date"));
                let place = Place { file: Arc::clone(file), range };
                self.elsewhere.push(finding.at(place).help("write one date a line: `2026-12-24`"));
                continue;
            };
            calendar.add_holiday(date);
        }
    }
}

const fn weekday(word: WorkdayWord) -> Weekday {
    match word {
        WorkdayWord::Mon => Weekday::Monday,
        WorkdayWord::Tue => Weekday::Tuesday,
        WorkdayWord::Wed => Weekday::Wednesday,
        WorkdayWord::Thu => Weekday::Thursday,
        WorkdayWord::Fri => Weekday::Friday,
        WorkdayWord::Sat => Weekday::Saturday,
        WorkdayWord::Sun => Weekday::Sunday,
    }
}

use super::Checker;
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{self, At, Content, Node};
use crate::model::{BusinessCalendar, Period, SendWindow, WindowError};
use crate::rule::checked::{Backfill, Cadence, Expect, Guard, OnChange, OnDelete, OnRematch, Trigger};
use crate::rule::written::{
    ExpectEntry, GuardEntry, OnChangeWord, OnDeleteWord, OnRematchWord, RuleFile, TriggerEntry, UnknownWord,
};
use std::sync::Arc;

/// How often a rule looks when its file doesn't say.
const EVERY: Period = Period::new(15, crate::model::Unit::Minute);

/// In the middle, so that rules can stand above and below those that don't say.
const USUAL_PRIORITY: u8 = 50;

const OFTEN: Period = Period::new(1, crate::model::Unit::Minute);

/// Keys whose values are prose, where people forget that ` #` begins a comment.
const PROSE: [&str; 4] = ["description", "title", "body", "name"];

/// How a rule runs, whatever it is about.
pub(super) struct Settings {
    pub backfill: Backfill,
    pub on_rematch: OnRematch,
    pub late: Option<Period>,
    pub keep_trying: Option<Period>,
    pub recheck: Period,
    pub guard: Guard,
    pub expect: Option<Expect>,
    pub calendar: BusinessCalendar,
    pub spread: Option<Period>,
    pub window: Option<SendWindow>,
    pub priority: u8,
    pub combine: bool,
    pub on_change: OnChange,
    pub on_delete: OnDelete,
    pub resends_unknown: bool,
}

impl Checker<'_> {
    pub(super) fn settings(&mut self, written: &RuleFile) -> Settings {
        Settings {
            backfill: self.backfill(written.backfill.as_ref()),
            on_rematch: written
                .on_rematch
                .as_ref()
                .map_or_else(|| usual_rematch(written.trigger.as_ref()), |word| on_rematch(word.value)),
            late: self.late(written.late.as_ref()),
            keep_trying: self.keep_trying(written.keep_trying.as_ref()),
            recheck: self.period_of(written.recheck.as_ref()).unwrap_or(Period::days(1)),
            guard: self.guard(written.guard.as_ref()),
            expect: self.expect(written.expect.as_ref()),
            calendar: self.calendar(written.calendar.as_ref()),
            spread: self.spread(written),
            window: self.window(written),
            priority: self.priority(written.priority.as_ref()),
            combine: self.combine(written),
            on_change: written.on_change.as_ref().map_or(OnChange::Pin, |word| on_change(word.value)),
            on_delete: written.on_delete.as_ref().map_or(OnDelete::Drain, |word| on_delete(word.value)),
            resends_unknown: match &written.unknown {
                Some(word) => word.value == UnknownWord::Resend,
                // A second reminder of an appointment harms less than none; a second offer does not.
                None => written.purpose.as_ref().is_some_and(|purpose| matches!(purpose.as_str(), "service" | "staff")),
            },
        }
    }

    pub(super) fn cadence(&mut self, written: &RuleFile, trigger: Option<&Trigger>) -> Cadence {
        if let (Some(_), Some(cron)) = (&written.check_every, &written.cron) {
            self.wrong(&cron.range, "rule.cadence", "both `check_every` and `cron`", "keep one");
        }
        if let Some(Trigger::Schedule(schedule)) = trigger {
            let other = written.check_every.as_ref().or(written.cron.as_ref());
            if let Some(other) = other {
                let help = "a schedule is looked at when its own cron line says: remove this key";
                self.wrong(&other.range, "rule.cadence", "a schedule with another cadence", help);
            }
            return Cadence::Cron(schedule.cron.clone());
        }
        if let Some(cron) = &written.cron {
            return self.cron(cron).map_or(Cadence::Every(EVERY), Cadence::Cron);
        }
        // The listener calls for a sweep; this one is for what came in on another node.
        let usual = if matches!(trigger, Some(Trigger::Event(_))) { OFTEN } else { EVERY };
        Cadence::Every(self.clock_period(written.check_every.as_ref()).unwrap_or(usual))
    }

    fn calendar(&mut self, written: Option<&At<String>>) -> BusinessCalendar {
        let catalog = self.known.catalog;
        let Some(name) = written else { return catalog.usual_calendar.clone() };
        catalog.calendar(name).unwrap_or_else(|| {
            let mut known: Vec<&str> = catalog.calendars.keys().map(String::as_str).collect();
            for bundled in BusinessCalendar::names() {
                known.push(bundled);
            }
            self.unknown("rule.unknown-calendar", "calendar", name, known.iter().copied());
            BusinessCalendar::default()
        })
    }

    /// Spreading doesn't count as late, so it must not take longer than that.
    fn spread(&mut self, written: &RuleFile) -> Option<Period> {
        let spread = self.clock_period(written.spread.as_ref())?;
        let late = written.late.as_ref().and_then(|late| late.strip_prefix("within ").unwrap_or(late).parse().ok());
        if let (Some(range), Some(late)) = (written.spread.as_ref().map(|spread| &spread.range), late)
            && spread.max_seconds() > Period::max_seconds(late)
        {
            let help = "let `late` be at least as long as `spread`";
            self.wrong(range, "rule.spread", format!("spread over {spread}, but late after {late}"), help);
        }
        Some(spread)
    }

    fn backfill(&mut self, written: Option<&At<String>>) -> Backfill {
        match written.map(|written| (written.as_str(), &written.range)) {
            None | Some(("none", _)) => Backfill::None,
            Some(("all", _)) => Backfill::All,
            Some((text, range)) => {
                if text.parse::<Period>().is_err() {
                    let message = format!("`{text}` is not a backfill");
                    self.wrong(range, "rule.backfill", message, "write `none`, `all`, or how far back: `30 days`");
                    return Backfill::None;
                }
                self.period(text, range).map_or(Backfill::None, Backfill::Since)
            }
        }
    }

    /// `none` turns it off where the trigger's default is to keep trying.
    fn keep_trying(&mut self, written: Option<&At<String>>) -> Option<Period> {
        if written.is_some_and(|written| written.as_str() == "none") {
            return Some(Period::days(0));
        }
        self.period_of(written)
    }

    /// Keys about the past, for triggers that know of none.
    pub(super) fn without_effect(&mut self, written: &RuleFile, trigger: Option<&Trigger>) {
        let (subject, help) = match trigger {
            Some(Trigger::Schedule(_)) => {
                ("a schedule", "a schedule matches whoever fits at each planned instant: remove this key")
            }
            Some(Trigger::Enrolled) => {
                ("a rule that others enroll into", "nothing makes it match but their steps: remove this key")
            }
            Some(trigger) if trigger.leaves_out_its_first_look() => {
                ("a query without `at`", "name the column that says when it happened, or remove this key")
            }
            _ => return,
        };
        let backfill = written.backfill.as_ref();
        // All that is there, or nothing of it: this much can be said without times.
        let whole = |text: &&At<String>| subject != "a query without `at`" || !matches!(text.as_str(), "none" | "all");
        let never_looks = matches!(trigger, Some(Trigger::Enrolled));
        let keys = [
            ("backfill", backfill.filter(whole)),
            ("keep_trying", written.keep_trying.as_ref()),
            ("recheck", written.recheck.as_ref()),
            ("check_every", written.check_every.as_ref().filter(|_| never_looks)),
            ("cron", written.cron.as_ref().filter(|_| never_looks)),
            ("spread", written.spread.as_ref().filter(|_| never_looks)),
        ];
        for (key, value) in keys {
            if let Some(value) = value {
                let message = format!("`{key}` has no effect on {subject}");
                self.wrong(&value.range, "rule.no-effect", message, help);
            }
        }
    }

    /// `within 7 days`
    fn late(&mut self, written: Option<&At<String>>) -> Option<Period> {
        let written = written?;
        let period = written.strip_prefix("within ").unwrap_or(written);
        self.period(period, &written.range)
    }

    /// On by default: five percent a day and ten ordinary days in one, but fifty people are always let through.
    fn guard(&mut self, written: Option<&GuardEntry>) -> Guard {
        let mut guard = Guard { per_day: None, percent_per_day: Some(5.0), growth: Some(10.0), floor: 50 };
        let Some(written) = written else { return guard };
        if let Some(limit) = written.per_day.as_ref().filter(|limit| limit.value == 0) {
            let help = "write how many a day are fine, or `mode: paused` to stop the rule";
            self.wrong(&limit.range, "rule.guard", "a guard of 0 would hold every sweep", help);
        }
        guard.per_day = written.per_day.as_ref().map(|limit| limit.value);
        if let Some(percent) = &written.percent_per_day {
            if !(percent.value > 0.0 && percent.value <= 100.0) {
                let message = format!("{} is not a share in percent", percent.value);
                self.wrong(&percent.range, "rule.guard", message, "write a number above 0 and up to 100");
            }
            guard.percent_per_day = Some(percent.value);
        }
        if let Some(growth) = &written.growth {
            if growth.value.is_nan() || growth.value <= 1.0 {
                let message = format!("{} times an ordinary day would hold the rule on ordinary days", growth.value);
                self.wrong(&growth.range, "rule.guard", message, "write a number above 1, such as 5");
            }
            guard.growth = Some(growth.value);
        }
        if let Some(floor) = &written.floor {
            guard.floor = floor.value;
        }
        guard
    }

    /// `20..60`, `20..`, `..60`
    fn expect(&mut self, written: Option<&ExpectEntry>) -> Option<Expect> {
        let per_week = &written?.per_week;
        let end = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some),
        };
        let ends = per_week.split_once("..").map(|(least, most)| (end(least), end(most)));
        match ends {
            Some((Ok(at_least), Ok(at_most)))
                if at_least.or(at_most).is_some()
                    && at_least.zip(at_most).is_none_or(|(least, most)| least <= most) =>
            {
                Some(Expect { at_least, at_most })
            }
            _ => {
                let message = format!("`{}` is not a range of matches", per_week.value);
                self.wrong(&per_week.range, "rule.expect", message, "write `20..60`, `20..` or `..60`");
                None
            }
        }
    }

    /// `10:00-16:00 MON-FRI`
    fn window(&mut self, written: &RuleFile) -> Option<SendWindow> {
        let window = written.window.as_ref()?;
        let exempt = written.purpose.as_ref().filter(|purpose| matches!(purpose.as_str(), "service" | "staff"));
        if let Some(purpose) = exempt {
            let message = format!("`window` has no effect on `purpose: {}`", purpose.value);
            self.wrong(&window.range, "rule.no-effect", message, "such messages leave at any hour: remove this key");
        }
        match window.parse() {
            Ok(window) => Some(window),
            Err(problem) => {
                let help = "hours, then days: `10:00-16:00 MON-FRI`; several with `;` in between";
                self.wrong(&window.range, "rule.window", WindowError::to_string(&problem), help);
                None
            }
        }
    }

    fn priority(&mut self, written: Option<&At<u8>>) -> u8 {
        let Some(priority) = written else { return USUAL_PRIORITY };
        if priority.value > 100 {
            let message = format!("{} is not a priority", priority.value);
            self.wrong(&priority.range, "rule.priority", message, "write a number from 0 to 100; 50 is usual");
        }
        priority.value
    }

    /// Warns where an unquoted ` #` has cut prose short.
    pub(super) fn quoting(&mut self) {
        let file = Arc::clone(self.report.file());
        if let Ok(node) = yaml::read::<Node>(&file) {
            self.cut_prose(&node, &file.text);
        }
    }

    fn cut_prose(&mut self, node: &Node, source: &str) {
        match &node.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter().for_each(|item| self.cut_prose(item, source)),
            Content::Map(entries) => {
                for (key, node) in entries {
                    if PROSE.contains(&key.as_str()) && node.is_plain(source) && is_cut(node, source) {
                        let finding = Finding::warning("rule.cut-prose", "the text ends before ` #`");
                        let label = "YAML reads the rest of the line as a comment";
                        let help = "put the text in quotes if `#` belongs to it";
                        self.report.add(&node.range, finding.label(label).help(help));
                    }
                    self.cut_prose(node, source);
                }
            }
        }
    }
}

/// `Call #1 now`: a `#` right before a letter or digit is prose; `# required` is a comment.
fn is_cut(node: &Node, source: &str) -> bool {
    let rest = source.get(node.range.end..).and_then(|rest| rest.lines().next()).unwrap_or("");
    let comment = rest.trim_start().strip_prefix('#');
    rest.starts_with(' ') && comment.is_some_and(|text| text.starts_with(char::is_alphanumeric))
}

/// A cart that was touched again is a new one to be reminded of; the sequence about the old one is over.
fn usual_rematch(trigger: Option<&At<TriggerEntry>>) -> OnRematch {
    match trigger.map(|trigger| &trigger.value) {
        Some(TriggerEntry::Abandoned(_)) => OnRematch::Restart,
        _ => OnRematch::Ignore,
    }
}

const fn on_rematch(word: OnRematchWord) -> OnRematch {
    match word {
        OnRematchWord::Ignore => OnRematch::Ignore,
        OnRematchWord::Restart => OnRematch::Restart,
        OnRematchWord::Queue => OnRematch::Queue,
        OnRematchWord::Parallel => OnRematch::Parallel,
    }
}

const fn on_change(word: OnChangeWord) -> OnChange {
    match word {
        OnChangeWord::Pin => OnChange::Pin,
        OnChangeWord::Migrate => OnChange::Migrate,
        OnChangeWord::Cancel => OnChange::Cancel,
    }
}

const fn on_delete(word: OnDeleteWord) -> OnDelete {
    match word {
        OnDeleteWord::Drain => OnDelete::Drain,
        OnDeleteWord::Cancel => OnDelete::Cancel,
    }
}

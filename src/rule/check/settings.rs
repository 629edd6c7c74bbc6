use super::Checker;
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{self, At, Content, Node};
use crate::model::Period;
use crate::rule::checked::{Backfill, Cadence, Guard, Trigger};
use crate::rule::written::{GuardEntry, RuleFile};
use std::sync::Arc;

/// How often a rule looks when its file doesn't say.
const EVERY: Period = Period::new(15, crate::model::Unit::Minute);

/// Keys whose values are prose, where people forget that ` #` begins a comment.
const PROSE: [&str; 4] = ["description", "title", "body", "name"];

impl Checker<'_> {
    pub(super) fn cadence_of(&mut self, written: &RuleFile, trigger: Option<&Trigger>) -> Cadence {
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
        Cadence::Every(self.clock_period(written.check_every.as_ref()).unwrap_or(EVERY))
    }

    pub(super) fn backfill(&mut self, written: Option<&At<String>>) -> Backfill {
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

    /// `within 7 days`
    pub(super) fn late(&mut self, written: Option<&At<String>>) -> Option<Period> {
        let written = written?;
        let period = written.strip_prefix("within ").unwrap_or(written);
        self.period(period, &written.range)
    }

    /// On by default: five percent a day, but fifty people are always let through.
    pub(super) fn guard(&mut self, written: Option<&GuardEntry>) -> Guard {
        let mut guard = Guard { per_day: None, percent_per_day: Some(5.0), floor: 50 };
        let Some(written) = written else { return guard };
        guard.per_day = written.per_day.as_ref().map(|limit| limit.value);
        if let Some(percent) = &written.percent_per_day {
            if !(percent.value > 0.0 && percent.value <= 100.0) {
                let message = format!("{} is not a share in percent", percent.value);
                self.wrong(&percent.range, "rule.guard", message, "write a number above 0 and up to 100");
            }
            guard.percent_per_day = Some(percent.value);
        }
        if let Some(floor) = &written.floor {
            guard.floor = floor.value;
        }
        guard
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

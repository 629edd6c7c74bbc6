//! The shape of a rule's own examples: names, times and expectations. Running them is not done here.

use super::Checker;
use crate::diagnostic::yaml::{At, Content, Named, Node};
use crate::rule::written::{RuleFile, TestEntry, ThenEntry};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;

const ACTIONS: [&str; 3] = ["email", "webhook", "task"];
const ENDS: [&str; 11] = [
    "completed",
    "goal",
    "exit",
    "where_false",
    "record_gone",
    "occasion_gone",
    "stopped",
    "late",
    "cancelled",
    "left_out",
    "running",
];

impl Checker<'_> {
    pub(super) fn tests(&mut self, written: &RuleFile) {
        let mut names = BTreeSet::new();
        for test in &written.tests {
            if !names.insert(test.name.as_str()) {
                let message = format!("the test `{}` stands twice", test.name.value);
                self.wrong(&test.name.range, "rule.test", message, "give each its own name");
            }
            self.test_entry(test);
        }
    }

    fn test_entry(&mut self, test: &TestEntry) {
        if !is_zoned_moment(&test.at) {
            let message = format!("`{}` is not a local time with its zone", test.at.value);
            self.wrong(&test.at.range, "rule.test", message, "write `2026-11-21 10:00 Europe/Vienna`");
        }
        self.rows(&test.given);
        let mut last = 0;
        for then in &test.then {
            let after = self.moment_after(&then.after);
            if after < last {
                self.wrong(
                    &then.after.range,
                    "rule.test",
                    "this comes before the line above",
                    "order the lines by time",
                );
            }
            last = after;
            self.then(then);
        }
    }

    /// Seconds since the first sweep.
    fn moment_after(&mut self, after: &At<String>) -> i64 {
        if let Ok(period) = after.parse::<crate::model::Period>() {
            return period.max_seconds();
        }
        let message = format!("`{}` is not a length of time", after.value);
        self.wrong(&after.range, "rule.test", message, "write `3 days`");
        0
    }

    fn then(&mut self, then: &ThenEntry) {
        if let Some(expect) = &then.expect {
            self.expectation(expect);
        }
        if let Some(ended) = &then.ended
            && !ENDS.contains(&ended.as_str())
        {
            self.unknown("rule.test", "end", ended, ENDS);
        }
        for rows in [&then.insert, &then.update, &then.delete].into_iter().flatten() {
            self.rows(rows);
        }
    }

    /// `nothing`, or `{email: [win-back-1]}`.
    fn expectation(&mut self, node: &Node) {
        match &node.content {
            Content::Map(entries) => {
                for (action, _) in entries {
                    if !ACTIONS.contains(&action.as_str()) {
                        self.unknown("rule.test", "action", action, ACTIONS);
                    }
                }
            }
            Content::Scalar(_) if node.text(self.report.source()).as_deref() == Some("nothing") => {}
            _ => {
                let help = "write `nothing`, or what was done: `{email: [win-back-1]}`";
                self.wrong(&node.range, "rule.test", "this can't be expected", help);
            }
        }
    }

    fn rows(&mut self, given: &Named<Vec<Node>>) {
        for (name, rows) in given.iter() {
            let Some(entity) = self.entity_named(name) else { continue };
            for row in rows {
                let Content::Map(cells) = &row.content else {
                    self.wrong(
                        &row.range,
                        "rule.test",
                        "a row is a mapping of fields",
                        "write `{key: 1, country: AT}`",
                    );
                    continue;
                };
                for (field, _) in cells.iter().filter(|(field, _)| field.as_str() != "key") {
                    self.field(entity, field);
                }
            }
        }
    }
}

/// `2026-11-21 10:00 Europe/Vienna`
fn is_zoned_moment(text: &str) -> bool {
    text.trim()
        .rsplit_once(' ')
        .is_some_and(|(local, zone)| local.trim().parse::<DateTime>().is_ok() && TimeZone::get(zone).is_ok())
}

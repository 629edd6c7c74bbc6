//! Surveys that mails ask, and the row that an answer becomes.

use super::Checker;
use crate::catalog::written::{CatalogFile, QuestionEntry, TasksEntry};
use crate::catalog::{Column, Insert, InsertValue, Question, Table};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, Node};
use crate::model::{Period, Unit};
use std::collections::BTreeMap;

const USUAL_SCALE: (i64, i64) = (0, 10);
const USUAL_CHANGE: Period = Period::days(7);
/// The names that stand for what an answer supplies.
const SUPPLIED: [&str; 6] = ["$score", "$comment", "$now", "$ref", "$uuid", "$record.key"];

impl Checker {
    pub(super) fn questions(&mut self, written: &CatalogFile) -> BTreeMap<String, Question> {
        let mut questions = BTreeMap::new();
        for (name, entry) in written.surveys.iter() {
            if let Some(question) = self.question(name, entry) {
                questions.insert(name.value.clone(), question);
            }
        }
        questions
    }

    fn question(&mut self, name: &At<String>, entry: &QuestionEntry) -> Option<Question> {
        let named = (1..=60).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
        if !named {
            let finding = Finding::error("catalog.survey", format!("`{}` can't be the name of a survey", name.value));
            self.report.add(&name.range, finding.help("use lower-case letters, digits, `-` and `_`"));
        }
        let scale = match &entry.scale {
            None => Some(USUAL_SCALE),
            Some(text) => self.scale(text),
        };
        let change_within = match &entry.change_within {
            None => Some(USUAL_CHANGE),
            Some(text) => self.change_within(text),
        };
        let insert = self.answer(&entry.insert.table, &entry.insert.set.0)?;
        for (value, what) in [(InsertValue::Ref, "$ref"), (InsertValue::Score, "$score")] {
            if !insert.set.iter().any(|(_, set)| *set == value) {
                let finding = Finding::error("catalog.survey", format!("the row of an answer doesn't keep `{what}`"));
                let help = "set a text column to `$ref`, by which an answer is found again, and a number to `$score`";
                self.report.add(&entry.insert.table.range, finding.help(help));
            }
        }
        let (lowest, highest) = scale?;
        Some(Question { lowest, highest, change_within: change_within?, insert })
    }

    /// `0..10`
    fn scale(&mut self, text: &At<String>) -> Option<(i64, i64)> {
        let ends = text.split_once("..").map(|(low, high)| (low.trim().parse(), high.trim().parse()));
        if let Some((Ok(low), Ok(high))) = ends
            && low >= 0
            && low < high
            && high <= 100
            && high - low <= 10
        {
            return Some((low, high));
        }
        let finding = Finding::error("catalog.survey", format!("`{}` is no scale", text.value));
        self.report.add(&text.range, finding.help("write `0..10` or `1..5`: at most eleven scores, none below 0"));
        None
    }

    fn change_within(&mut self, text: &At<String>) -> Option<Period> {
        let period = text.parse::<Period>().ok().filter(|period| period.unit != Unit::BusinessDay);
        if period.is_none() {
            let finding = Finding::error("catalog.survey", format!("`{}` is not a length of time", text.value));
            self.report.add(&text.range, finding.help("write `7 days`"));
        }
        period
    }

    fn answer(&mut self, table: &At<String>, set: &[(At<String>, Node)]) -> Option<Insert> {
        let table = self.table(table)?;
        let set = set.iter().filter_map(|(column, node)| self.answered(&table, column, node)).collect();
        Some(Insert { table, set })
    }

    fn answered(&mut self, table: &Table, column: &At<String>, node: &Node) -> Option<(Column, InsertValue)> {
        let source = self.report.source().to_owned();
        let own = match node.text(&source).as_deref() {
            Some("$score") => Some(InsertValue::Score),
            Some("$comment") => Some(InsertValue::Comment),
            _ => None,
        };
        if let Some(own) = own {
            let named = Column::named(column.as_str());
            self.used(Some(table), &named, &column.range);
            return Some((named, own));
        }
        let alone = TasksEntry { open: None, insert: Vec::new() };
        let (column, value) = self.assignment(0, table, column, node, &alone)?;
        let of_tasks = |value: &InsertValue| {
            matches!(
                value,
                InsertValue::Title
                    | InsertValue::Body
                    | InsertValue::Due
                    | InsertValue::AssigneeKey
                    | InsertValue::AssigneeEmail
            )
        };
        if value.parts().any(of_tasks) {
            let text = node.text(&source).unwrap_or_else(|| node.one_line(&source).into()).into_owned();
            let name = At { value: text, range: node.range.clone(), source: node.range.clone() };
            self.unknown("catalog.unknown-value", "value", &name, &SUPPLIED.map(str::to_owned));
            self.uses.last_mut().into_iter().for_each(|used| used.given = None);
            return None;
        }
        Some((column, value))
    }
}

use super::Checker;
use crate::catalog::written::{InsertEntry, TasksEntry};
use crate::catalog::{Column, ColumnType, Insert, InsertValue, InstantStorage, Literal, RowLookUp, Table, Tasks};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, Content, Node};
use crate::model::FieldName;

/// The names that stand for what nudged supplies.
const SUPPLIED: [&str; 9] =
    ["$uuid", "$title", "$body", "$due", "$now", "$ref", "$record.key", "$assignee.key", "$assignee.email"];

impl Checker {
    pub(super) fn tasks(&mut self, written: &TasksEntry) -> Tasks {
        let inserts: Vec<_> =
            written.insert.iter().enumerate().filter_map(|(index, entry)| self.insert(index, entry, written)).collect();
        let table = inserts.first().map(|insert| insert.table.clone());
        let open = written.open.as_ref().map_or_else(Vec::new, |node| self.filters(None, table.as_ref(), node));
        match (inserts.first(), written.insert.first()) {
            (None, _) => {
                let range = written.open.as_ref().map_or(0..0, |node| node.range.clone());
                let finding = Finding::error("catalog.tasks", "`tasks` inserts nothing");
                self.report.add(&range, finding.help("add `insert:` with the row of a task, or remove `tasks`"));
            }
            (Some(first), Some(entry)) if !first.set.iter().any(|(_, value)| *value == InsertValue::Ref) => {
                let finding = Finding::error("catalog.tasks", "the first row doesn't keep `$ref`");
                let help = "set a text column to `$ref`: by it a task that was made already is recognised";
                self.report.add(&entry.table.range, finding.help(help));
            }
            _ => {}
        }
        Tasks { open, inserts }
    }

    fn insert(&mut self, index: usize, entry: &At<InsertEntry>, tasks: &TasksEntry) -> Option<Insert> {
        let table = self.table(&entry.table)?;
        let set =
            entry.set.iter().filter_map(|(column, node)| self.assignment(index, &table, column, node, tasks)).collect();
        Some(Insert { table, set })
    }

    pub(super) fn assignment(
        &mut self,
        index: usize,
        table: &Table,
        name: &At<String>,
        node: &Node,
        tasks: &TasksEntry,
    ) -> Option<(Column, InsertValue)> {
        let described = node.get("value").is_some() || node.get("else").is_some() || node.get("type").is_some();
        let ty = if described { self.kept_as(node)? } else { ColumnType::Unknown };
        let column = Column { ty, ..Column::named(name.as_str()) };
        self.used(Some(table), &column, &name.range);
        let place = self.uses.len() - 1;
        let value = if described {
            self.with_fallback(index, &column, node, tasks)
        } else {
            self.insert_value(index, &column, node, tasks)
        };
        self.uses[place].given.clone_from(&value);
        Some((column, value?))
    }

    fn insert_value(&mut self, index: usize, column: &Column, node: &Node, tasks: &TasksEntry) -> Option<InsertValue> {
        if let Some(look_up) = node.get("look_up") {
            return self.row_look_up(index, look_up, tasks);
        }
        let source = self.report.source().to_owned();
        let Some(text) = node.text(&source) else {
            let finding =
                Finding::error("catalog.constant", format!("expected a constant or `$name`, found {}", node.kind()));
            self.report.add(&node.range, finding);
            return None;
        };
        if let Some(literal) = text.strip_prefix("$$") {
            let literal = format!("${literal}");
            let value = crate::model::Value::Text(literal.clone());
            return Some(InsertValue::Constant(Literal { text: literal, value }));
        }
        if !text.starts_with('$') {
            return match Literal::read(&text, node.is_plain(&source), &column.ty, &self.zone) {
                Ok(literal) => Some(InsertValue::Constant(literal)),
                Err(misfit) => {
                    self.report.add(&node.range, Finding::error("catalog.constant", misfit.to_string()));
                    None
                }
            };
        }
        let value = supplied(&text).or_else(|| earlier(&text, index, tasks));
        if value.is_none() {
            let name = At { value: text.into_owned(), range: node.range.clone(), source: node.range.clone() };
            self.unknown("catalog.unknown-value", "value", &name, &SUPPLIED.map(str::to_owned));
        }
        value
    }

    /// What `type` says of the column.
    fn kept_as(&mut self, node: &Node) -> Option<ColumnType> {
        let Content::Map(entries) = &node.content else { return None };
        let has_value = node.get("value").is_some();
        let extra = entries.iter().find(|(key, _)| !["value", "type", "else"].contains(&key.as_str()));
        if extra.is_some() || !has_value {
            let finding = Finding::error("catalog.tasks", "this is no value of a column");
            let help = "write `{value: $assignee.key, else: 1}`, or `{value: $now, type: epoch_seconds}`";
            self.report.add(&extra.map_or(&node.range, |(key, _)| &key.range).clone(), finding.help(help));
            return None;
        }
        let Some(word) = node.get("type") else { return Some(ColumnType::Unknown) };
        let source = self.report.source().to_owned();
        match word.text(&source).as_deref() {
            Some("epoch_seconds") => Some(ColumnType::Instant(InstantStorage::EpochSeconds)),
            Some("epoch_millis") => Some(ColumnType::Instant(InstantStorage::EpochMillis)),
            _ => {
                let finding = Finding::error("catalog.type", "expected `epoch_seconds` or `epoch_millis`");
                let help = "remove `type`: what else a column keeps is read from the database";
                self.report.add(&word.range, finding.help(help));
                None
            }
        }
    }

    /// `{value: $assignee.key, else: 1}`
    fn with_fallback(&mut self, index: usize, column: &Column, node: &Node, tasks: &TasksEntry) -> Option<InsertValue> {
        let value = self.insert_value(index, column, node.get("value")?, tasks);
        let Some(otherwise) = node.get("else") else { return value };
        let otherwise = self.insert_value(index, column, otherwise, tasks)?;
        Some(InsertValue::Else(Box::new((value?, otherwise))))
    }
}

impl Checker {
    /// `{table: crm.statuses, take: id, only: {name: New}}`
    fn row_look_up(&mut self, index: usize, node: &Node, tasks: &TasksEntry) -> Option<InsertValue> {
        let source = self.report.source().to_owned();
        let at = |node: &Node| {
            let value = node.text(&source)?.into_owned();
            Some(At { value, range: node.range.clone(), source: node.range.clone() })
        };
        let parts = ["table", "take", "only"].map(|key| node.get(key));
        let extra = match &node.content {
            Content::Map(entries) => entries.iter().any(|(key, _)| !["table", "take", "only"].contains(&key.as_str())),
            _ => true,
        };
        let (Some(table), Some(take), Some(Content::Map(only)), false) =
            (parts[0].and_then(at), parts[1].and_then(at), parts[2].map(|node| &node.content), extra)
        else {
            let finding = Finding::error("catalog.tasks", "a look-up needs its table, column and row");
            let help = "write `{look_up: {table: crm.statuses, take: id, only: {name: New}}}`";
            self.report.add(&node.range, finding.help(help));
            return None;
        };
        let table = self.table(&table)?;
        let take = self.column(None, Some(&table), &take)?;
        let only = only.iter().filter_map(|(name, node)| self.assignment(index, &table, name, node, tasks)).collect();
        Some(InsertValue::LookUp(Box::new(RowLookUp { table, take, only })))
    }
}

fn supplied(text: &str) -> Option<InsertValue> {
    Some(match text {
        "$uuid" => InsertValue::Uuid,
        "$title" => InsertValue::Title,
        "$body" => InsertValue::Body,
        "$due" => InsertValue::Due,
        "$now" => InsertValue::Now,
        "$ref" => InsertValue::Ref,
        "$record.key" => InsertValue::RecordKey,
        "$assignee.key" => InsertValue::AssigneeKey,
        "$assignee.email" => InsertValue::AssigneeEmail,
        _ => InsertValue::RecordField(FieldName::new(text.strip_prefix("$record.").filter(|field| !field.is_empty())?)),
    })
}

/// Whether the value is `$ref`.
fn is_reference(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar(Some(text)) if text == "$ref")
}

/// `$1.id`: what the first insert put into `id`. Only earlier rows can be named.
fn earlier(text: &str, index: usize, tasks: &TasksEntry) -> Option<InsertValue> {
    let (number, column) = text.strip_prefix('$')?.split_once('.')?;
    let insert = number.parse::<usize>().ok()?.checked_sub(1).filter(|insert| *insert < index)?;
    let row = tasks.insert.get(insert)?;
    let sets_it = row.set.iter().any(|(name, _)| name.as_str() == column);
    // The task's own row is found by its reference, so what the database gave it there can be named too.
    let is_known = insert == 0 && !column.is_empty() && row.set.iter().any(|(_, node)| is_reference(node));
    (sets_it || is_known).then(|| InsertValue::Earlier { insert, column: column.to_owned() })
}

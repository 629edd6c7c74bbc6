//! What steps may write: fields that say so, tags, pools of codes, and what people said by the links of mails.

use super::Checker;
use crate::catalog::written::{CatalogFile, EntityEntry, ListWord, PoolEntry, TagsEntry, TasksEntry};
use crate::catalog::{
    Column, ColumnType, ConsentTest, Entity, Expression, InsertValue, ListForm, Literal, Place, Pool, Table, TagList,
    Tags,
};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, Content, Node, ShortOr};
use crate::model::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// Why a boolean that is kept as text can't be written, and what can.
pub const IN_WORDS: &str = "nobody can say by which of its words it keeps yes and no";
pub const WORDS_HELP: &str =
    "declare it as `{type: text, means: {yes: [Y], no: [N]}, writable: true}`, and write `yes` or `no`";

impl Checker {
    /// Once the entity's fields are complete.
    pub(super) fn writing(&mut self, entity: &mut Entity, entry: &EntityEntry) {
        for (name, written) in entry.fields.iter() {
            let ShortOr::Long(long) = &written.value else { continue };
            if !long.writable {
                continue;
            }
            if let Some((why, help)) = unwritable(entity, name.as_str()) {
                let message = format!("`{}` can't be writable: {why}", name.value);
                self.report.add(&name.range, Finding::error("catalog.writable", message).help(help));
                continue;
            }
            entity.writable.insert(name.as_str().into());
        }
        let Some(tags) = &entry.tags else { return };
        if tags.value.column.is_some() {
            entity.tag_list = self.tag_list(entity, tags);
        } else {
            entity.tags = self.tags(tags);
        }
    }

    fn tags(&mut self, entry: &At<TagsEntry>) -> Option<Tags> {
        let TagsEntry { table: Some(table), record: Some(record), tag: Some(tag), separator: None, list: None, .. } =
            &entry.value
        else {
            let help = "write `{table: …, record: …, tag: …}`, or `{column: labels, separator: \",\"}`";
            let finding = Finding::error("catalog.tags", "this doesn't say where the tags are");
            self.report.add(&entry.range, finding.help(help));
            return None;
        };
        let table = self.table(table)?;
        let record = self.column(None, Some(&table), record)?;
        let tag = self.column(None, Some(&table), tag)?;
        Some(Tags { table, record, tag })
    }

    fn tag_list(&mut self, entity: &Entity, entry: &At<TagsEntry>) -> Option<TagList> {
        let written = &entry.value;
        let column = written.column.as_ref()?;
        let form = match (&written.separator, written.list) {
            (Some(separator), None) if !separator.is_empty() => Some(ListForm::Separated(separator.value.clone())),
            (None, Some(ListWord::Json)) => Some(ListForm::Json),
            (None, Some(ListWord::Array)) => Some(ListForm::Array),
            _ => None,
        };
        let of_a_table = [&written.table, &written.record, &written.tag].iter().any(|key| key.is_some());
        let Some(form) = form.filter(|_| !of_a_table) else {
            let help =
                "write `{column: labels, separator: \",\"}`, or `list: json`, or `list: array` for PostgreSQL's own";
            let finding = Finding::error("catalog.tags", "this doesn't say how the column holds its tags");
            self.report.add(&entry.range, finding.help(help));
            return None;
        };
        let found = self.column(Some(&entity.name), entity.table(), column)?;
        if let Some(used) = self.uses.last_mut().filter(|used| used.range == column.range) {
            used.is_list = true;
        }
        if found.place != Place::Row || entity.table().is_none() {
            let help = "only a column of the entity's own table can be written";
            let finding = Finding::error("catalog.tags", format!("`{}` can't be written", column.value));
            self.report.add(&column.range, finding.help(help));
            return None;
        }
        Some(TagList { column: found, form })
    }

    pub(super) fn pools(&mut self, written: &CatalogFile) -> BTreeMap<String, Pool> {
        let mut pools = BTreeMap::new();
        for (name, entry) in written.pools.iter() {
            self.name(name);
            if let Some(pool) = self.pool(name, &entry.value) {
                pools.insert(name.value.clone(), pool);
            }
        }
        pools
    }

    fn pool(&mut self, name: &At<String>, entry: &PoolEntry) -> Option<Pool> {
        let table = self.table(&entry.table)?;
        let code = self.column(None, Some(&table), &entry.code)?;
        let only = entry.only.as_ref().map_or_else(Vec::new, |node| self.filters(None, Some(&table), node));
        let none = TasksEntry { open: None, insert: Vec::new() };
        let mut reference = None;
        let mut marks = Vec::new();
        for (column, node) in entry.taken.iter() {
            let Some((column, value)) = self.assignment(0, &table, column, node, &none) else { continue };
            match value {
                InsertValue::Ref => reference = Some(column),
                InsertValue::Constant(_) | InsertValue::Now | InsertValue::RecordKey | InsertValue::RecordField(_) => {
                    marks.push((column, value));
                }
                _ => {
                    let finding = Finding::error("catalog.pool", "a pool can't be marked with that");
                    let help = "use `$ref`, `$now`, `$record.key`, `$record.FIELD` or a constant";
                    self.report.add(&node.range, finding.help(help));
                }
            }
        }
        let Some(reference) = reference else {
            let finding = Finding::error("catalog.pool", format!("the pool `{}` doesn't keep `$ref`", name.value));
            let help = "add a text column to `taken` that is set to `$ref`: it is empty while a code is free";
            self.report.add(&name.range, finding.help(help));
            return None;
        };
        Some(Pool { table, code, reference, marks, only, low_water: entry.low_water.as_ref().map(|low| low.value) })
    }

    /// `true`, or `{yes: Y, no: N}` in the words of the column; or why not.
    pub(super) fn write_back(
        &mut self,
        table: Option<&Table>,
        test: &ConsentTest,
        node: &Node,
    ) -> Result<Option<(Literal, Literal)>, &'static str> {
        let (ConsentTest::Is(column) | ConsentTest::Not(column)) = test;
        if table.is_none() || column.place != Place::Row {
            return Err("only a column of the person's own table can be written");
        }
        let source = self.report.source().to_owned();
        if let Content::Map(entries) = &node.content {
            let known = entries.iter().all(|(key, _)| matches!(key.as_str(), "yes" | "no"));
            let word = |key: &str| node.get(key).and_then(|node| Some((node.text(&source)?.into_owned(), node)));
            let (Some(yes), Some(no), true) = (word("yes"), word("no"), known) else {
                return Err("write both: `write_back: {yes: Y, no: N}`");
            };
            let read = |(text, node): (String, &Node)| {
                Literal::read(&text, node.is_plain(&source), &worded(column), &self.zone).ok()
            };
            return Ok(read(yes).zip(read(no)));
        }
        match node.text(&source).as_deref() {
            Some("true") if worded(column) != ColumnType::Text => {
                let yes = !matches!(test, ConsentTest::Not(_));
                let literal = |value: bool| Literal { text: value.to_string(), value: Value::Bool(value) };
                Ok(Some((literal(yes), literal(!yes))))
            }
            Some("true") => Err("the column keeps text: say in which words, `write_back: {yes: Y, no: N}`"),
            Some("false") => Ok(None),
            _ => Err("write `write_back: true`, or `write_back: {yes: Y, no: N}`"),
        }
    }

    /// Once for all topics of a channel that it is refused for alike: it stands in one place.
    pub(super) fn no_write_back(&mut self, refused: &[(String, &'static str)], range: &Range<usize>) {
        let mut reasons: Vec<&'static str> = refused.iter().map(|(_, help)| *help).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for help in reasons {
            let alike = refused.iter().filter(|(_, why)| *why == help).map(|(topic, _)| format!("`{topic}`"));
            let topics: Vec<String> = alike.collect();
            let message = format!("consent to {} can't be written back", topics.join(", "));
            self.report.add(range, Finding::error("catalog.write-back", message).help(help));
        }
    }
}

/// Booleans kept as text are written in the words that the catalog gives.
fn worded(column: &Column) -> ColumnType {
    match &column.ty {
        ColumnType::BoolText => ColumnType::Text,
        ty => ty.clone(),
    }
}

/// Why a field can't be written, if so, and what to do.
fn unwritable(entity: &Entity, name: &str) -> Option<(&'static str, &'static str)> {
    let help = "only a column of the entity's own table can be written; remove `writable`";
    if entity.table().is_none() {
        return Some(("the entity has no table of its own", help));
    }
    let column = match &entity.fields.get(name)?.expression {
        Expression::Aggregate(_) => return Some(("it is computed from other rows", help)),
        Expression::Column(column) | Expression::Means { column, .. } => column,
    };
    if column.place != Place::Row {
        return Some(("it doesn't stand in a column of its own", help));
    }
    if column.name == entity.key.name {
        return Some(("it is the key", help));
    }
    match column.ty {
        ColumnType::Json | ColumnType::Bytes => Some(("its type can't be written", help)),
        ColumnType::BoolText => Some((IN_WORDS, WORDS_HELP)),
        _ => None,
    }
}

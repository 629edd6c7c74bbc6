//! A value wherever the catalog says it stands: in the row, in a parent table, in JSON, in an attribute table, in
//! another entity's row, or in an expression of the admin's own.
//!
//! What stands in JSON comes out as text and is read as the declared type from that, so that one bad value is null
//! and never an error.

use super::Renderer;
use super::dialect;
use super::fragment::Fragment;
use super::hole::Hole;
use super::own;
use super::{filter, join_of};
use crate::catalog::{Attribute, Column, ColumnType, Entity, LookUp, Origin, OwnSql, Place};
use crate::model::Value;
use crate::rule::statement::Dialect;
use std::fmt::Write;

impl Renderer<'_> {
    /// The value of a column for the row `alias`.
    pub fn cell(&self, alias: &str, column: &Column) -> Fragment {
        match &column.place {
            Place::Row => self.own_cell(alias, &column.name),
            Place::Parent(number) => self.own_cell(&parent_alias(alias, *number), &column.name),
            Place::Json(holder, path) => {
                self.counted_text(column, self.in_json(&self.cell(alias, holder), &holder.ty, path))
            }
            Place::Attribute(attribute) => self.counted_text(column, self.attribute(alias, attribute)),
            Place::Number(inner) => dialect::number(self.dialect, &self.cell(alias, inner), &ColumnType::NumberText),
            Place::LookUp(look_up) => self.looked_up(alias, look_up),
            Place::Where(inner, only) => {
                let holds = Fragment::all(&filter::all_of(self, alias, only));
                Fragment::of("(CASE WHEN {} THEN {} END)", &[&holds, &self.cell(alias, inner)])
            }
            Place::Sql(sql) => Fragment::own_sql(&own::expression(self.own_text(sql), self.dialect, alias)),
        }
    }

    /// Text, as the number that a time is kept as, if it is one.
    fn counted_text(&self, column: &Column, text: Fragment) -> Fragment {
        if !column.ty.is_counted() {
            return text;
        }
        dialect::number(self.dialect, &text, &ColumnType::NumberText)
    }

    fn own_cell(&self, alias: &str, name: &str) -> Fragment {
        Fragment::of("{}.{}", &[&Fragment::text(alias), &Fragment::name(self.dialect, name)])
    }

    fn own_text<'s>(&self, sql: &'s OwnSql) -> &'s str {
        let text = match self.dialect {
            Dialect::Postgres => &sql.postgres,
            Dialect::MySql => &sql.mysql,
            Dialect::Sqlite => &sql.sqlite,
        };
        // A catalog without SQL for its dialect is refused before anything is rendered.
        text.as_deref().unwrap_or("NULL")
    }

    /// The text at a path; null where there is none, where it is JSON's null, where a position is asked of
    /// what is no list, and where the column holds no JSON.
    fn in_json(&self, held: &Fragment, ty: &ColumnType, path: &[String]) -> Fragment {
        let value = self.at_path(held, ty, path);
        let lists = (0..path.len()).filter(|at| is_position(&path[*at])).map(|at| &path[..at]);
        let mut tests: Vec<Fragment> = lists.filter_map(|list| self.is_list(held, ty, list)).collect();
        match self.dialect {
            // `IS JSON` came with PostgreSQL 16; before it nothing can look into text without risk.
            Dialect::Postgres if *ty == ColumnType::Text => tests.insert(0, Fragment::of("{} IS JSON", &[held])),
            // `json` keeps escapes that no text can hold; asking for them would be an error.
            Dialect::Postgres => tests.insert(0, Fragment::of(
                r"CAST({} AS text) !~* '\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f]'",
                &[held],
            )),
            Dialect::MySql => tests.insert(0, Fragment::of("JSON_VALID({})", &[held])),
            Dialect::Sqlite => tests.insert(0, Fragment::of("json_valid({})", &[held])),
        }
        // One in the other: what is no JSON is never looked into.
        tests.iter().rev().fold(value, |value, test| Fragment::of("(CASE WHEN {} THEN {} END)", &[test, &value]))
    }

    fn at_path(&self, held: &Fragment, ty: &ColumnType, path: &[String]) -> Fragment {
        match self.dialect {
            Dialect::Postgres if *ty == ColumnType::Text => {
                Fragment::of("CAST({} AS json) #>> CAST(CAST({} AS text) AS text[])", &[held, &keys_path(path)])
            }
            Dialect::Postgres => Fragment::of("{} #>> CAST(CAST({} AS text) AS text[])", &[held, &keys_path(path)]),
            Dialect::MySql => {
                let value = Fragment::of("JSON_EXTRACT({}, {})", &[held, &dollar_path(path)]);
                Fragment::of("(CASE WHEN JSON_TYPE({}) <> 'NULL' THEN JSON_UNQUOTE({}) END)", &[&value, &value])
            }
            // `true` and `1.50` as they are written there, not as 1 and 1.5.
            Dialect::Sqlite => {
                let path = dollar_path(path);
                Fragment::of(
                    "(CASE json_type({}, {}) WHEN 'text' THEN json_extract({}, {}) WHEN 'null' THEN NULL \
                     ELSE ({} -> {}) END)",
                    &[held, &path, held, &path, held, &path],
                )
            }
        }
    }

    /// Whether there is a list at the path. MySQL takes anything for a list of itself, and for PostgreSQL `0` may be a
    /// key; SQLite asks only lists for a position.
    fn is_list(&self, held: &Fragment, ty: &ColumnType, path: &[String]) -> Option<Fragment> {
        match self.dialect {
            Dialect::Postgres => Some(Fragment::of("({}) NOT LIKE '{%'", &[&self.at_path(held, ty, path)])),
            Dialect::MySql => {
                Some(Fragment::of("JSON_TYPE(JSON_EXTRACT({}, {})) = 'ARRAY'", &[held, &dollar_path(path)]))
            }
            Dialect::Sqlite => None,
        }
    }

    /// One value even where the table has several for a record: the first in its own order.
    fn attribute(&self, outer: &str, attribute: &Attribute) -> Fragment {
        let alias = self.alias("a");
        let value = self.cell(&alias, &attribute.value);
        let ours = (self.cell(outer, &attribute.key), &attribute.key);
        let theirs = (self.cell(&alias, &attribute.record), &attribute.record);
        let mut tests = vec![join_of(self.dialect, theirs, ours)];
        tests.extend(filter::all_of(self, &alias, &attribute.only));
        let rows = Fragment::of("{} AS {}", &[&self.table(&attribute.table), &Fragment::text(alias)]);
        dialect::first_of(self.dialect, &value, &rows, &tests, &Fragment::text("1"))
    }

    fn looked_up(&self, outer: &str, look_up: &LookUp) -> Fragment {
        let Some(entity) = self.catalog.entity(&look_up.entity) else { return Fragment::text("NULL") };
        let alias = self.alias("l");
        let ours = (self.cell(outer, &look_up.by), &look_up.by);
        let theirs = (self.key_of(entity, &alias), &entity.key);
        let mut tests = vec![join_of(self.dialect, theirs, ours)];
        tests.extend(filter::all_of(self, &alias, &look_up.only));
        tests.extend(self.base(entity, &alias));
        let cell = self.cell(&alias, &look_up.cell);
        let rows = self.rows_of(entity, &alias);
        Fragment::of("(SELECT {} FROM {} WHERE {} LIMIT 1)", &[&cell, &rows, &Fragment::all(&tests)])
    }

    /// `table AS alias`, with the entity's parent tables beside it.
    pub fn rows_of(&self, entity: &Entity, alias: &str) -> Fragment {
        let rows = match &entity.origin {
            Origin::Table(table) => self.table(table),
            Origin::Sql(sql) => Fragment::own_sql(&own::query(sql, self.dialect)),
            Origin::Union(members) => self.union(members),
        };
        let mut rows = Fragment::of("{} AS {}", &[&rows, &Fragment::text(alias)]);
        if entity.parents.is_empty() {
            return rows;
        }
        for (number, parent) in entity.parents.iter().enumerate() {
            let beside = parent_alias(alias, number);
            let same = join_of(
                self.dialect,
                (self.cell(&beside, &parent.key), &parent.key),
                (self.own_cell(alias, &entity.key.name), &entity.key),
            );
            let table = self.table(&parent.table);
            rows.push(&Fragment::of(" JOIN {} AS {} ON {}", &[&table, &Fragment::text(beside), &same]));
        }
        Fragment::of("({})", &[&rows])
    }
}

fn parent_alias(alias: &str, number: usize) -> String {
    format!("{alias}p{number}")
}

fn is_position(step: &str) -> bool {
    step.chars().all(|c| c.is_ascii_digit())
}

fn bound(path: String) -> Fragment {
    Fragment::hole(Hole::Constant(Value::Text(path)))
}

/// `{"plan","seats"}`
fn keys_path(path: &[String]) -> Fragment {
    let steps: Vec<String> = path.iter().map(|step| format!("\"{step}\"")).collect();
    bound(format!("{{{}}}", steps.join(",")))
}

/// `$."plan"."seats"`, `$."tags"[0]`.
fn dollar_path(path: &[String]) -> Fragment {
    bound(path.iter().fold("$".to_owned(), |mut whole, step| {
        let _ = if is_position(step) { write!(whole, "[{step}]") } else { write!(whole, ".\"{step}\"") };
        whole
    }))
}

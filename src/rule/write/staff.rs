//! The colleagues that an `assign` step chooses from.

use super::Member;
use crate::catalog::{Catalog, Column};
use crate::model::EntityName;
use crate::rule::compiled::ReadError;
use crate::rule::condition::Condition;
use crate::rule::sql::read::Cells;
use crate::rule::sql::{Fill, Fragment, RECORD, Renderer};
use crate::rule::statement::{Dialect, Row, Statement};
use jiff::Timestamp;

/// Asks for them, in the order of their keys. `None`: the catalog has no such entity any more.
#[must_use]
pub fn members(
    catalog: &Catalog,
    dialect: Dialect,
    entity: &EntityName,
    only: &[Condition],
    now: Timestamp,
) -> Option<Statement> {
    let renderer = Renderer::new(dialect, catalog);
    let entity = catalog.entity(entity)?;
    let person = entity.person.clone().unwrap_or_default();
    let mut tests = renderer.base(entity, RECORD);
    for condition in only {
        tests.push(renderer.condition(entity, RECORD, condition, false).ok()?);
    }
    let cell = |column: &Option<Column>| match column {
        Some(column) => renderer.selected(&renderer.column_operand(RECORD, column)).0,
        None => Fragment::text("NULL"),
    };
    let key = renderer.key_of(entity, RECORD);
    let sql = Fragment::of(
        "SELECT {}, {}, {}, {} FROM {} WHERE {} ORDER BY {}",
        &[
            &key,
            &cell(&person.email),
            &cell(&person.first_name),
            &cell(&person.last_name),
            &renderer.rows_of(entity, RECORD),
            &Fragment::all(&tests),
            &key,
        ],
    );
    Some(sql.fill(dialect, &Fill::at(now, &catalog.time_zone)))
}

/// Reads a row of [`members`].
pub fn read_member(catalog: &Catalog, entity: &EntityName, row: &Row) -> Result<Member, ReadError> {
    let ty = catalog.entity(entity).map_or(crate::catalog::KeyType::Unknown, |entity| entity.key_type.clone());
    let mut cells = Cells::new(row, entity.as_str());
    Ok(Member { key: Some(cells.key(&ty)?), email: cells.text()?, first_name: cells.text()?, last_name: cells.text()? })
}

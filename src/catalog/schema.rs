//! What a live database says of its tables. Read by the source adapter, held against the catalog by
//! `check --db`, and used to give every column its type.

use super::{ColumnType, Entity, Origin, Table};
use std::collections::BTreeMap;

/// The tables the catalog names, as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    pub tables: Vec<TableSchema>,
    /// What the queries of entities with `sql` return, by their text.
    pub queries: BTreeMap<String, TableSchema>,
    /// Columns that were there while the running rules were checked, and no longer are.
    pub gone: BTreeMap<Table, Vec<ColumnSchema>>,
    /// Made up for a test, whose rows hold every value themselves: no SQL of the catalog's is asked.
    pub made_up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub table: Table,
    /// False: the catalog names a table that is not there, or that this login may not read.
    pub exists: bool,
    pub kind: TableKind,
    pub columns: Vec<ColumnSchema>,
    pub indexes: Vec<Index>,
}

/// What stands behind the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TableKind {
    #[default]
    Table,
    /// A table in parts.
    Partitioned,
    /// It has no indexes of its own.
    View,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that a database says of a column")]
pub struct ColumnSchema {
    pub name: String,
    /// As the database spells it: `timestamp without time zone`.
    pub declared: String,
    /// What that means here; `Unknown` for types we can't read.
    pub ty: ColumnType,
    pub nullable: bool,
    /// Has a default or is generated, so an insert may leave it out.
    pub has_default: bool,
    /// Computed by the database from the row's other columns.
    pub generated: bool,
    /// Text that the database fills up with blanks, and compares without them: PostgreSQL's `char(n)`.
    pub padded: bool,
}

impl ColumnSchema {
    /// Several values in one cell, as PostgreSQL has them.
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.declared.ends_with("[]")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// By name; of an expression as the database spells it.
    pub columns: Vec<String>,
    pub unique: bool,
    /// Also finds what lies between two values; a hash finds but equal ones.
    pub ordered: bool,
}

impl Schema {
    #[must_use]
    pub fn table(&self, table: &Table) -> Option<&TableSchema> {
        self.tables.iter().find(|found| found.table == *table)
    }
}

impl Schema {
    /// Remembers which columns of `known` its tables have lost.
    #[must_use]
    pub fn since(mut self, known: Option<&Self>) -> Self {
        for table in self.tables.iter().filter(|table| table.exists) {
            let before = known.and_then(|known| known.table(&table.table)).map_or(&[][..], |table| &table.columns);
            let long = known.and_then(|known| known.gone.get(&table.table)).map_or(&[][..], Vec::as_slice);
            let lost = before.iter().chain(long).filter(|column| table.column(&column.name).is_none());
            let lost: Vec<ColumnSchema> = lost.cloned().collect();
            if !lost.is_empty() {
                self.gone.insert(table.table.clone(), lost);
            }
        }
        self
    }

    /// The columns of an entity's own rows.
    #[must_use]
    pub fn of(&self, entity: &Entity) -> Option<&TableSchema> {
        match &entity.origin {
            Origin::Table(table) => self.table(table),
            Origin::Sql(sql) => self.queries.get(sql),
            Origin::Union(_) => None,
        }
    }
}

impl TableSchema {
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnSchema> {
        self.columns.iter().find(|column| column.name == name)
    }
}

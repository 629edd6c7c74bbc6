//! SQL as data: text for one dialect, bound values, and rows as they come back.

use crate::model::Value;

/// The SQL a source speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    Postgres,
    /// MySQL 8 and MariaDB 10.6 or newer.
    MySql,
    Sqlite,
}

/// SQL and the values of its placeholders, in order. Values never become part of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub sql: String,
    pub binds: Vec<Value>,
}

/// One row, decoded by the type of each cell; the catalog's meaning is applied later.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

//! Copies a state in PostgreSQL into a SQLite file that nobody keeps: what a rehearsal runs on.
//!
//! All of it is one view of the state, by a transaction that can only read. Both databases have the same tables and
//! columns, of the same three types, step by step of their schemas: the file is made with the steps that the state
//! has seen, filled, and brought up to date like any other when it is opened. Each table comes in pages, by its
//! primary key, so memory doesn't grow with it.

use super::database::Database;
use super::postgres::{self, Reached};
use super::sql::{Param, Row, Session};
use super::sqlite::{Sqlite, SqliteStore};
use crate::engine::port::StoreError;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Rows read and written at once. Some hold a text: a rule's, an event's.
const PAGE: usize = 500;

/// What grows with every message that was ever sent, and decides nothing: what was said, and what happened between
/// attempts.
const LEFT_OUT: [&str; 2] = ["message", "timeline"];

/// Of the attempts, only those that something is decided by: whose a task is (`unless_open: same`), and which places
/// under caps stay taken. The others are a log.
const ATTEMPTS: &str = "(kind = 'task' OR outcome = 'unknown')";

/// Copies the state at `url` into the new file `to`; there is no file afterwards if there is no state yet.
pub async fn copy(url: &str, reached: Reached, to: &Path, now: Timestamp) -> Result<(), StoreError> {
    let mut state = postgres::look(url, reached).await?;
    let found = postgres::schema_of(&mut state).await?;
    if found == 0 {
        return Ok(());
    }
    let file = SqliteStore::of_schema(to, found, now).await?;
    let conflict = AtomicBool::new(false);
    let filled = fill(&mut Session::postgres(&mut state, &conflict), &file.database).await;
    file.close().await;
    filled
}

async fn fill(from: &mut Session<'_>, to: &Sqlite) -> Result<(), StoreError> {
    for table in to.read(|mut session| Box::pin(async move { tables(&mut session).await })).await? {
        copy_table(from, to, &Arc::new(table)).await?;
    }
    Ok(())
}

/// A table, with the places of its primary key among its columns.
struct Table {
    name: String,
    columns: Vec<String>,
    key: Vec<usize>,
}

async fn tables(session: &mut Session<'_>) -> Result<Vec<Table>, StoreError> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let mut tables = Vec::new();
    for mut row in session.rows(names, &[]).await? {
        let name = row.text(0)?;
        if !LEFT_OUT.contains(&name.as_str()) {
            tables.push(table(session, name).await?);
        }
    }
    Ok(tables)
}

async fn table(session: &mut Session<'_>, name: String) -> Result<Table, StoreError> {
    let described = "SELECT name, pk FROM pragma_table_info($1) ORDER BY cid";
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    for mut row in session.rows(described, &[Param::from(name.as_str())]).await? {
        if row.int(1)? > 0 {
            key.push((row.int(1)?, columns.len()));
        }
        columns.push(row.text(0)?);
    }
    key.sort_unstable();
    Ok(Table { name, columns, key: key.into_iter().map(|(_, place)| place).collect() })
}

async fn copy_table(from: &mut Session<'_>, to: &Sqlite, table: &Arc<Table>) -> Result<(), StoreError> {
    clear(to, table).await?;
    let mut after = Vec::new();
    loop {
        let page = from.rows(&table.page(!after.is_empty()), &after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = table.key.iter().map(|place| last.param(*place)).collect();
        insert(to, table, page).await?;
    }
}

/// What the steps themselves have put in makes way.
async fn clear(to: &Sqlite, table: &Table) -> Result<(), StoreError> {
    let sql = Arc::new(format!("DELETE FROM {}", table.name));
    let cleared = to.write(move |mut session| {
        let sql = Arc::clone(&sql);
        Box::pin(async move { session.run(&sql, &[]).await })
    });
    cleared.await.map(drop)
}

async fn insert(to: &Sqlite, table: &Arc<Table>, page: Vec<Row>) -> Result<(), StoreError> {
    let rows = Arc::new((Arc::clone(table), page));
    let inserted = to.write(move |mut session| {
        let rows = Arc::clone(&rows);
        Box::pin(async move { insert_all(&mut session, &rows.0, &rows.1).await })
    });
    inserted.await
}

async fn insert_all(session: &mut Session<'_>, table: &Table, page: &[Row]) -> Result<(), StoreError> {
    let (sql, width) = (table.insert(), table.columns.len());
    for row in page {
        let params: Vec<Param> = (0..width).map(|place| row.param(place)).collect();
        session.run(&sql, &params).await?;
    }
    Ok(())
}

impl Table {
    /// The statement for the first page, or for the one after a key.
    fn page(&self, after: bool) -> String {
        let (name, columns) = (&self.name, self.columns.join(", "));
        let key = self.key.iter().map(|place| self.columns[*place].as_str()).collect::<Vec<_>>().join(", ");
        let last = numbered(self.key.len());
        let rest = if after { format!("({key}) > ({last})") } else { "TRUE".to_owned() };
        let only = if name == "attempt" { ATTEMPTS } else { "TRUE" };
        format!("SELECT {columns} FROM {name} WHERE {rest} AND {only} ORDER BY {key} LIMIT {PAGE}")
    }

    fn insert(&self) -> String {
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, self.columns.join(", "), numbered(self.columns.len()))
    }
}

/// `$1, $2, $3`
fn numbered(count: usize) -> String {
    (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

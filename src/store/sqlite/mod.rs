//! The state in one SQLite file: WAL, `synchronous=FULL`, one writer whose commits are shared, and
//! readers beside it.

mod writer;

use super::database::Database;
use super::migration::{self, Steps};
use super::sql::{Dialect, Session, failure};
use super::state::State;
use crate::engine::port::StoreError;
use futures::future::BoxFuture;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use writer::Writer;

const STEPS: Steps = &[include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0001_state.sql"))];

/// Faces and the engine's look-ups; SQLite readers don't block each other or the writer.
const READERS: u32 = 4;

/// The state in a SQLite file.
pub type SqliteStore = State<Sqlite>;

/// One SQLite file, opened.
#[derive(Debug)]
pub struct Sqlite {
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, creating it (for nobody else to read) and bringing its schema up to date.
    pub async fn open(path: impl AsRef<Path>, now: Timestamp) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), now, STEPS).await
    }

    async fn open_with(path: &Path, now: Timestamp, steps: Steps) -> Result<Self, StoreError> {
        make_private(path)?;
        let options = options(path);
        let mut connection = options.connect().await.map_err(|error| failure(&error))?;
        let secret = migrate(&mut connection, path, steps, now).await?;
        let readers =
            SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options.pragma("query_only", "true"));
        Ok(Self::new(Sqlite { writer: Writer::start(connection), readers }, secret, Dialect::Sqlite))
    }

    /// Commits what is under way and closes the file.
    pub async fn close(self) {
        self.database.writer.stop().await;
        self.database.readers.close().await;
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Rows are removed in the order that references would ask for; checking each insert costs more
        // than the inserts.
        .foreign_keys(false)
        .busy_timeout(Duration::from_secs(5))
        .pragma("cache_size", "-32768")
        .pragma("mmap_size", "268435456")
        .pragma("temp_store", "memory")
        // Ids come in no order, so a batch touches many pages, and the same ones again: copy them back late.
        .pragma("wal_autocheckpoint", "8192")
        .pragma("journal_size_limit", "67108864")
        // Each statement over a batch comes in several sizes.
        .statement_cache_capacity(512)
        // Rows come from another thread, which would else be woken for every fifty.
        .row_buffer_size(1_024)
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    let wrong = |error: std::io::Error| {
        StoreError::Broken(format!("can't create {}: {error}; check the directory and its owner", path.display()))
    };
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(wrong)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(wrong)
}

/// All pending steps in one transaction, after a copy of the file as it was.
async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    steps: Steps,
    now: Timestamp,
) -> Result<crate::model::InstanceSecret, StoreError> {
    let found = schema(connection).await.map_err(|error| failure(&error))?;
    let pending = migration::pending(found, steps)?;
    if found > 0 && !pending.is_empty() {
        copy(connection, &copy_path(path, found)).await?;
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failure(&error))?;
    for step in pending {
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(|error| failure(&error))?;
    }
    let conflict = AtomicBool::new(false);
    let secret = migration::finish(&mut Session::sqlite(&mut transaction, &conflict), steps, now).await?;
    transaction.commit().await.map_err(|error| failure(&error))?;
    Ok(secret)
}

async fn schema(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let made = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetch_optional(&mut *connection).await?;
    if made.is_none() {
        return Ok(0);
    }
    let row = sqlx::query("SELECT schema FROM meta").fetch_optional(connection).await?;
    row.map_or(Ok(0), |row| row.try_get(0))
}

fn copy_path(path: &Path, schema: i64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".schema-{schema}.copy"));
    path.with_file_name(name)
}

/// `VACUUM INTO` copies a consistent whole, write-ahead log included.
async fn copy(connection: &mut SqliteConnection, to: &Path) -> Result<(), StoreError> {
    let wrong = |error: &dyn std::fmt::Display| {
        StoreError::Broken(format!("can't copy the state to {} before upgrading it: {error}", to.display()))
    };
    // A copy of the same schema is of an upgrade that did not finish; the newer state is the better copy.
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(&error)),
        _ => {}
    }
    make_private(to)?;
    let name = to.to_str().ok_or_else(|| wrong(&"its name is not UTF-8"))?;
    sqlx::query(AssertSqlSafe("VACUUM INTO $1")).bind(name).execute(connection).await.map_err(|error| wrong(&error))?;
    Ok(())
}

impl Database for Sqlite {
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.writer.write(work).await
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let mut transaction = self.readers.begin().await.map_err(|error| failure(&error))?;
        let conflict = AtomicBool::new(false);
        let answer = work(Session::sqlite(&mut transaction, &conflict)).await;
        transaction.rollback().await.map_err(|error| failure(&error))?;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[tokio::test]
    async fn the_file_is_private_and_keeps_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let store = SqliteStore::open(&path, NOW).await.unwrap();
        let secret = store.secret.0;
        store.close().await;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SqliteStore::open(&path, NOW).await.unwrap().secret.0, secret);
        assert_ne!(secret, [0; 32]);
    }

    #[tokio::test]
    async fn an_upgrade_copies_the_file_first_and_an_older_binary_refuses_it() {
        const NEWER: Steps = &[STEPS[0], "CREATE TABLE added (x INTEGER)"];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        SqliteStore::open(&path, NOW).await.unwrap().close().await;
        SqliteStore::open_with(&path, NOW, NEWER).await.unwrap().close().await;

        let refused = SqliteStore::open(&path, NOW).await.unwrap_err();
        assert!(matches!(refused, StoreError::NewerSchema { found: 2, known: 1 }), "{refused}");
        let copy = copy_path(&path, 1);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        SqliteStore::open(&copy, NOW).await.unwrap();
    }
}

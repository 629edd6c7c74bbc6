//! The state in one SQLite file: WAL, `synchronous=FULL`, one writer whose commits are shared, and
//! readers beside it. Through rusqlite, whose statements run where they are asked (decision 0014).

mod readers;
mod writer;

use super::database::Database;
use super::migration::{self, Steps};
use super::sql::sqlite::failure;
use super::sql::{Dialect, Session};
use super::state::State;
use crate::engine::port::StoreError;
use crate::model::InstanceSecret;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use readers::Readers;
use rusqlite::{Connection, OptionalExtension};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use writer::Writer;

const STEPS: Steps = &[
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0001_state.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0002_timeline.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0003_writes.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0004_consent_owed.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0005_safety.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0006_answers.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0007_reactions.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0008_messages.sql")),
];

/// Each statement over a batch comes in several sizes.
const STATEMENTS: usize = 256;

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Synchronous {
    Full,
    Off,
}

/// The state in a SQLite file.
pub type SqliteStore = State<Sqlite>;

/// One SQLite file, opened.
#[derive(Debug)]
pub struct Sqlite {
    writer: Writer,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the file, creating it (for nobody else to read) and bringing its schema up to date.
    pub async fn open(path: impl AsRef<Path>, now: Timestamp) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), now, STEPS).await
    }

    /// As [`SqliteStore::open`], for rehearsals: nothing is synced, so a crash may lose it.
    pub async fn scratch(path: impl AsRef<Path>, now: Timestamp) -> Result<Self, StoreError> {
        Self::open_as(path.as_ref(), Synchronous::Off, now, STEPS).await
    }

    /// A scratch file as a nudged that knew only the first steps would have made it.
    pub(super) async fn of_schema(path: &Path, schema: i64, now: Timestamp) -> Result<Self, StoreError> {
        let newer = migration::pending(schema, STEPS)?;
        Self::open_as(path, Synchronous::Off, now, &STEPS[..STEPS.len() - newer.len()]).await
    }

    async fn open_with(path: &Path, now: Timestamp, steps: Steps) -> Result<Self, StoreError> {
        Self::open_as(path, Synchronous::Full, now, steps).await
    }

    async fn open_as(path: &Path, synced: Synchronous, now: Timestamp, steps: Steps) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || {
            make_private(&path)?;
            let mut connection = connect(&path)?;
            if synced == Synchronous::Off {
                connection.execute_batch("PRAGMA synchronous = OFF").map_err(|error| failure(&error))?;
            }
            let secret = migrate(&mut connection, &path, steps, now)?;
            let sqlite = Sqlite { writer: Writer::start(connection)?, readers: Readers::new(path) };
            Ok(Self::new(sqlite, secret, Dialect::Sqlite))
        });
        opening.await.map_err(|error| StoreError::Broken(format!("the state could not be opened: {error}")))?
    }

    /// Copies the state at `from`, whoever works on it meanwhile, into a new file.
    pub async fn snapshot(from: &Path, to: &Path) -> Result<(), StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let copying = tokio::task::spawn_blocking(move || copy(&connect(&from)?, &to));
        copying.await.map_err(|error| StoreError::Broken(format!("the state could not be copied: {error}")))?
    }

    /// Commits what is under way and closes the file.
    pub async fn close(self) {
        self.database.readers.close().await;
        self.database.writer.stop().await;
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Rows are removed in the order that references would ask for; checking each insert costs more than
        // the inserts. Ids come in no order, so a batch touches many pages, and the same ones again: they are
        // copied back late. The file isn't mapped: its pages would count as ours, as many as it has.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;
             PRAGMA cache_size = -32768; PRAGMA mmap_size = 0; PRAGMA temp_store = memory;
             PRAGMA wal_autocheckpoint = 8192; PRAGMA journal_size_limit = 67108864;",
        )?;
        Ok(connection)
    };
    open().map_err(|error| failure(&error))
}

/// Runs a job's future where we are: on SQLite none of its statements ever waits.
fn run_here<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let waited = || StoreError::Broken("a transaction waited for something else: a defect of nudged".to_owned());
    work.now_or_never().unwrap_or_else(|| Err(waited()))
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    let wrong = |error: std::io::Error| {
        StoreError::Broken(format!("can't create {}: {error}; check the directory and its owner", path.display()))
    };
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(wrong)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(wrong)
}

/// All pending steps in one transaction, after a copy of the file as it was.
fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: Steps,
    now: Timestamp,
) -> Result<InstanceSecret, StoreError> {
    let found = schema(connection).map_err(|error| failure(&error))?;
    let pending = migration::pending(found, steps)?;
    let conflict = AtomicBool::new(false);
    if found > 0 && pending.is_empty() {
        // Commands that only look don't wait for the daemon, which may write without a pause.
        return run_here(migration::kept_secret(&mut Session::sqlite(connection, &conflict)));
    }
    if found > 0 {
        copy(connection, &copy_path(path, found))?;
    }
    let run = |connection: &Connection, sql: &str| connection.execute_batch(sql).map_err(|error| failure(&error));
    // Whoever opens the state drops the connection after an error, and with it what was begun.
    run(connection, "BEGIN IMMEDIATE")?;
    for step in pending {
        run(connection, step)?;
    }
    let secret = run_here(migration::finish(&mut Session::sqlite(connection, &conflict), steps, now))?;
    run(connection, "COMMIT")?;
    Ok(secret)
}

fn schema(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let made = connection.query_row("SELECT 1 FROM sqlite_master WHERE name = 'meta'", (), |_| Ok(())).optional()?;
    if made.is_none() {
        return Ok(0);
    }
    Ok(connection.query_row("SELECT schema FROM meta", (), |row| row.get(0)).optional()?.unwrap_or(0))
}

fn copy_path(path: &Path, schema: i64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".schema-{schema}.copy"));
    path.with_file_name(name)
}

/// `VACUUM INTO` copies a consistent whole, write-ahead log included.
fn copy(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    let wrong = |error: &dyn std::fmt::Display| {
        StoreError::Broken(format!("can't copy the state to {}: {error}", to.display()))
    };
    // A copy of the same schema is of an upgrade that did not finish; the newer state is the better copy.
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(&error)),
        _ => {}
    }
    make_private(to)?;
    let name = to.to_str().ok_or_else(|| wrong(&"its name is not UTF-8"))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| wrong(&error))?;
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
        self.readers.read(work).await
    }

    async fn peek<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.readers.read(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::port::Register;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[tokio::test]
    async fn whoever_only_looks_does_not_wait_for_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let store = SqliteStore::open(&path, NOW).await.unwrap();
        let writes = connect(&path).unwrap();
        writes.execute_batch("BEGIN IMMEDIATE").unwrap();
        let looks = SqliteStore::open(&path, NOW).await.unwrap();
        assert_eq!(looks.secret.0, store.secret.0);
        assert!(looks.rule_states().await.unwrap().is_empty());
    }

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
        const KNOWN: usize = STEPS.len();
        const NEWER: Steps = &{
            let mut steps = [""; KNOWN + 1];
            let mut step = 0;
            while step < KNOWN {
                steps[step] = STEPS[step];
                step += 1;
            }
            steps[KNOWN] = "CREATE TABLE added (x INTEGER)";
            steps
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        SqliteStore::open(&path, NOW).await.unwrap().close().await;
        SqliteStore::open_with(&path, NOW, NEWER).await.unwrap().close().await;

        let refused = SqliteStore::open(&path, NOW).await.unwrap_err();
        let known = i64::try_from(KNOWN).unwrap();
        let StoreError::NewerSchema { found, known: ours } = refused else { panic!("{refused}") };
        assert_eq!((found, ours), (known + 1, known));
        let copy = copy_path(&path, known);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        SqliteStore::open(&copy, NOW).await.unwrap();
    }
}

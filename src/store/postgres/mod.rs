//! The state in PostgreSQL, shared by several nodes.
//!
//! It works behind a pooler that gives each transaction another session: no advisory locks, no NOTIFY, no
//! session settings, and no named statements unless somebody says that there is none. Rows are locked in key
//! order; what still meets a deadlock or a serialization failure runs again.

use super::database::Database;
use super::migration::{self, Steps};
use super::sql::postgres::{failure, is_conflict};
use super::sql::{Dialect, Session};
use super::state::State;
use crate::engine::port::StoreError;
use crate::model::InstanceSecret;
use futures::future::BoxFuture;
use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{PgConnection, Row, Transaction};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const STEPS: Steps = &[
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0001_state.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0002_timeline.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0003_writes.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0004_consent_owed.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0005_safety.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0006_answers.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0007_reactions.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/0008_messages.sql")),
];

const CONNECTIONS: u32 = 8;

/// Every statement finds its rows by index, for a batch is small and its tables may be huge. The planner doesn't
/// know how small, and would rather read a whole table than look up a thousand rows: eight times as slow with
/// twenty thousand rows, and worse with every row more. Only for the transaction, so that a pooler's other
/// users never see it.
const BEGIN: &str = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
    SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";

/// The same for who reads all of it and writes nothing, at one instant whatever others do meanwhile.
const LOOK: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL enable_seqscan = off";

/// Statements that a connection keeps prepared: more than the store has, since a batch is one whatever its size.
const STATEMENTS: usize = 200;

/// What stands between us and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Perhaps a pooler, which may give each transaction another session: a statement prepared by name could be
    /// gone there, or be somebody else's.
    PerhapsPooled,
    /// Nothing: statements are prepared once a connection, which saves planning and half of the round trips.
    Directly,
}

/// How often a transaction that met a conflict runs before it is given up.
const TRIES: u32 = 6;

/// The state in a PostgreSQL database.
pub type PostgresStore = State<Postgres>;

/// A pool of connections to it.
#[derive(Debug)]
pub struct Postgres {
    pool: PgPool,
}

impl PostgresStore {
    /// Connects, perhaps through a pooler, and brings the schema up to date.
    pub async fn open(url: &str, now: Timestamp) -> Result<Self, StoreError> {
        Self::open_as(url, Reached::PerhapsPooled, now).await
    }

    /// The same for who knows how the server is reached.
    pub async fn open_as(url: &str, reached: Reached, now: Timestamp) -> Result<Self, StoreError> {
        let pool = connect(url, reached, CONNECTIONS).await?;
        let secret = migrate(&pool, STEPS, now).await?;
        Ok(Self::new(Postgres { pool }, secret, Dialect::Postgres))
    }

    pub async fn close(self) {
        self.database.pool.close().await;
    }
}

async fn connect(url: &str, reached: Reached, connections: u32) -> Result<PgPool, StoreError> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|error: sqlx::Error| StoreError::Broken(format!("the state's address can't be read: {error}")))?;
    // Poolers refuse the start-up parameter that sqlx sends for floats, and we keep none.
    let options = options.extra_float_digits(None).application_name("nudged");
    let options = options.statement_cache_capacity(match reached {
        Reached::PerhapsPooled => 0,
        Reached::Directly => STATEMENTS,
    });
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(options)
        .await;
    pool.map_err(|error| failure(&error))
}

/// One view of the state as it is now, by a transaction that can write nothing: the schema stays as it is found, too.
pub(super) async fn look(url: &str, reached: Reached) -> Result<Transaction<'static, sqlx::Postgres>, StoreError> {
    let pool = connect(url, reached, 1).await?;
    pool.begin_with(LOOK).await.map_err(|error| failure(&error))
}

/// Which schema the state has; 0 where there is none.
pub(super) async fn schema_of(connection: &mut PgConnection) -> Result<i64, StoreError> {
    schema(connection, "SELECT schema FROM meta").await.map_err(|error| failure(&error))
}

/// Two nodes may start at once: the slower finds the tables made by the other and looks again.
async fn migrate(pool: &PgPool, steps: Steps, now: Timestamp) -> Result<InstanceSecret, StoreError> {
    let mut tried = 0;
    loop {
        tried += 1;
        match migrate_once(pool, steps, now).await {
            Err(Migration::Database(error)) if tried < TRIES && made_meanwhile(&error) => {}
            Err(Migration::Database(error)) => return Err(failure(&error)),
            Err(Migration::Refused(error)) => return Err(error),
            Ok(secret) => return Ok(secret),
        }
    }
}

enum Migration {
    Database(sqlx::Error),
    Refused(StoreError),
}

fn made_meanwhile(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // Unique violation in the catalog, duplicate table, duplicate object; or a conflict.
    is_conflict(error) || code.is_some_and(|code| matches!(&*code, "23505" | "42P07" | "42710"))
}

async fn migrate_once(pool: &PgPool, steps: Steps, now: Timestamp) -> Result<InstanceSecret, Migration> {
    let mut transaction = pool.begin().await.map_err(Migration::Database)?;
    let found = schema(&mut transaction, "SELECT schema FROM meta FOR UPDATE").await;
    let found = found.map_err(Migration::Database)?;
    for step in migration::pending(found, steps).map_err(Migration::Refused)? {
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(Migration::Database)?;
    }
    let conflict = AtomicBool::new(false);
    let session = &mut Session::postgres(&mut transaction, &conflict);
    let secret = migration::finish(session, steps, now).await.map_err(Migration::Refused)?;
    transaction.commit().await.map_err(Migration::Database)?;
    Ok(secret)
}

/// What `asked` answers, or 0 where there is no table to ask.
async fn schema(connection: &mut PgConnection, asked: &'static str) -> Result<i64, sqlx::Error> {
    let made = sqlx::query("SELECT to_regclass('meta') IS NOT NULL").persistent(false);
    if !made.fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Ok(0);
    }
    let row = sqlx::query(asked).persistent(false).fetch_optional(connection).await?;
    row.map_or(Ok(0), |row| row.try_get(0))
}

impl Postgres {
    async fn once<T, F>(&self, work: &F) -> Result<T, (StoreError, bool)>
    where
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync,
    {
        let outside = |error: sqlx::Error| (failure(&error), is_conflict(&error));
        let conflict = AtomicBool::new(false);
        let mut transaction = self.pool.begin_with(BEGIN).await.map_err(outside)?;
        let answer = work(Session::postgres(&mut transaction, &conflict)).await;
        let answer = answer.map_err(|error| (error, conflict.load(Ordering::Relaxed)))?;
        transaction.commit().await.map_err(outside)?;
        Ok(answer)
    }
}

impl Database for Postgres {
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.once(&work).await {
                Err((_, true)) if tried < TRIES => {}
                Err((error, _)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.write(work).await
    }

    async fn peek<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let mut connection = self.pool.acquire().await.map_err(|error| failure(&error))?;
        work(Session::postgres(&mut connection, &AtomicBool::new(false))).await
    }
}

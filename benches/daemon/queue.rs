//! The smallest durable queue: what any program must do for a step that it neither loses nor repeats, over one
//! connection each to state and source, with nothing sent.

use super::Bench;
use super::machine::directory;
use super::nudged::State;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use std::time::Duration;
use tokio::time::Instant;

/// Steps, each due so long after the one before is done, so that none waits for another.
const STEPS: u32 = 150;
const APART: Duration = Duration::from_millis(40);

const TABLES: &str = "CREATE TABLE due (id BIGINT PRIMARY KEY, due_at BIGINT NOT NULL, state INT NOT NULL);
    CREATE INDEX due_when ON due (due_at) WHERE state = 0;
    CREATE TABLE attempt (due BIGINT NOT NULL, finished_at BIGINT NOT NULL, outcome TEXT NOT NULL)";

/// Rows are due by their number: time passes outside.
const CLAIM: &str = "UPDATE due SET state = 1 WHERE id =
    (SELECT id FROM due WHERE state = 0 AND due_at <= $1 ORDER BY due_at LIMIT 1) RETURNING id";
const MARK: &str = "UPDATE due SET state = 2 WHERE id = $1";
const END: &str = "DELETE FROM due WHERE id = $1";
const LOG: &str = "INSERT INTO attempt VALUES ($1, $1, 'sent')";

/// What is true of the record now.
const FACTS: &str =
    "SELECT country, class, (SELECT max(placed_at) FROM crm.orders WHERE account_id = a.id AND status = 'paid')
    FROM crm.accounts a WHERE id = $1 AND is_active";

/// Sleeps until each step is due; claims it, asks the source, marks it and ends it, in three commits.
macro_rules! work_off {
    ($state:ident, $crm:ident, $begin:literal) => {{
        sqlx::raw_sql(TABLES).execute(&mut $state).await.expect("a fresh database");
        for step in 0..STEPS {
            let row = format!("INSERT INTO due VALUES ({step}, {step}, 0)");
            $state.execute(sqlx::query(AssertSqlSafe(row))).await.expect("the state answers");
        }
        let mut samples = Vec::new();
        for step in 0..i64::from(STEPS) {
            let due = Instant::now() + APART;
            tokio::time::sleep_until(due).await;
            $state.execute($begin).await.expect("the state answers");
            let claimed: i64 = sqlx::query_scalar(CLAIM).bind(step).fetch_one(&mut $state).await.expect("one is due");
            $state.execute("COMMIT").await.expect("the state answers");
            sqlx::query(FACTS).bind(1 + claimed as i32).fetch_one(&mut $crm).await.expect("the source answers");
            for statements in [&[MARK][..], &[END, LOG]] {
                $state.execute($begin).await.expect("the state answers");
                for sql in statements {
                    sqlx::query(*sql).bind(claimed).execute(&mut $state).await.expect("the state answers");
                }
                $state.execute("COMMIT").await.expect("the state answers");
            }
            samples.push(due.elapsed());
        }
        samples
    }};
}

/// From each step's due instant to its committed success.
pub async fn latency(bench: &Bench, kind: State) -> Vec<Duration> {
    let mut crm = PgConnection::connect(&bench.source.crm.url).await.expect("the source answers");
    match kind {
        State::Sqlite => {
            let dir = tempfile::tempdir_in(directory()).expect("the directory is writable");
            let options = SqliteConnectOptions::new().filename(dir.path().join("queue.db")).create_if_missing(true);
            let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
            let mut state = SqliteConnection::connect_with(&options).await.expect("a fresh database");
            work_off!(state, crm, "BEGIN IMMEDIATE")
        }
        State::Postgres => {
            let database = bench.source.server.create();
            let mut state = PgConnection::connect(&database.url).await.expect("a fresh database");
            let samples = work_off!(state, crm, "BEGIN");
            state.close().await.expect("it closes");
            samples
        }
    }
}

//! What a kill leaves behind: the state's own tables, read while no daemon runs.

use crate::site::waited;
use crate::support::{PATIENCE, wait_until};
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, ColumnIndex, Connection, Decode, Executor, PgConnection, Row, SqliteConnection, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A delivery and the epoch of its lease: one try at it.
type Try = (String, i64);

/// Everything that was under way at one kill or another.
#[derive(Default)]
pub struct Wreckage {
    kills: usize,
    /// Kills that left claimed rows, messages under way, half a sweep.
    claiming: usize,
    sending: usize,
    staging: usize,
    webhooks: BTreeSet<Try>,
    mails: BTreeSet<Try>,
}

/// A row of the outbox that somebody holds.
struct Held {
    owner: String,
    sending: bool,
    kind: String,
    attempt: Try,
}

impl Held {
    /// `state epoch owner kind delivery`
    fn parse(row: &str) -> Self {
        let [state, epoch, owner, kind, delivery] = row.split(' ').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let attempt = (delivery.to_owned(), epoch.parse().unwrap());
        Self { owner: owner.to_owned(), sending: state == "2", kind: kind.to_owned(), attempt }
    }
}

impl Wreckage {
    /// Looks at the state after a kill. `at_most` is how many messages of a kind one process may have under way.
    pub fn look(&mut self, state: &str, at_most: impl Fn(&str) -> usize) {
        let read = waited(read(state));
        let (held, staged) = read.or_else(|error| not_made_yet(&error).then(Default::default).ok_or(error)).unwrap();
        let sending: Vec<&Held> = held.iter().filter(|row| row.sending).collect();
        self.kills += 1;
        self.claiming += usize::from(sending.len() < held.len());
        self.sending += usize::from(!sending.is_empty());
        self.staging += usize::from(staged > 0);
        let mut by_owner: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for row in &sending {
            *by_owner.entry((&row.owner, &row.kind)).or_default() += 1;
        }
        for ((_, kind), count) in by_owner {
            assert!(count <= at_most(kind), "{count} of {kind} were under way at once");
        }
        for row in sending {
            match row.kind.as_str() {
                "webhook" => self.webhooks.insert(row.attempt.clone()),
                "email" => self.mails.insert(row.attempt.clone()),
                _ => false,
            };
        }
    }

    /// Tries at a webhook whose outcome a kill took away: each may be repeated once.
    pub fn tries_at(&self, key: &str) -> usize {
        self.webhooks.iter().filter(|(delivery, _)| delivery.eq_ignore_ascii_case(key)).count()
    }

    pub fn mails(&self) -> usize {
        self.mails.len()
    }

    /// Kills that left half a sweep.
    pub fn staging(&self) -> usize {
        self.staging
    }

    /// A third of the kills aim at a message under way, the others at any moment. How many hit depends on how busy the
    /// machine is: one in ten is asked for, and the count is printed.
    pub fn assert_in_the_midst(&self) {
        let enough = self.claiming > 0 && self.sending * 10 >= self.kills;
        assert!(enough, "too few kills came in the midst of work: {self}");
    }
}

impl fmt::Display for Wreckage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, claiming, sending, staging, webhooks, mails } = self;
        write!(
            f,
            "of {kills} kills {claiming} left rows claimed, {sending} messages under way, {staging} a sweep half "
        )?;
        write!(f, "staged; {} tries at webhooks and {} at mails were under way", webhooks.len(), mails.len())
    }
}

/// An enrollment in state 3 is staged.
const STAGED: &str = "SELECT CAST(id AS VARCHAR(20)) FROM enrollment WHERE state = 3";

/// Acts as soon as a part of a sweep is seen to be staged. Only looks: who asks for the writers' lock may get it when the
/// sweep is over.
pub fn half_staged(state: &str, act: impl FnOnce()) {
    waited(async {
        if state.starts_with("sqlite:") {
            see_staged(async || SqliteConnection::connect(state).await.ok()).await;
        } else {
            see_staged(async || PgConnection::connect(state).await.ok()).await;
        }
        act();
    });
}

/// There is no state yet when this begins, or no table.
async fn see_staged<C>(connect: impl AsyncFn() -> Option<C>)
where
    C: Connection,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
    String: for<'r> Decode<'r, C::Database> + Type<C::Database>,
    usize: ColumnIndex<<C::Database as sqlx::Database>::Row>,
{
    let mut connection = None;
    wait_until(PATIENCE, async || {
        if connection.is_none() {
            connection = connect().await;
        }
        let Some(open) = &mut connection else { return false };
        texts(open, STAGED).await.is_ok_and(|staged| !staged.is_empty())
    })
    .await;
}

/// What is held, and how many enrollments are staged.
async fn read(state: &str) -> Result<(Vec<Held>, usize), sqlx::Error> {
    // In the outbox 1 is claimed and 2 sending.
    let held = "SELECT CAST(state AS VARCHAR(9)) || ' ' || CAST(epoch AS VARCHAR(20)) || ' ' || owner || ' ' || \
                coalesce(kind, '-') || ' ' || coalesce(HEX, '-') FROM outbox WHERE state IN (1, 2)";
    let (held, staged) = if state.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(state).await?;
        (texts(&mut connection, &held.replace("HEX", "hex(delivery)")).await?, texts(&mut connection, STAGED).await?)
    } else {
        let mut connection = PgConnection::connect(state).await?;
        // What the killed process had asked for may still be committed.
        let others =
            "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        wait_until(PATIENCE, async || texts(&mut connection, others).await.unwrap().is_empty()).await;
        let held = held.replace("HEX", "encode(delivery, 'hex')");
        (texts(&mut connection, &held).await?, texts(&mut connection, STAGED).await?)
    };
    Ok((held.iter().map(|row| Held::parse(row)).collect(), staged.len()))
}

async fn texts<'c, C>(connection: &'c mut C, sql: &str) -> Result<Vec<String>, sqlx::Error>
where
    C: Connection,
    &'c mut C: Executor<'c, Database = C::Database>,
    String: for<'r> Decode<'r, C::Database> + Type<C::Database>,
    usize: ColumnIndex<<C::Database as sqlx::Database>::Row>,
{
    let mut texts = Vec::new();
    let mut rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        texts.push(row.try_get(0)?);
    }
    Ok(texts)
}

/// The first kill may come before there is a state.
fn not_made_yet(error: &sqlx::Error) -> bool {
    let text = error.to_string();
    ["no such table", "does not exist", "unable to open"].iter().any(|missing| text.contains(missing))
}

//! The CRM database: made once, then written to by the roastery's own people and customers. The daemon
//! has its own connection and knows nothing of this one.

use super::days::{Fact, Happening};
use super::people::{Account, USERS};
use super::{Story, World};
use jiff::civil::DateTime;
use serde_json::{Value as Json, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool};
use std::collections::BTreeMap;
use std::path::Path;

/// How many days of orders, answers and tickets the database begins with.
const PAST: i32 = 420;

/// A connection of the roastery's own software.
#[derive(Debug, Clone)]
pub struct Crm {
    pool: SqlitePool,
}

/// Why the demo's CRM could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the demo's CRM database failed: {0}; `nudged demo --fresh` starts a new one")]
pub struct CrmError(#[from] sqlx::Error);

/// A task as it stands in the CRM's own table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    pub title: String,
    pub due: Option<String>,
    pub assignee: Option<String>,
}

const TASKS: &str = "SELECT t.title, t.due_date, u.first_name || ' ' || u.last_name AS assignee \
     FROM tasks t LEFT JOIN task_people p ON p.task_id = t.id LEFT JOIN users u ON u.id = p.user_id";

impl TaskRow {
    fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Self, CrmError> {
        Ok(Self { title: row.try_get("title")?, due: row.try_get("due_date")?, assignee: row.try_get("assignee")? })
    }
}

impl Crm {
    /// Opens the database, and makes and fills it if it isn't there yet.
    pub async fn open(path: &Path, world: &World) -> Result<Self, CrmError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(std::time::Duration::from_secs(10));
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        let crm = Self { pool };
        let made: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'blocked'")
            .fetch_one(&crm.pool)
            .await?;
        if made == 0 {
            crm.fill(world).await?;
        }
        Ok(crm)
    }

    /// One transaction: a demo that is stopped while filling starts from nothing.
    async fn fill(&self, world: &World) -> Result<(), CrmError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::raw_sql(include_str!("schema.sql")).execute(&mut *transaction).await?;
        fill_people(&mut transaction, world).await?;
        let past: Vec<Happening> = (-PAST..0).flat_map(|day| world.calendar.happenings(&world.accounts, day)).collect();
        apply(&mut transaction, &past).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Writes what happened. Saying it twice changes nothing.
    pub async fn record(&self, happenings: &[Happening]) -> Result<(), CrmError> {
        if happenings.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        apply(&mut transaction, happenings).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// An order outside of habit. False if it is there already.
    pub async fn order_once(&self, id: i64, account: i64, at: DateTime, cents: i64) -> Result<bool, CrmError> {
        let done = sqlx::query(
            "INSERT OR IGNORE INTO orders (id, account_id, placed_at, status, total) VALUES (?, ?, ?, 'paid', ?)",
        )
        .bind(id)
        .bind(account)
        .bind(wall(at))
        .bind(cents as f64 / 100.0)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A plan goes on for another year. False if it had been renewed already.
    pub async fn renew(&self, plan: i64, until: jiff::civil::Date) -> Result<bool, CrmError> {
        let done = sqlx::query("UPDATE subscriptions SET renews_on = ?2 WHERE id = ?1 AND renews_on < ?2")
            .bind(plan)
            .bind(until.to_string())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A colleague ticks off a task.
    pub async fn finish_task(&self, reference: &str) -> Result<bool, CrmError> {
        let done = sqlx::query("UPDATE tasks SET status = 'Done' WHERE ref = ? AND status = 'New'")
            .bind(reference)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The task with this reference.
    pub async fn task(&self, reference: &str) -> Result<Option<TaskRow>, CrmError> {
        let sql = format!("{TASKS} WHERE t.ref = ?");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(reference).fetch_optional(&self.pool).await?;
        row.as_ref().map(TaskRow::read).transpose()
    }

    /// References of all tasks nudged has put into the CRM.
    pub async fn task_references(&self) -> Result<Vec<String>, CrmError> {
        Ok(sqlx::query_scalar("SELECT ref FROM tasks WHERE created_by = 'nudged'").fetch_all(&self.pool).await?)
    }

    /// Every second customer, if we have an address, gives one answer. Returns how many there are.
    pub async fn everybody_answers(&self, at: DateTime) -> Result<usize, CrmError> {
        let done = sqlx::query(
            "INSERT INTO surveys (id, account_id, kind, rating, answered_at) \
             SELECT 90000000 + id, id, 'crash', id % 11, ? FROM accounts a WHERE is_active AND NOT is_sample AND id % 2 = 0 \
             AND NOT EXISTS (SELECT 1 FROM contacts c JOIN blocked b ON b.address = c.email WHERE c.account_id = a.id) \
             AND EXISTS (SELECT 1 FROM contacts c WHERE c.account_id = a.id AND c.is_primary AND c.email IS NOT NULL)",
        )
        .bind(wall(at))
        .execute(&self.pool)
        .await?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    /// Kind and score of an answer.
    pub async fn rating(&self, answer: &str) -> Result<Option<(String, i64)>, CrmError> {
        let sql = "SELECT kind, rating FROM surveys WHERE id = ?";
        Ok(sqlx::query_as(sql).bind(answer.parse::<i64>().ok()).fetch_optional(&self.pool).await?)
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn fill_people(connection: &mut SqliteConnection, world: &World) -> Result<(), CrmError> {
    let users = USERS.iter().map(|user| {
        let address = format!("{}@lindenfinch.example", user.first_name.to_lowercase());
        json!([user.id, user.first_name, user.last_name, address, user.team])
    });
    insert(connection, "users", &["id", "first_name", "last_name", "email", "team"], users.collect()).await?;
    let columns =
        ["id", "name", "kind", "city", "country_code", "class", "seasonal", "is_active", "is_sample", "created_at"];
    let accounts = world.accounts.iter().map(|a| {
        let created = format!("{} 09:00:00", world.calendar.date(a.since));
        let place = (a.town.name, a.town.country);
        json!([a.id, a.name, a.kind, place.0, place.1, a.class, a.seasonal, a.active, a.sample, created])
    });
    insert(connection, "accounts", &columns, accounts.collect()).await?;
    let owners = world.accounts.iter().map(|a| json!([a.id, a.owner]));
    insert(connection, "account_people", &["account_id", "user_id"], owners.collect()).await?;
    fill_contacts(connection, world).await?;
    let columns =
        ["id", "account_id", "contact_id", "manager_id", "plan", "yearly_price", "status", "auto_renew", "renews_on"];
    let plans = world.accounts.iter().filter_map(|a| {
        let plan = a.plan.as_ref()?;
        let renews = world.calendar.date(plan.renews).to_string();
        let signatory = a.contacts.first()?.id;
        Some(json!([
            plan.id,
            a.id,
            signatory,
            a.owner,
            plan.name,
            plan.yearly_price,
            "active",
            plan.auto_renew,
            renews
        ]))
    });
    insert(connection, "subscriptions", &columns, plans.collect()).await
}

async fn fill_contacts(connection: &mut SqliteConnection, world: &World) -> Result<(), CrmError> {
    let columns = [
        "id",
        "account_id",
        "first_name",
        "last_name",
        "email",
        "phone",
        "role",
        "is_primary",
        "tz",
        "lang",
        "news_ok",
        "news_ok_at",
    ];
    let row = |a: &Account| {
        let agreed = format!("{} 12:00:00", world.calendar.date(a.since.max(-400)));
        let town = a.town;
        let account = a.id;
        let rows = a.contacts.iter().map(move |c| {
            let at = c.consent.map(|_| agreed.clone());
            json!([
                c.id,
                account,
                c.first_name,
                c.last_name,
                c.email,
                c.phone,
                c.role,
                c.primary,
                town.zone,
                town.language,
                c.consent,
                at
            ])
        });
        rows.collect::<Vec<_>>()
    };
    insert(connection, "contacts", &columns, world.accounts.iter().flat_map(row).collect()).await?;
    let blocked = world.accounts.iter().filter(|a| a.story == Some(Story::Blocked));
    let blocked = blocked.flat_map(|a| a.contacts.iter().map(|c| json!([c.email, "asked us to stop writing"])));
    insert(connection, "blocked", &["address", "reason"], blocked.collect()).await
}

async fn apply(connection: &mut SqliteConnection, happenings: &[Happening]) -> Result<(), CrmError> {
    let mut rows: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for happening in happenings {
        let at = wall(happening.at);
        let (table, row) = match &happening.what {
            Fact::Order { id, account, cents, status } => {
                ("orders", json!([id, account, at, status, *cents as f64 / 100.0]))
            }
            Fact::Answer { id, account, kind, rating, comment } => {
                ("surveys", json!([id, account, kind, rating, comment, at]))
            }
            Fact::TicketOpened { id, account, subject } => ("tickets", json!([id, account, subject, "open", at])),
            Fact::TicketClosed { id } => ("closed", json!([id, at])),
        };
        rows.entry(table).or_default().push(row);
    }
    let mut take = |table: &str| rows.remove(table).unwrap_or_default();
    let (orders, answers, opened, closed) = (take("orders"), take("surveys"), take("tickets"), take("closed"));
    insert(connection, "orders", &["id", "account_id", "placed_at", "status", "total"], orders).await?;
    let columns = ["id", "account_id", "kind", "rating", "comment", "answered_at"];
    insert(connection, "surveys", &columns, answers).await?;
    insert(connection, "tickets", &["id", "account_id", "subject", "status", "opened_at"], opened).await?;
    if !closed.is_empty() {
        sqlx::query(
            "UPDATE tickets SET status = 'closed', closed_at = j.value ->> 1 FROM json_each(?) j \
             WHERE tickets.id = j.value ->> 0",
        )
        .bind(Json::Array(closed).to_string())
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// As this CRM writes a time.
fn wall(at: DateTime) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Inserts all rows with one statement; rows whose key is there already are left alone.
async fn insert(
    connection: &mut SqliteConnection,
    table: &str,
    columns: &[&str],
    rows: Vec<Json>,
) -> Result<(), CrmError> {
    if rows.is_empty() {
        return Ok(());
    }
    let values: Vec<String> = (0..columns.len()).map(|place| format!("value ->> {place}")).collect();
    let sql = format!(
        "INSERT OR IGNORE INTO {table} ({}) SELECT {} FROM json_each(?)",
        columns.join(", "),
        values.join(", ")
    );
    sqlx::query(AssertSqlSafe(sql)).bind(Json::Array(rows).to_string()).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn world_in(directory: &Path) -> (World, Crm) {
        let world = World::new(1, "2026-10-23".parse().unwrap());
        let crm = Crm::open(&directory.join("crm.db"), &world).await.unwrap();
        (world, crm)
    }

    async fn number(crm: &Crm, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&crm.pool).await.unwrap()
    }

    #[tokio::test]
    async fn the_database_is_filled_once_and_believably() {
        let directory = tempfile::tempdir().unwrap();
        let (world, crm) = world_in(directory.path()).await;
        let orders = number(&crm, "SELECT count(*) FROM orders").await;
        assert!((4_000..12_000).contains(&orders), "{orders} orders");
        assert_eq!(number(&crm, "SELECT count(*) FROM accounts").await, 260);
        assert!(number(&crm, "SELECT count(*) FROM surveys WHERE kind = 'nps'").await > 300);
        assert!(number(&crm, "SELECT count(*) FROM tickets WHERE status = 'open'").await > 2);
        assert!(number(&crm, "SELECT count(*) FROM subscriptions").await > 50);
        assert_eq!(number(&crm, "SELECT count(*) FROM contacts WHERE news_ok IS NULL AND account_id = 5").await, 1);
        let again = Crm::open(&directory.path().join("crm.db"), &world).await.unwrap();
        assert_eq!(number(&again, "SELECT count(*) FROM orders").await, orders);
    }

    #[tokio::test]
    async fn a_day_recorded_twice_is_there_once() {
        let directory = tempfile::tempdir().unwrap();
        let (world, crm) = world_in(directory.path()).await;
        let day = world.calendar.happenings(&world.accounts, 3);
        crm.record(&day).await.unwrap();
        let orders = number(&crm, "SELECT count(*) FROM orders").await;
        crm.record(&day).await.unwrap();
        assert_eq!(number(&crm, "SELECT count(*) FROM orders").await, orders);
    }

    #[tokio::test]
    async fn a_plan_is_renewed_once_for_the_same_year() {
        let directory = tempfile::tempdir().unwrap();
        let (world, crm) = world_in(directory.path()).await;
        let plan = world.accounts.iter().find_map(|account| account.plan.clone()).unwrap();
        let until = world.calendar.date(plan.renews + 365);
        assert!(crm.renew(plan.id, until).await.unwrap());
        assert!(!crm.renew(plan.id, until).await.unwrap());
    }
}

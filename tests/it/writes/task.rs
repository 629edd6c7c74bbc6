//! A task in the CRM's own table, while an earlier try at it is still under way in the database.

use super::{Writer, delivery};
use crate::catalog_shapes::written;
use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Crm, Kind, Setup, World};
use nudged::engine::port::{Message, Sender, TaskDraft};
use nudged::model::{Outcome, RecordId, Tenant};
use nudged::rule::statement::Statement;
use std::collections::BTreeMap;

const START: &str = "2026-06-01T08:00:00Z";

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer: {table: accounts, key: id}
tasks:
  insert: [{table: todo, set: {id: $uuid, title: $title, ref: $ref}}]
";
const TABLES: &str = "CREATE TABLE todo (id VARCHAR(40) PRIMARY KEY, title VARCHAR(80), ref VARCHAR(64) UNIQUE);";
const RULE: &str = "version: 1
id: r
mode: live
purpose: staff
for_each: customer
trigger: {schedule: {cron: \"0 8 * * *\"}}
steps:
  - task: {title: Call}
";

#[tokio::test]
async fn a_try_that_a_unique_index_refuses_finds_the_task_of_the_one_before() {
    let start = Setup::of(Kind::Postgres, instant(START));
    let world = World::set_up(Setup { catalog: CATALOG.to_owned(), tables: TABLES, ..start }).await;
    world.load(&[("r.yaml", RULE)]).await;
    let Crm::Postgres(pool, _) = &world.crm else { panic!("a server") };
    let mut first = pool.begin().await.unwrap();
    let insert = "INSERT INTO todo VALUES ('a', 'Call', $1)";
    sqlx::query(insert).bind(delivery(1).to_string()).execute(&mut *first).await.unwrap();

    let draft = TaskDraft {
        delivery: delivery(1),
        tenant: "".into(),
        record: RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() },
        fields: BTreeMap::new(),
        title: "Call".to_owned(),
        body: None,
        due: None,
        assignee_key: None,
        assignee_email: None,
    };
    let writer = Writer::new(&world);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let ends = async {
        wait_until(PATIENCE, async || sqlx::query_scalar::<_, i64>(waits).fetch_one(pool).await.unwrap() > 0).await;
        first.commit().await.unwrap();
    };
    let (sent, ()) = tokio::join!(writer.0.send(Message::Task(draft)), ends);
    assert_eq!(sent.outcome, Outcome::Sent { reply: "was there already".to_owned() });
    let tasks = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM todo").fetch_one(pool).await.unwrap();
    assert_eq!(tasks, 1);
}

/// A server may let what doesn't fit be cut, as those of older CRMs do; then a reference would find no row again.
#[tokio::test]
async fn what_does_not_fit_its_column_is_refused_with_the_columns_name() {
    for kind in [Kind::MariaDb, Kind::Postgres] {
        let world =
            World::set_up(Setup { catalog: CATALOG.to_owned(), tables: TABLES, ..Setup::of(kind, instant(START)) });
        let world = world.await;
        if kind == Kind::MariaDb {
            let mode = written(&world, "SELECT @@sql_mode".to_owned()).await;
            assert!(mode[0].contains("STRICT_ALL_TABLES"), "{mode:?}");
        }
        let long = format!("INSERT INTO todo VALUES ('a', '{}', 'b')", "x".repeat(100));
        let refused = |sql: &str| Statement { sql: sql.to_owned(), binds: Vec::new() };
        let said = world.source.write(&Tenant::new(""), vec![refused(&long)]).await.unwrap_err().to_string();
        let missing = "INSERT INTO todo VALUES (NULL, 'Call', 'b')";
        let named = world.source.write(&Tenant::new(""), vec![refused(missing)]).await.unwrap_err().to_string();
        let column = if kind == Kind::MariaDb { "'title'" } else { "22001" };
        assert!(said.contains(column), "{said}");
        assert!(named.contains("'id'") || named.contains("column `id`"), "{named}");
        assert!(!said.contains("xxx"), "{said}");
    }
}

//! Where a sweep finds crossings besides its own window, and whose rows it sees: `updated_at` and tenants.

use crate::support::{PATIENCE, instant};
use crate::world::{CATALOG, Kind, Setup, World, days, hours, minutes};
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::Timestamp;
use nudged::catalog::{ColumnSchema, Schema, Table};
use nudged::engine::port::{Deed, Done, Message, RuleStatus, Source, SourceError};
use nudged::engine::{Settings, Swept};
use nudged::model::Tenant;
use nudged::rule::statement::{Dialect, Row, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Barrier;

const START: &str = "2026-10-10T07:00:00Z";

fn silence(more: &str) -> String {
    format!(
        "version: 1
id: silence
description: Silent.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: 10 days}}
where:
  - country: AT
check_every: 1 hour
{more}
steps:
  - webhook: {{to: sink, body: {{name: \"{{{{ record.name }}}}\"}}}}
"
    )
}

/// What one sweep matched, an hour on.
async fn sweep(world: &World) -> u64 {
    world.clock.advance(hours(1));
    match world.engine.sweep_rule(&"silence".into()).await.unwrap().remove(0) {
        Swept::Done(report) => report.matched,
        other => panic!("{other:?}"),
    }
}

/// The catalog with an `updated_at` of customers, or of orders.
fn tracking(customers: bool) -> String {
    let place = if customers { "table: accounts\n    key: id" } else { "table: orders, key: id" };
    let tracked = if customers { "\n    updated_at: changed_at" } else { ", updated_at: changed_at" };
    assert!(CATALOG.contains(place));
    CATALOG.replace(place, &format!("{place}{tracked}"))
}

/// Two customers whose silence is ten days old in half an hour.
async fn tracked(kind: Kind, catalog: String, rule: &str) -> World {
    let tables = "ALTER TABLE accounts ADD COLUMN changed_at {instant};
                  ALTER TABLE orders ADD COLUMN changed_at {instant};";
    let world = World::set_up(Setup { catalog, tables, ..Setup::of(kind, instant(START)) }).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(10)) + minutes(30)));
    let long_ago = world.crm.time(world.ago(days(100)));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (1, 'Ada', 'AT', {now}, {long_ago}), (2, 'Bob', 'AT', {now}, {long_ago});
             INSERT INTO orders VALUES (1, 1, {ordered}, 'paid', {long_ago}), (2, 2, {ordered}, 'paid', {long_ago}),
                 (98, 1, {now}, 'paid', {long_ago}), (99, 2, {now}, 'paid', {long_ago})"
        ))
        .await;
    world.load(&[("silence.yaml", rule)]).await;
    world
}

const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::MariaDb];

/// Whatever a rule's SQL may be, the question it stands in can't write.
#[tokio::test]
async fn questions_are_asked_in_transactions_that_can_only_read() {
    for kind in KINDS {
        let world = World::new(kind, instant("2026-06-01T08:00:00Z"), Settings::default()).await;
        let tenant = Tenant::new("");
        let ask = async |sql: &str| {
            let statement = Statement { sql: sql.to_owned(), binds: Vec::new() };
            world.source.rows(&tenant, statement).try_collect::<Vec<Row>>().await
        };
        let written = ask("INSERT INTO accounts VALUES (77, 'C77', 'AT', NULL)").await;
        assert!(matches!(&written, Err(SourceError::Refused(_))), "{kind:?}: {written:?}");
        assert_eq!(ask("SELECT id FROM accounts WHERE id = 77").await.unwrap(), [], "{kind:?}");
    }
}

#[tokio::test]
async fn a_changed_record_that_now_crossed_earlier_is_found_at_the_next_sweep() {
    // `keep_trying` is short, so that reading again doesn't find it.
    let rule = silence("keep_trying: 1 hour");
    for kind in KINDS {
        for customers in [true, false] {
            let world = tracked(kind, tracking(customers), &rule).await;
            world.clock.advance(hours(3));
            assert_eq!(sweep(&world).await, 0);
            let now = world.crm.time(world.now());
            let (changed, unmarked) = if customers {
                (format!("DELETE FROM orders WHERE id = 98; UPDATE accounts SET changed_at = {now} WHERE id = 1"), "2")
            } else {
                (format!("UPDATE orders SET status = 'cancelled', changed_at = {now} WHERE id = 98"), "2")
            };
            // Of the other customer nobody says that it changed.
            world.crm.run(&format!("{changed}; DELETE FROM orders WHERE id = 99")).await;
            assert_eq!(sweep(&world).await, 1, "{kind:?}, updated_at of customers: {customers}");
            let found = world.enrollments().await.remove(0).record.unwrap().key;
            assert_eq!(found.as_str(), "1", "and not {unmarked}");
            assert_eq!(sweep(&world).await, 0);
        }
    }
}

#[tokio::test]
async fn a_miss_that_changed_needn_t_wait_for_the_daily_look() {
    for kind in KINDS {
        let world = tracked(kind, tracking(true), &silence("")).await;
        world.crm.run("DELETE FROM orders WHERE id > 90; UPDATE accounts SET country_code = 'DE'").await;
        assert_eq!(sweep(&world).await, 0);
        let now = world.crm.time(world.now());
        world.crm.run(&format!("UPDATE accounts SET country_code = 'AT', changed_at = {now} WHERE id = 1")).await;
        assert_eq!(sweep(&world).await, 1, "{kind:?}");
    }
}

const TENANTS: &str = "
CREATE TABLE every_account (tenant TEXT, id INTEGER, name TEXT, country_code TEXT, created_at {instant},
                            PRIMARY KEY (tenant, id));
CREATE TABLE every_order (tenant TEXT, id INTEGER, account_id INTEGER, placed_at {instant}, status TEXT);
CREATE VIEW my_accounts AS SELECT id, name, country_code, created_at FROM every_account
    WHERE tenant = current_setting('app.tenant', true);
CREATE VIEW my_orders AS SELECT id, account_id, placed_at, status FROM every_order
    WHERE tenant = current_setting('app.tenant', true);
";

#[tokio::test]
async fn tenants_match_apart_and_see_only_their_own() {
    let catalog =
        CATALOG.replace("table: accounts", "table: my_accounts").replace("table: orders", "table: my_orders").replace(
            "entities:\n",
            "tenants: {names: [acme, o'hara], per_transaction: \"SET LOCAL app.tenant = $tenant\"}\nentities:\n",
        );
    let per_transaction = Some("SET LOCAL app.tenant = $tenant".to_owned());
    let setup = Setup { catalog, tables: TENANTS, per_transaction, ..Setup::of(Kind::Postgres, instant(START)) };
    let world = World::set_up(setup).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(10)) + minutes(30)));
    world
        .crm
        .run(&format!(
            "INSERT INTO every_account VALUES ('acme', 1, 'Ada', 'AT', {now}), ('o''hara', 1, 'Bob', 'AT', {now}),
                 ('acme', 2, 'Cid', 'AT', {now}), ('else', 1, 'Dan', 'AT', {now});
             INSERT INTO every_order VALUES ('acme', 1, 1, {ordered}, 'paid'), ('o''hara', 1, 1, {ordered}, 'paid'),
                 ('acme', 2, 2, {now}, 'paid'), ('o''hara', 2, 2, {ordered}, 'paid'), ('else', 1, 1, {ordered}, 'paid')"
        ))
        .await;
    let rule = silence("").replace("steps:\n", "steps:\n  - wait: {for: 1 day}\n");
    world.load(&[("silence.yaml", &rule)]).await;
    world.pass(hours(1)).await;
    let mut matched: Vec<(String, String)> = world
        .enrollments()
        .await
        .into_iter()
        .filter_map(|found| found.record)
        .map(|record| (record.tenant.to_string(), record.key.to_string()))
        .collect();
    matched.sort();
    assert_eq!(matched, [("acme".into(), "1".into()), ("o'hara".to_owned(), "1".to_owned())]);
    world.pass(days(1)).await;
    let names = |world: &World| {
        let mut names: Vec<String> = world
            .webhooks
            .take()
            .into_iter()
            .map(|message| match message {
                Message::Webhook(call) => call.body["data"]["name"].as_str().unwrap().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&world), ["Ada", "Bob"], "each reads its own record behind the same key");
    // A second silence of one is none of the other.
    let again = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO every_order VALUES ('acme', 9, 1, {again}, 'paid')")).await;
    for _ in 0..6 {
        world.pass(days(2) + hours(1)).await;
    }
    assert_eq!(names(&world), ["Ada", "Cid"]);
}

/// Tenants with customers whose silence is ten days old in half an hour.
async fn silent_tenants(tenants: &[&str], customers: u32, shared: bool) -> World {
    let names = tenants.join(", ");
    let listed =
        format!("tenants: {{names: [{names}], per_transaction: \"SET LOCAL app.tenant = $tenant\"}}\nentities:\n");
    let catalog = CATALOG
        .replace("table: accounts", "table: my_accounts")
        .replace("table: orders", "table: my_orders")
        .replace("entities:\n", &listed);
    let per_transaction = Some("SET LOCAL app.tenant = $tenant".to_owned());
    let setup =
        Setup { catalog, tables: TENANTS, per_transaction, shared, ..Setup::of(Kind::Postgres, instant(START)) };
    let world = World::set_up(setup).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(10)) + minutes(30)));
    for tenant in tenants {
        for id in 1..=customers {
            let sql = format!(
                "INSERT INTO every_account VALUES ('{0}', {id}, 'C', 'AT', {now});
                 INSERT INTO every_order VALUES ('{0}', {id}, {id}, {ordered}, 'paid')",
                tenant.replace('\'', "''")
            );
            world.crm.run(&sql).await;
        }
    }
    world
}

async fn held(world: &World) -> Vec<RuleStatus> {
    let states = world.store.rule_states().await.unwrap().into_iter().map(|state| state.status);
    states.filter(|status| matches!(status, RuleStatus::Held(_))).collect()
}

#[tokio::test]
async fn a_days_limit_is_one_of_all_tenants_together() {
    let world = silent_tenants(&["acme", "o'hara", "else"], 2, false).await;
    world.load(&[("silence.yaml", &silence("guard: {per_day: 4}"))]).await;
    world.pass(hours(1)).await;
    assert_eq!(world.webhooks.take().len(), 4, "two tenants of two");
    let held = held(&world).await;
    let [RuleStatus::Held(reason)] = held.as_slice() else { panic!("and the third is looked at first: {held:?}") };
    assert!(reason.contains("6 matches in a day over all tenants, more than the 4"), "{reason}");
}

/// A source that answers a question only when another node asks it as well; the first time.
struct Meeting {
    source: Arc<dyn Source>,
    question: String,
    once: AtomicBool,
    all: Arc<Barrier>,
}

#[async_trait]
impl Source for Meeting {
    fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        self.source.now().await
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        let meets = statement.sql == self.question && !self.once.swap(true, Ordering::SeqCst);
        let met = async move {
            if meets {
                self.all.wait().await;
            }
            self.source.rows(tenant, statement)
        };
        met.into_stream().flatten().boxed()
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        self.source.transact(tenant, steps).await
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.source.schema(tables).await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        self.source.describe(sql).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.source.prepare(statement).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_at_the_same_instant_keep_to_a_days_limit() {
    let world = silent_tenants(&["acme", "else"], 3, true).await;
    world.load(&[("silence.yaml", &silence("guard: {per_day: 4, percent_per_day: 100, floor: 1}"))]).await;
    // The guard asks for it after it has counted what matched.
    let question = world.generation().rules["silence"].count_records().sql;
    let all = Arc::new(Barrier::new(2));
    world.clock.advance(hours(1));
    let sweep = |owner: &'static str| {
        let (source, question) = (world.source.clone(), question.clone());
        let meeting = Arc::new(Meeting { source, question, once: AtomicBool::new(false), all: all.clone() });
        let engine = world.node_over(owner, meeting, world.store.clone(), Settings::default());
        tokio::spawn(async move { engine.sweep_rule(&"silence".into()).await })
    };
    for node in [sweep("a"), sweep("b")] {
        tokio::time::timeout(PATIENCE, node).await.expect("both nodes met").unwrap().unwrap();
    }
    let held = held(&world).await;
    let [RuleStatus::Held(reason)] = held.as_slice() else { panic!("one of the two: {held:?}") };
    assert!(reason.contains("6 matches in a day over all tenants, more than the 4"), "{reason}");
    world.engine.dispatch_due().await.unwrap();
    assert_eq!(world.webhooks.take().len(), 3, "the other one's");
}

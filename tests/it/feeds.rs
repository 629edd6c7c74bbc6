//! Where a sweep finds crossings besides its own window, and whose rows it sees: `updated_at` and tenants.

use crate::support::instant;
use crate::world::{CATALOG, Kind, Setup, World, days, hours, minutes};
use nudged::engine::Swept;
use nudged::engine::port::{Message, RuleStatus};

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

#[tokio::test]
async fn a_days_limit_is_one_of_all_tenants_together() {
    let catalog =
        CATALOG.replace("table: accounts", "table: my_accounts").replace("table: orders", "table: my_orders").replace(
            "entities:\n",
            "tenants: {names: [acme, o'hara, else], per_transaction: \"SET LOCAL app.tenant = $tenant\"}\nentities:\n",
        );
    let per_transaction = Some("SET LOCAL app.tenant = $tenant".to_owned());
    let setup = Setup { catalog, tables: TENANTS, per_transaction, ..Setup::of(Kind::Postgres, instant(START)) };
    let world = World::set_up(setup).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(10)) + minutes(30)));
    for tenant in ["acme", "o''hara", "else"] {
        for id in 1..=2 {
            let sql = format!(
                "INSERT INTO every_account VALUES ('{tenant}', {id}, 'C', 'AT', {now});
                 INSERT INTO every_order VALUES ('{tenant}', {id}, {id}, {ordered}, 'paid')"
            );
            world.crm.run(&sql).await;
        }
    }
    world.load(&[("silence.yaml", &silence("guard: {per_day: 4}"))]).await;
    world.pass(hours(1)).await;
    assert_eq!(world.webhooks.take().len(), 4, "two tenants of two");
    let held: Vec<_> = world
        .store
        .rule_states()
        .await
        .unwrap()
        .into_iter()
        .filter(|state| matches!(state.status, RuleStatus::Held(_)))
        .collect();
    assert_eq!(held.len(), 1, "and the third is looked at by somebody first: {held:?}");
    let RuleStatus::Held(reason) = &held[0].status else { unreachable!() };
    assert!(reason.contains("6 matches in a day over all tenants, more than the 4"), "{reason}");
}

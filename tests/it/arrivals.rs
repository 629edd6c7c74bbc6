//! New records, abandoned carts and anniversaries, swept by the engine over each of the three databases.

use crate::support::instant;
use crate::world::{Kind, Setup, World, days, hours, minutes};
use nudged::engine::port::Message;
use nudged::model::EndReason;

/// Nine o'clock in Vienna.
const START: &str = "2026-10-10T07:00:00Z";
const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::MariaDb];

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    at: created_at
    fields: {name: name}
    relations:
      carts: {entity: cart, by: customer}
      orders: {entity: order, by: customer}
  cart:
    table: carts
    key: id
    updated_at: changed_at
    fields: {customer: account_id, status: status, item: item}
  order: {table: orders, key: id, at: placed_at, only: {status: [paid]}, fields: {customer: account_id}}
  person:
    table: people
    key: id
    fields: {name: name, born: {column: born, type: date, missing: [1900-01-01]}}
";
const TABLES: &str = "
CREATE TABLE carts (id INTEGER PRIMARY KEY, account_id INTEGER, status VARCHAR(20), item VARCHAR(20), changed_at {instant});
CREATE TABLE people (id INTEGER PRIMARY KEY, name VARCHAR(20), born DATE);
";

async fn world(kind: Kind) -> World {
    World::set_up(Setup { catalog: CATALOG.to_owned(), tables: TABLES, ..Setup::of(kind, instant(START)) }).await
}

fn rule(entity: &str, trigger: &str, steps: &str) -> String {
    format!(
        "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: {entity}\ntrigger:\n  {trigger}\nsteps:\n{steps}"
    )
}

/// What was told since the last call.
fn told(world: &World) -> Vec<String> {
    let texts = world.webhooks.take().into_iter().map(|message| match message {
        Message::Webhook(call) => call.body["data"]["text"].as_str().unwrap().to_owned(),
        other => panic!("not a webhook: {other:?}"),
    });
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    texts
}

async fn ends(world: &World) -> Vec<Option<EndReason>> {
    let mut views = world.enrollments().await;
    views.sort_by_key(|view| view.entered_at);
    views.into_iter().map(|view| view.ended).collect()
}

async fn account(world: &World, key: i64, ago: jiff::SignedDuration) {
    let created = world.crm.time(world.ago(ago));
    world.crm.run(&format!("INSERT INTO accounts VALUES ({key}, 'C{key}', 'AT', {created})")).await;
}

#[tokio::test]
async fn a_new_record_matches_once_however_late_it_comes_in_and_older_ones_never() {
    let welcome = rule("customer", "created: {}", "  - webhook: {to: sink, body: {text: \"{{ record.name }}\"}}\n");
    for kind in KINDS {
        let world = world(kind).await;
        account(&world, 1, hours(1)).await;
        world.load(&[("r.yaml", &welcome)]).await;
        assert_eq!(world.left_out().await, Some(1), "{kind:?}");
        account(&world, 2, minutes(0)).await;
        world.pass(minutes(15)).await;
        assert!(told(&world).is_empty(), "at the baseline itself: {kind:?}");
        account(&world, 3, minutes(5)).await;
        world.pass(minutes(15)).await;
        assert_eq!(told(&world), ["C3"], "{kind:?}");
        // Committed after the sweep that its time lies before.
        account(&world, 4, minutes(8)).await;
        world.pass(minutes(15)).await;
        assert_eq!(told(&world), ["C4"], "{kind:?}");
        account(&world, 5, minutes(40)).await;
        account(&world, 6, days(3)).await;
        world.pass(minutes(15)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        // The night finds what was backdated, but nothing from before the rule.
        world.pass(hours(20)).await;
        assert_eq!(told(&world), ["C5"], "{kind:?}");
        world.pass(days(1)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
    }
}

async fn cart(world: &World, key: i64, changed: jiff::SignedDuration) {
    let changed = world.crm.time(world.ago(changed));
    world
        .crm
        .run(&format!(
            "DELETE FROM carts WHERE id = {key};
             INSERT INTO carts VALUES ({key}, 1, 'open', 'item {key}', {changed})"
        ))
        .await;
}

fn reminder() -> String {
    let steps = "  - webhook: {to: sink, body: {text: \"{{ occasion.row.item }}\"}}\n  - wait: {for: 1 day}\n  \
                 - webhook: {to: sink, body: {text: \"{{ occasion.row.item }}, last call\"}}\n";
    rule("customer", "abandoned: {of: carts, open: {status: open}, idle: 3 hours, unless: orders}", steps)
}

#[tokio::test]
async fn a_cart_that_is_touched_again_starts_over() {
    for kind in KINDS {
        let world = world(kind).await;
        account(&world, 1, days(100)).await;
        cart(&world, 7, days(1)).await;
        world.load(&[("r.yaml", &reminder())]).await;
        cart(&world, 8, minutes(0)).await;
        world.pass(minutes(170)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        world.pass(minutes(15)).await;
        assert_eq!(told(&world), ["item 8"], "what was idle before the rule is left out: {kind:?}");
        cart(&world, 8, minutes(0)).await;
        world.pass(minutes(185)).await;
        assert_eq!(told(&world), ["item 8"], "{kind:?}");
        assert_eq!(ends(&world).await, [Some(EndReason::Cancelled), None], "{kind:?}");
        world.pass(days(1)).await;
        assert_eq!(told(&world), ["item 8, last call"], "{kind:?}");
    }
}

#[tokio::test]
async fn a_cart_that_was_bought_or_found_too_late_is_no_reason_to_write() {
    for kind in KINDS {
        let world = world(kind).await;
        account(&world, 1, days(100)).await;
        world.load(&[("r.yaml", &reminder())]).await;
        cart(&world, 8, minutes(0)).await;
        world.pass(hours(1)).await;
        let placed = world.crm.time(world.now());
        world.crm.run(&format!("INSERT INTO orders VALUES (1, 1, {placed}, 'paid')")).await;
        world.pass(hours(3)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        // The order was no order: once a day the cart is asked about again, and isn't late for that.
        world.crm.run("UPDATE orders SET status = 'cancelled'").await;
        for _ in 0..24 {
            world.pass(hours(1)).await;
        }
        assert_eq!(told(&world), ["item 8"], "{kind:?}");
        // Nobody swept for eight hours, and three of them are too many.
        cart(&world, 9, minutes(0)).await;
        world.pass(hours(8)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        assert_eq!(ends(&world).await.last(), Some(&Some(EndReason::Late)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_birthday_comes_once_a_year_and_not_a_week_late() {
    let steps = "  - webhook: {to: sink, body: {text: \"{{ record.name }} is {{ occasion.row.years }}\"}}\n";
    let birthday = rule("person", "yearly: {field: born, at: \"09:00\"}", steps);
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO people VALUES (1, 'Ada', '1990-10-12'), (2, 'Bea', '1900-01-01')").await;
        world.load(&[("r.yaml", &birthday)]).await;
        world.pass(days(2) - minutes(1)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        world.pass(minutes(15)).await;
        assert_eq!(told(&world), ["Ada is 36"], "{kind:?}");
        // Put right, and the new day lies ahead: one greeting a year is enough.
        world.crm.run("UPDATE people SET born = '1991-10-20' WHERE id = 1").await;
        world.pass(days(8)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        // Entered two days after it.
        world.crm.run("INSERT INTO people VALUES (3, 'Cleo', '1980-10-18')").await;
        world.pass(minutes(15)).await;
        world.pass(days(1)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        world.clock.set(instant("2027-10-18T07:05:00Z"));
        world.turn().await;
        assert_eq!(told(&world), ["Cleo is 47"], "{kind:?}");
        world.pass(days(2)).await;
        assert_eq!(told(&world), ["Ada is 36"], "{kind:?}");
    }
}

async fn invoice(world: &World, key: i64, account: i64, ago: jiff::SignedDuration) {
    let at = world.crm.time(world.ago(ago));
    world.crm.run(&format!("INSERT INTO orders VALUES ({key}, {account}, {at}, 'overdue')")).await;
}

fn overdue(query: &str) -> String {
    let steps = "  - webhook: {to: sink, body: {text: \"{{ record.name }} {{ occasion.value }}\"}}\n";
    rule("customer", query, steps) + "where:\n  - name: {not: C3}\n"
}

#[tokio::test]
async fn what_a_query_returns_at_first_is_left_out_and_every_new_occasion_matches_once() {
    let query =
        "query: {sql: \"SELECT account_id, id FROM orders WHERE status = 'overdue'\", key: account_id, occasion: id}";
    for kind in KINDS {
        let world = world(kind).await;
        for key in 1..=3 {
            account(&world, key, days(9)).await;
        }
        invoice(&world, 10, 1, days(1)).await;
        world.load(&[("r.yaml", &overdue(query))]).await;
        world.pass(minutes(1)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        assert_eq!(ends(&world).await, [Some(EndReason::LeftOut)], "looked at soon: {kind:?}");
        invoice(&world, 11, 1, days(1)).await;
        invoice(&world, 12, 2, minutes(0)).await;
        invoice(&world, 13, 3, minutes(0)).await;
        world.pass(minutes(20)).await;
        assert_eq!(told(&world), ["C1 11", "C2 12"], "however old: {kind:?}");
        world.crm.run("UPDATE orders SET status = 'paid' WHERE id = 11").await;
        world.pass(minutes(20)).await;
        world.crm.run("UPDATE orders SET status = 'overdue' WHERE id = 11").await;
        world.crm.run("UPDATE accounts SET name = 'C4' WHERE id = 3").await;
        world.pass(minutes(20)).await;
        assert!(told(&world).is_empty(), "each occasion has one chance: {kind:?}");
        // Another question is another rule: what it returns now is where it begins.
        let other = query.replace("WHERE status", "WHERE id > 0 AND status");
        invoice(&world, 14, 1, minutes(0)).await;
        world.load(&[("r.yaml", &overdue(&other))]).await;
        world.pass(minutes(1)).await;
        invoice(&world, 15, 3, minutes(0)).await;
        world.pass(minutes(20)).await;
        assert_eq!(told(&world), ["C4 15"], "{kind:?}");
        // And who asks for all gets all that was not sent before.
        world.load(&[("r.yaml", &(overdue(&query.replace("FROM", "from")) + "backfill: all\n"))]).await;
        world.pass(minutes(20)).await;
        assert!(told(&world).is_empty(), "all of it is in the ledger: {kind:?}");
    }
}

#[tokio::test]
async fn a_query_that_says_when_needs_no_first_look() {
    let query = "query: {sql: \"SELECT account_id, id, placed_at FROM orders WHERE status = 'overdue'\", key: account_id, occasion: id, at: placed_at}";
    for kind in KINDS {
        let world = world(kind).await;
        account(&world, 1, days(9)).await;
        invoice(&world, 10, 1, minutes(5)).await;
        world.load(&[("r.yaml", &overdue(query))]).await;
        assert_eq!(world.left_out().await, Some(1), "{kind:?}");
        world.clock.advance(minutes(5));
        invoice(&world, 11, 1, minutes(2)).await;
        world.pass(minutes(10)).await;
        assert_eq!(told(&world), ["C1 11"], "{kind:?}");
        assert_eq!(ends(&world).await, [Some(EndReason::Completed)], "{kind:?}");
        invoice(&world, 12, 1, minutes(14)).await;
        invoice(&world, 13, 1, days(2)).await;
        world.pass(minutes(15)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        world.pass(days(1)).await;
        assert_eq!(told(&world), ["C1 12"], "found at night: {kind:?}");
    }
}

/// What made it match is older than its entry, and what came in between is newer than that.
#[tokio::test]
async fn what_came_between_an_answer_or_a_creation_and_the_entry_reaches_a_goal() {
    let step = "  - webhook: {to: sink, body: {text: sorry}}\n";
    let answered = rule("customer", "survey: {of: responses, score: {at_most: 6}, settle: none}", step);
    let better = "goal: {when: {responses: {some: {score: {at_least: 9}}, since: entry}}}\nbackfill: 10 days\n";
    let created = rule("customer", "created: {}", step);
    let bought = "goal: {when: {orders: {some: {}, since: entry}}}\nbackfill: 10 days\n";
    let catalog = CATALOG
        .replace("    relations:\n", "    relations:\n      responses: {entity: response, by: customer}\n")
        + "  response: {table: surveys, key: id, at: answered_at, score: rating, fields: {customer: account_id}}\n";
    for (text, later) in [
        (answered + better, "INSERT INTO surveys VALUES (2, 1, 'nps', 10, {at})"),
        (created + bought, "INSERT INTO orders VALUES (1, 1, {at}, 'paid')"),
    ] {
        let setup = Setup { catalog: catalog.clone(), tables: TABLES, ..Setup::of(Kind::Sqlite, instant(START)) };
        let world = World::set_up(setup).await;
        for key in [1, 2] {
            account(&world, key, days(2)).await;
            let at = world.crm.time(world.ago(days(2)));
            world.crm.run(&format!("INSERT INTO surveys VALUES ({}, {key}, 'nps', 3, {at})", key * 10)).await;
        }
        world.crm.run(&later.replace("{at}", &world.crm.time(world.ago(days(1))))).await;
        world.load(&[("r.yaml", &text)]).await;
        world.pass(hours(1)).await;
        assert_eq!(told(&world), ["sorry"], "{text}");
        let mut ended = ends(&world).await;
        ended.sort_by_key(|end| *end == Some(EndReason::Goal));
        assert_eq!(ended, [Some(EndReason::Completed), Some(EndReason::Goal)], "{text}");
    }
}

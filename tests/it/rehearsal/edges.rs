//! The terms of the triggers themselves, with what stood there, and records that the base filter leaves out.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Crm, Kind, Setup, World, days, hours};
use nudged::engine::rehearse::{Explanation, RecordState, TermAnswer, explain, why};
use nudged::model::{RecordId, RuleId};
use nudged::rule::operands::Section;

const START: &str = "2026-06-01T08:00:00Z";
const CATALOG: &str = r#"
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: customers
    key: id
    only: {status: {not_in: [closed]}, merged_into: missing}
    fields:
      renews_on: {column: renews_on, type: date_text, missing: ["0000-00-00"]}
      created_at: {column: created_at, type: instant_text}
    relations:
      orders: {entity: order, by: customer}
      carts: {entity: cart, by: customer}
      responses: {entity: response, by: customer}
    recipients:
      main_contact: {first_of: contacts}
  order: {table: orders, key: id, at: placed_at, fields: {customer: customer_id, placed_at: {column: placed_at, type: instant_text}}}
  cart: {table: carts, key: id, updated_at: touched_at, fields: {customer: customer_id, touched_at: {column: touched_at, type: instant_text}}}
  response: {table: surveys, key: id, at: answered_at, score: rating, kind: kind, fields: {customer: customer_id, answered_at: {column: answered_at, type: instant_text}}}
"#;
const TABLES: &str = "
CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(60), seats INTEGER, country VARCHAR(2), status VARCHAR(20),
                        merged_into INTEGER, renews_on VARCHAR(20), created_at VARCHAR(40));
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, placed_at VARCHAR(40));
CREATE TABLE carts (id INTEGER PRIMARY KEY, customer_id INTEGER, state VARCHAR(20), touched_at VARCHAR(40));
CREATE TABLE surveys (id INTEGER PRIMARY KEY, customer_id INTEGER, kind VARCHAR(20), rating INTEGER, answered_at VARCHAR(40));
";

async fn world(kind: Kind, trigger: &str) -> World {
    let setup = Setup {
        catalog: CATALOG.replace("    recipients:\n      main_contact: {first_of: contacts}\n", ""),
        own_tables: Some(TABLES.to_owned()),
        ..Setup::of(kind, instant(START))
    };
    let world = World::set_up(setup).await;
    let ago = |count: i64| world.ago(days(count)).to_string();
    world
        .crm
        .run(&format!(
            "INSERT INTO customers VALUES (1, 'Ada', 23, NULL, 'active', NULL, '0000-00-00', '{0}');
             INSERT INTO customers VALUES (2, 'Bob', 23, 'AT', 'active', NULL, '31.12.2026', '{0}');
             INSERT INTO customers VALUES (3, 'Cyd', 23, 'AT', 'closed', NULL, NULL, '{0}');
             INSERT INTO customers VALUES (4, 'Dan', 23, 'AT', 'active', 1, NULL, '{0}');",
            ago(100)
        ))
        .await;
    world.load(&[("told.yaml", &rule(trigger))]).await;
    world
}

fn rule(trigger: &str) -> String {
    let steps = if trigger.starts_with("date") {
        "offsets:\n  60 days before:\n    - webhook: {to: sink}\n"
    } else {
        "steps:\n  - webhook: {to: sink}\n"
    };
    let sweeps = if trigger.starts_with("enrolled") { "" } else { "guard: {floor: 1000}\ncheck_every: 1 hour\n" };
    format!(
        "version: 1\nid: told\ndescription: Told.\nmode: live\npurpose: service\nfor_each: customer\ntrigger:\n  {trigger}\n{sweeps}{steps}"
    )
}

fn customer(id: &str) -> RecordId {
    RecordId { tenant: "".into(), entity: "customer".into(), key: id.into() }
}

async fn explained(world: &World, id: &str) -> Explanation {
    let (generation, sender) = (world.generation(), nothing());
    explain(&previewer(world, &generation, &sender), &RuleId::from("told"), &customer(id)).await.unwrap()
}

/// Each term with whether it holds and what it found.
fn shown(terms: &[TermAnswer]) -> Vec<String> {
    let word = |term: &TermAnswer| {
        let found: Vec<String> = term.operands.iter().map(|one| format!("{} = {}", one.name, one.found())).collect();
        let holds = term.holds.map_or("unknown".to_owned(), |holds| holds.to_string());
        format!("{holds}: {} | {}", term.text, found.join(", "))
    };
    terms.iter().map(word).collect()
}

async fn of(world: &World, id: &str) -> (String, Vec<String>) {
    let told = explained(world, id).await;
    assert!(told.trigger.iter().all(|term| term.section == Section::Trigger));
    (told.verdict.to_string(), shown(&told.trigger))
}

const EVERYWHERE: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::MariaDb];

async fn insert(crm: &Crm, sql: &str) {
    crm.run(sql).await;
}

#[tokio::test]
async fn of_a_segment_each_condition_is_told() {
    for kind in EVERYWHERE {
        let world = world(kind, "segment: {when: {all: [{seats: {at_least: 20}}, {country: [AT, DE]}]}}").await;
        world.pass(hours(1)).await;
        let (verdict, terms) = of(&world, "1").await;
        assert_eq!(
            terms,
            ["true: seats: {at_least: 20} | seats = 23", "unknown: country: [AT, DE] | country = missing"]
        );
        assert_eq!(verdict, "never crossed: of the trigger, `country: [AT, DE]` is unknown (country = missing)");
        let (_, terms) = of(&world, "2").await;
        assert_eq!(terms, ["true: seats: {at_least: 20} | seats = 23", "true: country: [AT, DE] | country = AT"]);
        let (generation, sender) = (world.generation(), nothing());
        let look = previewer(&world, &generation, &sender);
        let stories = why(&look, &customer("1"), world.ago(days(30))).await.unwrap();
        assert_eq!(stories[0].outcome.text, verdict, "why tells the same");
    }
}

#[tokio::test]
async fn a_record_that_the_base_filter_leaves_out_is_told_by_which() {
    for kind in EVERYWHERE {
        let world = world(kind, "segment: {when: {country: AT}}").await;
        for (id, term, found) in
            [("3", "status: {not_in: closed}", "status = closed"), ("4", "merged_into: missing", "merged_into = 1")]
        {
            let told = explained(&world, id).await;
            assert_eq!(told.record_state, RecordState::LeftOut);
            assert_eq!((told.verdict.code(), told.verdict.failed_term()), ("left_out", Some(term)));
            let text = format!("no match: its entity's `only` leaves it out: `{term}` is not true ({found})");
            assert_eq!(told.verdict.to_string(), text);
            assert!(shown(&told.base).contains(&format!("false: {term} | {found}")), "{:?}", told.base);
        }
        assert_eq!(explained(&world, "2").await.base, [], "all of it holds");
        let told = explained(&world, "99").await;
        assert_eq!((told.verdict.code(), told.base.len()), ("no_record", 0));
    }
}

#[tokio::test]
async fn of_a_count_the_number_now_is_told_against_the_one_that_is_needed() {
    let world = world(Kind::Sqlite, "count: {of: orders, at_least: 4, within: 30 days}").await;
    for (id, ago) in [(1, 1), (2, 2), (3, 3), (4, 40)] {
        insert(&world.crm, &format!("INSERT INTO orders VALUES ({id}, 1, '{}')", world.ago(days(ago)))).await;
    }
    let (verdict, terms) = of(&world, "1").await;
    assert_eq!(terms, ["false: orders: at least 4 within 30 days | orders = 3 of 4"]);
    assert!(verdict.ends_with("`orders: at least 4 within 30 days` is not true (orders = 3 of 4)"), "{verdict}");
    insert(&world.crm, &format!("INSERT INTO orders VALUES (5, 1, '{}')", world.ago(hours(1)))).await;
    let (_, terms) = of(&world, "1").await;
    assert_eq!(terms, ["true: orders: at least 4 within 30 days | orders = 4 of 4"]);
}

#[tokio::test]
async fn of_a_decline_both_numbers_are_told() {
    let trigger = "decline: {of: orders, by: 50, from_at_least: 2, window: 30 days}";
    let world = world(Kind::Sqlite, trigger).await;
    for (id, ago) in [(1, 1), (2, 40), (3, 50)] {
        insert(&world.crm, &format!("INSERT INTO orders VALUES ({id}, 1, '{}')", world.ago(days(ago)))).await;
    }
    let (_, terms) = of(&world, "1").await;
    assert!(terms[0].starts_with("true: orders: fallen by 50 %"), "{terms:?}");
    assert!(terms[0].ends_with("orders before = 2 of 2, orders now = 1"), "{terms:?}");
}

#[tokio::test]
async fn of_a_cart_what_keeps_it_from_being_abandoned_is_told() {
    for kind in EVERYWHERE {
        let trigger = "abandoned: {of: carts, open: {state: open}, idle: 3 hours, unless: orders}";
        let world = world(kind, trigger).await;
        let ago = |count: i64| world.ago(hours(count)).to_string();
        let (_, terms) = of(&world, "1").await;
        assert_eq!(terms[0], "unknown: state: open | carts.state = missing", "there is no cart");
        insert(&world.crm, &format!("INSERT INTO carts VALUES (1, 1, 'open', '{}')", ago(5))).await;
        insert(&world.crm, &format!("INSERT INTO carts VALUES (2, 1, 'bought', '{}')", ago(1))).await;
        insert(&world.crm, &format!("INSERT INTO orders VALUES (1, 1, '{}')", ago(4))).await;
        let (verdict, terms) = of(&world, "1").await;
        assert_eq!(terms[0], "true: state: open | carts.state = open", "the open one goes before the newest");
        assert!(
            terms[1].starts_with("true: touched_at: untouched for 3 hours | carts.touched_at = 2026-06-01T03:00:00")
        );
        assert!(terms[2].starts_with("false: orders: none since the last change | newest of orders = "), "{terms:?}");
        assert!(verdict.contains("`orders: none since the last change` is not true"), "{verdict}");
        insert(&world.crm, "DELETE FROM orders").await;
        let (_, terms) = of(&world, "1").await;
        assert!(terms[2].starts_with("true: "), "{terms:?}");
        insert(&world.crm, "UPDATE carts SET state = 'bought'").await;
        assert_eq!(of(&world, "1").await.1[0], "false: state: open | carts.state = bought");
    }
}

#[tokio::test]
async fn of_an_answer_its_score_is_told_against_the_range() {
    for kind in EVERYWHERE {
        let trigger = "survey: {of: responses, kind: nps, score: {at_most: 6}, settle: 1 hour}";
        let world = world(kind, trigger).await;
        insert(&world.crm, &format!("INSERT INTO surveys VALUES (1, 1, 'nps', 9, '{}')", world.ago(hours(3)))).await;
        insert(&world.crm, &format!("INSERT INTO surveys VALUES (2, 1, 'csat', 1, '{}')", world.ago(hours(2)))).await;
        let (verdict, terms) = of(&world, "1").await;
        assert!(terms[0].starts_with("false: responses of kind nps: score "), "{terms:?}");
        assert!(terms[0].ends_with("| responses.rating = 9"), "{terms:?}");
        assert!(terms[1].starts_with("true: responses: answered 1 hour ago"), "{terms:?}");
        assert!(verdict.ends_with("is not true (responses.rating = 9)"), "{verdict}");
    }
}

#[tokio::test]
async fn a_date_that_is_missing_a_placeholder_or_unreadable_is_told_so() {
    for kind in EVERYWHERE {
        let world = world(kind, "date: {field: renews_on, at: \"09:00\"}").await;
        let term = "renews_on: 60 days before, at 09:00";
        let (verdict, terms) = of(&world, "1").await;
        assert_eq!(terms, [format!("unknown: {term} | renews_on = missing (0000-00-00 is a placeholder)")]);
        assert!(verdict.ends_with("(renews_on = missing (0000-00-00 is a placeholder))"), "{verdict}");
        assert_eq!(of(&world, "2").await.1, [format!("unknown: {term} | renews_on = unreadable (31.12.2026)")]);
        insert(&world.crm, "UPDATE customers SET renews_on = '2026-07-20' WHERE id = 1").await;
        assert_eq!(of(&world, "1").await.1, [format!("true: {term} | renews_on = 2026-07-20")]);
    }
}

#[tokio::test]
async fn of_silence_and_of_what_is_new_the_times_are_told() {
    let world = world(Kind::Sqlite, "inactivity: {of: orders, for: 30 days, fallback: created_at}").await;
    let created = world.ago(days(100));
    let (_, terms) = of(&world, "1").await;
    let missing = format!("true: orders: none for 30 days | newest of orders = missing, created_at = {created}");
    assert_eq!(terms, [missing]);
    insert(&world.crm, &format!("INSERT INTO orders VALUES (1, 1, '{}')", world.ago(days(10)))).await;
    assert!(of(&world, "1").await.1[0].starts_with("false: orders: none for 30 days | newest of orders = 2026-05-22"));
    world.load(&[("told.yaml", &rule("created: {at: created_at, settle: 1 hour}"))]).await;
    assert_eq!(of(&world, "1").await.1, [format!("true: created_at: 1 hour ago | created_at = {created}")]);
}

#[tokio::test]
async fn what_others_say_of_a_record_is_awaited_by_name_and_kept_once_it_was_said() {
    let query =
        "query: {sql: \"SELECT id, status FROM customers WHERE status = 'overdue'\", key: id, occasion: status}";
    let awaits = [
        (query, "the rule's query returns no row for it"),
        ("event: {name: signed-up, key: customer}", "no event `signed-up` that names it is kept"),
        ("enrolled: {}", "no rule has an `enroll` step that leads to this one"),
    ];
    for (trigger, what) in awaits {
        let world = world(Kind::Sqlite, trigger).await;
        world.pass(hours(1)).await;
        assert_eq!(of(&world, "1").await.0, format!("never crossed: {what}"));
    }
    let enrolled = rule("enrolled: {}");
    let first = rule("created: {at: created_at}")
        .replace("id: told", "id: first")
        .replace("steps:\n", "backfill: all\nsteps:\n  - enroll: {rule: told}\n");
    let world = world(Kind::Sqlite, "enrolled: {}").await;
    world.load(&[("told.yaml", &enrolled), ("first.yaml", &first)]).await;
    let awaited = "never crossed: no `enroll` step of `first` has brought it here";
    assert_eq!(of(&world, "1").await.0, awaited);
    world.pass(hours(1)).await;
    assert!(of(&world, "1").await.0.starts_with("matched "), "{}", of(&world, "1").await.0);
    assert_eq!(
        of(&world, "3").await.0,
        "no match: its entity's `only` leaves it out: `status: {not_in: closed}` is not true (status = closed)"
    );
}

#[tokio::test]
async fn of_a_change_what_stood_before_is_told_where_it_is_known() {
    let world = world(Kind::Sqlite, "changed: {field: status, from: active, to: [paused, closed]}").await;
    let term = "status: changed from active to [paused, closed]";
    let (_, terms) = of(&world, "1").await;
    assert_eq!(terms, [format!("false: {term} | status before = not looked at yet, status = active")]);
    world.pass(hours(1)).await;
    let (verdict, terms) = of(&world, "1").await;
    assert_eq!(terms, [format!("false: {term} | status before = active, status = active")]);
    assert!(verdict.starts_with("never crossed: of the trigger, "), "{verdict}");
    insert(&world.crm, "UPDATE customers SET status = 'paused' WHERE id = 1").await;
    assert_eq!(of(&world, "1").await.1, [format!("true: {term} | status before = active, status = paused")]);
    world.pass(hours(1)).await;
    let (verdict, terms) = of(&world, "1").await;
    assert!(verdict.starts_with("matched "), "{verdict}");
    assert_eq!(terms, [format!("true: {term} | status before = not kept any more, status = paused")]);
}

#[tokio::test]
async fn what_waits_for_nothing_is_told_without_a_time() {
    let world = world(Kind::Sqlite, "survey: {of: responses, kind: nps, score: {at_most: 6}, settle: none}").await;
    insert(&world.crm, &format!("INSERT INTO surveys VALUES (1, 1, 'nps', 3, '{}')", world.ago(hours(3)))).await;
    let (_, terms) = of(&world, "1").await;
    assert!(terms[1].starts_with("true: responses: answered | "), "{terms:?}");
    world.load(&[("told.yaml", &rule("created: {at: created_at, settle: none}"))]).await;
    assert!(of(&world, "1").await.1[0].starts_with("true: created_at: come | "));
}

#[tokio::test]
async fn rows_of_which_nobody_can_say_are_told() {
    for kind in EVERYWHERE {
        let none = "responses: {none: {kind: nps}}";
        let world = world(kind, &format!("segment: {{when: {{{none}}}}}")).await;
        let text =
            rule(&format!("segment: {{when: {{{none}}}}}")).replace("guard:", &format!("where: [{{{none}}}]\nguard:"));
        world.load(&[("told.yaml", &text)]).await;
        let at = world.ago(hours(3));
        insert(&world.crm, &format!("INSERT INTO surveys VALUES (1, 1, NULL, 9, '{at}')")).await;
        let told = explained(&world, "1").await;
        let expected = format!("unknown: {none} | responses = 0, and 1 of which nobody can say");
        assert_eq!(shown(&told.trigger), std::slice::from_ref(&expected));
        assert_eq!(shown(&told.terms), [expected]);
        assert!(
            told.verdict.to_string().ends_with("(responses = 0, and 1 of which nobody can say)"),
            "{}",
            told.verdict
        );
        insert(&world.crm, &format!("INSERT INTO surveys VALUES (2, 1, 'nps', 9, '{at}')")).await;
        let told = explained(&world, "1").await;
        assert_eq!(shown(&told.terms), [format!("false: {none} | responses = 1")], "another row decides");
    }
}

#[tokio::test]
async fn a_row_without_its_parent_is_told_by_the_table_that_lacks_it() {
    for kind in EVERYWHERE {
        let setup = Setup {
            catalog: CATALOG.replace("    recipients:\n      main_contact: {first_of: contacts}\n", "").replacen(
                "    key: id\n",
                "    key: id\n    parents: [{table: parties, key: id, columns: [made_by]}]\n",
                1,
            ),
            own_tables: Some(format!("{TABLES} CREATE TABLE parties (id INTEGER PRIMARY KEY, made_by VARCHAR(20));")),
            ..Setup::of(kind, instant(START))
        };
        let world = World::set_up(setup).await;
        world.crm.run("INSERT INTO customers VALUES (1, 'Ada', 23, 'AT', 'active', NULL, NULL, NULL)").await;
        world.load(&[("told.yaml", &rule("segment: {when: {country: AT}}"))]).await;
        let verdict = explained(&world, "1").await.verdict;
        let told = "no match: its row of `parties` is missing (`parents` in the catalog), so it is no record";
        assert_eq!((verdict.code(), verdict.to_string().as_str()), ("no_parent", told));
        assert_eq!(explained(&world, "2").await.verdict.code(), "no_record");
        world.crm.run("INSERT INTO parties VALUES (1, 'us')").await;
        assert_eq!(explained(&world, "1").await.record_state, RecordState::Present);
    }
}

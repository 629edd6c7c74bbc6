//! What the database is asked to check before rules run: every statement that they can come to, sweeps or not.

use crate::support::instant;
use crate::world::{CATALOG, Kind, Setup, World};
use nudged::diagnostic::SourceFile;
use nudged::rule::generation::Tree;
use nudged::rulebook::{Outside, inspect, probes};
use rstest::rstest;
use std::sync::Arc;

const START: &str = "2026-11-20T12:30:00Z";

const TASKS: &str = "
ALTER TABLE accounts ADD COLUMN changed_at {instant};
CREATE TABLE todo (id VARCHAR(40) PRIMARY KEY, title VARCHAR(200), due DATE, customer INTEGER, ref VARCHAR(80),
                   status VARCHAR(20));
CREATE TABLE todo_people (todo_id VARCHAR(40), email VARCHAR(80));
";

const OPEN: &str = "status: {not_in: [Done]}";

fn recipe(due: &str, open: &str) -> String {
    format!(
        "tasks:\n  open: {{{open}}}\n  insert:\n    \
         - {{table: todo, set: {{id: $uuid, title: $title, {due}: $due, customer: $record.key, ref: $ref}}}}\n    \
         - {{table: todo_people, set: {{todo_id: $1.id, email: $assignee.email}}}}\n"
    )
}

fn rule(trigger: &str) -> String {
    format!(
        "version: 1\nid: asked\nmode: live\npurpose: service\nfor_each: customer\ntrigger: {{{trigger}}}\n\
         steps:\n  - task: {{title: Call, due: 2 days, unless_open: any}}\n"
    )
}

async fn world(kind: Kind, due: &str, open: &str) -> World {
    let place = "table: accounts\n    key: id";
    assert!(CATALOG.contains(place));
    let tracked = CATALOG.replace(place, &format!("{place}\n    updated_at: changed_at"));
    let catalog = format!("{tracked}{}", recipe(due, open));
    World::set_up(Setup { catalog, tables: TASKS, ..Setup::of(kind, instant(START)) }).await
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn every_statement_of_a_rule_is_checked_before_it_runs(#[case] kind: Kind) {
    let world = world(kind, "due", OPEN).await;
    // Crossings of sweeps, of changed records and of a chunk; the end of a chunk, those left out, all records, the facts;
    // two inserts and the open tasks; the list of who must not be written to, in two ways.
    let usual = 3 + 4 + 2 + 1 + 2;
    for (trigger, count) in [
        ("inactivity: {of: orders, for: 90 days}", usual),
        ("inactivity: {of: orders, for: 90 days, fallback: created_at}", usual + 3),
        ("segment: {when: {country: AT}}", usual),
        ("changed: {field: country}", usual),
        ("created: {at: created_at}", usual),
        // And those inside, and their rows.
        ("count: {of: orders, at_least: 3, within: 14 days}", usual + 2),
        ("decline: {of: orders, by: 50, from_at_least: 4, window: 30 days}", usual + 2),
    ] {
        let text = rule(trigger);
        let generation = world.build(&[("asked.yaml", &text)]);
        let asked = &generation.rules["asked"];
        let statements = probes(asked, &generation.catalog, world.source.dialect(), world.now());
        assert_eq!(statements.len(), count, "{trigger}");
        for statement in statements {
            let answer = world.source.prepare(&statement).await;
            answer.unwrap_or_else(|error| panic!("{kind:?}, {trigger}: {error}\n{}", statement.sql));
        }
    }
}

/// PostgreSQL knows the types of what a recipe would write.
#[tokio::test]
async fn a_recipe_that_the_database_would_refuse_is_told_before_the_first_task() {
    let world = world(Kind::Postgres, "customer2", OPEN).await;
    world.crm.run("ALTER TABLE todo ADD COLUMN customer2 INTEGER").await;
    assert_eq!(refused(&world).await, ["asked: catalog.task-refused"]);
}

/// The rules whose statements the database doesn't take, each with the finding's code.
async fn refused(world: &World) -> Vec<String> {
    let file = |path: &str, text: &str| Arc::new(SourceFile { path: path.into(), text: text.into() });
    let text = rule("created: {at: created_at}");
    let files = vec![file("asked.yaml", &text), file("catalog.yaml", world.catalog())];
    let inspected = inspect(Arc::new(Tree { files }), &*world.source, &Outside::default(), None).await.unwrap();
    inspected.refused.iter().map(|(id, finding)| format!("{id}: {}", finding.code)).collect()
}

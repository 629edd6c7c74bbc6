//! A preview finds the edges that the next sweep finds, and keeps none of them.

use super::{START, entered, rule};
use crate::support::instant;
use crate::world::{Kind, Setup, World, hours};
use nudged::engine::{PreviewScope, Previewer, Settings, preview};
use nudged::rule::generation::Generation;

fn previewer<'a>(world: &'a World, generation: &'a Generation, sender: &'a serde_json::Value) -> Previewer<'a> {
    let (source, store) = (world.source.as_ref(), world.store.as_ref());
    Previewer { generation, source, store, sender, sending: None, now: world.now(), limit: 100 }
}

/// Key and occasion, with a star where it is in the ledger.
async fn shown(world: &World, scope: PreviewScope) -> Vec<String> {
    let (generation, sender) = (world.generation(), serde_json::json!({}));
    let found = preview(&previewer(world, &generation, &sender), &"watched".into(), &scope).await.unwrap();
    let line = |found: &nudged::engine::PreviewMatch| {
        format!("{} {}{}", found.record.key, found.occasion, if found.known { " *" } else { "" })
    };
    found.matches.iter().map(line).collect()
}

async fn two(trigger: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL), (2, 'Two', NULL, NULL)").await;
    world.load(&[("watched.yaml", &rule(trigger, ""))]).await;
    world.pass(hours(1)).await;
    world
}

#[tokio::test]
async fn of_a_count_it_shows_what_opens_and_what_is_open() {
    let world = two("count: {of: orders, at_least: 2, within: 2 days}").await;
    world.clock.advance(hours(1));
    for id in 1..3 {
        let at = world.crm.time(world.now());
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, 1, {at}, 'paid')")).await;
    }
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, ["1 episode 1"]);
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, ["1 episode 1"], "nothing was kept");
    world.turn().await;
    assert_eq!(entered(&world).await.len(), 1);
    assert_eq!(shown(&world, PreviewScope::Records(vec!["1".into(), "2".into()])).await, ["1 episode 1 *"]);
    world.clock.advance(hours(72));
    assert_eq!(shown(&world, PreviewScope::Records(vec!["1".into()])).await, [""; 0], "it has ended");
}

#[tokio::test]
async fn of_a_segment_it_shows_who_has_come_inside_and_who_leaves() {
    let world = two("segment: {when: {country: AT}}").await;
    world.crm.run("UPDATE accounts SET country_code = 'AT' WHERE id = 2").await;
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, ["2 episode 1"]);

    let world = two("segment: {when: {country: AT}, leaves: true}").await;
    world.crm.run("UPDATE accounts SET country_code = NULL WHERE id = 1").await;
    world.pass(hours(1)).await;
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, [""; 0], "not for long enough");
    world.clock.advance(hours(24));
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, ["1 episode 1"]);
}

/// Those whom a preview lists and no sweep would enter.
async fn left_out(world: &World, scope: PreviewScope) -> Vec<String> {
    let (generation, sender) = (world.generation(), serde_json::json!({}));
    let found = preview(&previewer(world, &generation, &sender), &"watched".into(), &scope).await.unwrap();
    found.matches.into_iter().filter(|found| found.left_out).map(|found| found.record.key.to_string()).collect()
}

#[tokio::test]
async fn who_is_inside_of_a_segment_when_it_begins_is_shown_as_left_out() {
    let (segment, last) = ("segment: {when: {country: AT}}", PreviewScope::Last(hours(24)));
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL), (2, 'Two', NULL, NULL)").await;
    world.clock.advance(hours(1));
    world.load(&[("watched.yaml", &rule(segment, ""))]).await;
    let named = || PreviewScope::Records(vec!["1".into()]);
    for scope in [PreviewScope::LastInterval, named()] {
        assert_eq!(shown(&world, scope.clone()).await, ["1 episode 1"], "before its first look");
        assert_eq!(left_out(&world, scope).await, ["1"]);
    }
    assert_eq!(shown(&world, last.clone()).await, ["1 episode 1"]);
    assert_eq!(left_out(&world, last).await, [""; 0], "it would have matched");

    world.pass(hours(1)).await;
    assert_eq!(left_out(&world, named()).await, ["1"], "and after it");
    world.crm.run("UPDATE accounts SET country_code = 'AT' WHERE id = 2").await;
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, ["2 episode 1"]);
    assert_eq!(left_out(&world, PreviewScope::LastInterval).await, [""; 0], "it came inside since");
    world.pass(hours(1)).await;
    assert_eq!(entered(&world).await.len(), 1);

    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL)").await;
    world.load(&[("watched.yaml", &rule(segment, "backfill: all\n"))]).await;
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, ["1 episode 1"]);
    assert_eq!(left_out(&world, PreviewScope::LastInterval).await, [""; 0], "it is taken in");
}

#[tokio::test]
async fn of_a_change_it_shows_what_changed_since_the_last_sweep() {
    let world = two("changed: {field: country, to: DE}").await;
    world.crm.run("UPDATE accounts SET country_code = 'DE' WHERE id = 2").await;
    assert_eq!(shown(&world, PreviewScope::LastInterval).await, ["2 episode 1"]);
    world.pass(hours(1)).await;
    assert_eq!(shown(&world, PreviewScope::Records(vec!["2".into()])).await, ["2 episode 1 *"]);
}

#[tokio::test]
async fn rows_that_came_late_count_at_once_where_the_catalog_knows_what_changed() {
    let catalog = crate::world::CATALOG.replace("at: placed_at, only", "at: placed_at, updated_at: changed_at, only");
    let tables = "ALTER TABLE orders ADD COLUMN changed_at DATETIME;";
    let setup = Setup { catalog, tables, ..Setup::of(Kind::Sqlite, instant(START)) };
    let world = World::set_up(setup).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL)").await;
    world.load(&[("watched.yaml", &rule("count: {of: orders, at_least: 2, within: 2 days}", ""))]).await;
    world.pass(hours(6)).await;
    for id in 1..3 {
        let (at, now) = (world.crm.time(world.ago(hours(4))), world.crm.time(world.now()));
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, 1, {at}, 'paid', {now})")).await;
    }
    world.pass(hours(1)).await;
    assert_eq!(entered(&world).await.len(), 1);
}

//! One rule starts another's steps.

use super::{NEW, ends, play, rule, subscribe, timeline, world};
use crate::world::World;
use nudged::model::EndReason;

const FIRST: &str = "  - webhook: {id: hello, to: sink}
  - enroll: {rule: follow-up}
  - wait: {for: 1 day}
  - webhook: {id: bye, to: sink}
";
const SECOND: &str = "  - wait: {for: 2 hours}
  - webhook: {id: tip, to: sink, body: {from: \"{{ occasion.at }}\"}}
";

async fn begun(first: &str, second: &str) -> World {
    let world = world(super::START).await;
    subscribe(&world, 1, "Europe/Vienna", "").await;
    world.load(&[("first.yaml", first), ("second.yaml", second)]).await;
    world
}

#[tokio::test]
async fn both_sequences_go_on_side_by_side() {
    let world = begun(&rule("plan", NEW, FIRST), &rule("follow-up", "trigger: {enrolled: {}}", SECOND)).await;
    let said = play(&world, "2026-06-05T00:00:00Z").await;
    assert_eq!(said, ["06-01 09:00 1 hello", "06-01 11:00 1 tip", "06-02 09:00 1 bye"]);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed); 2]);
    let noted = timeline(&world).await;
    assert_eq!(noted[1], "06-01 09:00 enroll-follow-up enrolled follow-up", "{noted:?}");
    let enrolled = &world.enrollments().await[0];
    assert!(enrolled.occasion.as_ref().unwrap().as_str().starts_with("enroll:"), "{enrolled:?}");
}

#[tokio::test]
async fn the_other_rules_own_conditions_are_tested_before_its_messages() {
    let second = rule("follow-up", "trigger: {enrolled: {}}\nwhere: [{status: gold}]", SECOND);
    let world = begun(&rule("plan", NEW, FIRST), &second).await;
    let said = play(&world, "2026-06-05T00:00:00Z").await;
    assert_eq!(said, ["06-01 09:00 1 hello", "06-02 09:00 1 bye"]);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed), Some(EndReason::WhereFalse)]);
}

#[tokio::test]
async fn nobody_is_enrolled_once_the_sequence_is_over() {
    let steps = FIRST.replace("  - enroll", "  - wait: {for: 1 hour}\n  - enroll");
    let first = rule("plan", &format!("{NEW}\nexit_when: {{status: gone}}"), &steps);
    let world = begun(&first, &rule("follow-up", "trigger: {enrolled: {}}", SECOND)).await;
    assert_eq!(play(&world, "2026-06-01T09:30:00Z").await, ["06-01 09:00 1 hello"]);
    world.crm.run("UPDATE subscriptions SET status = 'gone'").await;
    assert!(play(&world, "2026-06-05T00:00:00Z").await.is_empty());
    assert_eq!(ends(&world).await, [Some(EndReason::Exit)]);
}

#[tokio::test]
async fn the_shadow_lane_starts_nothing_and_says_what_it_would_have() {
    let first = rule("plan", NEW, FIRST).replace("mode: live", "mode: shadow");
    let world = begun(&first, &rule("follow-up", "trigger: {enrolled: {}}", SECOND)).await;
    assert!(play(&world, "2026-06-05T00:00:00Z").await.is_empty());
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
    assert!(timeline(&world).await.contains(&"06-01 09:00 enroll-follow-up would_enroll follow-up".to_owned()));
}

#[tokio::test]
async fn a_target_that_is_gone_holds_the_step_until_it_is_back() {
    let steps = FIRST.replace("  - enroll", "  - wait: {for: 1 hour}\n  - enroll");
    let (first, second) = (rule("plan", NEW, &steps), rule("follow-up", "trigger: {enrolled: {}}", SECOND));
    let world = begun(&first, &second).await;
    play(&world, "2026-06-01T09:30:00Z").await;
    // The pinned version still names it.
    let other = rule("plan", NEW, "  - webhook: {id: hello, to: sink}\n");
    world.load(&[("first.yaml", &other)]).await;
    assert!(play(&world, "2026-06-01T12:00:00Z").await.is_empty());
    let held = timeline(&world).await;
    assert!(held.last().unwrap().contains("held it enrolls into `follow-up`"), "{held:?}");
    world.load(&[("first.yaml", &first), ("second.yaml", &second)]).await;
    assert_eq!(play(&world, "2026-06-03T00:00:00Z").await, ["06-01 14:00 1 tip", "06-02 12:00 1 bye"]);
}

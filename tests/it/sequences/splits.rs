//! Splits: arms are for ever, and a holdout gets nothing.

use super::{NEW, ends, play, rule, subscribe, timeline, world};
use nudged::model::EndReason;

const STEPS: &str = "  - split:
      salt: spring
      arms:
        - {name: a, steps: [webhook: {id: a, to: sink}]}
        - {name: b, steps: []}
        - {name: control, holdout: true}
  - webhook: {id: after, to: sink}
";

#[tokio::test]
async fn each_arm_goes_its_way_and_a_holdout_ends() {
    let world = world(super::START).await;
    for id in 1..=12 {
        subscribe(&world, id, "Europe/Vienna", "").await;
    }
    world.load(&[("rule.yaml", &rule("plan", NEW, STEPS))]).await;
    let said = play(&world, "2026-06-02T00:00:00Z").await;
    let drawn: Vec<String> = timeline(&world).await.into_iter().filter(|line| line.contains(" arm ")).collect();
    assert_eq!(drawn.len(), 12, "every draw is on record");
    let count = |text: &str, lines: &[String]| lines.iter().filter(|line| line.ends_with(text)).count();
    let (a, b, control) = (count("arm a", &drawn), count("arm b", &drawn), count("arm control", &drawn));
    assert!(a > 0 && b > 0 && control > 0, "{drawn:?}");
    assert_eq!((count(" a", &said), count(" after", &said)), (a, a + b));
    let ends = ends(&world).await;
    let ended = |reason| ends.iter().filter(|end| **end == Some(reason)).count();
    assert_eq!((ended(EndReason::Completed), ended(EndReason::Holdout)), (a + b, control));
}

#[tokio::test]
async fn a_record_keeps_its_arm_when_it_comes_again() {
    let world = world(super::START).await;
    for id in 1..=8 {
        subscribe(&world, id, "Europe/Vienna", "").await;
    }
    world.load(&[("rule.yaml", &rule("plan", NEW, STEPS))]).await;
    let first = play(&world, "2026-06-02T00:00:00Z").await;
    // Another rule, the same salt; and a shadow lane of its own.
    let again = rule("again", "trigger: {segment: {when: {status: back}}}\ncheck_every: 1 hour", STEPS);
    world.load(&[("again.yaml", &again)]).await;
    play(&world, "2026-06-03T00:00:00Z").await;
    world.crm.run("UPDATE subscriptions SET status = 'back'").await;
    let second = play(&world, "2026-06-04T00:00:00Z").await;
    let without_time = |said: &[String]| {
        let mut said: Vec<String> = said.iter().map(|line| line[12..].to_owned()).collect();
        said.sort();
        said
    };
    assert!(!first.is_empty());
    assert_eq!(without_time(&second), without_time(&first));
}

#[tokio::test]
async fn nobody_is_drawn_before_the_wait_ahead_is_over() {
    let world = world(super::START).await;
    for id in 1..=12 {
        subscribe(&world, id, "Europe/Vienna", "").await;
    }
    let goal = format!("{NEW}\ngoal: {{name: renewed, when: {{status: renewed}}}}");
    world.load(&[("rule.yaml", &rule("plan", &goal, &format!("  - wait: {{for: 2 days}}\n{STEPS}")))]).await;
    play(&world, "2026-06-03T00:00:00Z").await;
    assert_eq!(ends(&world).await, [None; 12]);
    world.crm.run("UPDATE subscriptions SET status = 'renewed' WHERE id <= 3").await;
    play(&world, "2026-06-05T00:00:00Z").await;
    let drawn: Vec<String> = timeline(&world).await.into_iter().filter(|line| line.contains(" arm ")).collect();
    assert!(drawn.len() == 9 && drawn.iter().all(|line| line.starts_with("06-03 09:00")), "{drawn:?}");
    let ends = ends(&world).await;
    assert_eq!(
        ends.iter().filter(|end| **end == Some(EndReason::Goal)).count(),
        3,
        "whatever their arm would have been"
    );
    assert!(ends.contains(&Some(EndReason::Holdout)), "{ends:?}");
}

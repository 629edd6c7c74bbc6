//! Steps within steps: what follows an arm of an arm, what stops on the way, and a large audience that is spread.

use super::{NEW, ends, play, rule, subscribe, world};
use crate::support::instant;
use jiff::{SignedDuration, Timestamp};
use nudged::model::EndReason;

const STEPS: &str = "  - branch:
      cases:
        - name: active
          when: {status: active}
          steps:
            - webhook: {id: outer, to: sink}
            - wait: {for: 1 day}
            - branch:
                cases:
                  - name: gone
                    when: {status: cancelled}
                    steps:
                      - webhook: {id: sorry, to: sink}
                      - stop: {}
                  - name: here
                    when: {status: active}
                    steps:
                      - split:
                          salt: two-arms
                          arms:
                            - name: one
                              steps: [wait: {for: 1 day}, webhook: {id: inner-one, to: sink}]
                            - name: other
                              steps: [wait: {for: 1 day}, webhook: {id: inner-other, to: sink}]
            - webhook: {id: outer-again, to: sink}
  - webhook: {id: last, to: sink}
";

#[tokio::test]
async fn what_stands_behind_a_nested_step_follows_it_and_a_stop_ends_all_of_it() {
    let world = world(super::START).await;
    for id in 1..=3 {
        subscribe(&world, id, "Europe/Vienna", "").await;
    }
    world.crm.run("UPDATE subscriptions SET status = 'trial' WHERE id = 3").await;
    world.load(&[("rule.yaml", &rule("plan", NEW, STEPS))]).await;
    assert_eq!(
        play(&world, "2026-06-01T12:00:00Z").await,
        ["06-01 09:00 1 outer", "06-01 09:00 2 outer", "06-01 09:00 3 last"]
    );
    world.crm.run("UPDATE subscriptions SET status = 'cancelled' WHERE id = 2").await;
    // Whichever arm it was.
    let rest: Vec<String> = play(&world, "2026-06-05T00:00:00Z")
        .await
        .iter()
        .map(|line| line.replace("inner-other", "inner").replace("inner-one", "inner"))
        .collect();
    let expected = ["06-02 09:00 2 sorry", "06-03 09:00 1 inner", "06-03 09:00 1 outer-again", "06-03 09:00 1 last"];
    assert_eq!(rest, expected);
    let mut ends = ends(&world).await;
    ends.sort_by_key(|end| end.map(EndReason::as_str));
    assert_eq!(ends, [Some(EndReason::Completed), Some(EndReason::Completed), Some(EndReason::Stopped)]);
}

#[tokio::test]
async fn a_large_audience_is_spread_over_the_time_that_is_given() {
    const AUDIENCE: usize = 60;
    let world = world(super::START).await;
    for id in 1..=AUDIENCE {
        subscribe(&world, id, "Europe/Vienna", "").await;
    }
    let settings = format!("{NEW}\nspread: 4 hours\nguard: {{percent_per_day: 100, floor: 1000}}");
    world.load(&[("rule.yaml", &rule("plan", &settings, "  - webhook: {id: hello, to: sink}\n"))]).await;
    let said = play(&world, "2026-06-02T00:00:00Z").await;
    assert_eq!(said.len(), AUDIENCE);
    let at = |line: &str| -> Timestamp { instant(&format!("2026-{}T{}:00Z", &line[..5], &line[6..11])) };
    let (first, last) = (at(&said[0]), at(&said[AUDIENCE - 1]));
    let matched = instant("2026-06-01T09:00:00Z");
    assert!(first >= matched && last <= matched + SignedDuration::from_hours(4), "{first} to {last}");
    // In none of the four hours is there much more than a fourth of them.
    for hour in 0..4 {
        let begins = matched + SignedDuration::from_hours(hour);
        let within = said.iter().filter(|line| at(line) >= begins && at(line) < begins + SignedDuration::from_hours(1));
        let count = within.count();
        assert!((5..=30).contains(&count), "hour {hour}: {count}");
    }
}

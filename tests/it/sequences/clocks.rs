//! Sequences and the clock: changes of it in three zones, leap days, months that end, steps back, and people who move.

use super::{NEW, play, rule, sent, subscribe, world};
use crate::support::instant;
use crate::world::{hours, minutes};
use rstest::rstest;

const AT_TEN: &str = "  - wait: {for: 1 day, at: \"10:00\"}\n  - webhook: {id: after, to: sink}\n";

/// A day's wait begun before the change, in the person's own zone.
#[rstest]
#[case::vienna_gap("Europe/Vienna", "2026-03-28T08:00:00Z", "02:30", "03-29 01:00 1 after")]
#[case::vienna_overlap("Europe/Vienna", "2026-10-24T08:00:00Z", "02:30", "10-25 00:30 1 after")]
#[case::new_york_gap("America/New_York", "2026-03-07T16:00:00Z", "02:30", "03-08 07:00 1 after")]
#[case::new_york_overlap("America/New_York", "2026-10-31T16:00:00Z", "01:30", "11-01 05:30 1 after")]
#[case::lord_howe_gap("Australia/Lord_Howe", "2026-10-02T22:00:00Z", "02:15", "10-03 15:30 1 after")]
#[case::lord_howe_overlap("Australia/Lord_Howe", "2026-04-03T22:00:00Z", "01:45", "04-04 14:45 1 after")]
#[tokio::test]
async fn a_wait_over_a_clock_change_ends_once(
    #[case] zone: &str,
    #[case] start: &str,
    #[case] at: &str,
    #[case] expected: &str,
) {
    let world = world(start).await;
    subscribe(&world, 1, zone, "").await;
    world.load(&[("rule.yaml", &rule("plan", NEW, &AT_TEN.replace("10:00", at)))]).await;
    let until = instant(start) + hours(72);
    assert_eq!(play(&world, &until.to_string()).await, [expected]);
}

#[rstest]
#[case::leap_day("2028-02-29", "on the day", "02-29 09:00 1 after")]
#[case::a_month_after_the_last_of_january("2028-01-31", "1 month after", "02-29 09:00 1 after")]
#[case::a_month_before_the_last_of_march("2028-03-31", "1 month before", "02-29 09:00 1 after")]
#[tokio::test]
async fn a_date_at_the_end_of_february(#[case] date: &str, #[case] offset: &str, #[case] expected: &str) {
    let world = world("2028-01-20T08:00:00Z").await;
    subscribe(&world, 1, "Etc/UTC", date).await;
    let steps = format!(
        "  - wait: {{until: {{date: renews_on, offset: {offset}}}, at: \"09:00\"}}\n  - webhook: {{id: after, to: sink}}\n"
    );
    world.load(&[("rule.yaml", &rule("plan", NEW, &steps))]).await;
    assert_eq!(play(&world, "2028-04-20T00:00:00Z").await, [expected]);
}

#[tokio::test]
async fn months_are_counted_to_where_they_end() {
    let world = world("2027-01-31T08:00:00Z").await;
    subscribe(&world, 1, "Etc/UTC", "").await;
    let steps = "  - wait: {for: 1 month}\n  - webhook: {id: after, to: sink}\n  - wait: {for: 1 month}\n  \
                 - webhook: {id: later, to: sink}\n";
    world.load(&[("rule.yaml", &rule("plan", NEW, steps))]).await;
    let said = play(&world, "2027-05-01T00:00:00Z").await;
    assert_eq!(said, ["02-28 09:00 1 after", "03-28 09:00 1 later"]);
}

#[tokio::test]
async fn a_clock_that_steps_back_repeats_nothing_and_loses_nothing() {
    let world = world(super::START).await;
    subscribe(&world, 1, "Europe/Vienna", "").await;
    let steps = format!("  - webhook: {{id: before, to: sink}}\n{AT_TEN}");
    world.load(&[("rule.yaml", &rule("plan", NEW, &steps))]).await;
    assert_eq!(play(&world, "2026-06-01T10:00:00Z").await, ["06-01 09:00 1 before"]);
    for back in ["2026-06-01T08:10:00Z", "2026-05-31T00:00:00Z", "2026-06-01T08:59:59Z"] {
        world.clock.set(instant(back));
        world.turn().await;
        assert!(sent(&world).is_empty(), "{back}");
    }
    // Just after the message went the clock steps back over it, too.
    world.clock.set(instant("2026-06-02T08:00:00Z"));
    world.turn().await;
    assert_eq!(sent(&world), ["06-02 08:00 1 after"]);
    world.clock.advance(-hours(30));
    for _ in 0..40 {
        world.pass(hours(1)).await;
        assert!(sent(&world).is_empty());
    }
}

#[tokio::test]
async fn who_moves_gets_it_at_ten_where_they_are() {
    // To the west it is ten later than planned, so it is waited on; to the east ten is over, and it goes at once.
    for (to, expected) in [("America/New_York", "06-02 14:00 1 after"), ("Asia/Tokyo", "06-02 08:00 1 after")] {
        let world = world(super::START).await;
        subscribe(&world, 1, "Europe/Vienna", "").await;
        world.load(&[("rule.yaml", &rule("plan", NEW, AT_TEN))]).await;
        assert!(play(&world, "2026-06-01T20:00:00Z").await.is_empty());
        world.crm.run(&format!("UPDATE contacts SET tz = '{to}'")).await;
        assert_eq!(play(&world, "2026-06-03T00:00:00Z").await, [expected], "{to}");
    }
}

#[tokio::test]
async fn a_date_follows_the_zone_within_a_day() {
    let world = world(super::START).await;
    subscribe(&world, 1, "Europe/Vienna", "2026-06-20").await;
    let steps = "  - wait: {until: {date: renews_on}, at: \"10:00\"}\n  - webhook: {id: after, to: sink}\n";
    world.load(&[("rule.yaml", &rule("plan", NEW, steps))]).await;
    play(&world, "2026-06-10T00:00:00Z").await;
    world.crm.run("UPDATE contacts SET tz = 'Asia/Tokyo'").await;
    assert_eq!(play(&world, "2026-06-21T00:00:00Z").await, ["06-20 01:00 1 after"]);
    world.pass(minutes(1)).await;
    assert!(sent(&world).is_empty());
}

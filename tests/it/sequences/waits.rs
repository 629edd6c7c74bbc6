//! Waits, each through the days it takes.

use super::{NEW, ends, play, rule, subscribe, timeline, world};
use crate::support::instant;
use crate::world::{World, days, hours, minutes};
use nudged::model::EndReason;

const AFTER: &str = "  - webhook: {id: after, to: sink}\n";

/// One subscription of a Viennese whose rule has these steps, in an hour.
async fn begun(settings: &str, steps: &str, renews_on: &str) -> World {
    let world = world(super::START).await;
    subscribe(&world, 1, "Europe/Vienna", renews_on).await;
    world.load(&[("rule.yaml", &rule("plan", &format!("{NEW}\n{settings}"), &format!("{steps}{AFTER}")))]).await;
    world
}

async fn renews_on(world: &World, day: &str) {
    world.crm.run(&format!("UPDATE subscriptions SET renews_on = {day}")).await;
}

#[tokio::test]
async fn business_days_follow_the_calendar_of_the_rule() {
    // 4 June 2026 is Corpus Christi, a holiday in Austria and not in France.
    for (calendar, expected) in [("AT", "06-08 07:00 1 after"), ("FR", "06-05 07:00 1 after")] {
        let steps = "  - wait: {for: 4 business days, at: \"09:00\"}\n";
        let world = begun(&format!("calendar: {calendar}"), steps, "").await;
        assert_eq!(play(&world, "2026-06-20T00:00:00Z").await, [expected], "{calendar}");
    }
}

#[tokio::test]
async fn a_wait_counts_from_the_match_however_long_the_steps_before_took() {
    let steps = "  - wait: {for: 3 days}\n  - wait: {until: {after_entry: 10 days}, days: [MON], at: \"10:00\"}\n";
    let world = begun("", steps, "").await;
    assert_eq!(play(&world, "2026-07-01T00:00:00Z").await, ["06-15 08:00 1 after"], "11 June is a Thursday");
}

#[tokio::test]
async fn a_date_is_followed_in_both_directions() {
    let steps = "  - wait: {until: {date: renews_on, offset: 3 days before}, at: \"10:00\"}\n";
    let world = begun("", steps, "2026-07-10").await;
    assert_eq!(play(&world, "2026-06-10T00:00:00Z").await, [""; 0]);
    renews_on(&world, "'2026-08-10'").await;
    assert_eq!(play(&world, "2026-07-20T00:00:00Z").await, [""; 0], "it went later");
    renews_on(&world, "'2026-07-28'").await;
    assert_eq!(play(&world, "2026-08-20T00:00:00Z").await, ["07-25 08:00 1 after"], "and nearer again");
    let noted: Vec<String> = timeline(&world).await.into_iter().filter(|line| line.contains("waits")).collect();
    assert_eq!(
        noted,
        [
            "06-01 09:00 wait waits until 07-07 08:00",
            "06-10 09:00 wait waits until 08-07 08:00",
            "07-20 09:00 wait waits until 07-25 08:00"
        ]
    );
}

#[tokio::test]
async fn a_date_that_is_past_or_moves_there_goes_on_at_once_and_is_not_late() {
    let steps = "  - wait: {until: {date: renews_on}}\n";
    let world = begun("late: within 1 day", steps, "2026-03-01").await;
    assert_eq!(play(&world, "2026-06-02T00:00:00Z").await, ["06-01 09:00 1 after"]);

    let world = begun("late: within 1 day", steps, "2026-09-01").await;
    play(&world, "2026-06-10T00:00:00Z").await;
    renews_on(&world, "'2026-05-01'").await;
    assert_eq!(play(&world, "2026-06-12T00:00:00Z").await, ["06-10 09:00 1 after"], "within a day");
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
}

#[tokio::test]
async fn what_comes_late_after_its_date_is_late() {
    let world = begun("late: within 1 day", "  - wait: {until: {date: renews_on}}\n", "2026-06-05").await;
    play(&world, "2026-06-04T12:00:00Z").await;
    // Nothing ran for two weeks.
    world.clock.set(instant("2026-06-20T08:00:00Z"));
    assert_eq!(play(&world, "2026-06-21T00:00:00Z").await, [""; 0]);
    assert!(timeline(&world).await.last().unwrap().contains("after skipped"), "{:?}", timeline(&world).await);
}

#[tokio::test]
async fn a_missing_date_ends_the_sequence_or_takes_otherwise() {
    let world = begun("", "  - wait: {until: {date: renews_on}}\n", "").await;
    assert_eq!(play(&world, "2026-06-03T00:00:00Z").await, [""; 0]);
    assert_eq!(ends(&world).await, [Some(EndReason::OccasionGone)]);

    let steps = "  - wait: {until: {date: renews_on, otherwise: [webhook: {id: none, to: sink}]}}\n";
    let world = begun("", steps, "").await;
    assert_eq!(play(&world, "2026-06-03T00:00:00Z").await, ["06-01 09:00 1 none", "06-01 09:00 1 after"]);

    // It may also go while it is waited for.
    let world = begun("", steps, "2026-07-10").await;
    play(&world, "2026-06-10T00:00:00Z").await;
    renews_on(&world, "NULL").await;
    assert_eq!(play(&world, "2026-06-12T00:00:00Z").await, ["06-10 09:00 1 none", "06-10 09:00 1 after"]);
}

const UNTIL_SIGNED: &str = "  - wait:
      until:
        when: {status: signed}
        at_most: 14 days
        check_every: 6 hours
        otherwise: [webhook: {id: reminder, to: sink}]
";

#[tokio::test]
async fn a_condition_that_comes_true_lets_the_sequence_go_on() {
    let world = begun("", UNTIL_SIGNED, "").await;
    assert_eq!(play(&world, "2026-06-05T09:30:00Z").await, [""; 0]);
    world.crm.run("UPDATE subscriptions SET status = 'signed'").await;
    assert_eq!(play(&world, "2026-06-30T00:00:00Z").await, ["06-05 12:00 1 after"], "when it is asked next");
    assert_eq!(
        timeline(&world).await,
        ["06-01 09:00 wait asks until 06-15 09:00", "06-05 12:00 wait came_true", "06-05 12:00 after sent"]
    );
}

#[tokio::test]
async fn a_condition_that_holds_already_is_not_waited_for() {
    let world = begun("", UNTIL_SIGNED, "").await;
    world.crm.run("UPDATE subscriptions SET status = 'signed'").await;
    assert_eq!(play(&world, "2026-06-02T00:00:00Z").await, ["06-01 09:00 1 after"]);
}

#[tokio::test]
async fn when_the_time_is_up_otherwise_is_taken() {
    let world = begun("", UNTIL_SIGNED, "").await;
    assert_eq!(play(&world, "2026-06-30T00:00:00Z").await, ["06-15 09:00 1 reminder", "06-15 09:00 1 after"]);
    let noted = timeline(&world).await;
    assert_eq!(noted[1], "06-15 09:00 wait time_up", "{noted:?}");
}

#[tokio::test]
async fn all_that_wait_for_a_condition_are_asked_in_one_question() {
    let world = world(super::START).await;
    for id in 1..=40 {
        subscribe(&world, id, "Europe/Vienna", "").await;
    }
    // They come to the wait at forty different minutes.
    let steps = format!("{UNTIL_SIGNED}{AFTER}");
    world.load(&[("rule.yaml", &rule("plan", &format!("{NEW}\nspread: 40 minutes"), &steps))]).await;
    for _ in 0..120 {
        world.pass(minutes(1)).await;
    }
    assert_eq!(world.enrollments().await.len(), 40);
    world.clock.set(instant("2026-06-01T11:59:00Z"));
    world.turn().await;
    world.wire.questions();
    world.clock.set(instant("2026-06-01T12:00:00Z"));
    let dispatched = world.engine.dispatch_due().await.unwrap();
    // One for what is asked of them all, and one for the CRM's list of who must not be written to.
    assert_eq!((dispatched.steps, world.wire.questions()), (40, 2));
}

#[tokio::test]
async fn a_message_after_a_wait_is_planned_for_its_end() {
    // Down for five days over the end of the wait: the message is five days late, and says so.
    let world = begun("late: within 4 days", "  - wait: {for: 2 days, at: \"10:00\"}\n", "").await;
    play(&world, "2026-06-02T00:00:00Z").await;
    world.clock.advance(days(7) + hours(1));
    assert_eq!(play(&world, "2026-06-20T00:00:00Z").await, [""; 0]);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
}

/// A time to cool off: nothing follows, and until it is over the record is under way.
#[tokio::test]
async fn a_last_wait_is_waited_for_and_ends_by_the_goal_that_was_reached() {
    for stop in ["", "  - stop: {}\n"] {
        let goal = "goal: {name: renewed, when: {status: renewed}}";
        let steps = format!("  - webhook: {{id: said, to: sink}}\n  - wait: {{for: 10 days}}\n{stop}");
        let world = world(super::START).await;
        subscribe(&world, 1, "Europe/Vienna", "").await;
        world.load(&[("rule.yaml", &rule("plan", &format!("{NEW}\n{goal}"), &steps))]).await;
        assert_eq!(play(&world, "2026-06-05T00:00:00Z").await, ["06-01 09:00 1 said"], "{stop}");
        assert_eq!(ends(&world).await, [None], "{stop}");
        if stop.is_empty() {
            world.crm.run("UPDATE subscriptions SET status = 'renewed'").await;
        }
        play(&world, "2026-06-11T08:00:00Z").await;
        assert_eq!(ends(&world).await, [None], "{stop}");
        play(&world, "2026-06-12T00:00:00Z").await;
        let end = if stop.is_empty() { EndReason::Goal } else { EndReason::Stopped };
        assert_eq!(ends(&world).await, [Some(end)], "{stop}");
    }
}

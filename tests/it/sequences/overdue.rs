//! Nothing ran for a while, over the ends of several waits of one sequence: whoever it is about gets one message at
//! most when it goes on, and none that is too late.

use super::{NEW, START, ends, rule, subscribe, world};
use crate::support::instant;
use crate::world::{World, days, hours};
use jiff::{SignedDuration, Timestamp};
use nudged::model::EndReason;
use rstest::rstest;

const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

/// At once, and then at the ends of three waits, a mail each, named after its wait.
fn steps(waits: [&str; 3]) -> String {
    let mail = |name: &str| format!("  - email: {{id: {name}, template: {name}}}\n");
    let then = |(number, wait): (usize, &str)| format!("  - wait: {wait}\n{}", mail(&format!("m{}", number + 1)));
    format!("{}{}", mail("m0"), waits.into_iter().enumerate().map(then).collect::<String>())
}

async fn begun(late: &str, waits: [&str; 3]) -> World {
    let world = world(START).await;
    subscribe(&world, 1, "Europe/Vienna", "2026-06-11").await;
    let rule = rule("plan", &format!("{NEW}\nlate: within {late}"), &steps(waits));
    let templates: Vec<(String, String)> =
        (0..4).map(|n| (format!("templates/m{n}.md"), format!("---\nsubject: m{n}\n---\nHello\n"))).collect();
    let mut files = vec![("rule.yaml", rule.as_str()), LAYOUT];
    files.extend(templates.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    world.load(&files).await;
    world.pass(hours(1)).await;
    world
}

fn sent(world: &World) -> Vec<String> {
    let line = |(_, subject): (String, String)| format!("{} {subject}", world.now().strftime("%m-%d %H:%M"));
    world.mail.mails().into_iter().map(line).collect()
}

/// Goes from one due thing to the next.
async fn play(world: &World, until: &str) -> Vec<String> {
    let (until, mut told) = (instant(until), Vec::new());
    loop {
        world.turn().await;
        told.extend(sent(world));
        let next = world.engine.next_due().await.unwrap().unwrap_or(Timestamp::MAX);
        if next > until {
            world.clock.set(until);
            return told;
        }
        world.clock.set(next);
    }
}

async fn skipped(world: &World) -> Vec<String> {
    world.deliveries().await.into_iter().filter(|(state, _)| state == "skipped").map(|(_, detail)| detail).collect()
}

const AFTER_ENTRY: [&str; 3] =
    ["{until: {after_entry: 2 days}}", "{until: {after_entry: 4 days}}", "{until: {after_entry: 6 days}}"];
/// By the clock of Vienna.
const AT_TEN: [&str; 3] = [
    "{until: {after_entry: 2 days}, at: \"10:00\"}",
    "{until: {after_entry: 4 days}, at: \"10:00\"}",
    "{until: {after_entry: 6 days}, at: \"10:00\"}",
];
/// The renewal is on 11 June, and nine in the morning is meant.
const BEFORE_A_DATE: [&str; 3] = [
    "{until: {date: renews_on, offset: 8 days before}}",
    "{until: {date: renews_on, offset: 6 days before}}",
    "{until: {date: renews_on, offset: 4 days before}}",
];

#[rstest]
#[case::after_entry(AFTER_ENTRY)]
#[case::at_ten(AT_TEN)]
#[case::before_a_date(BEFORE_A_DATE)]
#[tokio::test]
async fn after_a_long_standstill_nothing_is_sent(#[case] waits: [&str; 3]) {
    let world = begun("1 day", waits).await;
    assert_eq!(sent(&world), ["06-01 09:00 m0"]);
    world.clock.advance(days(20));
    assert_eq!(play(&world, "2026-07-10T00:00:00Z").await, [""; 0]);
    assert_eq!(skipped(&world).await.len(), 3);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
}

#[rstest]
#[case::after_entry(AFTER_ENTRY, &["06-06 09:30 m2", "06-07 09:00 m3"])]
// At the next ten o'clock, and then the third is due as well.
#[case::at_ten(AT_TEN, &["06-07 08:00 m3"])]
#[case::before_a_date(BEFORE_A_DATE, &["06-06 09:30 m2", "06-07 07:00 m3"])]
#[tokio::test]
async fn of_those_that_became_due_meanwhile_the_latest_is_sent(#[case] waits: [&str; 3], #[case] expected: &[&str]) {
    let world = begun("7 days", waits).await;
    assert_eq!(sent(&world), ["06-01 09:00 m0"]);
    world.store.set_paused(&"plan".into(), true).await.unwrap();
    world.clock.advance(days(5) + SignedDuration::from_mins(30));
    world.turn().await;
    world.store.set_paused(&"plan".into(), false).await.unwrap();
    assert_eq!(play(&world, "2026-07-10T00:00:00Z").await, expected);
    let left_out = skipped(&world).await;
    assert_eq!(left_out.len(), 3 - expected.len(), "{left_out:?}");
    assert!(left_out.iter().all(|why| why.contains("is due as well")), "{left_out:?}");
}

/// Dates that were past when the sequence began were never to be waited for: all that was meant is sent.
#[tokio::test]
async fn what_was_planned_for_the_same_instant_is_sent() {
    let before = |days: u32| format!("{{until: {{date: renews_on, offset: {days} days before}}}}");
    let world = begun("1 day", [&before(30), &before(20), &before(4)]).await;
    let mut told = sent(&world);
    told.extend(play(&world, "2026-07-10T00:00:00Z").await);
    assert_eq!(told, ["06-01 09:00 m0", "06-01 09:00 m1", "06-01 09:00 m2", "06-07 07:00 m3"]);
    assert_eq!(skipped(&world).await, [""; 0]);
}

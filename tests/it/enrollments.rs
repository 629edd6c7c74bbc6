//! What becomes of sequences under way: their rule is edited or deleted, or their record matches again.

use crate::rehearsal::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, World, days, hours, minutes};
use nudged::engine::port::Message;
use nudged::engine::rehearse::{explain, why};
use nudged::engine::{Event, Settings};
use nudged::model::{EndReason, RecordId, RuleId};

/// A rule with these settings and steps; step `X` calls `sink` and says `X`.
fn rule(settings: &str, steps: &[&str]) -> String {
    let step = |step: &&str| {
        if let Some(period) = step.strip_prefix("wait ") {
            format!("  - wait: {{for: {period}}}\n")
        } else {
            let (id, text) = step.split_once('=').unwrap_or((step, step));
            format!("  - webhook: {{id: {id}, to: sink, body: {{text: {text}}}}}\n")
        }
    };
    let steps: String = steps.iter().map(step).collect();
    format!(
        "version: 1
id: silence
description: Silent.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: 10 days}}
where:
  - country: AT
check_every: 1 hour
{settings}
steps:
{steps}"
    )
}

/// One customer, silent for ten days in half an hour, in these steps since an hour.
async fn begun(rule: &str) -> World {
    let world = World::new(Kind::Sqlite, instant("2026-06-01T08:00:00Z"), Settings::default()).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(10)) + minutes(30)));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (1, 'Ada', 'AT', {now}); INSERT INTO orders VALUES (1, 1, {ordered}, 'paid')"
        ))
        .await;
    load(&world, rule).await;
    world.pass(hours(1)).await;
    assert_eq!(said(&world), ["first"]);
    world
}

async fn load(world: &World, rule: &str) {
    world.load(&[("silence.yaml", rule)]).await;
}

/// What was sent since the last call.
fn said(world: &World) -> Vec<String> {
    let text = |message| match message {
        Message::Webhook(call) => call.body["data"]["text"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    world.webhooks.take().into_iter().map(text).collect()
}

/// Days go by, an hour at a time.
async fn pass_days(world: &World, count: i64) -> Vec<String> {
    for _ in 0..count * 12 {
        world.pass(hours(2)).await;
    }
    said(world)
}

/// Oldest first.
async fn ends(world: &World) -> Vec<Option<EndReason>> {
    let mut ends: Vec<_> = world.enrollments().await.into_iter().map(|enrollment| enrollment.ended).collect();
    ends.reverse();
    ends
}

/// What `why` says of the one customer.
async fn why_of(world: &World) -> String {
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(world, &generation, &sender);
    let ada = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
    let stories = why(&look, &ada, world.ago(days(90))).await.unwrap();
    let texts: Vec<_> = stories.into_iter().map(|story| story.outcome.text).collect();
    texts.join("\n")
}

/// What `explain` says is still to come: how many days from now.
async fn to_come(world: &World) -> Vec<i64> {
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(world, &generation, &sender);
    let ada = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
    let told = explain(&look, &RuleId::from("silence"), &ada).await.unwrap();
    told.steps.iter().map(|step| (step.due_at.duration_since(world.now())).as_hours() / 24).collect()
}

const STEPS: [&str; 5] = ["first", "wait 2 days", "second", "wait 2 days", "third"];

#[tokio::test]
async fn pinned_steps_are_those_of_the_entry() {
    let world = begun(&rule("on_change: pin", &STEPS)).await;
    load(&world, &rule("on_change: pin", &["first", "wait 9 days", "second=new", "extra"])).await;
    assert_eq!(pass_days(&world, 7).await, ["second", "third"]);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
}

#[tokio::test]
async fn migrated_steps_are_found_by_their_ids() {
    let world = begun(&rule("on_change: migrate", &STEPS)).await;
    let longer = ["zero", "first", "wait 9 days", "extra", "second=new", "wait 1 day", "third=newer", "fourth"];
    load(&world, &rule("on_change: migrate", &longer)).await;
    // The wait under way keeps its end; from the second step on the newer rule counts, to its own end.
    assert_eq!(pass_days(&world, 2).await, ["new"]);
    assert_eq!(pass_days(&world, 2).await, ["newer", "fourth"]);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
}

#[tokio::test]
async fn a_migrated_sequence_migrates_again() {
    let world = begun(&rule("on_change: migrate", &STEPS)).await;
    load(&world, &rule("on_change: migrate", &["a", "b", "first", "wait 2 days", "second", "wait 3 days", "third"]))
        .await;
    assert_eq!(pass_days(&world, 3).await, ["second"]);
    load(&world, &rule("on_change: migrate", &["first", "third=last"])).await;
    assert_eq!(pass_days(&world, 3).await, ["last"]);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
}

#[tokio::test]
async fn a_sequence_whose_step_is_gone_is_over() {
    let world = begun(&rule("on_change: migrate", &STEPS)).await;
    load(&world, &rule("on_change: migrate", &["first", "wait 2 days", "third"])).await;
    world.events();
    assert!(pass_days(&world, 7).await.is_empty());
    assert_eq!(ends(&world).await, [Some(EndReason::Completed)]);
    let told = "no step `second`: that and what came after it was not done";
    let (text, happened) = (why_of(&world).await, world.events());
    assert!(text.contains("ended: completed (its rule changed") && text.contains(told), "{text}");
    let logged = |event: &Event| matches!(event, Event::EnrollmentEnded { detail, .. } if detail.contains(told));
    assert!(happened.iter().any(logged), "{happened:?}");
}

#[tokio::test]
async fn a_change_may_cancel_what_runs() {
    let world = begun(&rule("on_change: cancel", &STEPS)).await;
    // Who is told about it is not a change of the steps.
    load(&world, &rule("on_change: cancel", &STEPS).replace("Silent.", "Silent, again.")).await;
    assert_eq!(pass_days(&world, 3).await, ["second"]);
    load(&world, &rule("on_change: cancel", &["first", "wait 2 days", "second", "wait 2 days", "third=new"])).await;
    assert_eq!(ends(&world).await, [Some(EndReason::Cancelled)], "at once, though its next step is days ahead");
    let told = |event: &Event| matches!(event, Event::EnrollmentEnded { detail, .. } if detail.contains("on_change"));
    assert_eq!(world.events().iter().filter(|event| told(event)).count(), 1, "it is logged and counted");
    let text = why_of(&world).await;
    assert!(text.contains("its rule changed, and `on_change` is `cancel`"), "{text}");
    // So it stands in nobody's way: the next silence begins anew.
    let now = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (2, 1, {now}, 'paid')")).await;
    assert_eq!(pass_days(&world, 17).await, ["first", "second", "new"]);
}

/// What was taken back before anything was due begins nothing again.
#[tokio::test]
async fn a_deletion_that_is_taken_back_has_cancelled() {
    let world = begun(&rule("on_delete: cancel", &STEPS)).await;
    world.load(&[]).await;
    load(&world, &rule("on_delete: cancel", &STEPS)).await;
    assert!(pass_days(&world, 7).await.is_empty());
    assert_eq!(ends(&world).await, [Some(EndReason::Cancelled)]);
}

#[tokio::test]
async fn a_deleted_rule_drains_or_cancels() {
    for (setting, expected, end) in [
        ("on_delete: drain", vec!["second", "third"], EndReason::Completed),
        ("on_delete: cancel", Vec::new(), EndReason::Cancelled),
    ] {
        let world = begun(&rule(setting, &STEPS)).await;
        world.load(&[]).await;
        assert_eq!(pass_days(&world, 7).await, expected, "{setting}");
        assert_eq!(ends(&world).await, [Some(end)]);
    }
}

/// In steps that take twenty days; an order two days after the entry, and silence again.
async fn rematched(setting: &str) -> (World, Vec<String>) {
    let world = begun(&rule(setting, &["first", "wait 20 days", "last"])).await;
    let mut said = pass_days(&world, 2).await;
    let now = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (2, 1, {now}, 'paid')")).await;
    said.extend(pass_days(&world, 11).await);
    (world, said)
}

#[tokio::test]
async fn a_rematch_is_ignored_by_default() {
    let (world, said) = rematched("").await;
    assert!(said.is_empty());
    let text = why_of(&world).await;
    assert!(text.contains("in its steps, the next at") && text.contains("crossed again"), "{text}");
    assert!(text.ends_with("nothing came of it: already in the steps of this rule (on_rematch: ignore)"), "{text}");
    assert_eq!(pass_days(&world, 30).await, ["last"]);
    let both = [Some(EndReason::Completed), Some(EndReason::Cancelled)];
    assert_eq!(ends(&world).await, both, "the second match is on record, and started nothing");
}

#[tokio::test]
async fn a_rematch_restarts() {
    let (world, said) = rematched("on_rematch: restart").await;
    assert_eq!(said, ["first"]);
    assert_eq!(ends(&world).await, [Some(EndReason::Cancelled), None]);
    assert_eq!(pass_days(&world, 30).await, ["last"], "of the new one only");
    assert_eq!(ends(&world).await, [Some(EndReason::Cancelled), Some(EndReason::Completed)]);
}

#[tokio::test]
async fn a_rematch_queues() {
    let (world, said) = rematched("on_rematch: queue").await;
    assert!(said.is_empty(), "it waits for its turn");
    let text = why_of(&world).await;
    assert!(text.ends_with("waits for the sequence before it to end"), "{text}");
    assert_eq!(to_come(&world).await, [7], "of the one that runs");
    assert_eq!(ends(&world).await, [None, None]);
    assert_eq!(pass_days(&world, 8).await, ["last", "first"]);
    assert_eq!(pass_days(&world, 21).await, ["last"], "its turn began when the other ended, so it isn't late");
    assert_eq!(ends(&world).await, [Some(EndReason::Completed); 2]);
}

#[tokio::test]
async fn a_rematch_runs_beside() {
    let (world, said) = rematched("on_rematch: parallel").await;
    assert_eq!(said, ["first"]);
    assert_eq!(to_come(&world).await, [7, 19], "of both");
    load(&world, &rule("on_rematch: parallel\non_change: pin", &["first"]).replace("mode: live", "mode: paused")).await;
    assert!(to_come(&world).await.is_empty(), "its file holds them");
    load(&world, &rule("on_rematch: parallel", &["first", "wait 20 days", "last"])).await;
    assert_eq!(ends(&world).await, [None, None]);
    assert_eq!(pass_days(&world, 8).await, ["last"]);
    assert_eq!(pass_days(&world, 21).await, ["last"]);
    assert_eq!(ends(&world).await, [Some(EndReason::Completed); 2]);
}

//! Due steps, end to end: a real source, a real state, senders that write down what they get.

mod waiting;

use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Kind, World, days, hours, minutes};
use jiff::Timestamp;
use nudged::engine::port::{DeliveryFilter, EnrollmentFilter, Message};
use nudged::engine::{Event, Settings};
use nudged::model::{AddressHash, Channel, EndReason, EnrollmentState, Lane, Outcome, Suppression, SuppressionReason};
use nudged::rule::generation::Rest;

const START: &str = "2026-06-01T08:00:00Z";

const MAIL_1: (&str, &str) =
    ("templates/mail-1.md", "---\nsubject: We miss you, {{ to.first_name }}\n---\nHello {{ record.name }}\n");
const MAIL_2: (&str, &str) = ("templates/mail-2.md", "---\nsubject: Still here\n---\nHello again\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

fn win_back(steps: &str) -> String {
    format!(
        "version: 1
id: win-back
description: Silent for 30 days.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: 30 days}}
where:
  - country: {{in: [AT, DE]}}
goal: {{name: bought again, when: {{orders: {{some: {{}}, since: entry}}}}, within: 30 days}}
check_every: 1 hour
steps:
{steps}
"
    )
}

const TWO_MAILS: &str = "  - email: {template: mail-1}
  - wait: {for: 7 days}
  - email: {template: mail-2}
";

/// A customer with consent whose last order is 30 days old in an hour, and the rule.
async fn silent(steps: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    let ordered = world.crm.time(world.ago(days(30)) + hours(1));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (1, 'Ada', 'AT', {ordered});
             INSERT INTO contacts VALUES (7, 1, 'ada@example.org', 'Ada', 'Europe/Vienna', true);
             INSERT INTO orders VALUES (1, 1, {ordered}, 'paid')"
        ))
        .await;
    let rule = win_back(steps);
    world.load(&[("win-back.yaml", &rule), MAIL_1, MAIL_2, LAYOUT]).await;
    world
}

/// Customers with consent who have been silent for 30 days in an hour, the first of them Ada.
async fn all_silent(world: &World, count: i64) {
    let ordered = world.crm.time(world.ago(days(30)) + hours(1));
    for id in 2..=count {
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES ({id}, 'C{id}', 'AT', {ordered});
                 INSERT INTO contacts VALUES ({id}0, {id}, 'c{id}@example.org', 'C', 'Europe/Vienna', true);
                 INSERT INTO orders VALUES ({id}, {id}, {ordered}, 'paid')"
            ))
            .await;
    }
}

fn mail(subject: &str) -> Vec<(String, String)> {
    vec![("ada@example.org".to_owned(), subject.to_owned())]
}

async fn ended(world: &World) -> Vec<Option<EndReason>> {
    world.enrollments().await.into_iter().map(|enrollment| enrollment.ended).collect()
}

#[tokio::test]
async fn an_order_after_the_first_mail_prevents_the_second_and_says_why() {
    let world = silent(TWO_MAILS).await;
    world.turn().await;
    assert_eq!(world.mail.mails(), [], "an hour too early");
    world.pass(hours(2)).await;
    assert_eq!(world.mail.mails(), mail("We miss you, Ada"));
    assert_eq!(ended(&world).await, [None]);

    world.clock.advance(days(3));
    let now = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (2, 1, {now}, 'paid')")).await;
    world.pass(days(4)).await;
    assert_eq!(world.mail.mails(), []);
    assert_eq!(ended(&world).await, [Some(EndReason::Goal)]);
    let ends = world.events().into_iter().find_map(|event| match event {
        Event::EnrollmentEnded { reason, detail, .. } => Some((reason, detail)),
        _ => None,
    });
    assert_eq!(ends, Some((EndReason::Goal, "bought again".to_owned())));
    let outcomes: Vec<String> = world.deliveries().await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(outcomes, ["ended", "sent"]);
}

#[tokio::test]
async fn who_stays_silent_gets_both_mails_and_nothing_twice() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    assert_eq!(world.mail.mails(), mail("We miss you, Ada"));
    world.pass(days(7) - minutes(1)).await;
    assert_eq!(world.mail.mails(), []);
    world.pass(minutes(1)).await;
    assert_eq!(world.mail.mails(), mail("Still here"));
    for _ in 0..20 {
        world.pass(days(1)).await;
    }
    assert_eq!(world.mail.mails(), []);
    assert_eq!(ended(&world).await, [Some(EndReason::Completed)]);
}

#[tokio::test]
async fn an_order_committed_late_still_counts_as_coming_back() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    // Placed before the match, known only after the first mail.
    let placed = world.crm.time(world.ago(hours(5)));
    world.crm.run(&format!("INSERT INTO orders VALUES (2, 1, {placed}, 'paid')")).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
    assert_eq!(ended(&world).await, [Some(EndReason::Goal)]);
}

#[tokio::test]
async fn refusals_are_recorded_with_their_reason() {
    for (change, detail) in [
        ("UPDATE contacts SET news_ok = NULL", "no consent to offers by email"),
        ("UPDATE contacts SET email = ''", "the recipient has no address"),
        ("INSERT INTO blocked VALUES ('ada@example.org', 'complaint')", "“complaint” (in the source)"),
    ] {
        let world = silent(TWO_MAILS).await;
        world.crm.run(change).await;
        world.pass(hours(2)).await;
        world.pass(days(8)).await;
        assert_eq!(world.mail.mails(), []);
        let expected = ("skipped".to_owned(), detail.to_owned());
        let deliveries = world.deliveries().await;
        assert_eq!(deliveries.len(), 2, "{deliveries:?}");
        assert!(
            deliveries.iter().all(|(state, said)| *state == expected.0 && said.contains(&expected.1)),
            "{deliveries:?}"
        );
        assert_eq!(ended(&world).await, [Some(EndReason::Completed)]);
    }
}

#[tokio::test]
async fn our_own_suppression_list_holds_from_the_first_message() {
    let world = silent(TWO_MAILS).await;
    let hash: AddressHash = world.store.secret().address_hash(Channel::Email, " ADA@example.org ");
    let since: Timestamp = world.now();
    let entry = Suppression { channel: Channel::Email, hash, address: None, reason: SuppressionReason::Manual, since };
    world.store.suppress(&[entry]).await.unwrap();
    world.pass(hours(2)).await;
    assert_eq!(world.mail.mails(), []);
    let (state, detail) = world.deliveries().await.remove(0);
    assert_eq!(state, "skipped");
    assert!(detail.contains("manual"), "{detail}");
}

#[tokio::test]
async fn a_temporary_failure_is_tried_again_and_a_permanent_one_waits_for_an_operator() {
    let world = silent(TWO_MAILS).await;
    let soft = Outcome::Transient { reason: "451 later".into(), retry_after: None };
    let hard = Outcome::Permanent { reason: "550 no such user".into() };
    world.mail.answer([soft, hard]);
    world.pass(hours(2)).await;
    assert_eq!(world.mail.take().len(), 1);
    world.pass(minutes(1)).await;
    assert_eq!(world.mail.take().len(), 1, "tried again after at most 30 s");
    world.pass(days(2)).await;
    assert_eq!(world.mail.take().len(), 0, "dead is not tried again");
    let overview = world.store.overview(world.now()).await.unwrap();
    assert_eq!(overview.outbox_dead, 1);
}

#[tokio::test]
async fn a_retry_keeps_the_delivery_id_and_the_next_step_has_another() {
    let world =
        silent("  - webhook: {to: sink, body: {text: \"Hi {{ record.name }}\"}}\n  - webhook: {to: sink}\n").await;
    world.webhooks.answer([Outcome::Unknown { reason: "timeout".into() }]);
    world.pass(hours(2)).await;
    world.pass(minutes(1)).await;
    let calls: Vec<_> = world
        .webhooks
        .take()
        .into_iter()
        .map(|message| match message {
            Message::Webhook(call) => (call.delivery, call.attempt, call.body["data"]["text"].clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!((calls[0].0, calls[0].1), (calls[1].0, 1));
    assert_eq!(calls[1].1, 2);
    assert_ne!(calls[1].0, calls[2].0);
    assert_eq!(calls[0].2, "Hi Ada");
}

#[tokio::test]
async fn a_mail_in_doubt_is_held_and_not_sent_again() {
    let world = silent(TWO_MAILS).await;
    world.mail.answer([Outcome::Unknown { reason: "no answer after DATA".into() }]);
    world.pass(hours(2)).await;
    world.pass(days(30)).await;
    assert_eq!(world.mail.take().len(), 1);
    assert_eq!(world.store.overview(world.now()).await.unwrap().outbox_unknown, 1);
}

#[tokio::test]
async fn a_rule_may_say_what_becomes_of_a_mail_in_doubt() {
    let service = win_back(TWO_MAILS).replace("purpose: offers", "purpose: service");
    for (rule, repeats) in [
        (service.clone(), true),
        (service.replace("check_every", "unknown: hold\ncheck_every"), false),
        (win_back(TWO_MAILS).replace("check_every", "unknown: resend\ncheck_every"), true),
    ] {
        let world = silent(TWO_MAILS).await;
        world.load(&[("win-back.yaml", &rule), MAIL_1, MAIL_2, LAYOUT]).await;
        world.mail.answer([Outcome::Unknown { reason: "no answer after DATA".into() }]);
        world.pass(hours(2)).await;
        world.pass(hours(1)).await;
        let id = |message| if let Message::Email(email) = message { email.delivery } else { panic!("{message:?}") };
        let ids: Vec<_> = world.mail.take().into_iter().map(id).collect();
        assert_eq!(ids.len(), if repeats { 2 } else { 1 }, "{rule}");
        assert!(ids.iter().all(|id| *id == ids[0]), "the same message under the same id");
    }
}

#[tokio::test]
async fn a_bug_in_a_sender_costs_one_message_its_certainty() {
    let world = silent("  - webhook: {to: sink}\n  - email: {template: mail-1}\n  - email: {template: mail-2}\n").await;
    world.webhooks.panic_once();
    world.pass(hours(2)).await;
    assert_eq!(world.webhooks.take().len(), 1);
    // A webhook carries its key, so it is repeated.
    world.mail.panic_once();
    world.pass(minutes(1)).await;
    assert_eq!((world.webhooks.take().len(), world.mail.take().len()), (1, 1));
    world.pass(days(1)).await;
    assert_eq!(world.mail.take().len(), 0, "a mail in doubt waits for an operator");
    assert_eq!(world.store.overview(world.now()).await.unwrap().outbox_unknown, 1);
}

#[tokio::test]
async fn a_branch_is_taken_on_fresh_facts() {
    let world = silent(
        "  - wait: {for: 2 days}
  - branch:
      cases:
        - name: german
          when: {country: DE}
          steps:
            - email: {template: mail-2}
      otherwise:
        - email: {template: mail-1}
",
    )
    .await;
    world.pass(hours(2)).await;
    world.crm.run("UPDATE accounts SET country_code = 'DE'").await;
    world.pass(days(3)).await;
    let mails = world.mail.mails();
    assert_eq!(mails, mail("Still here"), "{:?}", world.events());
}

#[tokio::test]
async fn a_task_goes_to_the_built_in_list_once() {
    let world = silent("  - task: {title: \"Call {{ record.name }}\", unless_open: any}\n").await;
    world.pass(hours(2)).await;
    let open = world.store.open_tasks(&"".into(), &"customer".into(), &["1".into()]).await.unwrap();
    assert_eq!(open.len(), 1);
    // A second silence while the task is open.
    let again = world.crm.time(world.ago(hours(-1)));
    world.crm.run(&format!("INSERT INTO orders VALUES (2, 1, {again}, 'paid')")).await;
    world.pass(days(32)).await;
    assert!(world.deliveries().await[0].1.contains("open task"), "{:?}", world.deliveries().await);
}

#[tokio::test]
async fn an_enrollment_keeps_its_steps_and_gets_the_current_template() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    let edited = win_back("  - email: {template: mail-1}\n");
    let corrected = ("templates/mail-2.md", "---\nsubject: Corrected\n---\nHello\n");
    world.load(&[("win-back.yaml", &edited), MAIL_1, corrected, LAYOUT]).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), mail("Corrected"), "the second step is pinned, its text is not");
}

#[tokio::test]
async fn steps_wait_for_a_source_that_refuses_and_are_not_held() {
    let world = silent(TWO_MAILS).await;
    world.clock.advance(hours(2));
    world.engine.sweep_due().await.unwrap();
    world.crm.run("ALTER TABLE contacts RENAME TO away").await;
    world.engine.dispatch_due().await.unwrap();
    let postponed = |event: &Event| matches!(event, Event::StepsPostponed { steps: 1, .. });
    assert!(world.events().iter().any(postponed));
    world.crm.run("ALTER TABLE away RENAME TO contacts").await;
    world.clock.advance(minutes(1));
    world.engine.dispatch_due().await.unwrap();
    assert_eq!(world.mail.mails().len(), 1, "no reload was needed");
}

#[tokio::test]
async fn an_enrollment_keeps_its_steps_and_gets_the_current_conditions() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    let edited =
        win_back("  - email: {template: mail-1}\n").replace("check_every", "exit_when: [{name: Gone}]\ncheck_every");
    world.load(&[("win-back.yaml", &edited), MAIL_1, MAIL_2, LAYOUT]).await;
    world.crm.run("UPDATE accounts SET name = 'Gone'").await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
    assert_eq!(ended(&world).await, [Some(EndReason::Exit)]);
}

#[tokio::test]
async fn an_enrollment_of_a_deleted_rule_keeps_its_own_conditions() {
    for (country, mails, end) in
        [("DE", mail("Still here"), EndReason::Completed), ("FR", vec![], EndReason::WhereFalse)]
    {
        let world = silent(TWO_MAILS).await;
        world.pass(hours(2)).await;
        world.mail.take();
        let other = win_back(TWO_MAILS).replace("id: win-back", "id: other");
        world.load(&[("other.yaml", &other), MAIL_1, MAIL_2, LAYOUT]).await;
        world.crm.run(&format!("UPDATE accounts SET country_code = '{country}'")).await;
        world.pass(days(8)).await;
        assert_eq!(world.mail.mails(), mails);
        assert_eq!(ended(&world).await, [Some(end)]);
    }
}

#[tokio::test]
async fn a_step_that_cannot_run_is_held_until_a_reload_repairs_it() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    let edited = win_back("  - email: {template: mail-1}\n");
    // The pinned version names a template that is gone.
    world.load(&[("win-back.yaml", &edited), MAIL_1, LAYOUT]).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
    let held = EnrollmentFilter { state: Some(EnrollmentState::Held), limit: 10, ..EnrollmentFilter::default() };
    assert_eq!(world.store.enrollments(&held).await.unwrap().len(), 1);
    world.load(&[("win-back.yaml", &edited), MAIL_1, MAIL_2, LAYOUT]).await;
    world.turn().await;
    assert_eq!(world.mail.mails(), mail("Still here"));
}

#[tokio::test]
async fn shadow_records_what_it_would_have_sent() {
    let world = silent(TWO_MAILS).await;
    let rule = win_back(TWO_MAILS).replace("mode: live", "mode: shadow");
    world.load(&[("win-back.yaml", &rule), MAIL_1, MAIL_2, LAYOUT]).await;
    world.pass(hours(2)).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
    let outcomes: Vec<String> = world.deliveries().await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(outcomes, ["recorded", "recorded"]);
    let of = async |lane| {
        let filter = DeliveryFilter { lane: Some(lane), limit: 10, ..DeliveryFilter::default() };
        let found = world.store.deliveries(&filter).await.unwrap();
        found.into_iter().map(|delivery| delivery.detail).collect::<Vec<_>>()
    };
    let shown = ["to ada@example.org: Still here", "to ada@example.org: We miss you, Ada"];
    assert_eq!(of(Lane::Shadow).await, shown, "what would have been sent");
    assert_eq!(of(Lane::Live).await, [""; 0]);
}

#[tokio::test]
async fn a_paused_file_sends_nothing_more_until_it_is_live_again() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    let paused = win_back(TWO_MAILS).replace("mode: live", "mode: paused");
    world.load(&[("win-back.yaml", &paused), MAIL_1, MAIL_2, LAYOUT]).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
    let live = win_back(TWO_MAILS);
    world.load(&[("win-back.yaml", &live), MAIL_1, MAIL_2, LAYOUT]).await;
    world.turn().await;
    assert_eq!(world.mail.mails(), mail("Still here"));
}

#[tokio::test]
async fn a_file_set_to_shadow_reaches_nobody_who_is_under_way() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    let shadow = win_back(TWO_MAILS).replace("mode: live", "mode: shadow");
    world.load(&[("win-back.yaml", &shadow), MAIL_1, MAIL_2, LAYOUT]).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
    let held = world.enrollments().await.into_iter().find_map(|enrollment| enrollment.hold);
    assert_eq!(held.as_deref(), Some("its file says `mode: shadow`"));
    world.load(&[("win-back.yaml", &win_back(TWO_MAILS)), MAIL_1, MAIL_2, LAYOUT]).await;
    world.turn().await;
    assert_eq!(world.mail.mails(), mail("Still here"));
}

/// Whether the next reload has something to do for those who are held: they would come up, and be held again.
#[tokio::test]
async fn a_reload_leaves_alone_what_it_would_hold_again_for_the_same_reason() {
    for mode in ["shadow", "paused"] {
        let world = silent(TWO_MAILS).await;
        world.pass(hours(2)).await;
        world.mail.take();
        let still = win_back(TWO_MAILS).replace("mode: live", &format!("mode: {mode}"));
        let load = async |rule: &str| world.load(&[("win-back.yaml", rule), MAIL_1, MAIL_2, LAYOUT]).await;
        load(&still).await;
        world.pass(days(8)).await;
        let held = async || world.store.overview(world.now()).await.unwrap().held_enrollments;
        assert_eq!(held().await, 1, "{mode}");
        let renamed = still.replace("id: win-back", "id: come-back\nwas: [win-back]");
        for reload in [&still, &still.replace("Silent for", "No order for"), &renamed] {
            load(reload).await;
            assert_eq!(held().await, 1, "{reload}");
        }
        let ids: Vec<i64> = world.enrollments().await.iter().map(|enrollment| enrollment.id).collect();
        let told = world.store.timelines(&ids).await.unwrap();
        assert_eq!(told.iter().filter(|happening| happening.what == "held").count(), 1, "{told:?}");

        load(&renamed.replace("7 days", "6 days").replace("trigger:", "on_change: cancel\ntrigger:")).await;
        assert_eq!(held().await, 0, "{mode}: it is to be cancelled");
        world.turn().await;
        assert_eq!(ended(&world).await, [Some(EndReason::Cancelled)], "{mode}");
        assert_eq!(world.mail.mails(), []);
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_and_set_to_shadow_reaches_nobody_either() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    let renamed = win_back(&TWO_MAILS.replace("7 days", "6 days"))
        .replace("id: win-back", "id: come-back\nwas: [win-back]")
        .replace("mode: live", "mode: shadow");
    world.load(&[("win-back.yaml", &renamed), MAIL_1, MAIL_2, LAYOUT]).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
}

#[tokio::test]
async fn rules_with_the_same_steps_keep_their_own_conditions_when_both_are_edited() {
    let world = silent(TWO_MAILS).await;
    let of = |id: &str, country: &str, steps: &str| {
        win_back(steps).replace("id: win-back", &format!("id: {id}")).replace("[AT, DE]", &format!("[{country}]"))
    };
    let ordered = world.crm.time(world.ago(days(30)) + hours(1));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (2, 'Bob', 'DE', {ordered});
             INSERT INTO contacts VALUES (8, 2, 'bob@example.org', 'Bob', 'Europe/Vienna', true);
             INSERT INTO orders VALUES (2, 2, {ordered}, 'paid')"
        ))
        .await;
    let load = async |steps: &str| {
        let (a, b) = (of("austria", "AT", steps), of("germany", "DE", steps));
        world.load(&[("a.yaml", &a), ("b.yaml", &b), MAIL_1, MAIL_2, LAYOUT]).await;
    };
    load(TWO_MAILS).await;
    world.pass(hours(2)).await;
    assert_eq!(world.mail.take().len(), 2);
    load(&TWO_MAILS.replace("7 days", "6 days")).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.take().len(), 2, "{:?}", ended(&world).await);
}

#[tokio::test]
async fn a_corrected_purpose_asks_for_consent_of_those_under_way_too() {
    let world = silent(TWO_MAILS).await;
    let service = win_back(TWO_MAILS).replace("purpose: offers", "purpose: service");
    world.load(&[("win-back.yaml", &service), MAIL_1, MAIL_2, LAYOUT]).await;
    world.crm.run("UPDATE contacts SET news_ok = false").await;
    world.pass(hours(2)).await;
    assert_eq!(world.mail.mails(), mail("We miss you, Ada"), "a service asks nobody");
    world.load(&[("win-back.yaml", &win_back(TWO_MAILS)), MAIL_1, MAIL_2, LAYOUT]).await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), []);
    assert!(world.deliveries().await[0].1.contains("no_consent"), "{:?}", world.deliveries().await);
}

#[tokio::test]
async fn what_came_due_while_its_rule_rested_goes_on_once_that_runs_again() {
    for (rest, reason) in [(Rest::Missing, "its file went missing"), (Rest::Refused, "the database refuses")] {
        let world = silent(TWO_MAILS).await;
        world.pass(hours(2)).await;
        world.mail.take();
        world.rest(&[("win-back", rest)]);
        world.pass(days(8)).await;
        assert_eq!(world.mail.mails(), []);
        let held = world.enrollments().await.into_iter().find_map(|enrollment| enrollment.hold).unwrap();
        assert!(held.contains(reason), "{held}");
        // The same files, and nobody rests.
        world.rest(&[]);
        world.turn().await;
        assert_eq!(world.mail.mails(), mail("Still here"));
    }
}

#[tokio::test]
async fn a_dead_delivery_is_in_nobodys_way() {
    let world = silent("  - webhook: {to: sink}\n").await;
    world.webhooks.answer([Outcome::Permanent { reason: "400 Bad Request".into() }]);
    world.pass(hours(2)).await;
    assert_eq!((world.webhooks.take().len(), ended(&world).await), (1, vec![None]));
    let now = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (2, 1, {now}, 'paid')")).await;
    for _ in 0..32 {
        world.pass(days(1)).await;
    }
    assert_eq!(world.webhooks.take().len(), 1, "silent again: another occasion");
    assert_eq!(ended(&world).await, [Some(EndReason::Completed), Some(EndReason::Cancelled)]);
}

#[tokio::test]
async fn a_queued_match_starts_when_the_delivery_before_it_is_dead() {
    let world = silent("  - wait: {for: 40 days}\n  - webhook: {to: sink}\n").await;
    let queueing = win_back("  - wait: {for: 40 days}\n  - webhook: {to: sink}\n")
        .replace("goal:", "on_rematch: queue\nwhere_not_used:")
        .lines()
        .filter(|line| !line.starts_with("where_not_used"))
        .collect::<Vec<_>>()
        .join("\n");
    world.load(&[("win-back.yaml", &queueing), MAIL_1, MAIL_2, LAYOUT]).await;
    world.pass(hours(2)).await;
    let now = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (2, 1, {now}, 'paid')")).await;
    world.webhooks.answer([Outcome::Permanent { reason: "400 Bad Request".into() }]);
    // Silent again after 30 days, while the first still waits; that one dies after 40.
    for _ in 0..85 {
        world.pass(days(1)).await;
    }
    assert_eq!(world.webhooks.take().len(), 2, "{:?}", world.deliveries().await);
}

/// What a webhook would answer is not known in shadow; the steps after it are rehearsed all the same.
#[tokio::test]
async fn in_shadow_an_answer_that_is_kept_has_a_stand_in() {
    let steps = "  - webhook: {to: sink, save: ticket}\n  - email: {template: mail-3}\n";
    let mail = ("templates/mail-3.md", "---\nsubject: Ticket {{ saved.ticket.thread.id }}\n---\nHello\n");
    let world = silent(TWO_MAILS).await;
    let shadow = win_back(steps).replace("mode: live", "mode: shadow");
    world.load(&[("win-back.yaml", &shadow), mail, LAYOUT]).await;
    world.pass(hours(2)).await;
    world.pass(hours(1)).await;
    let told: Vec<String> = world.deliveries().await.into_iter().map(|(_, detail)| detail).collect();
    assert!(told.iter().any(|detail| detail.ends_with("Ticket <thread.id of sink>")), "{told:?}");
    assert_eq!(ended(&world).await, [Some(EndReason::Completed)]);
}

#[tokio::test]
async fn only_at_entry_is_asked_at_entry_only() {
    let rule = win_back(TWO_MAILS).replace("goal:", "only_at_entry:\n  - name: Ada\ngoal:");
    let world = silent(TWO_MAILS).await;
    world.load(&[("win-back.yaml", &rule), MAIL_1, MAIL_2, LAYOUT]).await;
    all_silent(&world, 2).await;
    world.pass(hours(2)).await;
    assert_eq!(world.mail.mails(), mail("We miss you, Ada"), "and nobody else");
    world.crm.run("UPDATE accounts SET name = 'Ida' WHERE id = 1").await;
    world.pass(days(8)).await;
    assert_eq!(world.mail.mails(), mail("Still here"));
}

#[tokio::test]
async fn a_truncated_table_is_not_the_end_of_every_customer() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    world.mail.take();
    world.crm.run("ALTER TABLE accounts RENAME TO safe; CREATE TABLE accounts AS SELECT * FROM safe WHERE 1 = 0").await;
    world.pass(days(7)).await;
    assert_eq!(ended(&world).await, [None]);
    world.crm.run("DROP TABLE accounts; ALTER TABLE safe RENAME TO accounts").await;
    world.pass(hours(1)).await;
    assert_eq!(world.mail.mails(), mail("Still here"));
}

#[tokio::test]
async fn a_deleted_record_ends_its_enrollment() {
    let world = silent(TWO_MAILS).await;
    world.pass(hours(2)).await;
    let created = world.crm.time(world.now());
    world
        .crm
        .run(&format!("INSERT INTO accounts VALUES (2, 'Bob', 'FR', {created}); DELETE FROM accounts WHERE id = 1"))
        .await;
    world.pass(days(8)).await;
    assert_eq!(ended(&world).await, [Some(EndReason::RecordGone)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_engine_follows_the_clock_and_drains_when_told_to_stop() {
    let world = std::sync::Arc::new(silent(TWO_MAILS).await);
    let stop = tokio::sync::watch::Sender::new(false);
    let (running, stopping) = (std::sync::Arc::clone(&world), stop.subscribe());
    let engine = tokio::spawn(async move { running.engine.run(stopping).await });
    let sent = |count: usize| {
        let world = std::sync::Arc::clone(&world);
        wait_until(PATIENCE, async move || world.mail.messages.lock().unwrap().len() == count)
    };
    world.clock.advance(hours(2));
    sent(1).await;
    let attempts = |count: usize| {
        let world = std::sync::Arc::clone(&world);
        wait_until(PATIENCE, async move || world.deliveries().await.len() == count)
    };
    attempts(1).await;
    world.clock.advance(days(8));
    sent(2).await;
    stop.send_replace(true);
    tokio::time::timeout(PATIENCE, engine).await.unwrap().unwrap();
    assert_eq!(ended(&world).await, [Some(EndReason::Completed)], "what was under way is settled");
    assert!(world.engine.idle_for() < PATIENCE);
}

//! Respectful sending, end to end: windows in the reader's zone, caps over all rules, rates, budgets, seeds.

use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Kind, Setup, World, days, hours, minutes};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use nudged::engine::port::{DeliveryFilter, Message, Sender, Sent};
use nudged::engine::rehearse::why;
use nudged::engine::{PreviewScope, Previewer, Sending, Settings, preview};
use nudged::model::{Budget, Clock, EndReason, Lane, Limits, ManualClock, Outcome, RecordId};
use nudged::store::witness::FileWitness;
use rstest::rstest;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const MAIL: (&str, &str) = ("templates/mail.md", "---\nsubject: We miss you\n---\nHello\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

fn rule(id: &str, more: &str) -> String {
    format!(
        "version: 1
id: {id}
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: 30 days}}
where:
  - country: AT
check_every: 1 hour
guard: {{per_day: 100000, floor: 100000}}
{more}steps:
  - email: {{template: mail}}
"
    )
}

fn settings(sending: Sending) -> Settings {
    Settings { sending, ..Settings::default() }
}

fn window(text: &str) -> Sending {
    Sending { window: Some(text.parse().unwrap()), ..Sending::default() }
}

fn caps(caps: &[&str]) -> Sending {
    let caps = caps.iter().map(|cap| cap.parse().unwrap()).collect();
    Sending { limits: Arc::new(Limits { caps, ..Limits::default() }), ..Sending::default() }
}

/// Customers who live in these zones; their last orders are 30 days old in half an hour.
async fn silent(start: &str, settings: Settings, zones: &[&str]) -> World {
    let world = World::new(Kind::Sqlite, instant(start), settings).await;
    let ordered = world.crm.time(world.ago(days(30)) + minutes(30));
    for (index, zone) in zones.iter().enumerate() {
        let n = index + 1;
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES ({n}, 'C{n}', 'AT', {ordered});
                 INSERT INTO contacts VALUES ({n}, {n}, 'c{n}@example.org', 'C{n}', '{zone}', true);
                 INSERT INTO orders VALUES ({n}, {n}, {ordered}, 'paid')"
            ))
            .await;
    }
    world
}

fn to(world: &World) -> Vec<String> {
    let mut to: Vec<String> = world.mail.mails().into_iter().map(|(address, _)| address).collect();
    to.sort();
    to
}

async fn outcomes(world: &World) -> Vec<String> {
    world.deliveries().await.into_iter().map(|(state, detail)| format!("{state} {detail}")).collect()
}

#[rstest]
#[case::vienna_in_spring("2026-03-28T20:00:00Z", "Europe/Vienna", "2026-03-29T07:00:00Z")]
#[case::new_york_in_autumn("2026-11-01T01:00:00Z", "America/New_York", "2026-11-01T14:00:00Z")]
#[case::lord_howe_in_spring("2026-10-03T11:00:00Z", "Australia/Lord_Howe", "2026-10-03T22:00:00Z")]
#[tokio::test]
async fn at_night_a_mail_waits_for_nine_by_the_readers_clock(
    #[case] start: &str,
    #[case] zone: &str,
    #[case] opens: &str,
) {
    let world = silent(start, settings(window("09:00-20:00")), &[zone]).await;
    world.load(&[("a.yaml", &rule("a", "")), MAIL, LAYOUT]).await;
    world.pass(hours(2)).await;
    assert_eq!(to(&world), [""; 0]);
    let opens = instant(opens);
    assert_eq!(world.store.next_due().await.unwrap(), Some(opens));
    let expected = format!("outside the send window 09:00-20:00 in {zone}");
    let put_off = outcomes(&world).await;
    assert!(put_off[0].starts_with("postponed until ") && put_off[0].ends_with(&expected), "{put_off:?}");
    world.clock.set(opens - SignedDuration::from_secs(1));
    world.turn().await;
    assert_eq!(to(&world), [""; 0]);
    world.clock.set(opens);
    world.turn().await;
    assert_eq!(to(&world), ["c1@example.org"]);
}

#[tokio::test]
async fn whoever_moves_while_a_mail_waits_is_written_to_by_the_new_clock() {
    // Ten in the evening in Vienna.
    let world = silent("2026-06-01T20:00:00Z", settings(window("09:00-20:00")), &["Europe/Vienna"]).await;
    world.load(&[("a.yaml", &rule("a", "")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(world.store.next_due().await.unwrap(), Some(instant("2026-06-02T07:00:00Z")));
    world.crm.run("UPDATE contacts SET tz = 'America/New_York'").await;
    world.clock.set(instant("2026-06-02T07:00:00Z"));
    world.turn().await;
    assert_eq!(to(&world), [""; 0], "three in the morning in New York");
    assert_eq!(world.store.next_due().await.unwrap(), Some(instant("2026-06-02T13:00:00Z")));
    world.clock.set(instant("2026-06-02T13:00:00Z"));
    world.turn().await;
    assert_eq!(to(&world), ["c1@example.org"]);
}

#[tokio::test]
async fn a_mail_that_was_put_off_for_too_long_is_not_sent() {
    let world = silent("2026-06-01T20:00:00Z", settings(window("09:00-20:00")), &["Europe/Vienna"]).await;
    world.load(&[("a.yaml", &rule("a", "late: within 3 hours\n")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    world.clock.set(instant("2026-06-02T07:00:00Z"));
    world.turn().await;
    assert_eq!(to(&world), [""; 0]);
    let ended: Vec<_> = world.enrollments().await.into_iter().map(|enrollment| enrollment.ended).collect();
    assert_eq!(ended, [Some(EndReason::Late)]);
    assert!(outcomes(&world).await[0].starts_with("ended late: planned for "));
}

#[tokio::test]
async fn why_shadow_and_preview_tell_of_the_window() {
    let sending = window("09:00-20:00");
    let world = silent("2026-06-01T20:00:00Z", settings(sending.clone()), &["Europe/Vienna"]).await;
    let shadow = rule("b", "").replace("mode: live", "mode: shadow");
    world.load(&[("a.yaml", &rule("a", "")), ("b.yaml", &shadow), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    let (generation, sender) = (world.generation(), json!({}));
    let (source, store, sending) = (&*world.source, &*world.store, Some(&sending));
    let previewer =
        Previewer { generation: &generation, source, store, sender: &sender, sending, now: world.now(), limit: 10 };
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
    let stories = why(&previewer, &record, world.ago(days(1))).await.unwrap();
    let told = &stories.iter().find(|story| story.lane == Lane::Live).unwrap().outcome;
    assert_eq!(told.code, "postponed");
    assert!(
        told.text.contains("put off") && told.text.contains("until 2026-06-02 07:00Z: outside the send window"),
        "{}",
        told.text
    );
    let filter = DeliveryFilter { lane: Some(Lane::Shadow), limit: 10, ..DeliveryFilter::default() };
    let shadowed = world.store.deliveries(&filter).await.unwrap();
    assert_eq!(shadowed[0].state, "postponed");

    let last = PreviewScope::Last(hours(2));
    let shown = preview(&previewer, &"a".into(), &last).await.unwrap().matches.remove(0).messages;
    let put_off = shown[0].content.as_ref().unwrap_err();
    assert!(put_off.starts_with("postponed until 2026-06-02 07:00Z: outside the send window"), "{put_off}");
    assert_eq!(shown[1].due_at, instant("2026-06-02T07:00:00Z"));
    assert!(shown[1].content.is_ok());

    world.clock.set(instant("2026-06-02T07:00:00Z"));
    world.turn().await;
    assert_eq!(to(&world), ["c1@example.org"]);
    assert_eq!(world.store.deliveries(&filter).await.unwrap()[0].state, "recorded");
}

#[tokio::test]
async fn one_cap_holds_over_all_rules_and_the_most_important_goes_first() {
    let world = silent("2026-06-01T08:00:00Z", settings(caps(&["1 per day"])), &["Europe/Vienna"]).await;
    let subject = |name: &str| format!("---\nsubject: {name}\n---\nHello\n");
    let with = |id: &str, more: &str| rule(id, more).replace("template: mail", &format!("template: {id}"));
    world
        .load(&[
            ("a.yaml", &with("a", "")),
            ("b.yaml", &with("b", "priority: 90\n")),
            ("c.yaml", &with("c", "").replace("purpose: offers", "purpose: service")),
            ("templates/a.md", &subject("a")),
            ("templates/b.md", &subject("b")),
            ("templates/c.md", &subject("c")),
            LAYOUT,
        ])
        .await;
    world.pass(hours(1)).await;
    let subjects = || {
        let mut subjects: Vec<String> = world.mail.mails().into_iter().map(|(_, subject)| subject).collect();
        subjects.sort();
        subjects
    };
    assert_eq!(subjects(), ["b", "c"], "service is neither capped nor counted");
    let sent_at = world.now();
    let told = outcomes(&world).await;
    assert!(told.iter().any(|line| line.ends_with("the cap of 1 per day is reached")), "{told:?}");
    assert_eq!(world.store.next_due().await.unwrap(), Some(sent_at + days(1)));
    world.pass(days(1) - minutes(1)).await;
    assert_eq!(subjects(), [""; 0]);
    world.pass(minutes(1)).await;
    assert_eq!(subjects(), ["a"]);
}

#[tokio::test]
async fn what_waits_for_the_same_hour_leaves_by_priority() {
    let sending = Sending { window: Some("09:00-20:00".parse().unwrap()), ..caps(&["1 per day"]) };
    let world = silent("2026-06-01T20:00:00Z", settings(sending), &["Europe/Vienna"]).await;
    let subject = |name: &str| format!("---\nsubject: {name}\n---\nHello\n");
    let with = |id: &str, more: &str| rule(id, more).replace("template: mail", &format!("template: {id}"));
    // The window of the more important one opens half an hour later.
    world
        .load(&[
            ("a.yaml", &with("a", "")),
            ("b.yaml", &with("b", "priority: 90\nwindow: \"09:30-20:00\"\n")),
            ("templates/a.md", &subject("a")),
            ("templates/b.md", &subject("b")),
            LAYOUT,
        ])
        .await;
    world.pass(hours(1)).await;
    world.clock.set(instant("2026-06-02T07:00:00Z"));
    world.turn().await;
    assert_eq!(world.mail.mails(), []);
    let told = outcomes(&world).await;
    assert!(told[0].ends_with("a message of priority 90 to the same person goes first"), "{told:?}");
    for _ in 0..2 {
        world.pass(minutes(30)).await;
    }
    assert_eq!(world.mail.mails(), [("c1@example.org".to_owned(), "b".to_owned())]);
    world.pass(days(1)).await;
    assert_eq!(world.mail.mails(), [("c1@example.org".to_owned(), "a".to_owned())]);
}

/// Subjects of the mails that left within a minute, and of those that left within the hour after. `a` is due now, `b`
/// more important and later. Both are looked at by whoever claims them first, so `a` may have to ask again.
async fn with_a_rival(cap: &str, b: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let world = silent("2026-06-01T08:00:00Z", settings(caps(&[cap])), &["Europe/Vienna"]).await;
    let with = |id: &str, more: &str| rule(id, more).replace("template: mail", &format!("template: {id}"));
    let subject = |name: &str| format!("---\nsubject: {name}\n---\nHello\n");
    let rival = with("b", "priority: 90\n").replace("steps:\n", b);
    let (a, b) = (subject("a"), subject("b"));
    world
        .load(&[("a.yaml", &with("a", "")), ("b.yaml", &rival), ("templates/a.md", &a), ("templates/b.md", &b), LAYOUT])
        .await;
    let known = |subject: String| ["a", "b"].into_iter().find(|known| *known == subject).unwrap();
    let subjects = || world.mail.mails().into_iter().map(|(_, subject)| known(subject)).collect();
    world.pass(hours(1)).await;
    world.pass(minutes(1)).await;
    let at_once = subjects();
    for by in [39, 1, 1, 19] {
        world.pass(minutes(by)).await;
    }
    (at_once, subjects())
}

#[rstest]
#[case::later_in_the_hour("steps:\n  - wait: {for: 40 minutes}\n", &[], &["b"])]
#[case::by_a_branch(
    "steps:\n  - wait: {for: 40 minutes}\n  - branch: {cases: [{name: german, when: {country: DE}, steps: [stop: {}]}]}\n",
    &[],
    &["b"]
)]
#[case::later_than_that("steps:\n  - wait: {for: 2 hours}\n", &["a"], &[])]
#[case::behind_another_wait("steps:\n  - wait: {for: 40 minutes}\n  - wait: {for: 1 hour}\n", &["a"], &[])]
#[case::waiting_for_what_may_never_come("steps:\n  - wait: {until: {when: {country: DE}, at_most: 14 days}}\n", &["a"], &[])]
#[case::in_the_end_not_sent("exit_when: [{country: AT}]\nsteps:\n  - wait: {for: 40 minutes}\n", &[], &["a"])]
#[tokio::test]
async fn what_comes_first_due_within_the_hour_goes_by_priority_too(
    #[case] rival: &str,
    #[case] at_once: &[&str],
    #[case] after: &[&str],
) {
    let (first, second) = with_a_rival("1 per day", rival).await;
    assert_eq!((first.as_slice(), second.as_slice()), (at_once, after));
}

#[tokio::test]
async fn where_there_is_a_place_for_both_nobody_waits_for_the_more_important() {
    let (first, second) = with_a_rival("2 per day", "steps:\n  - wait: {for: 40 minutes}\n").await;
    assert_eq!((first, second), (vec!["a"], vec!["b"]));
}

#[tokio::test]
async fn a_refused_mail_leaves_its_place_to_another() {
    let world = silent("2026-06-01T08:00:00Z", settings(caps(&["1 per day"])), &["Europe/Vienna"]).await;
    world.mail.answer([Outcome::Permanent { reason: "550 no such mailbox".into() }]);
    world.load(&[("a.yaml", &rule("a", "priority: 60\n")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(to(&world), ["c1@example.org"]);
    let ordered = world.crm.time(world.ago(days(30)) + minutes(30));
    world.crm.run(&format!("UPDATE orders SET placed_at = {ordered}")).await;
    world.load(&[("a.yaml", &rule("a", "priority: 60\n")), ("b.yaml", &rule("b", "")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(to(&world), ["c1@example.org"], "the first one never arrived");
}

#[tokio::test]
async fn a_rate_puts_off_and_nobody_sleeps() {
    let zones = vec!["Europe/Vienna"; 12];
    let sending = Sending { rate: Some("5/min".parse().unwrap()), ..Sending::default() };
    let world = silent("2026-06-01T08:00:00Z", settings(sending), &zones).await;
    world.load(&[("a.yaml", &rule("a", "")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(to(&world).len(), 5);
    assert_eq!(world.store.next_due().await.unwrap(), Some(world.now() + minutes(1)));
    world.pass(minutes(1) - SignedDuration::from_secs(1)).await;
    assert_eq!(to(&world).len(), 0);
    world.pass(SignedDuration::from_secs(1)).await;
    assert_eq!(to(&world).len(), 5);
    world.pass(minutes(1)).await;
    assert_eq!(to(&world).len(), 2);
    let attempts = world.store.attempts(0, 100).await.unwrap();
    let put_off: Vec<&str> =
        attempts.iter().filter(|found| found.outcome == "postponed").map(|found| found.detail.as_str()).collect();
    assert_eq!(put_off.len(), 7, "each once: {put_off:?}");
    assert!(put_off.iter().all(|detail| detail.ends_with("the rate of 5/minute is reached")), "{put_off:?}");
}

#[tokio::test]
async fn a_days_budget_is_over_at_midnight() {
    let zones = vec!["Europe/Vienna"; 10];
    let budget = Budget { per_day: Some(4), warm_up: None };
    let limits = Arc::new(Limits { budget, ..Limits::default() });
    let world = silent("2026-06-01T08:00:00Z", settings(Sending { limits, ..Sending::default() }), &zones).await;
    world.load(&[("a.yaml", &rule("a", "")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(to(&world).len(), 4);
    assert_eq!(world.store.next_due().await.unwrap(), Some(instant("2026-06-01T22:00:00Z")));
    world.pass(hours(12)).await;
    assert_eq!(to(&world).len(), 0);
    world.pass(hours(1)).await;
    assert_eq!(to(&world).len(), 4);
    world.pass(days(1)).await;
    assert_eq!(to(&world).len(), 2);
}

#[tokio::test]
async fn seeds_get_a_copy_of_the_first_mail_of_each_version() {
    let sending = Sending { seeds: vec!["qa@acme.example".to_owned()], ..Sending::default() };
    let world = silent("2026-06-01T08:00:00Z", settings(sending), &["Europe/Vienna"; 3]).await;
    world.load(&[("a.yaml", &rule("a", "")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    let seeded = |world: &World| {
        let mails = world.mail.mails();
        let (seeds, others): (Vec<_>, Vec<_>) = mails.into_iter().partition(|(to, _)| to == "qa@acme.example");
        (seeds.into_iter().map(|(_, subject)| subject).collect::<Vec<_>>(), others.len())
    };
    assert_eq!(seeded(&world), (vec!["[seed] We miss you".to_owned()], 3));
    let changed = (MAIL.0, "---\nsubject: We really miss you\n---\nHello\n");
    world.load(&[("b.yaml", &rule("b", "")), changed, LAYOUT]).await;
    let ordered = world.crm.time(world.ago(days(30)) + minutes(30));
    world.crm.run(&format!("UPDATE orders SET placed_at = {ordered}")).await;
    world.pass(hours(1)).await;
    assert_eq!(seeded(&world), (vec!["[seed] We really miss you".to_owned()], 3));
}

#[tokio::test]
async fn who_was_not_heard_of_for_long_is_left_out_by_the_catalogs_last_activity() {
    let sending = Sending { sunset: Some("18 months".parse().unwrap()), ..Sending::default() };
    let mut setup = Setup::of(Kind::Sqlite, instant("2026-06-01T08:00:00Z"));
    setup.settings = settings(sending);
    setup.catalog = setup.catalog.replace(
        "    fields: {country: country_code}\n",
        "    fields: {country: country_code, seen_at: created_at}\n    last_activity: [seen_at]\n",
    );
    let world = World::set_up(setup).await;
    let ordered = world.crm.time(world.ago(days(30)) + minutes(30));
    for (n, seen) in [(1, world.ago(days(600))), (2, world.ago(days(500)))] {
        let seen = world.crm.time(seen);
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES ({n}, 'C{n}', 'AT', {seen});
                 INSERT INTO contacts VALUES ({n}, {n}, 'c{n}@example.org', 'C{n}', NULL, true);
                 INSERT INTO orders VALUES ({n}, {n}, {ordered}, 'paid')"
            ))
            .await;
    }
    world.load(&[("a.yaml", &rule("a", "")), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(to(&world), ["c2@example.org"]);
    let told = outcomes(&world).await;
    assert!(told.iter().any(|line| line.starts_with("skipped sunset: last heard of on 2024-10-09")), "{told:?}");
}

/// Counts what each address gets, and when.
struct Receiver {
    clock: Arc<ManualClock>,
    got: Arc<Mutex<BTreeMap<String, Vec<Timestamp>>>>,
    mine: Mutex<usize>,
}

#[async_trait]
impl Sender for Receiver {
    fn sessions(&self) -> usize {
        8
    }

    async fn send(&self, message: Message) -> Sent {
        let Message::Email(email) = message else { panic!("{message:?}") };
        self.got.lock().unwrap().entry(email.to_address).or_default().push(self.clock.now());
        *self.mine.lock().unwrap() += 1;
        // Others get their turn while this one is under way.
        tokio::task::yield_now().await;
        Sent { outcome: Outcome::Sent { reply: "250 ok".into() }, answer: None }
    }
}

/// A node that has seen another at work takes half of the rate.
#[tokio::test]
async fn nodes_that_know_of_each_other_share_a_rate() {
    let sending = Sending { rate: Some("10/hour".parse().unwrap()), ..Sending::default() };
    let start = instant("2026-06-01T08:00:00Z");
    let setup = Setup { settings: settings(sending), shared: true, ..Setup::of(Kind::Postgres, start) };
    let world = World::set_up(setup).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(30)) + minutes(30)));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts SELECT n, 'C' || n, 'AT', {now} FROM generate_series(1, 30) n;
             INSERT INTO contacts SELECT n, n, 'p' || n || '@example.org', 'P', NULL, true FROM generate_series(1, 30) n;
             INSERT INTO orders SELECT n, n, {ordered}, 'paid' FROM generate_series(1, 30) n"
        ))
        .await;
    world.load(&[("a.yaml", &rule("a", "")), MAIL, LAYOUT]).await;
    let (folder, got) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(BTreeMap::new())));
    let node = async |owner: &str| {
        let receiver = Receiver { clock: world.clock.clone(), got: Arc::clone(&got), mine: Mutex::default() };
        let sender = Arc::new(receiver);
        let engine = world.node(owner, sender.clone()).await;
        let witness = FileWitness::open(&folder.path().join(owner), Some(owner)).unwrap();
        engine.set_witness(Arc::new(witness));
        (engine, sender)
    };
    let ((first, sender), (second, _)) = (node("a").await, node("b").await);
    // The second joins once it has seen that the first is alive, and each tells of itself.
    for engine in [&first, &second] {
        engine.dispatch_due().await.unwrap();
    }
    first.rescue().await.unwrap();
    second.dispatch_due().await.unwrap();
    second.rescue().await.unwrap();
    first.rescue().await.unwrap();

    world.clock.advance(hours(1));
    first.sweep_due().await.unwrap();
    first.dispatch_due().await.unwrap();
    assert_eq!(*sender.mine.lock().unwrap(), 5);
    second.dispatch_due().await.unwrap();
    assert!(got.lock().unwrap().len() <= 10);
}

const PEOPLE: usize = 30;
const RULES: usize = 5;
/// Whoever stands at `n % 3` there.
const ZONES: [&str; 3] = ["Europe/Vienna", "America/New_York", "Asia/Tokyo"];

/// Two nodes with eight sessions each, five rules, and two records for each person: ten mails that all want to leave
/// at once, where two a day and five a week may, and only by day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_eight_workers_never_exceed_a_cap_and_never_leave_a_window() {
    let settings = Settings {
        claim: 40,
        poll: Duration::from_millis(20),
        rescue_every: Duration::from_millis(200),
        heartbeat: Duration::from_millis(100),
        ..settings(Sending { window: window("09:00-20:00").window, ..caps(&["2 per day", "5 per 7 days"]) })
    };
    let start = instant("2026-06-01T08:00:00Z");
    let world = World::set_up(Setup { settings, shared: true, ..Setup::of(Kind::Postgres, start) }).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(30)) + minutes(30)));
    let records = PEOPLE * 2;
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts SELECT n, 'C' || n, 'AT', {now} FROM generate_series(1, {records}) n;
             INSERT INTO contacts SELECT n, n, 'p' || (n % {PEOPLE}) || '@example.org', 'P',
                 ('{{{}}}'::text[])[n % {PEOPLE} % 3 + 1], true
             FROM generate_series(1, {records}) n;
             INSERT INTO orders SELECT n, n, {ordered}, 'paid' FROM generate_series(1, {records}) n",
            ZONES.join(",")
        ))
        .await;
    let rules: Vec<(String, String)> = (0..RULES)
        .map(|n| {
            (format!("r{n}.yaml"), rule(&format!("r{n}"), &format!("late: within 5 days\npriority: {}\n", n * 10)))
        })
        .collect();
    let mut files: Vec<(&str, &str)> = rules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.extend([MAIL, LAYOUT]);
    world.load(&files).await;

    let got = Arc::new(Mutex::new(BTreeMap::new()));
    let stop = watch::Sender::new(false);
    let (mut senders, mut nodes) = (Vec::new(), Vec::new());
    for owner in ["a", "b"] {
        let receiver = Receiver { clock: world.clock.clone(), got: Arc::clone(&got), mine: Mutex::default() };
        let sender = Arc::new(receiver);
        let (engine, stopping) = (world.node(owner, sender.clone()).await, stop.subscribe());
        senders.push(sender);
        nodes.push(tokio::spawn(async move { engine.run(stopping).await }));
    }
    world.clock.advance(hours(1));
    wait_until(PATIENCE, async || world.enrollments().await.len() == records * RULES).await;
    for _ in 0..30 {
        // Nothing is under way when the clock moves, so that a mail leaves at the instant its place was taken.
        wait_until(PATIENCE, async || {
            let overview = world.store.overview(world.now()).await.unwrap();
            overview.outbox_due + overview.outbox_sending == 0
        })
        .await;
        world.clock.advance(hours(6));
    }
    wait_until(PATIENCE, async || world.store.overview(world.now()).await.unwrap().active_enrollments == 0).await;
    stop.send_replace(true);
    for node in nodes {
        tokio::time::timeout(PATIENCE, node).await.unwrap().unwrap();
    }
    let got = got.lock().unwrap().clone();
    assert_eq!(got.len(), PEOPLE);
    for (address, at) in &got {
        let within = |length: SignedDuration| {
            at.iter().map(|end| at.iter().filter(|t| **t <= *end && end.duration_since(**t) < length).count()).max()
        };
        assert!(within(days(1)) <= Some(2), "{address}: {at:?}");
        assert_eq!(within(days(7)), Some(5), "{address}: as many as may, and no more: {at:?}");
        let number: usize = address.trim_start_matches('p').split('@').next().unwrap().parse().unwrap();
        let zone = ZONES[number % 3];
        let hours: Vec<i8> = at.iter().map(|at| at.in_tz(zone).unwrap().hour()).collect();
        assert!(hours.iter().all(|hour| (9..20).contains(hour)), "{address} in {zone}: {hours:?}");
    }
    assert!(senders.iter().all(|sender| *sender.mine.lock().unwrap() > 0), "both took part");
    // What found no place in time was left out as late, and said so.
    let late = world.enrollments().await.into_iter().filter(|found| found.ended == Some(EndReason::Late)).count();
    assert_eq!(late, records * RULES - PEOPLE * 5);
}

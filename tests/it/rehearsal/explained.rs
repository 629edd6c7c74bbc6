//! `explain`: for a match and for every kind of non-match, with the values that stood there.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use nudged::engine::rehearse::{Explanation, Later, StepsOf, Truth, Verdict, explain, render_test};
use nudged::engine::{EngineError, Settings};
use nudged::model::{AddressHash, Channel, RecordId, RuleId, Suppression, SuppressionReason, Value};
use nudged::rule::operands::{Basis, Section};

const START: &str = "2026-06-01T08:00:00Z";
const RULE: &str = "version: 1
id: win-back
description: Silent for 30 days.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 30 days}
where:
  - country: {in: [AT, DE]}
  - any:
      - name: {starts_with: Ada}
      - responses: {count: {at_least: 2}}
only_at_entry:
  - created_at: {older_than: 1 day}
goal: {name: bought again, when: {orders: {some: {}, since: entry}}, within: 30 days}
exit_when: {any: [{name: Closed}]}
check_every: 1 hour
backfill: 10 days
steps:
  - branch:
      cases:
        - {name: german, when: {country: DE}, steps: [webhook: {to: sink}]}
      otherwise:
        - email: {template: hello}
";
const HELLO: (&str, &str) = ("templates/hello.md", "---\nsubject: We miss you, {{ to.first_name }}\n---\nHello\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

async fn world() -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    let at = |days_ago: i64| world.crm.time(world.ago(days(days_ago)));
    let person = |id: i64, name: &str, country: &str, ordered: i64, agreed: bool| {
        format!(
            "INSERT INTO accounts VALUES ({id}, '{name}', {country}, {});
             INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@x.example', 'P{id}', 'Europe/Vienna', {agreed});
             INSERT INTO orders VALUES ({id}, {id}, {}, 'paid');",
            at(400),
            at(ordered)
        )
    };
    let sql = [
        person(1, "Ada", "'AT'", 31, true),
        person(2, "Ada", "'CH'", 31, true),
        person(3, "Ada", "'AT'", 20, true),
        person(4, "Bob", "NULL", 20, true),
        person(5, "Ada", "'AT'", 300, true),
        person(6, "Ada", "'AT'", 32, false),
    ];
    world.crm.run(&sql.concat()).await;
    world.crm.run(&format!("INSERT INTO accounts VALUES (7, 'Ada', 'AT', {})", at(400))).await;
    world.crm.run(&format!("INSERT INTO surveys VALUES (1, 2, 'nps', 5, {})", at(3))).await;
    world.load(&[("win-back.yaml", RULE), HELLO, LAYOUT]).await;
    world
}

fn customer(id: &str) -> RecordId {
    RecordId { tenant: "".into(), entity: "customer".into(), key: id.into() }
}

async fn explained(world: &World, id: &str) -> Explanation {
    let (generation, sender) = (world.generation(), nothing());
    explain(&previewer(world, &generation, &sender), &RuleId::from("win-back"), &customer(id)).await.unwrap()
}

#[tokio::test]
async fn a_match_shows_every_term_its_values_and_what_it_would_get() {
    let world = world().await;
    let told = explained(&world, "1").await;
    let crossed_at = world.ago(days(1));
    assert_eq!(told.verdict, Verdict::Matches { crossed_at });
    let country = &told.terms[0];
    assert_eq!((country.section, country.holds, country.basis), (Section::Where, Some(true), Basis::Current));
    assert_eq!(country.text, "country: {in: [AT, DE]}");
    assert_eq!((country.operands[0].name.as_str(), &country.operands[0].value), ("country", &Value::Text("AT".into())));
    let either: Vec<_> = told.terms[1].operands.iter().map(|o| (o.name.as_str(), o.holds)).collect();
    assert_eq!(either, [("name", Some(true)), ("responses", Some(false))]);
    assert_eq!(told.terms[1].operands[1].value, Value::Int(0));
    let sections: Vec<Section> = told.terms.iter().map(|term| term.section).collect();
    let (goal, exit) = (Section::Goal, Section::ExitWhen);
    assert_eq!(sections, [Section::Where, Section::Where, Section::OnlyAtEntry, goal, exit, Section::Case(0, 0)]);
    assert_eq!(told.terms[3].holds, Some(false), "no order since");
    let [mail] = told.steps.as_slice() else { panic!("one step: {:?}", told.steps) };
    assert_eq!((mail.kind, mail.content.as_ref().unwrap().summary().as_str()), ("email", "We miss you, P1"));
    assert_eq!(told.recipients[0].address.as_deref(), Some("p1@x.example"));
}

#[tokio::test]
async fn a_non_match_names_the_first_failing_term_or_the_time_that_is_missing() {
    let world = world().await;
    let told = explained(&world, "2").await;
    assert_eq!(told.verdict.failed_term(), Some("country: {in: [AT, DE]}"));
    assert_eq!(told.terms[0].operands[0].value, Value::Text("CH".into()));
    assert_eq!(told.steps.len(), 1, "what it would get is told all the same");
    assert!(told.verdict.to_string().ends_with("`country: {in: [AT, DE]}` is not true"), "{}", told.verdict);
    world.crm.run("UPDATE accounts SET country_code = NULL WHERE id = 2").await;
    let told = explained(&world, "2").await.verdict;
    assert!(matches!(told, Verdict::Fails { truth: Truth::Unknown, .. }), "{told}");
    let unknown = "`country: {in: [AT, DE]}` is unknown, as a value that it looks at is missing";
    assert!(told.to_string().ends_with(unknown), "{told}");

    let crosses_at = world.now() + days(10);
    assert_eq!(explained(&world, "3").await.verdict, Verdict::NotYet { crosses_at });
    let told = explained(&world, "4").await;
    let term = "country: {in: [AT, DE]}".to_owned();
    assert_eq!(told.verdict, Verdict::NotYetAndFails { crosses_at, term, later: Later::Never, asked: false });
    assert_eq!((told.terms[0].holds, &told.terms[0].operands[0].value), (None, &Value::Null), "unknown");

    let baseline = world.ago(days(10));
    let crossed_at = world.ago(days(270));
    assert_eq!(explained(&world, "5").await.verdict, Verdict::BeforeActivation { crossed_at, baseline });
    let told = explained(&world, "7").await.verdict;
    let never = "never crossed: of the trigger, `orders: none for 30 days` is unknown (newest of orders = missing)";
    assert_eq!((told.code(), told.to_string().as_str()), ("never_crossed", never));
    assert_eq!(explained(&world, "99").await.verdict, Verdict::NoRecord);
}

#[tokio::test]
async fn what_would_keep_a_message_back_is_told() {
    let world = world().await;
    let why = |told: &Explanation| told.steps[0].content.as_ref().unwrap_err().clone();
    let told = explained(&world, "6").await;
    assert!(matches!(told.verdict, Verdict::Matches { .. }));
    assert!(why(&told).starts_with("skipped (no_consent)"), "{}", why(&told));
    assert_eq!(told.recipients[0].consent, Some(false));

    let hash: AddressHash = world.store.secret().address_hash(Channel::Email, "p1@x.example");
    let (channel, reason) = (Channel::Email, SuppressionReason::Complained);
    let entry = Suppression { hash, channel, address: None, reason, since: world.now() };
    world.store.suppress(&[entry]).await.unwrap();
    let told = explained(&world, "1").await;
    assert!(why(&told).starts_with("skipped (suppressed)"), "{}", why(&told));
    assert_eq!(told.recipients[0].suppressed.as_deref(), Some("complained"));
}

#[tokio::test]
async fn what_the_ledger_knows_is_told_and_a_touched_order_is_no_new_match() {
    let world = world().await;
    world.pass(hours(2)).await;
    let told = explained(&world, "1").await;
    assert_eq!(told.verdict, Verdict::Matched { at: Some(world.now()), again: None });
    assert_eq!(told.enrollments.len(), 1);
    let touched = world.crm.time(world.ago(days(31)) + hours(3));
    world.crm.run(&format!("UPDATE orders SET placed_at = {touched} WHERE id = 1")).await;
    let told = explained(&world, "1").await.verdict;
    assert!(matches!(told, Verdict::WithinTolerance { matched: Some(at), .. } if at == world.now()), "{told}");
    let says = "matched 2026-06-01 10:00Z; what crossed 2026-05-31 13:00Z is too close to that match's occasion";
    assert!(told.to_string().starts_with(says), "{told}");
}

#[tokio::test]
async fn a_held_sweep_is_told() {
    let world = world().await;
    let guarded = format!("{RULE}guard: {{per_day: 1}}\n");
    world.load(&[("win-back.yaml", &guarded), HELLO, LAYOUT]).await;
    world.pass(hours(2)).await;
    let told = explained(&world, "1").await;
    assert!(matches!(&told.verdict, Verdict::Held { reason } if reason.contains("per_day")), "{:?}", told.verdict);
    assert_eq!(told.held.len(), 1);
}

#[tokio::test]
async fn a_record_of_another_entity_is_refused() {
    let world = world().await;
    let (generation, sender) = (world.generation(), nothing());
    let record = RecordId { entity: "subscription".into(), ..customer("1") };
    let look = previewer(&world, &generation, &sender);
    let error = explain(&look, &RuleId::from("win-back"), &record).await.unwrap_err();
    assert!(matches!(error, EngineError::OtherEntity { .. }), "{error}");
    let error = explain(&look, &RuleId::from("none"), &customer("1")).await.unwrap_err();
    assert!(matches!(error, EngineError::NoSuchRule(_)), "{error}");
}

#[tokio::test]
async fn a_test_mail_goes_to_who_asked_and_bears_an_id_of_its_own() {
    let world = world().await;
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(&world, &generation, &sender);
    let rule = RuleId::from("win-back");
    let mail = render_test(&look, &rule, &customer("6"), None, "me@acme.example").await.unwrap();
    assert_eq!(mail.meant_for.as_deref(), Some("p6@x.example"));
    assert_eq!((mail.email.to_address.as_str(), mail.email.to_name.as_deref()), ("me@acme.example", None));
    assert_eq!(mail.email.subject, "[test] We miss you, P6");
    let again = render_test(&look, &rule, &customer("6"), None, "me@acme.example").await.unwrap();
    assert_ne!(mail.email.delivery, again.email.delivery);
    let none = render_test(&look, &rule, &customer("6"), Some(&"other".into()), "me@acme.example").await;
    assert!(none.unwrap_err().to_string().contains("no email step `other`"));
    assert_eq!(world.enrollments().await.len(), 0, "the state learns nothing");
}

/// Of customer 7, who has never ordered.
/// Whoever comes by it brings another occasion.
const ENROLLER: (&str, &str) = (
    "start.yaml",
    "version: 1\nid: start\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
     trigger: {enrolled: {}}\nsteps:\n  - enroll: {rule: win-back}\n",
);

#[tokio::test]
async fn a_test_mail_needs_no_crossing_and_says_where_the_occasion_is_made_up() {
    let world = world().await;
    let sent = async |subject: &str, of: &str| {
        let hello = format!("---\nsubject: \"{subject}\"\n---\nHello\n");
        world.load(&[("win-back.yaml", RULE), ENROLLER, (HELLO.0, &hello), LAYOUT]).await;
        let (generation, sender) = (world.generation(), nothing());
        let look = previewer(&world, &generation, &sender);
        render_test(&look, &RuleId::from("win-back"), &customer(of), None, "me@acme.example").await
    };
    let mail = sent("Since {{ occasion.at | date }}", "7").await.unwrap();
    assert!(mail.made_up && mail.meant_for.is_none() && mail.email.subject.contains("2026"), "{mail:?}");
    assert!(!sent("Since {{ occasion.at | date }}", "1").await.unwrap().made_up);
    let needs = sent("You gave {{ occasion.row.rating }}", "7").await.unwrap_err().to_string();
    let says =
        "customer:7 never crosses the trigger of `win-back`, and without an occasion there is no `occasion.row.rating`";
    assert!(needs.contains(says), "{needs}");
    assert!(matches!(sent("Hi", "99").await.unwrap_err(), EngineError::NoSuchRecord(_)));
}

const LEFT_OUT: &str = "version: 1
id: win-back
description: Silent for 30 days.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 30 days}
guard: {floor: 1000}
check_every: 1 hour
backfill: 10 days
steps:
  - email: {template: hello}
  - wait: {for: 3 days}
  - webhook: {to: sink}
";
const PLAIN: (&str, &str) = ("templates/hello.md", "---\nsubject: Hello\n---\nHello\n");

#[tokio::test]
async fn what_became_of_its_deliveries_is_told_and_what_is_still_to_come_when_it_is_due() {
    let world = world().await;
    world.crm.run("UPDATE contacts SET email = NULL WHERE id = 1").await;
    world.load(&[("win-back.yaml", LEFT_OUT), PLAIN, LAYOUT]).await;
    world.pass(hours(1)).await;
    let entered = world.now();
    world.clock.advance(days(1));
    world.crm.run("UPDATE contacts SET email = 'new@x.example' WHERE id = 1").await;
    let told = explained(&world, "1").await;
    let [mail] = told.deliveries.as_slice() else { panic!("one: {:?}", told.deliveries) };
    assert_eq!((mail.enrollment, mail.last.step.as_str()), (told.enrollments[0].id, "email-hello"));
    assert_eq!((mail.last.state.as_str(), mail.last.at), ("skipped", entered));
    assert!(mail.last.detail.contains("no_address"), "{:?}", mail.last.detail);
    let [call] = told.steps.as_slice() else { panic!("the mail is over: {:?}", told.steps) };
    assert_eq!((told.steps_of, call.kind, call.due_at), (StepsOf::UnderWay, "webhook", entered + days(3)));

    world.pass(days(2) + hours(1)).await;
    let told = explained(&world, "1").await;
    assert_eq!(told.verdict, Verdict::Matched { at: Some(entered), again: None });
    let states: Vec<&str> = told.deliveries.iter().map(|known| known.last.state.as_str()).collect();
    assert_eq!(states, ["skipped", "sent"]);
    assert!(told.steps.is_empty(), "nobody gets what was left out: {:?}", told.steps);

    // Another silence is another match, and gets everything.
    let ordered = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (50, 1, {ordered}, 'paid')")).await;
    let told = explained(&world, "1").await;
    assert_eq!((told.steps_of, told.steps.len()), (StepsOf::NewMatch, 2), "{:?}", told.verdict);
    assert!(told.steps[0].content.is_ok());
}

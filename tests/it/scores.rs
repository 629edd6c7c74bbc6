//! The script's score in conditions, over real sources: SQL first, the same number for live, explain, backtest and
//! steps; and what a script that fails comes to.

use crate::rehearsal::{nothing, previewer};
use crate::support::instant;
use crate::world::{CATALOG, Kind, Setup, World, days, hours};
use nudged::engine::port::RuleStatus;
use nudged::engine::rehearse::{Backtester, Simulator, Verdict, explain, why};
use nudged::engine::{Event, Settings, SweepReport, Swept};
use nudged::model::{EnrollmentState, RecordId, RuleId, Value};
use nudged::rule::generation::{Generation, Surroundings};
use nudged::store::sqlite::SqliteStore;
use rstest::rstest;
use std::sync::Arc;

const START: &str = "2026-10-10T07:00:00Z";
const HELLO: (&str, &str) = ("templates/hello.md", "---\nsubject: Hello\n---\nHello\n");

/// By name: `high`, `low`, or one that the script can't stand.
const SCRIPT: &str = "import \"lib/worth\" as worth;
fn score(record, now) { worth::of(record.name) }
";
const WORTH: &str = "fn of(name) {
    switch name {
        \"high\" => 0.9,
        \"low\" => 0.4,
        \"text\" => 1.0,
        _ => throw name,
    }
}
";

fn rule(more: &str, steps: &str) -> String {
    format!(
        "version: 1\nid: worthy\nmode: live\npurpose: service\nowner: team@acme.example\nfor_each: customer\n\
         to: main_contact\ntrigger: {{inactivity: {{of: orders, for: 10 days}}}}\nscript: worth.rhai\n\
         check_every: 1 hour\nguard: {{floor: 1000}}\n{more}steps:\n{steps}"
    )
}

const WHERE: &str = "where:\n  - score: {at_least: 0.7}\n  - country: AT\n";
const WEBHOOK: &str = "  - webhook: {to: sink}\n";

/// Each of these (name, country) falls silent half an hour after the rule began to look.
async fn world(kind: Kind, people: &[(&str, &str)]) -> World {
    let catalog = CATALOG.replace("fields: {country: country_code}", "fields: {country: country_code, name: name}");
    let world = World::set_up(Setup { catalog, ..Setup::of(kind, instant(START)) }).await;
    let ordered = world.crm.time(world.ago(days(10)) + hours(1));
    let fresh = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (0, 'fresh', 'AT', {fresh})")).await;
    for (id, (name, country)) in (1..).zip(people) {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, '{name}', '{country}', {fresh})")).await;
        world.crm.run(&format!("INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@x.example', 'P', NULL, TRUE)")).await;
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, {id}, {ordered}, 'paid')")).await;
    }
    world
}

async fn load(world: &World, rule: &str, script: &str, module: &str) {
    world
        .load(&[("worthy.yaml", rule), ("scripts/worth.rhai", script), ("scripts/lib/worth.rhai", module), HELLO])
        .await;
}

async fn sweep(world: &World) -> SweepReport {
    match world.engine.sweep_rule(&"worthy".into()).await.unwrap().remove(0) {
        Swept::Done(report) => *report,
        other => panic!("{other:?}"),
    }
}

async fn entered(world: &World) -> Vec<String> {
    let mut keys: Vec<String> =
        world.enrollments().await.into_iter().map(|view| view.record.unwrap().key.to_string()).collect();
    keys.sort();
    keys
}

fn customer(id: &str) -> RecordId {
    RecordId { tenant: "".into(), entity: "customer".into(), key: id.into() }
}

fn missed(world: &World) -> Vec<(String, String)> {
    let missed = world.events().into_iter().filter_map(|event| match event {
        Event::Missed { record, reason, .. } => Some((record.key.to_string(), reason)),
        _ => None,
    });
    let mut missed: Vec<_> = missed.collect();
    missed.sort();
    missed
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn sql_narrows_and_the_score_decides(#[case] kind: Kind) {
    let world = world(kind, &[("high", "AT"), ("low", "AT"), ("broken", "AT"), ("broken", "DE"), ("high", "DE")]).await;
    load(&world, &rule(WHERE, WEBHOOK), SCRIPT, WORTH).await;
    world.clock.advance(hours(2));
    let report = sweep(&world).await;
    assert_eq!((report.matched, report.missed, report.script_failed, report.scripted), (1, 3, 1, 3), "{report:?}");
    assert_eq!(entered(&world).await, ["1"]);
    let reasons = missed(&world);
    let expected = [
        ("2", "score: {at_least: 0.7} (score was 0.4)"),
        ("3", "script failed: scripts/lib/worth.rhai:6: it threw an error"),
        ("4", "country: AT"),
        ("5", "country: AT"),
    ];
    assert_eq!(reasons, expected.map(|(key, reason)| (key.to_owned(), reason.to_owned())));
    assert!(report.waits_at.is_some(), "whoever could not be judged is asked again");

    world.crm.run("UPDATE accounts SET name = 'high' WHERE id = 3").await;
    world.clock.advance(hours(1));
    sweep(&world).await;
    assert_eq!(entered(&world).await, ["1", "3"], "nobody is lost to a script that failed");
}

#[tokio::test]
async fn people_see_the_score_wherever_they_ask() {
    let world = world(Kind::Sqlite, &[("high", "AT"), ("low", "AT"), ("broken", "AT"), ("low", "DE")]).await;
    load(&world, &rule(WHERE, WEBHOOK), SCRIPT, WORTH).await;
    world.pass(hours(2)).await;
    let (generation, sender) = (world.generation(), nothing());
    let previewer = previewer(&world, &generation, &sender);
    let id = RuleId::from("worthy");
    let told = explain(&previewer, &id, &customer("2")).await.unwrap();
    let operand = &told.terms[0].operands[0];
    let low = Value::Decimal("0.4".parse().unwrap());
    assert_eq!((operand.name.as_str(), &operand.value, operand.holds), ("score", &low, Some(false)));
    assert_eq!(told.score, Some(Ok("0.4".parse().unwrap())));
    assert!(told.verdict.to_string().contains("but `score: {at_least: 0.7}` is not true (score was 0.4)"));
    // SQL decides about the fourth, but whoever asks sees its score.
    let told = explain(&previewer, &id, &customer("4")).await.unwrap();
    assert_eq!((told.terms[0].holds, told.terms[0].operands[0].value.clone()), (Some(false), low));
    assert!(matches!(&told.verdict, Verdict::Fails { term, .. } if term == "country: AT"), "{}", told.verdict);
    let told = explain(&previewer, &id, &customer("3")).await.unwrap();
    assert!(matches!(&told.verdict, Verdict::ScriptFailed { problem } if problem.contains("lib/worth.rhai:6")));

    let stories = why(&previewer, &customer("2"), world.ago(days(5))).await.unwrap();
    assert!(stories[0].outcome.text.contains("(score was 0.4)"), "{:?}", stories[0].outcome);

    let (from, until) = (world.ago(days(1)), world.now());
    let source = &*world.source;
    let backtester = Backtester { generation: &generation, source, store: None, from, until, every: None, batch: 2 };
    let told = backtester.run(&id, |_| {}).await.unwrap();
    assert_eq!((told.total.crossed, told.total.matched, told.unjudged), (4, 1, 1), "{told:?}");
}

#[tokio::test]
async fn the_score_is_asked_again_before_every_message_and_by_branches_and_goals() {
    let steps = "  - branch:\n      cases:\n        - {name: best, when: {score: {above: 0.95}}, steps: [stop: {}]}\n      \
                 otherwise:\n        - webhook: {to: sink, id: first}\n        - wait: {for: 1 day}\n        \
                 - webhook: {to: sink, id: second}\n";
    let goal = "goal: {name: worth nothing, when: {score: {below: 0.1}}}\n";
    let people = [("high", "AT"), ("high", "AT"), ("high", "AT"), ("text", "AT")];
    let world = world(Kind::Sqlite, &people).await;
    load(&world, &rule(&format!("{WHERE}{goal}"), steps), SCRIPT, WORTH).await;
    world.pass(hours(2)).await;
    assert_eq!(world.webhooks.take().len(), 3, "the fourth is the best of all");
    world.crm.run("UPDATE accounts SET name = 'low' WHERE id = 1").await;
    world.crm.run("UPDATE accounts SET name = 'broken' WHERE id = 2").await;
    world.pass(days(1)).await;
    assert_eq!(world.webhooks.take().len(), 1, "one has fallen below, of one nothing is known");
    let held: Vec<_> =
        world.enrollments().await.into_iter().filter(|view| view.state == EnrollmentState::Held).collect();
    assert_eq!(held.iter().map(|view| view.record.clone().unwrap()).collect::<Vec<_>>(), [customer("2")]);
    let ended = world.deliveries().await.into_iter().find(|(state, _)| state == "ended").unwrap();
    assert!(ended.1.contains("score: {at_least: 0.7} (score was 0.4)"), "{ended:?}");

    // Once the script is repaired, it goes on where it stood.
    let repaired = WORTH.replace("_ => throw name", "_ => 0.05");
    load(&world, &rule(&format!("{WHERE}{goal}"), steps), SCRIPT, &repaired).await;
    world.engine.dispatch_due().await.unwrap();
    assert_eq!(world.webhooks.take().len(), 0);
    let ended = world.deliveries().await.into_iter().any(|(_, detail)| detail.contains("worth nothing"));
    assert!(ended, "{:?}", world.deliveries().await);
}

fn six_broken_and_four_high() -> Vec<(&'static str, &'static str)> {
    [vec![("broken", "AT"); 6], vec![("high", "AT"); 4]].concat()
}

async fn status(world: &World) -> RuleStatus {
    world.store.rule_states().await.unwrap().remove(0).status
}

#[tokio::test]
async fn a_script_that_fails_for_many_holds_its_rule_and_loses_nobody() {
    let world = world(Kind::Sqlite, &six_broken_and_four_high()).await;
    let rule = rule(WHERE, WEBHOOK);
    load(&world, &rule, SCRIPT, WORTH).await;
    world.pass(hours(2)).await;
    assert_eq!(world.webhooks.take().len(), 4, "those it judged");
    let RuleStatus::Held(reason) = status(&world).await else { panic!("{:?}", status(&world).await) };
    assert_eq!(
        reason,
        "its script failed for 6 of 10 records, more than 5 %; the first: script failed: \
         scripts/lib/worth.rhai:6: it threw an error"
    );
    let [(to, subject)] = world.mail.mails().try_into().unwrap();
    assert_eq!((to.as_str(), subject.as_str()), ("team@acme.example", "[nudged] The rule worthy is held"));
    assert!(world.events().iter().any(|event| matches!(event, Event::RuleTripped { .. })));

    // It rests, whatever happens, and also over a reload that changes nothing.
    load(&world, &rule, SCRIPT, WORTH).await;
    world.clock.advance(days(3));
    assert_eq!(world.engine.sweep_rule(&"worthy".into()).await.unwrap(), [Swept::NotOurs]);

    let before = world.store.rule_states().await.unwrap().remove(0).baseline;
    load(&world, &rule, SCRIPT, &WORTH.replace("throw name", "0.8")).await;
    assert_eq!(status(&world).await, RuleStatus::Running);
    assert_eq!(world.store.rule_states().await.unwrap().remove(0).baseline, before, "a repair is no new rule");
    world.turn().await;
    assert_eq!(world.webhooks.take().len(), 6, "those it had failed for");
}

/// Nobody's `score` is asked by the sweep, which asks about many: what fails before messages counts by itself.
#[tokio::test]
async fn a_script_that_fails_before_many_messages_holds_its_rule() {
    let enrich = "import \"lib/worth\" as worth;\nfn enrich(record, now) { #{ worth: worth::of(record.name) } }\n";
    let world = world(Kind::Sqlite, &six_broken_and_four_high()).await;
    load(&world, &rule("", WEBHOOK), enrich, WORTH).await;
    world.pass(hours(2)).await;
    assert_eq!(world.webhooks.take().len(), 4, "those it has something to say about");
    let failed = |event: &Event| matches!(event, Event::ScriptFailed { rule } if rule.as_str() == "worthy");
    assert_eq!(world.events().iter().filter(|event| failed(event)).count(), 6);
    world.pass(hours(1)).await;
    let RuleStatus::Held(reason) = status(&world).await else { panic!("{:?}", status(&world).await) };
    assert_eq!(
        reason,
        "its script failed for 6 of 10 records within a day, more than 5 %; the first: scripts/lib/worth.rhai:6: \
         it threw an error"
    );
    let mails = world.mail.mails();
    assert!(mails.iter().any(|(_, subject)| subject == "[nudged] The rule worthy is held"), "{mails:?}");

    load(&world, &rule("", WEBHOOK), enrich, &WORTH.replace("throw name", "0.8")).await;
    assert_eq!(status(&world).await, RuleStatus::Running);
    world.engine.dispatch_due().await.unwrap();
    assert_eq!(world.webhooks.take().len(), 6, "the repair frees those it had failed for");
}

#[tokio::test]
async fn an_operator_frees_a_rule_that_its_script_holds() {
    let world = world(Kind::Sqlite, &six_broken_and_four_high()).await;
    load(&world, &rule(WHERE, WEBHOOK), SCRIPT, WORTH).await;
    world.pass(hours(2)).await;
    assert!(matches!(status(&world).await, RuleStatus::Held(_)));
    world.crm.run("UPDATE accounts SET name = 'high'").await;
    world.store.set_paused(&"worthy".into(), false).await.unwrap();
    assert_eq!(status(&world).await, RuleStatus::Running);
    world.pass(hours(1)).await;
    assert_eq!(world.webhooks.take().len(), 10);
}

#[tokio::test]
async fn a_few_odd_records_hold_nothing() {
    let people = [vec![("broken", "AT"); 4], vec![("high", "AT"); 1]].concat();
    let world = world(Kind::Sqlite, &people).await;
    load(&world, &rule(WHERE, WEBHOOK), SCRIPT, WORTH).await;
    world.pass(hours(2)).await;
    assert_eq!(status(&world).await, RuleStatus::Running);
}

#[tokio::test]
async fn a_rule_that_asks_about_few_records_is_held_within_a_day() {
    let world = world(Kind::Sqlite, &[("broken", "AT"), ("broken", "AT")]).await;
    load(&world, &rule(WHERE, WEBHOOK), SCRIPT, WORTH).await;
    world.pass(hours(2)).await;
    assert_eq!(status(&world).await, RuleStatus::Running, "it may be a passing trouble");
    for _ in 0..3 {
        world.pass(hours(2)).await;
    }
    let RuleStatus::Held(reason) = status(&world).await else { panic!("{:?}", status(&world).await) };
    assert!(reason.starts_with("its script failed for 2 of 2 records within a day"), "{reason}");
    let mails = world.mail.mails();
    assert!(mails.iter().any(|(_, subject)| subject == "[nudged] The rule worthy is held"), "{mails:?}");
}

#[tokio::test]
async fn editing_a_module_edits_the_rules_that_import_it() {
    let world = world(Kind::Sqlite, &[]).await;
    let rule = rule(WHERE, WEBHOOK);
    let definition = |script: &str, module: &str| {
        let files =
            [("worthy.yaml", rule.as_str()), ("scripts/worth.rhai", script), ("scripts/lib/worth.rhai", module)];
        world.build(&files).rules["worthy"].definition.clone()
    };
    let alone = "fn score(record, now) { 1 }";
    assert_ne!(definition(SCRIPT, WORTH), definition(SCRIPT, &WORTH.replace("0.4", "0.5")));
    assert_eq!(definition(alone, WORTH), definition(alone, &WORTH.replace("0.4", "0.5")), "not its module");
}

#[tokio::test]
async fn a_field_of_the_name_hides_no_script_in_silence() {
    let world = world(Kind::Sqlite, &[]).await;
    let rule = "version: 1\nid: answers\nmode: live\npurpose: service\nfor_each: response\nscript: worth.rhai\n\
                trigger: {created: {}}\nwhere:\n  - score: {at_most: 6}\nsteps:\n  - webhook: {to: sink}\n";
    let found = world.findings(&[("answers.yaml", rule), ("scripts/worth.rhai", "fn score(record, now) { 1 }")]);
    let text = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("scripts/worth.rhai:1:1: error[script.hidden-score]"), "{text}");
    let other = [("answers.yaml", rule), ("scripts/worth.rhai", "fn eligible(record, now) { true }")];
    assert_eq!(world.findings(&other), [], "the field is what the condition means");
}

/// A column that the catalog doesn't declare, or declares under another name, is in nobody's way; with the database and
/// without, the condition means the script.
#[tokio::test]
async fn an_undeclared_column_of_the_name_hides_no_score() {
    for field in ["", "rating: score, "] {
        let catalog = format!(
            "version: 1\ntime_zone: Europe/Vienna\nentities:\n  lead: {{table: leads, key: id, at: made, fields: {{{field}name: name}}}}\n"
        );
        let tables = "CREATE TABLE leads (id INTEGER PRIMARY KEY, name VARCHAR(20), made {instant}, score INTEGER)";
        let setup = Setup { catalog, own_tables: Some(tables.to_owned()), ..Setup::of(Kind::Sqlite, instant(START)) };
        let world = World::set_up(setup).await;
        let rule = "version: 1\nid: answers\nmode: live\npurpose: service\nfor_each: lead\nscript: worth.rhai\n\
                    trigger: {created: {}}\nwhere:\n  - score: {at_least: 6}\nsteps:\n  - webhook: {to: sink}\n";
        let files = [("answers.yaml", rule), ("scripts/worth.rhai", "fn score(record, now) { 7 }")];
        assert_eq!(world.findings(&files), [], "{field}: with the tables at hand");
        let live = world.build(&files);
        let offline = Surroundings { schema: None, ..(*live.surroundings).clone() };
        assert!(Generation::build(live.tree, &offline).is_ok(), "{field}: and without");
    }
}

const PLANNED: &str = "version: 1
id: worthy
description: Every morning, those who are worth it.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger: {schedule: {cron: \"0 8 * * *\"}}
where:
  - score: {at_least: 0.7}
  - any: [{score: {at_least: 0.95}}, {country: AT}]
  - country: {in: [AT, DE]}
script: worth.rhai
guard: {floor: 1000}
steps:
  - webhook: {to: sink}
";

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn a_schedule_leaves_the_score_to_the_evaluation(#[case] kind: Kind) {
    let world = world(kind, &[("high", "AT"), ("low", "AT"), ("high", "DE"), ("text", "DE"), ("high", "CH")]).await;
    load(&world, PLANNED, SCRIPT, WORTH).await;
    world.clock.advance(days(1));
    let report = sweep(&world).await;
    assert_eq!(entered(&world).await, ["1", "4"]);
    // The Swiss is no crosser: that much the database is asked. One was there before, whom the script can't stand.
    assert_eq!((report.crossed, report.missed, report.script_failed), (5, 2, 1), "{report:?}");
    let (generation, sender) = (world.generation(), nothing());
    let told = explain(&previewer(&world, &generation, &sender), &"worthy".into(), &customer("2")).await.unwrap();
    assert_eq!(told.verdict.failed_term(), Some("score: {at_least: 0.7} (score was 0.4)"), "{}", told.verdict);
}

#[tokio::test]
async fn a_simulation_says_that_the_script_holds_the_rule() {
    let mut people = vec![("high", "AT"); 10];
    people.extend([("broken", "AT"); 10]);
    let world = world(Kind::Sqlite, &people).await;
    load(&world, &rule(WHERE, WEBHOOK), SCRIPT, WORTH).await;
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap();
    let simulator = Simulator {
        source: world.source.clone(),
        store: Arc::new(store),
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + days(2),
        only: Vec::new(),
    };
    let days = simulator.run(|_| {}).await.unwrap();
    let held = &days[&RuleId::from("worthy")].held;
    assert!(held.len() == 1 && held[0].starts_with("its script failed for 10 of 20 records"), "{held:?}");
}

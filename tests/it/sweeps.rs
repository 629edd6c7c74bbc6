//! Single behaviours of sweeps over real sources. That they find whom they should is shown in `oracle`.

use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Kind, World, days, hours, minutes};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use nudged::catalog::{Schema, Table};
use nudged::engine::port::{
    EnrollmentView, Found, NewMatch, Owner, Progress, Rematch, RuleStatus, Source, SourceError, Store, SweepId, Verdict,
};
use nudged::engine::{Engine, Event, PreviewScope, Previewer, Settings, Swept, preview};
use nudged::model::{EndReason, Lane, MatchIdentity, Occasion, RecordId, RuleId, Tenant};
use nudged::rule::statement::{Dialect, Row, Statement};
use nudged::store::postgres::PostgresStore;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const START: &str = "2026-10-10T07:00:00Z";

type Entry = (String, String);

/// What is in the ledger, and when it came there.
async fn entered(world: &World) -> BTreeMap<Entry, Timestamp> {
    // Matches that came too late are in the ledger as well, ended before they began.
    let acting = |view: &EnrollmentView| view.ended != Some(EndReason::Late);
    let enrollments = world.enrollments().await.into_iter().filter(acting);
    let entry = |view: EnrollmentView| {
        let key = view.record.unwrap().key.as_str().to_owned();
        ((key, view.occasion.unwrap().as_str().to_owned()), view.entered_at)
    };
    let mut seen = BTreeMap::new();
    for (entry, at) in enrollments.map(entry) {
        assert!(seen.insert(entry.clone(), at).is_none(), "{entry:?} matched twice");
    }
    seen
}

fn silence(days: i64, country: &str) -> String {
    format!(
        "version: 1
id: silence
description: Silent.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: {days} days}}
where:
  - country: {country}
check_every: 1 hour
on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
"
    )
}

fn occasion(at: Timestamp) -> String {
    format!("{at:.6}")
}

async fn with_silent(count: usize, settings: Settings, rule: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), settings).await;
    // Rules rest on a table that is not empty, so one customer is never silent.
    let fresh = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (0, 'Zoe', 'AT', {fresh})")).await;
    let ordered = world.crm.time(world.ago(days(10)) + minutes(30));
    for n in 1..=count {
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES ({n}, 'C{n}', 'AT', {fresh});
                 INSERT INTO orders VALUES ({n}, {n}, {ordered}, 'paid')"
            ))
            .await;
    }
    world.load(&[("silence.yaml", rule)]).await;
    world
}

async fn sweep(world: &World) -> nudged::engine::SweepReport {
    match world.engine.sweep_rule(&"silence".into()).await.unwrap().remove(0) {
        Swept::Done(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_breach_of_the_guard_holds_the_whole_sweep_for_review() {
    let rule = silence(10, "AT").replace("per_day: 100000", "per_day: 3");
    for batch in [2, 2_000] {
        let world = with_silent(5, Settings { batch, ..Settings::default() }, &rule).await;
        world.clock.advance(hours(1));
        let report = sweep(&world).await;
        assert!(report.held.as_ref().is_some_and(|reason| reason.contains("5 matches")), "{report:?}");
        assert_eq!(entered(&world).await.len(), 0);
        let states = world.store.rule_states().await.unwrap();
        assert!(matches!(states[0].status, RuleStatus::Held(_)));
        let held = world.store.held_sweeps().await.unwrap();
        assert_eq!((held.len(), held[0].matches), (1, 5));
        let id = SweepId(held[0].id.clone());
        world.store.decide_held(&id, true, world.now()).await.unwrap();
        world.clock.advance(hours(1));
        sweep(&world).await;
        world.engine.rescue().await.unwrap();
        assert_eq!(entered(&world).await.len(), 5, "released, and none twice");
    }
}

/// Runs the engine as the service does, until `done` holds.
async fn run_until(engine: &Engine, done: impl AsyncFnMut() -> bool) {
    let (stop, stopped) = watch::channel(false);
    let waiting = async {
        wait_until(PATIENCE, done).await;
        stop.send_replace(true);
    };
    tokio::join!(engine.run(stopped), waiting);
}

/// Who is silent gets a webhook at once.
fn prompt() -> String {
    silence(10, "AT").replace("  - wait: {for: 5 years}\n", "")
}

async fn guarded(batch: usize) -> (World, SweepId) {
    let rule = prompt().replace("per_day: 100000", "per_day: 3");
    let world = with_silent(5, Settings { batch, ..Settings::default() }, &rule).await;
    world.pass(hours(1)).await;
    let held = world.store.held_sweeps().await.unwrap();
    assert_eq!((held.len(), held[0].matches, world.webhooks.take().len()), (1, 5, 0));
    (world, SweepId(held[0].id.clone()))
}

#[tokio::test]
async fn a_held_sweep_acts_once_an_operator_has_released_it() {
    for batch in [2, 2_000] {
        let (world, id) = guarded(batch).await;
        let mut released = false;
        // Released while the daemon runs, by another process.
        run_until(&world.engine_over(world.source.clone(), world.store.clone(), quick(batch)), async || {
            if !released {
                world.store.decide_held(&id, true, world.now()).await.unwrap();
                released = true;
            }
            world.webhooks.messages.lock().unwrap().len() == 5
        })
        .await;
        assert_eq!(world.webhooks.take().len(), 5);
    }
}

fn quick(batch: usize) -> Settings {
    Settings { batch, rescue_every: Duration::from_millis(20), ..Settings::default() }
}

#[tokio::test]
async fn a_dropped_sweep_ends_without_acting() {
    let (world, id) = guarded(2).await;
    world.store.decide_held(&id, false, world.now()).await.unwrap();
    world.engine.rescue().await.unwrap();
    world.turn().await;
    assert_eq!(world.webhooks.take().len(), 0);
    let ended: Vec<_> = world.enrollments().await.into_iter().map(|view| view.ended).collect();
    assert_eq!(ended, [Some(EndReason::Cancelled); 5], "nothing stays staged");
    world.pass(hours(1)).await;
    assert_eq!(world.enrollments().await.len(), 5, "they are in the ledger and never match again");
}

#[tokio::test]
async fn a_crash_between_the_end_of_a_large_sweep_and_its_first_steps_loses_nobody() {
    let world = with_silent(5, Settings::default(), &prompt()).await;
    world.clock.advance(hours(1));
    // What a sweep in batches leaves behind that is killed right after its closing transaction.
    let owner = Owner("killed".into());
    let lease = world.store.begin_sweep(&"silence".into(), Lane::Live, &"".into(), &owner).await.unwrap().unwrap();
    let id = SweepId("silence/live//1".into());
    let matches: Vec<NewMatch> = (1..=5).map(|key| staged(&world, &key.to_string())).collect();
    for batch in matches.chunks(2) {
        world.store.stage(&lease, &id, &Found { matches: batch.to_vec(), ..Found::default() }).await.unwrap();
    }
    let now = world.now();
    let progress = Progress { watermark: now, swept_at: now, ..lease.progress.clone() };
    world.store.close_sweep(&lease, &id, &Verdict::Released, &progress).await.unwrap();

    run_until(
        &world.engine_over(world.source.clone(), world.store.clone(), Settings { batch: 2, ..quick(2) }),
        async || world.webhooks.messages.lock().unwrap().len() == 5,
    )
    .await;
    assert_eq!(entered(&world).await.len(), 5);
}

fn staged(world: &World, key: &str) -> NewMatch {
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() };
    let last = world.ago(days(10)) - minutes(30);
    let occasion: Occasion = occasion(last).as_str().into();
    let secret = world.store.secret();
    let (rule, lane) = (RuleId::from("silence"), Lane::Live);
    let identity = MatchIdentity { rule: rule.clone(), lane, record: record.clone(), occasion: occasion.clone() };
    NewMatch {
        id: secret.match_id(&identity),
        former: Vec::new(),
        track: secret.track(&rule, lane, &record),
        former_tracks: Vec::new(),
        tolerance: None,
        version: world.generation().rules[&rule].version.clone(),
        rule,
        lane,
        record,
        occasion,
        occasion_at: Some(last),
        occasion_data: serde_json::json!({}),
        crossed_at: world.now(),
        matched_at: world.now(),
        planned_at: world.now(),
        entry: 0,
        first: Some((0, world.now())),
        skip: None,
        restart: Rematch::Parallel,
    }
}

/// A source that misbehaves when asked for rows, as often as it was told to.
struct Moody {
    inner: Arc<dyn Source>,
    moods: Mutex<VecDeque<Mood>>,
    hanging: watch::Sender<bool>,
}

enum Mood {
    Panic,
    Hang,
}

impl Moody {
    fn new(inner: &Arc<dyn Source>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), moods: Mutex::default(), hanging: watch::Sender::new(false) })
    }

    fn next(&self, mood: Mood) {
        self.moods.lock().unwrap().push_back(mood);
    }
}

#[async_trait]
impl Source for Moody {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        self.inner.now().await
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        let mood = self.moods.lock().unwrap().pop_front();
        match mood {
            None => self.inner.rows(tenant, statement),
            Some(Mood::Panic) => panic!("as told"),
            Some(Mood::Hang) => {
                self.hanging.send_replace(true);
                futures::stream::pending().boxed()
            }
        }
    }

    async fn write(&self, tenant: &Tenant, statements: Vec<Statement>) -> Result<Vec<u64>, SourceError> {
        self.inner.write(tenant, statements).await
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.inner.schema(tables).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.inner.prepare(statement).await
    }
}

#[tokio::test]
async fn a_sweep_that_panics_is_told_and_tried_again() {
    let world = with_silent(1, Settings::default(), &prompt()).await;
    world.clock.advance(hours(1));
    let source = Moody::new(&world.source);
    let engine = world.engine_over(source.clone(), world.store.clone(), Settings::default());
    engine.adopt().await.unwrap();
    let mut events = engine.events();
    source.next(Mood::Panic);
    run_until(&engine, async || {
        while let Ok(event) = events.try_recv() {
            if matches!(event, Event::SweepFailed { .. }) {
                world.clock.advance(minutes(2));
            }
        }
        world.webhooks.messages.lock().unwrap().len() == 1
    })
    .await;
    assert!(source.moods.lock().unwrap().is_empty(), "it did panic");
}

/// A rule that is due, on a state that nodes share, whose leases last a moment.
async fn due_on_shared_state() -> (World, crate::support::Database, Arc<dyn Store>) {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", MONDAYS)]).await;
    let created = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created})")).await;
    let database = tokio::task::spawn_blocking(crate::support::postgres).await.unwrap();
    let store = PostgresStore::open(&database.url, world.now()).await.unwrap().with_lease(Duration::from_secs(1));
    let store: Arc<dyn Store> = Arc::new(store);
    world.engine_over(world.source.clone(), store.clone(), Settings::default()).adopt().await.unwrap();
    // Monday, ten o'clock in Vienna.
    world.clock.advance(days(2) + hours(1));
    (world, database, store)
}

#[tokio::test]
async fn a_planned_turn_survives_the_death_of_who_had_taken_it() {
    let (world, _database, store) = due_on_shared_state().await;
    let begun = store.begin_sweep(&"mondays".into(), Lane::Live, &"".into(), &Owner("dead".into())).await.unwrap();
    assert!(begun.is_some());
    let engine = world.engine_over(world.source.clone(), store, Settings::default());
    run_until(&engine, async || world.webhooks.messages.lock().unwrap().len() == 1).await;
}

#[tokio::test]
async fn a_stop_gives_up_the_sweep_that_it_cuts_off() {
    let (world, database, store) = due_on_shared_state().await;
    let source = Moody::new(&world.source);
    let engine = world.engine_over(source.clone(), store.clone(), Settings::default());
    engine.adopt().await.unwrap();
    source.next(Mood::Hang);
    run_until(&engine, async || *source.hanging.borrow()).await;
    let states = sqlx::PgPool::connect(&database.url).await.unwrap();
    let owners: Vec<Option<String>> =
        sqlx::query_scalar("SELECT owner FROM rule_state").fetch_all(&states).await.unwrap();
    assert_eq!(owners, [None]);
}

#[tokio::test]
async fn a_resumed_rule_makes_up_for_the_turn_it_was_paused_at() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", MONDAYS)]).await;
    let created = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created})")).await;
    world.store.set_paused(&"mondays".into(), true).await.unwrap();
    world.clock.advance(days(2) + hours(1));
    let source = Moody::new(&world.source);
    let engine = world.engine_over(source, world.store.clone(), quick(100));
    let mut looks = 0;
    run_until(&engine, async || {
        looks += 1;
        if looks == 20 {
            // By now the first look has been turned away.
            world.store.set_paused(&"mondays".into(), false).await.unwrap();
        }
        world.webhooks.messages.lock().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn an_outage_longer_than_late_enters_but_does_not_act() {
    let rule = silence(10, "AT").replace("within 5 years", "within 2 days");
    let world = with_silent(1, Settings::default(), &rule).await;
    world.clock.advance(days(3));
    let report = sweep(&world).await;
    assert_eq!((report.matched, report.late, report.entered), (1, 1, 1));
    assert_eq!(entered(&world).await.len(), 0);
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 0, "it is in the ledger");
}

#[tokio::test]
async fn what_a_baseline_leaves_out_is_counted() {
    let world = with_silent(4, Settings::default(), &silence(10, "AT")).await;
    let edited = silence(9, "AT");
    world.load(&[("silence.yaml", &edited)]).await;
    let states = world.store.rule_states().await.unwrap();
    assert_eq!(states[0].left_out, Some(4), "silent for nine days before the edit");
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 0);
}

#[tokio::test]
async fn backfill_takes_in_who_was_silent_before() {
    let rule = silence(9, "AT").replace("check_every", "backfill: 30 days\ncheck_every");
    let world = with_silent(4, Settings::default(), &rule).await;
    world.clock.advance(minutes(1));
    assert_eq!(sweep(&world).await.matched, 4);
}

#[tokio::test]
async fn a_step_back_of_the_clock_waits_and_loses_nothing() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    world.clock.advance(minutes(10));
    sweep(&world).await;
    world.clock.advance(-minutes(5));
    let swept = world.engine.sweep_rule(&"silence".into()).await.unwrap();
    assert!(matches!(&swept[..], [Swept::Postponed(reason)] if reason.contains("stepped back")), "{swept:?}");
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 1);
}

#[tokio::test]
async fn an_emptied_table_holds_the_watermark() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    sweep(&world).await;
    world.crm.run("ALTER TABLE accounts RENAME TO safe; CREATE TABLE accounts AS SELECT * FROM safe WHERE 1 = 0").await;
    world.clock.advance(hours(1));
    let swept = world.engine.sweep_rule(&"silence".into()).await.unwrap();
    assert!(matches!(&swept[..], [Swept::Postponed(reason)] if reason.contains("no customer records")), "{swept:?}");
    world.crm.run("DROP TABLE accounts; ALTER TABLE safe RENAME TO accounts").await;
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 1);
}

#[tokio::test]
async fn a_table_emptied_within_the_hour_or_over_a_restart_holds_the_watermark() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    sweep(&world).await;
    world.crm.run("ALTER TABLE accounts RENAME TO safe; CREATE TABLE accounts AS SELECT * FROM safe WHERE 1 = 0").await;
    world.clock.advance(minutes(10));
    let restarted = world.engine_over(world.source.clone(), world.store.clone(), Settings::default());
    for engine in [&world.engine, &restarted] {
        let swept = engine.sweep_rule(&"silence".into()).await.unwrap();
        assert!(
            matches!(&swept[..], [Swept::Postponed(reason)] if reason.contains("no customer records")),
            "{swept:?}"
        );
    }
    // A rule that never saw a record has nothing to miss.
    world.load(&[("silence.yaml", &silence(9, "AT"))]).await;
    world.clock.advance(hours(1));
    sweep(&world).await;
}

#[tokio::test]
async fn a_miss_says_which_term_failed() {
    let world = with_silent(1, Settings::default(), &silence(10, "DE")).await;
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.missed, 1);
    let reasons: Vec<String> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Missed { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains("country"), "{reasons:?}");
    // Within `keep_trying` a later sweep gives it another chance.
    world.crm.run("UPDATE accounts SET country_code = 'DE'").await;
    world.clock.advance(days(1));
    assert_eq!(sweep(&world).await.matched, 1);
}

#[tokio::test]
async fn unchanged_rules_keep_their_timers_over_a_reload() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    world.clock.advance(minutes(40));
    world
        .load(&[
            ("silence.yaml", &silence(10, "AT")),
            ("other.yaml", &silence(9, "AT").replace("id: silence", "id: other")),
        ])
        .await;
    world.clock.advance(minutes(20));
    let swept = world.engine.sweep_due().await.unwrap();
    let rules: Vec<_> = swept
        .iter()
        .map(|swept| match swept {
            Swept::Done(report) => report.rule.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rules, ["silence"], "due an hour after its adoption; the new rule is not");
}

#[tokio::test]
async fn the_night_finds_what_was_deleted_behind_the_watermark() {
    // `keep_trying: 1 hour` leaves the finding to the reconcile.
    let rule = silence(10, "AT").replace("check_every", "keep_trying: 1 hour\ncheck_every");
    let world = with_silent(1, Settings::default(), &rule).await;
    let fresh = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (99, 1, {fresh}, 'paid')")).await;
    world.clock.advance(hours(3));
    assert_eq!(sweep(&world).await.crossed, 0);
    // The newest order was a mistake: the silence is ten days old after all, since three hours.
    world.crm.run("DELETE FROM orders WHERE id = 99").await;
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.crossed, 0, "behind the watermark, beyond the overlap");
    world.clock.advance(hours(20));
    sweep(&world).await;
    assert_eq!(entered(&world).await.len(), 1);
    let reconciled = world.events().into_iter().any(|event| match event {
        Event::SweepFinished(report) => report.reconcile && report.entered == 1,
        _ => false,
    });
    assert!(reconciled);
}

const SURVEY: &str = "version: 1
id: survey
description: Low scores.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  survey: {of: responses, kind: nps, score: {at_most: 6}, settle: 1 hour}
where:
  - country: AT
check_every: 1 hour
on_rematch: parallel
steps:
  - webhook: {to: sink, body: {score: \"{{ occasion.value }}\"}}
";

#[tokio::test]
async fn each_answer_in_range_matches_once_after_it_settled() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("survey.yaml", SURVEY)]).await;
    let at = |ago| world.crm.time(world.now() - minutes(ago));
    let (just_now, before) = (at(-30), at(10));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (1, 'Ada', 'AT', {before}), (2, 'Bob', 'FR', {before});
             INSERT INTO surveys VALUES (1, 1, 'nps', 3, {just_now}), (2, 1, 'nps', 9, {just_now}),
                 (3, 1, 'csat', 1, {just_now}), (4, 1, 'nps', 6, {just_now}), (5, 2, 'nps', 0, {just_now}),
                 (6, 1, 'nps', 0, NULL)"
        ))
        .await;
    world.clock.advance(minutes(75));
    world.turn().await;
    assert_eq!(world.webhooks.take().len(), 0, "not settled");
    world.pass(hours(1)).await;
    let matched: Vec<Entry> = entered(&world).await.into_keys().collect();
    assert_eq!(matched, [("1".into(), "1".into()), ("1".into(), "4".into())]);
    assert_eq!(world.webhooks.take().len(), 2);
    // One chance only: moving to Austria later changes nothing for an old answer.
    world.crm.run("UPDATE accounts SET country_code = 'AT'").await;
    for _ in 0..4 {
        world.pass(hours(12)).await;
    }
    assert_eq!(entered(&world).await.len(), 2);
}

const MONDAYS: &str = "version: 1
id: mondays
description: Every Monday morning.
mode: live
purpose: staff
for_each: customer
to: main_contact
trigger:
  schedule: {cron: \"0 9 * * MON\"}
where:
  - country: AT
on_rematch: parallel
steps:
  - webhook: {to: sink}
";

#[tokio::test]
async fn a_schedule_makes_up_for_missed_instants_once() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", MONDAYS)]).await;
    let created = world.crm.time(world.now());
    world
        .crm
        .run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created}), (2, 'Bob', 'FR', {created})"))
        .await;
    world.pass(days(1)).await;
    assert_eq!(world.webhooks.take().len(), 0, "Sunday");
    world.pass(days(1)).await;
    assert_eq!(world.webhooks.take().len(), 1, "Monday, nine o'clock in Vienna");
    // Three Mondays go by while nobody looks.
    world.pass(days(22)).await;
    assert_eq!(world.webhooks.take().len(), 1);
    let occasions: Vec<String> = entered(&world).await.into_keys().map(|(_, occasion)| occasion).collect();
    assert_eq!(occasions.len(), 2);
    // 3 November is a Tuesday.
    assert!(occasions[1].starts_with("2026-11-02T08:00:00"), "the latest, in winter time: {occasions:?}");
}

/// A script that fails on whoever has no name.
const NAMED: (&str, &str) = ("scripts/named.rhai", "fn eligible(record, now) { record.name.len() > 0 }");

#[tokio::test]
async fn a_script_that_failed_at_a_planned_instant_is_asked_again_before_the_next() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", &MONDAYS.replace("on_rematch", "script: named.rhai\non_rematch")), NAMED]).await;
    let created = world.crm.time(world.now());
    world
        .crm
        .run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created}), (2, NULL, 'AT', {created})"))
        .await;
    world.pass(days(2)).await;
    let monday = instant("2026-10-12T07:00:00Z");
    assert_eq!(world.now(), monday);
    assert_eq!(entered(&world).await.len(), 1);
    world.events();
    world.pass(minutes(4)).await;
    assert!(world.events().is_empty(), "not swept again at once");
    world.crm.run("UPDATE accounts SET name = 'Bob' WHERE id = 2").await;
    world.pass(minutes(1)).await;
    let both = ["1", "2"].map(|key| (key.to_owned(), "2026-10-12T07:00:00.000000Z".to_owned()));
    assert_eq!(entered(&world).await.into_keys().collect::<Vec<_>>(), both, "of the same occasion");
    world.events();
    world.pass(hours(1)).await;
    assert!(world.events().is_empty(), "nothing is left to ask");
}

#[tokio::test]
async fn a_zone_that_nobody_knows_is_reported() {
    let world = with_silent(3, Settings::default(), &silence(10, "AT")).await;
    world
        .crm
        .run(
            "INSERT INTO contacts VALUES (7, 1, NULL, 'A', 'Europe/Vienna', true), (8, 2, NULL, 'B', 'Mars/Olympus', true),
                 (9, 3, NULL, 'C', NULL, true)",
        )
        .await;
    world.clock.advance(hours(1));
    let report = sweep(&world).await;
    assert_eq!((report.matched, report.zone_unknown), (3, 1));
    assert_eq!(report.zone_unknown_of.unwrap().key.as_str(), "2");
}

#[tokio::test]
async fn a_wider_where_with_a_backfill_takes_in_whom_the_old_one_refused() {
    let rule = silence(10, "AT").replace("country: AT", "name: C1");
    let rule = rule.replace("check_every", "backfill: all\nkeep_trying: 1 day\ncheck_every");
    let world = with_silent(2, Settings::default(), &rule).await;
    world.clock.advance(hours(1));
    let report = sweep(&world).await;
    assert_eq!((report.matched, report.missed), (1, 1));
    // Beyond `keep_trying` the refusal stands, and a preview of what runs says so.
    world.clock.advance(days(2));
    world.crm.run("UPDATE accounts SET name = 'C1' WHERE id = 2").await;
    let generation = world.generation();
    let of = [PreviewScope::Records(vec!["2".into()])];
    let found = preview(&previewer(&world, &generation), &"silence".into(), &of[0]).await.unwrap();
    assert!(found.matches.is_empty() && found.misses[0].2.contains("`keep_trying` is over"), "{found:?}");
    assert_eq!(sweep(&world).await.matched, 0);

    world.load(&[("silence.yaml", &rule.replace("name: C1", "name: {in: [C1, C2]}"))]).await;
    let generation = world.generation();
    let found = preview(&previewer(&world, &generation), &"silence".into(), &of[0]).await.unwrap();
    assert_eq!(found.matches.len(), 1);
    world.clock.advance(minutes(1));
    assert_eq!(sweep(&world).await.entered, 1);
    assert_eq!(entered(&world).await.len(), 2);
}

fn previewer<'a>(world: &'a World, generation: &'a nudged::rule::generation::Generation) -> Previewer<'a> {
    static SENDER: std::sync::LazyLock<serde_json::Value> = std::sync::LazyLock::new(|| serde_json::json!({}));
    Previewer {
        generation,
        source: world.source.as_ref(),
        store: world.store.as_ref(),
        sender: &SENDER,
        now: world.now(),
        limit: 100,
    }
}

#[tokio::test]
async fn a_preview_shows_who_would_get_what_and_writes_nothing() {
    let world = with_silent(2, Settings::default(), &silence(10, "AT").replace("for: 5 years", "for: 2 days")).await;
    world.crm.run("UPDATE accounts SET country_code = 'DE' WHERE id = 2").await;
    world.clock.advance(hours(1));
    let generation = world.generation();
    let previewer = previewer(&world, &generation);
    for scope in [PreviewScope::LastInterval, PreviewScope::Records(vec!["1".into(), "2".into()])] {
        let found = preview(&previewer, &"silence".into(), &scope).await.unwrap();
        assert_eq!(found.matches.len(), 1, "{found:?}");
        let message = &found.matches[0].messages[0];
        assert_eq!((message.kind, message.due_at), ("webhook", world.now() + days(2)));
        assert!(message.content.is_ok(), "{message:?}");
        assert!(!found.matches[0].known);
        assert!(found.misses[0].2.contains("country"), "{:?}", found.misses);
    }
    assert_eq!(entered(&world).await.len(), 0);
    sweep(&world).await;
    let again = preview(&previewer, &"silence".into(), &PreviewScope::LastInterval).await.unwrap();
    assert!(again.matches[0].known);
}

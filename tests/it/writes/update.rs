//! `update`: values by the catalog's types, tags, and nothing twice.

use super::*;
use crate::catalog_shapes::written;
use crate::world::{Crm, hours, minutes};
use async_trait::async_trait;
use futures::stream::BoxStream;
use nudged::catalog::{ColumnSchema, Schema, Table};
use nudged::engine::port::{Deed, Done, SourceError};
use nudged::model::{Outcome, Tenant};
use nudged::rule::statement::{Dialect, Row, Statement};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

const RULE: &str = "where: [stage: lead]
steps:
  - update:
      set:
        stage: nurtured
        tier: vip
        seats: 5
        amount: 12.50
        active: true
        contacted_at: now
        renews_on: 2027-01-31
        owner_email: null
        note: \"Hello {{ record.name }}, it's \\\"you\\\"; DROP TABLE accounts\"
      add_tags: [nurtured, \"for {{ record.name }}\"]
      remove_tags: [cold]
";

/// Everything an update has to do with.
async fn all(world: &World) -> Vec<String> {
    let flag = if matches!(world.crm, Crm::Postgres(..)) { "CASE WHEN active THEN 1 ELSE 0 END" } else { "active" };
    let rows = format!(
        "SELECT id, stage, class, seats, CAST(amount * 100 AS DECIMAL(10, 0)), {flag}, contacted_at, renews_on, owner_email, note,
                untouched FROM accounts ORDER BY id"
    );
    let mut all = written(world, rows).await;
    all.extend(written(world, "SELECT account_id, tag FROM account_tags ORDER BY account_id, tag".to_owned()).await);
    all
}

#[tokio::test]
async fn an_update_writes_by_the_types_of_the_catalog_and_touches_nothing_else() {
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO accounts (id, name, stage, class, owner_email, untouched) VALUES (1, 'Ada', 'lead', 'C', 'x@y.example', 'as it was'), (2, 'Bob', 'won', 'C', 'x@y.example', 'as it was')").await;
        world.crm.run("INSERT INTO account_tags VALUES (1, 'cold'), (1, 'kept'), (2, 'cold')").await;
        world.load(&[("update.yaml", &hourly("nurture", RULE))]).await;
        world.pass(hours(1)).await;
        let seen = all(&world).await;
        let ada: Vec<&str> = seen[0].split(" | ").collect();
        assert_eq!(ada[4].trim_end_matches(".0"), "1250", "{kind:?}: {seen:?}");
        assert_eq!([ada[0], ada[1], ada[2], ada[3], ada[5]], ["1", "nurtured", "A", "5", "1"], "{kind:?}: {seen:?}");
        assert_eq!(
            ada[7..],
            ["2027-01-31", "null", "Hello Ada, it's \"you\"; DROP TABLE accounts", "as it was"],
            "{kind:?}"
        );
        // When the step was due, as the column keeps it.
        let hour = if kind == Kind::Postgres { "2026-11-20T13:30:00Z" } else { "14:30:00" };
        assert!(ada[6].contains(hour), "{kind:?}: {}", ada[6]);
        assert!(seen[1].starts_with("2 | won | C | null"), "{kind:?}: {seen:?}");
        assert_eq!(seen[2..], ["1 | for Ada", "1 | kept", "1 | nurtured", "2 | cold"], "{kind:?}");
        assert_eq!(world.enrollments().await.len(), 1, "{kind:?}");
        // Another match of the same: nothing changes any more.
        world.crm.run("UPDATE accounts SET stage = 'lead' WHERE id = 1").await;
        world.pass(hours(1)).await;
        let again = all(&world).await;
        assert_eq!(again.len(), 6, "{kind:?}: a tag is there once: {again:?}");
    }
}

const KEYED: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: {column: id, type: ${uuid}}
    fields: {note: {writable: true}}
    tags: {table: account_tags, record: account, tag: tag}
  device:
    table: devices
    key: {column: serial, type: bytes}
    fields: {note: {writable: true}}
    tags: {table: device_tags, record: device, tag: tag}
pools:
  vouchers:
    table: vouchers
    code: code
    taken: {taken_by: $ref, account: $record.key, account_text: $record.key}
    low_water: 0
";

/// Tables whose keys are UUIDs and bytes; tags hold them as their own table does, and as text.
fn keyed(kind: Kind) -> Setup {
    let (uuid, bytes, declared) = match kind {
        Kind::Postgres => ("UUID", "BYTEA", "uuid"),
        Kind::MariaDb => ("BINARY(16)", "VARBINARY(8)", "uuid_binary"),
        Kind::Sqlite => ("BLOB", "BLOB", "uuid_binary"),
    };
    let key = |hex: &str| match kind {
        Kind::Postgres => format!("'\\x{hex}'"),
        Kind::MariaDb | Kind::Sqlite => format!("x'{hex}'"),
    };
    let id = |end: u8| match kind {
        Kind::Postgres => format!("'0192f0c1-2222-7333-8444-5555666677{end:02}'"),
        Kind::MariaDb | Kind::Sqlite => format!("x'0192f0c12222733384445555666677{end:02}'"),
    };
    let tables = format!(
        "CREATE TABLE accounts (id {uuid} PRIMARY KEY, name VARCHAR(20), note VARCHAR(20));
         CREATE TABLE account_tags (account {uuid}, tag VARCHAR(20));
         CREATE TABLE devices (serial {bytes} PRIMARY KEY, name VARCHAR(20), note VARCHAR(20));
         CREATE TABLE device_tags (device VARCHAR(20), tag VARCHAR(20));
         CREATE TABLE vouchers (code VARCHAR(20) PRIMARY KEY, taken_by VARCHAR(80), account {uuid}, account_text VARCHAR(40));
         INSERT INTO accounts VALUES ({0}, 'Ada', 'old'), ({1}, 'Bob', 'as it was');
         INSERT INTO account_tags VALUES ({0}, 'cold'), ({1}, 'cold');
         INSERT INTO devices VALUES ({2}, 'pump', 'old'), ({3}, 'fan', 'as it was');
         INSERT INTO device_tags VALUES ('0x00ff01', 'cold'), ('0x27', 'cold');
         INSERT INTO vouchers (code) VALUES ('one');",
        id(1),
        id(2),
        key("00ff01"),
        key("27")
    );
    let catalog = KEYED.replace("${uuid}", declared);
    Setup { catalog, own_tables: Some(tables), ..Setup::of(kind, instant(START)) }
}

#[tokio::test]
async fn records_are_written_by_keys_that_are_uuids_and_bytes() {
    let rule = |entity: &str, more: &str| {
        let head = hourly(entity, "only_at_entry: [note: old]\n").replace("to: main_contact\n", "");
        let update = "{update: {set: {note: new}, add_tags: [warm], remove_tags: [cold]}}";
        format!("{}steps: [{update}{more}]\n", head.replace("for_each: customer", &format!("for_each: {entity}")))
    };
    let claim = ", {claim: {pool: vouchers, save: voucher, when_empty: skip}}";
    for kind in KINDS {
        let world = World::set_up(keyed(kind)).await;
        world.load(&[("customer.yaml", &rule("customer", claim)), ("device.yaml", &rule("device", ""))]).await;
        world.pass(hours(1)).await;
        // Two writes at once may deadlock in MariaDB, and the loser is tried again.
        world.pass(minutes(5)).await;
        let seen = async |sql: &str| written(&world, sql.to_owned()).await;
        let told = world.deliveries().await;
        let accounts =
            "SELECT a.name, a.note, t.tag FROM accounts a JOIN account_tags t ON t.account = a.id ORDER BY 1";
        assert_eq!(seen(accounts).await, ["Ada | new | warm", "Bob | as it was | cold"], "{kind:?}: {told:?}");
        let devices = seen("SELECT name, note FROM devices ORDER BY name").await;
        assert_eq!(devices, ["fan | as it was", "pump | new"], "{kind:?}: {told:?}");
        let tags = seen("SELECT device, tag FROM device_tags ORDER BY device").await;
        assert_eq!(tags, ["0x00ff01 | warm", "0x27 | cold"], "{kind:?}: {told:?}");
        let taken = seen("SELECT a.name, v.account_text FROM vouchers v JOIN accounts a ON a.id = v.account").await;
        assert_eq!(taken, ["Ada | 0192f0c1-2222-7333-8444-555566667701"], "{kind:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_waits_for_an_operator_and_writes_nothing() {
    let world = world(Kind::Postgres).await;
    world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'Ada', 'lead')").await;
    let rule = hourly("odd", "steps: [{update: {set: {stage: won, seats: \"{{ record.name }}\"}}}]\n");
    world.load(&[("odd.yaml", &rule)]).await;
    world.pass(hours(1)).await;
    let deliveries = world.deliveries().await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].0, "dead");
    assert!(deliveries[0].1.contains("`seats` can't be written: `Ada` is not a whole number"), "{deliveries:?}");
    assert_eq!(written(&world, "SELECT stage FROM accounts".to_owned()).await, ["lead"]);
}

#[tokio::test]
async fn in_shadow_nothing_is_written_and_what_would_be_is_recorded() {
    let world = world(Kind::Sqlite).await;
    world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'Ada', 'lead')").await;
    let rule = hourly("quiet", "steps: [{update: {set: {stage: won}, add_tags: [x]}}]\n").replace("live", "shadow");
    world.load(&[("quiet.yaml", &rule)]).await;
    world.pass(hours(1)).await;
    assert_eq!(written(&world, "SELECT stage FROM accounts".to_owned()).await, ["lead"]);
    let attempts = attempts(&world, "1").await;
    assert_eq!((attempts[0].1.as_str(), attempts[0].2.as_str()), ("recorded", "stage, +x"));
}

/// A source that doesn't come back once: before or after it has committed what it was given.
struct Hanging {
    inner: Arc<dyn Source>,
    hangs: AtomicBool,
    commits: bool,
    /// Instead the line is cut, and whoever asked hears of it.
    cuts: bool,
    there: Notify,
}

impl Hanging {
    fn over(world: &World, commits: bool) -> Arc<Self> {
        let (inner, hangs) = (Arc::clone(&world.source), AtomicBool::new(true));
        Arc::new(Self { inner, hangs, commits, cuts: false, there: Notify::new() })
    }

    /// It has committed, and its answer gets lost.
    fn cut_off(world: &World) -> Arc<Self> {
        let (inner, hangs) = (Arc::clone(&world.source), AtomicBool::new(true));
        Arc::new(Self { inner, hangs, commits: true, cuts: true, there: Notify::new() })
    }
}

#[async_trait]
impl Source for Hanging {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        self.inner.now().await
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        self.inner.rows(tenant, statement)
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        let hangs = self.hangs.swap(false, Ordering::SeqCst);
        if hangs && !self.commits {
            self.there.notify_one();
            std::future::pending::<()>().await;
        }
        let done = self.inner.transact(tenant, steps).await;
        if hangs && self.cuts {
            return Err(SourceError::Unavailable("the line was cut".to_owned()));
        }
        if hangs {
            self.there.notify_one();
            std::future::pending::<()>().await;
        }
        done
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.inner.schema(tables).await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        self.inner.describe(sql).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.inner.prepare(statement).await
    }
}

/// The process dies after the CRM has it and before the state does: the repeat changes nothing, and no rule takes the
/// write for somebody's work.
#[tokio::test]
async fn a_death_between_the_two_commits_repeats_a_write_that_changes_nothing() {
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'Ada', 'lead')").await;
        let update = hourly(
            "move",
            "where: [stage: lead]\nsteps: [{wait: {for: 30 minutes}}, {update: {set: {stage: won, contacted_at: now}}}]\n",
        )
        // The condition is about who enters; the step itself makes it false.
        .replace("where:", "only_at_entry:");
        let watch = "version: 1\nid: watch\nmode: live\npurpose: service\nfor_each: customer\n\
                     trigger: {changed: {field: stage}}\ncheck_every: 1 hour\nsteps: [{webhook: {to: sink}}]\n";
        world.load(&[("move.yaml", &update), ("watch.yaml", watch)]).await;
        world.pass(hours(1)).await;
        world.clock.advance(minutes(30));
        let hanging = Hanging::over(&world, true);
        let doomed = world.engine_over(hanging.clone(), Arc::clone(&world.store), nudged::engine::Settings::default());
        tokio::select! {
            _ = doomed.dispatch_due() => panic!("it hangs"),
            () = hanging.there.notified() => {}
        }
        drop(doomed);
        let asked = || written(&world, "SELECT stage, contacted_at FROM accounts".to_owned());
        let first = asked().await;
        assert!(first[0].starts_with("won"), "{kind:?}: {first:?}");

        world.clock.advance(minutes(2));
        let next = world.life("next", Arc::clone(&world.store));
        let rescued = next.rescue().await.unwrap();
        assert_eq!((rescued.repeated, rescued.unknown), (1, 0), "{kind:?}");
        next.dispatch_due().await.unwrap();
        assert_eq!(asked().await, first, "{kind:?}: the same time is written again");
        assert_eq!(attempts(&world, "1").await[0].2, "was so already", "{kind:?}");

        world.pass(hours(1)).await;
        let watched = |views: Vec<nudged::engine::port::EnrollmentView>| {
            views.iter().filter(|view| view.rule.as_str() == "watch").count()
        };
        assert_eq!(watched(world.enrollments().await), 0, "{kind:?}: it was us");
        world.crm.run("UPDATE accounts SET stage = 'lost'").await;
        world.pass(hours(1)).await;
        assert_eq!(watched(world.enrollments().await), 1, "{kind:?}: it was somebody");
    }
}

/// The answer of a commit gets lost. The retry is due later, and `now` is what it was at first: else our own write would be
/// taken for somebody's, and rules that watch would act on it.
#[tokio::test]
async fn a_retry_after_a_cut_line_knows_its_own_write_by_the_time_that_it_wrote() {
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'Ada', 'lead')").await;
        let steps = "only_at_entry: [stage: lead]\n\
                     steps: [{wait: {for: 30 minutes}}, {update: {set: {stage: won, contacted_at: now}}}]\n";
        let watch = "version: 1\nid: watch\nmode: live\npurpose: service\nfor_each: customer\n\
                     trigger: {changed: {field: stage}}\ncheck_every: 1 hour\nsteps: [{webhook: {to: sink}}]\n";
        world.load(&[("move.yaml", &hourly("move", steps)), ("watch.yaml", watch)]).await;
        world.pass(hours(1)).await;
        world.clock.advance(minutes(30));
        let cut = Hanging::cut_off(&world);
        let engine = world.engine_over(cut, Arc::clone(&world.store), nudged::engine::Settings::default());
        engine.dispatch_due().await.unwrap();
        let asked = || written(&world, "SELECT stage, contacted_at FROM accounts".to_owned());
        let first = asked().await;
        assert!(first[0].starts_with("won"), "{kind:?}: {first:?}");
        assert_eq!(attempts(&world, "1").await[0].1, "transient", "{kind:?}");

        world.clock.advance(minutes(2));
        engine.dispatch_due().await.unwrap();
        let (_, outcome, detail) = attempts(&world, "1").await.swap_remove(0);
        assert_eq!((outcome.as_str(), detail.as_str()), ("sent", "was so already"), "{kind:?}");
        assert_eq!(asked().await, first, "{kind:?}");
        world.pass(hours(1)).await;
        assert!(world.webhooks.take().is_empty(), "{kind:?}: it was us");
    }
}

const MOVE: &str = "only_at_entry: [stage: lead]\nsteps: [{wait: {for: 30 minutes}}, \
                    {update: {set: {stage: won, note: ours}, add_tags: [moved]}}]\n";

/// A node dies in the middle of an update, before or after its commit; then somebody may do something, and another
/// node tries again.
async fn tried_twice(kind: Kind, commits: bool, meanwhile: &str) -> (World, Vec<String>, (String, String)) {
    let world = world(kind).await;
    world.crm.run("INSERT INTO accounts (id, name, stage, note) VALUES (1, 'Ada', 'lead', NULL)").await;
    world.load(&[("move.yaml", &hourly("move", MOVE))]).await;
    world.pass(hours(1)).await;
    world.clock.advance(minutes(30));
    let hanging = Hanging::over(&world, commits);
    let doomed = world.engine_over(hanging.clone(), Arc::clone(&world.store), nudged::engine::Settings::default());
    tokio::select! {
        _ = doomed.dispatch_due() => panic!("it hangs"),
        () = hanging.there.notified() => {}
    }
    drop(doomed);
    world.crm.run(meanwhile).await;
    world.clock.advance(minutes(2));
    let next = world.life("next", Arc::clone(&world.store));
    assert_eq!(next.rescue().await.unwrap().repeated, 1, "{kind:?}");
    next.dispatch_due().await.unwrap();
    let mut rows = written(&world, "SELECT stage, note FROM accounts".to_owned()).await;
    rows.extend(written(&world, "SELECT tag FROM account_tags".to_owned()).await);
    let (_, outcome, detail) = attempts(&world, "1").await.swap_remove(0);
    (world, rows, (outcome, detail))
}

#[tokio::test]
async fn a_repeat_writes_over_nothing_that_somebody_has_changed_since() {
    for kind in KINDS {
        for (commits, lost) in [
            (true, "UPDATE accounts SET stage = 'lost'"),
            (false, "UPDATE accounts SET stage = 'lost'"),
            (true, "UPDATE accounts SET note = 'theirs', stage = 'lost'"),
            (false, "UPDATE accounts SET note = 'theirs', stage = 'lost'"),
            // Of what was written, something was taken back.
            (true, "UPDATE accounts SET stage = 'LEAD'"),
        ] {
            let (_world, rows, (outcome, detail)) = tried_twice(kind, commits, lost).await;
            let stage = if lost.contains("LEAD") { "LEAD" } else { "lost" };
            assert!(rows[0].starts_with(stage), "{kind:?} {commits} {lost}: {rows:?}");
            assert_eq!(rows.len(), 1 + usize::from(commits), "{kind:?} {commits} {lost}: {rows:?}");
            assert_eq!(outcome, "skipped", "{kind:?} {commits} {lost}");
            assert!(detail.contains("somebody has changed it since the first try"), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_repeat_writes_what_was_not_written() {
    for kind in KINDS {
        let (_world, rows, told) = tried_twice(kind, false, "UPDATE accounts SET untouched = 'by somebody'").await;
        assert_eq!(rows, ["won | ours", "moved"], "{kind:?}");
        assert_eq!(told.0, "sent", "{kind:?}: {told:?}");
        assert!(told.1.starts_with("written:"), "{kind:?}: {told:?}");
        let (_world, rows, told) = tried_twice(kind, true, "UPDATE accounts SET untouched = 'by somebody'").await;
        assert_eq!(rows, ["won | ours", "moved"], "{kind:?}");
        assert_eq!(told, ("sent".to_owned(), "was so already".to_owned()), "{kind:?}");
    }
}

/// The state knows that it was written, and dies before it has settled the step.
#[tokio::test]
async fn what_is_known_to_be_written_is_not_written_again() {
    use nudged::rule::write::{NewCell, Updating};
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'Ada', 'lead')").await;
        world.load(&[("move.yaml", &hourly("move", MOVE))]).await;
        let writer = Writer::new(&world);
        let set = vec![("stage".into(), NewCell::Text("won".into()))];
        let update = || Write::Update(Updating { set: set.clone(), ..Updating::default() });
        writer.write(1, "1", world.now(), update()).await;
        // Also back to what the first try found there.
        for theirs in ["lost", "lead"] {
            world.crm.run(&format!("UPDATE accounts SET stage = '{theirs}'")).await;
            let again = writer.write(1, "1", world.now(), update()).await;
            let Outcome::Sent { reply } = again.outcome else { panic!("{again:?}") };
            assert_eq!(reply, "an earlier try has written it", "{kind:?}");
            assert_eq!(written(&world, "SELECT stage FROM accounts".to_owned()).await, [theirs], "{kind:?}");
        }
        let other = writer.write(2, "1", world.now(), update()).await;
        assert!(matches!(other.outcome, Outcome::Sent { .. }), "{kind:?}");
        assert_eq!(written(&world, "SELECT stage FROM accounts".to_owned()).await, ["won"], "{kind:?}: another step");
    }
}

/// How a column may hold tags: in the catalog, as a column, and what is there before and after one tag is added and one
/// taken away.
const LISTS: [(&str, &str, &str, &str); 3] = [
    ("separator: \", \"", "VARCHAR(200)", "theirs, old", "theirs, moved"),
    ("list: json", "TEXT", "[\"theirs\", \"old\", 7]", "[\"theirs\",7,\"moved\"]"),
    ("list: json", "JSON", "[\"theirs\", \"old\", 7]", "[\"theirs\",7,\"moved\"]"),
];

/// Accounts whose tags lie in the column `labels`.
async fn listing(kind: Kind, form: &str, column: &str) -> World {
    let of = setup(kind);
    let catalog = of.catalog.replace(
        "tags: {table: account_tags, record: account_id, tag: tag}",
        &format!("tags: {{column: labels, {form}}}"),
    );
    let tables =
        of.own_tables.as_ref().unwrap().replace("untouched VARCHAR", &format!("labels {column}, untouched VARCHAR"));
    World::set_up(Setup { catalog, own_tables: Some(tables), ..of }).await
}

async fn labels(world: &World) -> String {
    let text = match world.crm {
        Crm::Postgres(..) => "CAST(labels AS text)",
        Crm::MariaDb(..) => "CAST(labels AS CHAR)",
        Crm::Sqlite(_) => "labels",
    };
    written(world, format!("SELECT {text} FROM accounts")).await.remove(0)
}

const RELABEL: &str =
    "only_at_entry: [stage: lead]\nsteps: [{update: {set: {stage: won}, add_tags: [moved], remove_tags: [old]}}]\n";

#[tokio::test]
async fn tags_in_one_column_change_by_name_and_the_others_stay() {
    for kind in KINDS {
        for (form, column, before, after) in LISTS {
            let world = listing(kind, form, column).await;
            world
                .crm
                .run(&format!("INSERT INTO accounts (id, name, stage, labels) VALUES (1, 'Ada', 'lead', '{before}')"))
                .await;
            world.load(&[("move.yaml", &hourly("move", RELABEL))]).await;
            world.pass(hours(1)).await;
            assert_eq!(
                attempts(&world, "1").await[0].1,
                "sent",
                "{kind:?} {form} {column}: {:?}",
                attempts(&world, "1").await
            );
            assert_eq!(
                labels(&world).await.replace(", ", ",").replace(',', ", "),
                after.replace(", ", ",").replace(',', ", "),
                "{kind:?} {form} {column}"
            );
            // Once more: nothing changes.
            world.crm.run("UPDATE accounts SET stage = 'lead'").await;
            let same = labels(&world).await;
            world.pass(hours(1)).await;
            assert_eq!(labels(&world).await, same, "{kind:?} {form} {column}");
        }
    }
    let world = listing(Kind::Postgres, "list: array", "TEXT[]").await;
    world.crm.run("INSERT INTO accounts (id, name, stage, labels) VALUES (1, 'Ada', 'lead', '{theirs,old}')").await;
    world.load(&[("move.yaml", &hourly("move", RELABEL))]).await;
    world.pass(hours(1)).await;
    assert_eq!(labels(&world).await, "{theirs,moved}");
}

/// Many write to one column at the same time: each finds what the others have put there.
#[tokio::test]
async fn tags_that_are_added_at_once_are_all_there() {
    use nudged::rule::write::Updating;
    for kind in KINDS {
        let world = listing(kind, "separator: \",\"", "VARCHAR(200)").await;
        world.crm.run("INSERT INTO accounts (id, name, stage, labels) VALUES (1, 'Ada', 'won', 'theirs')").await;
        world.load(&[("move.yaml", &hourly("move", RELABEL))]).await;
        let writer = Writer::new(&world);
        let add = async |number: u32| {
            let update = Updating { add_tags: vec![format!("t{number}")], ..Updating::default() };
            // Whoever finds it busy is tried again, as every step is.
            while !matches!(
                writer.write(number, "1", world.now(), Write::Update(update.clone())).await.outcome,
                Outcome::Sent { .. }
            ) {}
        };
        futures::future::join_all((1..=8).map(add)).await;
        let all = labels(&world).await;
        let mut tags: Vec<&str> = all.split(',').collect();
        tags.sort_unstable();
        assert_eq!(tags, ["t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "theirs"], "{kind:?}");
    }
}

#[tokio::test]
async fn tags_in_one_column_are_no_change_to_watchers_and_a_list_that_is_none_is_left() {
    let world = listing(Kind::Sqlite, "separator: \",\"", "VARCHAR(200)").await;
    world.crm.run("INSERT INTO accounts (id, name, stage, labels) VALUES (1, 'Ada', 'lead', 'old')").await;
    let watch = "version: 1\nid: watch\nmode: live\npurpose: service\nfor_each: customer\n\
                 trigger: {changed: {field: labels}}\ncheck_every: 1 hour\nsteps: [{webhook: {to: sink}}]\n";
    let wait = RELABEL.replace("steps: [", "steps: [{wait: {for: 30 minutes}}, ");
    world.load(&[("move.yaml", &hourly("move", &wait)), ("watch.yaml", watch)]).await;
    world.pass(hours(1)).await;
    world.pass(hours(1)).await;
    assert_eq!(labels(&world).await, "moved");
    world.pass(hours(1)).await;
    let watched = world.enrollments().await.into_iter().filter(|view| view.rule.as_str() == "watch").count();
    assert_eq!(watched, 0, "it was us");

    let world = listing(Kind::Sqlite, "list: json", "TEXT").await;
    world.crm.run("INSERT INTO accounts (id, name, stage, labels) VALUES (1, 'Ada', 'lead', '{\"a\": 1}')").await;
    world.load(&[("move.yaml", &hourly("move", RELABEL))]).await;
    world.pass(hours(1)).await;
    let tried = attempts(&world, "1").await;
    assert!(tried[0].2.contains("`labels` can't be written: it holds no JSON list"), "{tried:?}");
    assert_eq!(labels(&world).await, "{\"a\": 1}");
    assert_eq!(written(&world, "SELECT stage FROM accounts".to_owned()).await, ["lead"], "nothing of it was written");
}

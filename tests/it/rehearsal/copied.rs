//! A state in PostgreSQL is copied for a simulation, and says there what one in SQLite says.

use super::shown::silent;
use crate::support::{Database, instant, postgres};
use crate::world::{Kind, Setup, World, days, hours};
use nudged::engine::rehearse::{Happened, Simulator};
use nudged::engine::{Sending, Settings};
use nudged::model::{Channel, Limits, RuleId, Suppression, SuppressionReason};
use nudged::store::postgres::{PostgresStore, Reached};
use nudged::store::sqlite::SqliteStore;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const START: &str = "2026-06-01T08:00:00Z";
const RULE: &str = "version: 1
id: win-back
description: Silent for a while.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 30 days}
# Without a ledger, whoever matched before would match again.
backfill: 10 days
guard: {floor: 1000}
check_every: 1 hour
steps:
  - email: {template: hello}
  - wait: {for: 2 hours}
  - email: {template: hello, id: again}
  - wait: {for: 3 days}
  - webhook: {to: sink}
";
const HELLO: (&str, &str) = ("templates/hello.md", "---\nsubject: \"{{ record.name }}\"\n---\nHello\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

fn one_a_day() -> Settings {
    let limits = Limits { caps: vec!["1 per day".parse().unwrap()], ..Limits::default() };
    Settings { sending: Sending { limits: Arc::new(limits), ..Sending::default() }, ..Settings::default() }
}

/// Three hours after the start: customers 1, 2 and 3 have matched, got their one mail of the day and are under way;
/// 5 is suppressed, 4 to 6 are still to cross.
async fn lived(shared: bool) -> World {
    let setup = Setup { settings: one_a_day(), shared, ..Setup::of(Kind::Sqlite, instant(START)) };
    let world = World::set_up(setup).await;
    let mut sql = Vec::new();
    for id in 1..=6 {
        let ordered = world.crm.time(world.ago(days(30)) + hours(id));
        sql.push(format!(
            "INSERT INTO accounts VALUES ({id}, 'A{id}', 'AT', {ordered});
             INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@x.example', 'P{id}', 'Europe/Vienna', TRUE);
             INSERT INTO orders VALUES ({id}, {id}, {ordered}, 'paid');"
        ));
    }
    world.crm.run(&sql.concat()).await;
    world.load(&[("win-back.yaml", RULE), HELLO, LAYOUT]).await;
    let hash = world.store.secret().address_hash(Channel::Email, "p5@x.example");
    let (channel, reason) = (Channel::Email, SuppressionReason::Complained);
    let entry = Suppression { hash, channel, address: None, reason, since: world.now() };
    world.store.suppress(&[entry]).await.unwrap();
    for _ in 0..3 {
        world.pass(hours(1)).await;
    }
    assert_eq!(world.mail.take().len(), 3);
    world
}

/// Who, where, what, when and why, in order.
async fn simulated(world: &World, copy: &Path) -> Vec<String> {
    let simulator = Simulator {
        source: world.source.clone(),
        store: Arc::new(SqliteStore::scratch(copy, world.now()).await.unwrap()),
        generation: world.generation(),
        settings: one_a_day(),
        from: world.now(),
        until: world.now() + days(6),
        only: Vec::new(),
    };
    let mut lines = Vec::new();
    let counts = simulator.run(|happened| {
        if let Happened::Attempt(attempt) = happened {
            let record = attempt.record.unwrap();
            lines.push(format!(
                "{record} {} {} {} {}",
                attempt.step, attempt.outcome, attempt.finished_at, attempt.detail
            ));
        }
    });
    assert_eq!(counts.await.unwrap()[&RuleId::from("win-back")].matched, 3, "{lines:#?}");
    lines.sort();
    lines
}

/// Without the instant and what is said of it, which a live run knows differently.
fn outline(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.splitn(4, ' ').take(3).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_simulated_as_one_in_sqlite_is() {
    let folder = tempfile::tempdir().unwrap();
    let (from_server, from_file) = (folder.path().join("server.db"), folder.path().join("file.db"));
    let (server, file) = (lived(true).await, lived(false).await);
    let database = server.state().unwrap();
    // Whoever would write into it now fails.
    let read_only = |on: &str| {
        format!("BEGIN READ WRITE; ALTER DATABASE {} SET default_transaction_read_only = {on}; COMMIT", database.name)
    };
    database.execute(&read_only("on"));
    nudged::store::copy(&database.url, Reached::PerhapsPooled, &from_server, server.now()).await.unwrap();
    database.execute(&read_only("off"));
    SqliteStore::snapshot(&file.state_file(), &from_file).await.unwrap();

    let foretold = simulated(&server, &from_server).await;
    assert_eq!(foretold, simulated(&file, &from_file).await);
    let of = |who: &str| foretold.iter().filter(|line| line.starts_with(who)).cloned().collect::<Vec<_>>();
    // Under way, with today's place used up.
    let [again, call] = &of("customer:1 ")[..] else { panic!("{foretold:#?}") };
    assert!(again.starts_with("customer:1 again sent 2026-06-02T09:00:00Z"), "{again}");
    assert!(call.starts_with("customer:1 webhook-sink sent 2026-06-05"), "{call}");
    let refused = of("customer:5 ");
    assert!(refused.iter().any(|line| line.contains("skipped") && line.contains("suppressed")), "{refused:#?}");

    let before = server.store.attempts(0, 1_000).await.unwrap().last().unwrap().id;
    for _ in 0..6 * 24 {
        server.pass(hours(1)).await;
    }
    let attempts = server.store.attempts(before, 1_000).await.unwrap();
    let mut happened: Vec<String> =
        attempts.iter().map(|a| format!("{} {} {}", a.record.clone().unwrap(), a.step, a.outcome)).collect();
    happened.sort();
    assert_eq!(outline(&foretold), happened);
}

/// More rows than are read at once, with keys of every type, of a state that an older nudged has left.
fn filled(database: &Database) {
    database.execute(
        "INSERT INTO suppression SELECT decode(md5(n::text), 'hex'), 'email', NULL, 'complained', n
             FROM generate_series(1, 1201) n;
         INSERT INTO miss SELECT chr(65 + n % 26 + 32 * (n % 2)) || 'ä-' || n, 'customer', n % 3, 'o', n, n, 0, 'why'
             FROM generate_series(1, 1301) n;
         INSERT INTO attempt (enrollment, delivery, step, kind, number, started_at, finished_at, outcome, detail)
             SELECT n, decode(md5(n::text), 'hex'), 's', (ARRAY['task', 'email'])[1 + n % 2], 1, n, n,
                    CASE WHEN n = 7 THEN 'unknown' ELSE 'sent' END, ''
             FROM generate_series(1, 2000) n;
         INSERT INTO timeline (enrollment, at, what, detail, behind) VALUES (1, 1, 'ended', '', 0);
         UPDATE send_sequence SET reserved = 77;
         DROP TABLE message;
         UPDATE meta SET schema = 7;",
    );
}

async fn count(file: &Path, sql: &'static str) -> i64 {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let counted = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
    pool.close().await;
    counted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_decides_comes_along_whatever_its_schema() {
    let database = tokio::task::spawn_blocking(postgres).await.unwrap();
    let now = instant(START);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    nudged::store::copy(&database.url, Reached::Directly, &copy, now).await.unwrap();
    assert!(!copy.exists(), "there was no state");

    let state = PostgresStore::open(&database.url, now).await.unwrap();
    let name = state.name();
    state.close().await;
    filled(&database);
    nudged::store::copy(&database.url, Reached::Directly, &copy, now).await.unwrap();
    assert_eq!(count(&copy, "SELECT schema FROM meta").await, 7);
    let opened = SqliteStore::open(&copy, now).await.unwrap();
    assert_eq!(opened.name(), name, "the secret of the hashes");
    opened.close().await;
    for (sql, expected) in [
        ("SELECT count(*) FROM suppression", 1201),
        ("SELECT sum(since) FROM suppression", 1201 * 1202 / 2),
        ("SELECT count(DISTINCT key) FROM miss", 1301),
        ("SELECT count(*) FROM attempt WHERE kind = 'task'", 1000),
        ("SELECT count(*) FROM attempt WHERE outcome = 'unknown'", 1),
        ("SELECT count(*) FROM attempt", 1001),
        ("SELECT count(*) FROM timeline", 0),
        ("SELECT reserved FROM send_sequence", 77),
    ] {
        assert_eq!(count(&copy, sql).await, expected, "{sql}");
    }
    assert_eq!(database.rows("SELECT schema FROM meta"), ["7"], "the state itself stays as it was");
    database.execute("UPDATE meta SET schema = 1000");
    let newer = nudged::store::copy(&database.url, Reached::Directly, &copy, now).await.unwrap_err();
    assert!(newer.to_string().contains("run the newer version"), "{newer}");
}

#[test]
fn the_program_knows_whom_the_server_suppresses() {
    let site = silent(3);
    let database = postgres();
    site.configure(&format!("sqlite:{}", site.path("state.db")), &database.url);
    let simulated = || site.json(&["simulate", "silence", "--days", "10"])["rules"][0]["outcomes"].clone();
    assert_eq!(simulated(), json!({"sent": 4}), "without a state");
    assert_eq!(database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), ["0"], "and none was made");
    let (code, _, talk) = site.run(&["suppress", "add", "anna1@cafe.example", "--reason", "complained"]);
    assert_eq!(code, 0, "{talk}");
    let outcomes = simulated();
    assert_eq!((&outcomes["sent"], &outcomes["skipped"]), (&json!(3), &json!(1)), "{outcomes}");
}

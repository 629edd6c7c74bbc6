//! How fast the state is, on SQLite and PostgreSQL, each beside the bare statements in the same run.
//!
//! `cargo bench --bench store`. PostgreSQL is measured where `NUDGED_BENCH_POSTGRES` names an empty
//! database with `fsync` on: `NUDGED_BENCH_POSTGRES=postgres://…/bench`. `NUDGED_BENCH_MATCHES` is how many
//! matches to enter, `NUDGED_BENCH_DIR` where the SQLite files lie.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and may fail")]

use jiff::{SignedDuration, Timestamp};
use nudged::engine::port::{
    Adoption, Attempt, Claimed, Completion, Found, Mark, NewMatch, Owner, Progress, Rematch, Settlement, Store,
    SweepCommit, Then,
};
use nudged::model::{EndReason, InstanceSecret, Lane, MatchIdentity, Outcome, RecordId};
use nudged::store::postgres::{PostgresStore, Reached};
use nudged::store::sqlite::SqliteStore;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BATCH: usize = 1_000;
const CLAIM: usize = 500;

/// The bare equivalents over one connection: rows of literals into the three tables, a transaction per
/// batch; the same matches again, which the ledger turns down; then mark, delete, log and end, in three transactions per claim as the store does it.
macro_rules! bare_times {
    ($connection:ident, $matches:expr, $bytes:literal, $begin:literal) => {{
        let secret = InstanceSecret([7; 32]);
        let texts: Vec<_> = (0..$matches).step_by(BATCH).map(|from| bare_insert(&secret, from, $bytes)).collect();
        let watch = Watch::start();
        for [ledger, enrollment, outbox] in texts {
            $connection.execute($begin).await.unwrap();
            for sql in [ledger, enrollment, outbox] {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut $connection).await.unwrap();
            }
            $connection.execute("COMMIT").await.unwrap();
        }
        let insert = watch.stop();
        let again = |from| bare_insert(&secret, from, $bytes)[0].clone() + " ON CONFLICT DO NOTHING";
        let texts: Vec<String> = (0..$matches).step_by(BATCH).map(again).collect();
        let watch = Watch::start();
        for ledger in texts {
            $connection.execute($begin).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(ledger)).execute(&mut $connection).await.unwrap();
            $connection.execute("COMMIT").await.unwrap();
        }
        let duplicates = watch.stop();
        let texts: Vec<_> = (0..$matches).step_by(CLAIM).map(|from| bare_work(from, $bytes)).collect();
        let watch = Watch::start();
        for [claim, mark, complete] in texts {
            for sql in [claim, mark, complete] {
                $connection.execute($begin).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut $connection).await.unwrap();
                $connection.execute("COMMIT").await.unwrap();
            }
        }
        Bare { insert, duplicates, work: watch.stop() }
    }};
}

fn main() {
    let matches = std::env::var("NUDGED_BENCH_MATCHES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = std::env::var_os("NUDGED_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = dir.join(format!("nudged-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        println!("{matches} matches, {BATCH} a batch; {CLAIM} a claim; fsync of 4 KiB: {:?}", fsync_latency(&dir));
        sqlite(&dir, matches).await;
        std::fs::remove_dir_all(&dir).unwrap();
        match std::env::var("NUDGED_BENCH_POSTGRES") {
            Ok(url) => postgres(&url, matches).await,
            Err(_) => println!("PostgreSQL: not measured; set NUDGED_BENCH_POSTGRES to the URL of an empty database"),
        }
    });
}

/// The median of a hundred.
fn fsync_latency(dir: &Path) -> Duration {
    let mut file = std::fs::File::create(dir.join("fsync")).unwrap();
    let mut times: Vec<_> = (0..100)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 4_096]).unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[50]
}

async fn sqlite(dir: &Path, matches: usize) {
    let path = dir.join("state.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, now()).await.unwrap());
    let measured = measure(&store, matches).await;
    drop(store);
    let bytes = sizes_sqlite(&path).await;
    // The bare statements get a database of the same shape.
    let bare = dir.join("bare.db");
    SqliteStore::open(&bare, now()).await.unwrap().close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&bare).foreign_keys(false);
    let options = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let options = options.synchronous(sqlx::sqlite::SqliteSynchronous::Full);
    let options = options.pragma("cache_size", "-32768").pragma("wal_autocheckpoint", "8192");
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let bare = bare_times!(connection, matches, "x'", "BEGIN IMMEDIATE");
    report("SQLite", matches, &measured, &bare, bytes);
}

async fn postgres(url: &str, matches: usize) {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let fresh = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    connection.execute(fresh).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open_as(url, Reached::Directly, now()).await.unwrap());
    let measured = measure(&store, matches).await;
    drop(store);
    let size = |table: &'static str| format!("SELECT pg_total_relation_size('{table}')");
    let mut bytes = [0; 2];
    for (bytes, table) in bytes.iter_mut().zip(["ledger", "enrollment"]) {
        *bytes = sqlx::query(AssertSqlSafe(size(table))).fetch_one(&mut connection).await.unwrap().get(0);
    }
    connection.execute(fresh).await.unwrap();
    PostgresStore::open(url, now()).await.unwrap().close().await;
    let bare = bare_times!(connection, matches, "'\\x", "BEGIN");
    report("PostgreSQL", matches, &measured, &bare, bytes);
}

async fn sizes_sqlite(path: &Path) -> [i64; 2] {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let mut sizes = [0; 2];
    for (size, table) in sizes.iter_mut().zip(["ledger", "enrollment"]) {
        let sql = format!("SELECT COALESCE(sum(pgsize), 0) FROM dbstat WHERE name LIKE '{table}%'");
        *size = match sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await {
            Ok(row) => row.get(0),
            // Not every build of SQLite has the statistics table.
            Err(_) => 0,
        };
    }
    if sizes == [0, 0] {
        sizes[0] = std::fs::metadata(path).map_or(0, |file| file.len() as i64);
    }
    sizes
}

/// Time on the wall, and processor time of this process: on a machine that is shared the second tells more.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

struct Watch(Instant, Duration);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn stop(&self) -> Spent {
        Spent { wall: self.0.elapsed(), cpu: cpu().saturating_sub(self.1) }
    }
}

/// User and system time in ticks of 10 ms, by `/proc/self/stat`; nothing where there is no such file.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

#[derive(Default)]
struct Measured {
    insert: Spent,
    duplicates: Spent,
    one_by_one: Spent,
    concurrent: Spent,
}

struct Bare {
    insert: Spent,
    duplicates: Spent,
    work: Spent,
}

fn report(name: &str, matches: usize, m: &Measured, bare: &Bare, bytes: [i64; 2]) {
    let rate = |spent: Spent| matches as f64 / spent.wall.as_secs_f64() / 1_000.0;
    let cpu = |spent: Spent| spent.cpu.as_secs_f64() * 1e6 / matches as f64;
    println!("{name:<12} {:>34} {:>8} {:>8} {:>6} {:>9} {:>9}", "", "k/s", "bare k/s", "ratio", "CPU us", "bare us");
    let line = |what: &str, spent: Spent, bare: Spent| {
        let ratio = spent.wall.as_secs_f64() / bare.wall.as_secs_f64();
        print!("  {what:<44} {:>8.1} {:>8.1} {ratio:>6.2}", rate(spent), rate(bare));
        println!(" {:>9.1} {:>9.1}", cpu(spent), cpu(bare));
    };
    line("ledger + enrollment + outbox insert", m.insert, bare.insert);
    line("duplicates", m.duplicates, bare.duplicates);
    line("claim + mark + complete, one dispatcher", m.one_by_one, bare.work);
    line("claim + mark + complete, four at once", m.concurrent, bare.work);
    let each = |bytes: i64| bytes as f64 / (3 * matches) as f64;
    println!("  bytes a match: {:.0} ledger, {:.0} enrollment, with indexes", each(bytes[0]), each(bytes[1]));
}

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

async fn measure(store: &Arc<dyn Store>, matches: usize) -> Measured {
    let adoption = Adoption {
        rule: "win-back".into(),
        was: Vec::new(),
        lane: Lane::Live,
        tenant: "".into(),
        version: "v1".into(),
        definition: "d1".into(),
        text: String::new(),
        baseline: now(),
    };
    store.adopt(&[adoption], now()).await.unwrap();
    let mut measured = Measured::default();
    // The first round warms up and makes the tables large.
    for round in 0..3 {
        let commits = commits(store.secret(), round, matches);
        let insert = enter(&**store, &commits, matches as u64).await;
        let duplicates = enter(&**store, &commits, 0).await;
        match round {
            0 => drop(work(store, 1, matches).await),
            1 => measured.one_by_one = work(store, 1, matches).await,
            _ => measured.concurrent = work(store, 4, matches).await,
        }
        (measured.insert, measured.duplicates) = (insert, duplicates);
    }
    measured
}

fn commits(secret: &InstanceSecret, round: usize, matches: usize) -> Vec<SweepCommit> {
    let all: Vec<_> = (0..matches).map(|n| a_match(secret, round * matches + n)).collect();
    let (watermark, swept_at, rechecked_at, reconciled_at) = (now(), now(), now(), now());
    let progress = Progress { watermark, swept_at, rechecked_at, reconciled_at, seeded: true };
    let commit = |matches: &[NewMatch]| SweepCommit {
        found: Found { matches: matches.to_vec(), ..Found::default() },
        progress: progress.clone(),
        crossed: matches.len() as u64,
        held: None,
        counted: None,
    };
    all.chunks(BATCH).map(commit).collect()
}

fn a_match(secret: &InstanceSecret, n: usize) -> NewMatch {
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: n.to_string().as_str().into() };
    let at = now() - SignedDuration::from_hours(90 * 24) - SignedDuration::from_secs(n as i64 % 86_400);
    let identity = MatchIdentity {
        rule: "win-back".into(),
        lane: Lane::Live,
        record: record.clone(),
        occasion: at.to_string().as_str().into(),
    };
    NewMatch {
        id: secret.match_id(&identity),
        former: Vec::new(),
        track: secret.track(&identity.rule, Lane::Live, &record),
        former_tracks: Vec::new(),
        tolerance: Some(SignedDuration::from_hours(24)),
        rule: identity.rule,
        lane: Lane::Live,
        record,
        version: "v1".into(),
        occasion: identity.occasion,
        occasion_at: Some(at),
        occasion_data: serde_json::json!({"at": at.to_string(), "value": at.to_string()}),
        crossed_at: now(),
        matched_at: now(),
        planned_at: now(),
        entry: 0,
        first: Some((0, now())),
        skip: None,
        restart: Rematch::Ignore,
    }
}

async fn enter(store: &dyn Store, commits: &[SweepCommit], expected: u64) -> Spent {
    let (watch, mut entered) = (Watch::start(), 0);
    for commit in commits {
        let lease = store.begin_sweep(&"win-back".into(), Lane::Live, &"".into(), &owner(0)).await.unwrap().unwrap();
        entered += store.commit_sweep(&lease, commit).await.unwrap().entered;
    }
    let spent = watch.stop();
    assert_eq!(entered, expected);
    spent
}

fn owner(n: usize) -> Owner {
    Owner(format!("bench {n}"))
}

/// Claims, marks and ends everything that is due.
async fn work(store: &Arc<dyn Store>, dispatchers: usize, expected: usize) -> Spent {
    let watch = Watch::start();
    let tasks: Vec<_> = (0..dispatchers).map(|n| tokio::spawn(dispatch(Arc::clone(store), n))).collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    let spent = watch.stop();
    assert_eq!(done, expected);
    spent
}

async fn dispatch(store: Arc<dyn Store>, n: usize) -> usize {
    let mut done = 0;
    loop {
        let claimed = store.claim(&owner(n), now(), CLAIM).await.unwrap();
        if claimed.is_empty() {
            return done;
        }
        let marks = claimed.iter().map(|c| mark(&*store, c)).collect();
        let settled = store.settle(&Settlement { marks, completions: Vec::new() }).await.unwrap();
        assert!(settled.lost.is_empty());
        let completions = claimed.iter().map(|c| completion(&*store, c)).collect();
        let settled = store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap();
        assert!(settled.lost.is_empty());
        done += claimed.len();
    }
}

fn mark(store: &dyn Store, claimed: &Claimed) -> Mark {
    let delivery = store.secret().delivery_id(claimed.match_id, &"webhook".into(), 0);
    Mark {
        token: claimed.token,
        delivery,
        step: "webhook".into(),
        kind: "webhook",
        repeatable: true,
        reader: None,
        place: None,
    }
}

fn completion(store: &dyn Store, claimed: &Claimed) -> Completion {
    let attempt = Attempt {
        delivery: store.secret().delivery_id(claimed.match_id, &"webhook".into(), 0),
        match_id: claimed.match_id,
        rule: claimed.rule.clone(),
        lane: claimed.lane,
        record: claimed.record.clone(),
        step: "webhook".into(),
        kind: "webhook",
        number: 1,
        started_at: now(),
        finished_at: now(),
        outcome: Outcome::Sent { reply: "200 OK".to_owned() },
    };
    let then = Then::End { reason: EndReason::Completed, at: now() };
    Completion { attempt: Some(attempt), ..Completion::of(claimed.token, then) }
}

fn hex(bytes: [u8; 16], quote: &str) -> String {
    bytes.iter().fold(quote.to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }) + "'"
}

fn bare_insert(secret: &InstanceSecret, from: usize, quote: &str) -> [String; 3] {
    let mut ledger = String::from("INSERT INTO ledger (id, rule_state, matched_at) VALUES ");
    let mut enrollment = String::from(
        "INSERT INTO enrollment (id, match_id, track, rule_state, version, entity, key, occasion, occasion_at, \
         occasion_data, entered_at, entry, state) VALUES ",
    );
    let mut outbox =
        String::from("INSERT INTO outbox (id, rule_state, version, node, state, due_at, planned_at) VALUES ");
    for n in from..from + BATCH {
        let m = a_match(secret, n);
        let comma = if n == from { "" } else { ", " };
        let (id, track) = (hex(m.id.0, quote), hex(m.track, quote));
        let (at, occasion_at) = (now().as_microsecond(), m.occasion_at.unwrap().as_microsecond());
        let _ = write!(ledger, "{comma}({id}, 1, {at})");
        let _ = write!(
            enrollment,
            "{comma}({}, {id}, {track}, 1, 1, 'customer', '{}', '{}', {occasion_at}, '{}', {at}, 0, 0)",
            n + 1,
            m.record.key,
            m.occasion,
            m.occasion_data,
        );
        let _ = write!(outbox, "{comma}({}, 1, 1, 0, 0, {at}, {at})", n + 1);
    }
    [ledger, enrollment, outbox]
}

fn bare_work(from: usize, quote: &str) -> [String; 3] {
    let ids: Vec<String> = (from + 1..=from + CLAIM).map(|id| id.to_string()).collect();
    let (ids, delivery, at) = (ids.join(", "), hex([9; 16], quote), now().as_microsecond());
    let claim = format!("UPDATE outbox SET state = 1, owner = 'a', epoch = epoch + 1 WHERE id IN ({ids})");
    let mark = format!("UPDATE outbox SET state = 2, delivery = {delivery} WHERE id IN ({ids})");
    let mut complete = format!(
        "DELETE FROM outbox WHERE id IN ({ids}); \
         UPDATE enrollment SET state = 2, ended = 'completed', ended_at = {at} WHERE id IN ({ids}); \
         INSERT INTO attempt (enrollment, delivery, step, kind, number, started_at, finished_at, outcome, detail) VALUES "
    );
    for id in from + 1..=from + CLAIM {
        let comma = if id == from + 1 { "" } else { ", " };
        let _ = write!(complete, "{comma}({id}, {delivery}, 'webhook', 'webhook', 1, {at}, {at}, 'sent', '200 OK')");
    }
    [claim, mark, complete]
}

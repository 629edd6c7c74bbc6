//! How many statements an idle daemon runs on its state and its source.

use super::memory::thousand_rules;
use super::nudged::{Nudged, Outlets, State};
use super::sink::Sink;
use super::support::{Database, poll_until};
use super::{Bench, bare, report};
use std::time::{Duration, Instant};

const WATCHED: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_mins(5);
const SWEEPS: u32 = 10;

const RULE: &str = "version: 1
id: quiet
mode: live
purpose: staff
for_each: customer
trigger:
  inactivity: {of: orders, for: 4000 days}
check_every: 5 seconds
steps:
  - webhook: {to: sink}
";

/// What a queue costs that is asked once a second.
const POLLER: &str = "SELECT id FROM due WHERE due_at <= now() ORDER BY due_at LIMIT 1 \\watch 1";

pub fn measure(bench: &Bench) {
    let sink = Sink::start();
    let rules: Vec<_> = thousand_rules().into_iter().take(10).collect();
    let nudged = Nudged::configure(bench, State::Postgres, Outlets::to(&sink), &rules);
    let life = nudged.start();
    poll_until(Duration::from_mins(5), || nudged.is_ready());
    let state = nudged.state.as_ref().expect("the state is in PostgreSQL");
    bench.source.crm.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    // The first sweeps are over once a second passes without a statement on the source.
    let mut seen = 0;
    let mut quiet_since = Instant::now();
    poll_until(Duration::from_mins(5), || {
        let calls = statements(bench, &bench.source.crm);
        if calls != seen {
            (seen, quiet_since) = (calls, Instant::now());
        }
        quiet_since.elapsed() > Duration::from_secs(5)
    });
    let queue = bench.source.server.create();
    queue.execute("CREATE TABLE due (id BIGINT PRIMARY KEY, due_at TIMESTAMPTZ); CREATE INDEX ON due (due_at)");
    let _poller = bare::Psql::start(&queue, POLLER, false);
    let databases = [state, &bench.source.crm, &queue];
    let count = || databases.map(|database| statements(bench, database));
    let (before, began) = (count(), Instant::now());
    std::thread::sleep(WATCHED);
    let (after, seconds) = (count(), began.elapsed().as_secs_f64());
    let [of_state, of_source, of_poller] = std::array::from_fn(|index| (after[index] - before[index]) as f64 / seconds);
    let what = "10 rules, none due: statements on the state (target at most 4/s)";
    let ratio = of_state / of_poller;
    report::figure(what, format!("{of_state:.2}/s | psql asking once a second: {of_poller:.2}/s | ratio {ratio:.2}"));
    report::figure("  on the source (target one per due sweep)", format!("{of_source:.2}/s | nothing is due: 0"));
    life.kill();
    of_a_sweep(bench);
}

/// How many statements the source is asked by a due sweep that finds nobody.
fn of_a_sweep(bench: &Bench) {
    let rule = RULE.to_owned();
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, State::Sqlite, Outlets::to(&sink), &[("quiet.yaml".to_owned(), rule)]);
    let life = nudged.start();
    poll_until(PATIENCE, || nudged.is_ready());
    let swept_at = || nudged.ask(&["rules", "--format", "json"]).0[0]["swept_at"].clone();
    let next = || {
        let last = swept_at();
        poll_until(PATIENCE, || swept_at() != last);
    };
    // The first sweep, and the count of what the baseline leaves out, are asked once.
    (0..2).for_each(|_| next());
    let before = statements(bench, &bench.source.crm);
    (0..SWEEPS).for_each(|_| next());
    let asked = (statements(bench, &bench.source.crm) - before) as f64 / f64::from(SWEEPS);
    report::figure("statements on the source for a due sweep that finds nobody (target one)", format!("{asked:.1}"));
    life.kill();
}

/// Statements that a database has run, without those of this measurement.
fn statements(bench: &Bench, database: &Database) -> u64 {
    let sql = format!(
        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = dbid
        WHERE datname = '{}' AND query NOT LIKE '%pg_stat_statements%'",
        database.name
    );
    bench.source.crm.rows(&sql)[0].parse().expect("a count")
}

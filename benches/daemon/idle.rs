//! How many statements an idle daemon runs on its state and its source.

use super::memory::thousand_rules;
use super::nudged::{Nudged, State};
use super::sink::Sink;
use super::support::{Database, poll_until};
use super::{Bench, report};
use std::time::{Duration, Instant};

const WATCHED: Duration = Duration::from_mins(1);

pub fn measure(bench: &Bench) {
    let sink = Sink::start();
    let rules: Vec<_> = thousand_rules().into_iter().take(10).collect();
    let nudged = Nudged::configure(bench, State::Postgres, &sink, &rules);
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
    let before = (statements(bench, state), statements(bench, &bench.source.crm));
    let began = Instant::now();
    std::thread::sleep(WATCHED);
    let seconds = began.elapsed().as_secs_f64();
    let per_second = |now: u64, before: u64| format!("{:.2} statements/s", (now - before) as f64 / seconds);
    report::figure("10 rules, none due: on the state", per_second(statements(bench, state), before.0));
    report::figure("10 rules, none due: on the source", per_second(statements(bench, &bench.source.crm), before.1));
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

//! Several nodes on one PostgreSQL state: one is killed while it sends, the others finish its work once its
//! leases have run out.

use super::nudged::{Nudged, State};
use super::sink::{Sink, since_1970};
use super::support::poll_until;
use super::{Bench, report};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(5);

pub fn measure(bench: &Bench) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, State::Postgres, &sink, &[super::main_job::rule()]);
    nudged.write_config("other.toml", bench, &sink);
    let one = nudged.start();
    poll_until(PATIENCE, || sink.tally().requests > 1_000);
    let other = nudged.start_node("other.toml");
    poll_until(PATIENCE, || sink.tally().requests > 3_000);
    one.kill();
    let killed = since_1970();
    poll_until(PATIENCE, || sink.tally().keys >= 9_990);
    poll_until(PATIENCE, || nudged.is_settled());
    let tally = sink.tally();
    report::figure("two nodes, one killed", format!("{} arrived, {} repeated", tally.keys, tally.repeats()));
    report::time("  until the other node had finished all", tally.last.saturating_sub(killed), None);
    other.kill();
}

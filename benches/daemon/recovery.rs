//! Several nodes on one PostgreSQL state: one is killed while it sends, the others finish its work once its
//! leases have run out.

use super::main_job::newly_silent;
use super::nudged::{Nudged, Outlets, SESSIONS, State};
use super::sink::{Sink, since_1970};
use super::support::poll_until;
use super::{Bench, bare, report};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(10);

/// Something to run until both nodes are there.
fn resting() -> (String, String) {
    let text = super::main_job::rule().1.replace("id: silent\nmode: live", "id: resting\nmode: paused");
    ("resting.yaml".to_owned(), text)
}

pub fn measure(bench: &Bench) {
    let (selection, expected) = newly_silent(bench);
    let sink = Sink::start();
    let posts = bare::posts(sink.port(), 50_000, SESSIONS);
    drop(sink);
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, State::Postgres, Outlets::to(&sink), &[resting()]);
    nudged.write_config("other.toml", bench);
    let one = nudged.start();
    poll_until(PATIENCE, || nudged.is_ready());
    let other = nudged.start_node("other.toml");
    poll_until(PATIENCE, || nudged.log().contains("NOTHING IS SENT"));
    poll_until(PATIENCE, || nudged.is_admitted("other.toml"));
    let (file, text) = super::main_job::rule();
    nudged.write(&format!("rules/{file}"), &text);
    poll_until(PATIENCE, || sink.tally().requests > 3_000);
    one.kill();
    let killed = since_1970();
    let before = sink.tally().keys;
    poll_until(PATIENCE, || sink.tally().keys + 10 >= expected);
    poll_until(PATIENCE, || nudged.is_settled());
    let tally = sink.tally();
    report::figure("two nodes, one killed", format!("{} arrived, {} repeated", tally.keys, tally.repeats()));
    let took = tally.last.saturating_sub(killed);
    // A second program that starts at once; it can't know whether the first is still alive.
    let bare = selection + Duration::from_secs_f64(expected.saturating_sub(before) as f64 / posts);
    let what = "  until the other node had finished all, a lease of a minute counted in (target 65 s)";
    report::time(what, took, Some(("psql + raw POSTs of the rest", bare)));
    other.kill();
}

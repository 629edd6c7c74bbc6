//! Reload with a thousand rules: one file changed, and all of them. `nudged reload` answers when the new
//! generation runs, so its own start and connection are counted in, and so is the settling of the tree (0.5 s at least).

use super::memory::{rule, thousand_rules};
use super::nudged::{Nudged, State};
use super::sink::Sink;
use super::support::poll_until;
use super::{Bench, report};
use std::time::Duration;

const RUNS: usize = 5;

pub fn measure(bench: &Bench) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, State::Sqlite, &sink, &thousand_rules());
    let life = nudged.start();
    poll_until(Duration::from_mins(5), || nudged.is_ready());
    let (_, bare) = nudged.ask(&["status", "--format", "json"]);
    let one = (0..RUNS).map(|run| {
        nudged.write("rules/rule-500.yaml", &rule(500, &format!("Edited {run}")));
        nudged.ask(&["reload"]).1
    });
    report::spread("1 of 1,000 rules changed", one.collect());
    let all = (0..RUNS).map(|run| {
        for number in 0..1_000 {
            nudged.write(&format!("rules/rule-{number}.yaml"), &rule(number, &format!("All edited {run}")));
        }
        nudged.ask(&["reload"]).1
    });
    report::spread("all 1,000 rules changed", all.collect());
    report::time("for comparison, `nudged status`", bare, None);
    life.kill();
}

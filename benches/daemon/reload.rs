//! Reload with a thousand rules: one file changed, and all of them. `nudged reload` answers when the new
//! generation runs, so its own start and connection are counted in; the settling of the tree (0.5 s) is taken off.

use super::memory::{rule, thousand_rules};
use super::nudged::{Nudged, Outlets, State};
use super::sink::Sink;
use super::support::poll_until;
use super::{Bench, report};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RUNS: usize = 5;

/// Two equal readings of the tree lie this far apart by default.
const SETTLE: Duration = Duration::from_millis(500);

const BARE_ONE: &str = "1,000 files read and hashed, one parsed as YAML";
const BARE_ALL: &str = "1,000 files read, hashed and parsed as YAML";

pub fn measure(bench: &Bench) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, State::Sqlite, Outlets::to(&sink), &thousand_rules());
    let life = nudged.start();
    poll_until(Duration::from_mins(5), || nudged.is_ready());
    let (_, bare) = nudged.ask(&["status", "--format", "json"]);
    let one = (0..RUNS).map(|run| {
        nudged.write("rules/rule-500.yaml", &rule(500, &format!("Edited {run}")));
        nudged.ask(&["reload"]).1.saturating_sub(SETTLE)
    });
    let one = one.collect();
    let bare_one = (0..RUNS).map(|_| read(&nudged, 1)).collect();
    report::spread_beside("1 of 1,000 rules changed, after the settling (target 300 ms)", one, (BARE_ONE, bare_one));
    let all = (0..RUNS).map(|run| {
        for number in 0..1_000 {
            nudged.write(&format!("rules/rule-{number}.yaml"), &rule(number, &format!("All edited {run}")));
        }
        nudged.ask(&["reload"]).1.saturating_sub(SETTLE)
    });
    let all = all.collect();
    let bare_all = (0..RUNS).map(|_| read(&nudged, 1_000)).collect();
    report::spread_beside("all 1,000 rules changed, after the settling (target 3 s)", all, (BARE_ALL, bare_all));
    report::time("for comparison, `nudged status`", bare, None);
    life.kill();
}

/// Every file read and hashed, and the first so many parsed.
fn read(nudged: &Nudged, parsed: usize) -> Duration {
    let began = Instant::now();
    let mut hash = Sha256::new();
    for number in 0..1_000 {
        let text =
            std::fs::read_to_string(nudged.path(&format!("rules/rule-{number}.yaml"))).expect("the file is ours");
        hash.update(&text);
        if number < parsed {
            black_box(serde_yaml::from_str::<serde_json::Value>(&text).expect("the rules are YAML"));
        }
    }
    black_box(hash.finalize());
    began.elapsed()
}

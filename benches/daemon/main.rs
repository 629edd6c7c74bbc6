//! Measures the daemon against a source of a million customers and five million orders in PostgreSQL, each
//! figure beside what the bare tools need for the same on the same machine in the same run.
//!
//! ```text
//! cargo bench --bench daemon                    # everything
//! cargo bench --bench daemon -- main_job idle   # some of it
//! cargo bench --bench daemon -- quiet sqlite    # with one of the two states
//! ```
//! The source is generated once (a few minutes) and kept in `$NUDGED_BENCH_DIR`, `/var/tmp/nudged-bench` if
//! unset. Source and PostgreSQL state live on a private server that syncs to disk like any other. Nothing here
//! has a threshold: figures depend on the machine, so they are read by people. `docs/performance.md` keeps some.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking, and prints"
)]

mod arrivals;
mod bare;
mod engine;
mod idle;
mod latency;
mod machine;
mod mail_sink;
mod mails;
mod main_job;
mod memory;
mod nudged;
mod queue;
mod recovery;
mod reload;
mod report;
mod sink;
mod source;
#[expect(dead_code, unused_imports, reason = "shared with the tests, which need more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;
mod sweeps;
mod witness;

use nudged::State;
use source::BenchSource;

/// Where the bench keeps the source and runs the daemon.
pub struct Bench {
    pub source: BenchSource,
}

type Measure = fn(&Bench);

/// By the names that choose them.
const MEASURES: [(&[&str], Measure); 14] = [
    // Made if it isn't there, and nothing else.
    (&["source"], |_| {}),
    (&["main_job"], main_job::measure),
    (&["witness"], witness::measure),
    (&["mails"], mails::measure),
    (&["quiet", "sweeps"], sweeps::quiet_sweeps),
    (&["days", "sweeps"], sweeps::whole_days),
    (&["thousand", "sweeps"], sweeps::thousand_rules),
    (&["latency"], latency::measure),
    (&["events"], arrivals::measure),
    (&["memory"], memory::measure),
    (&["episodes", "memory"], memory::episodes),
    (&["reload"], reload::measure),
    (&["idle"], idle::measure),
    (&["recovery"], recovery::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, port] = arguments.as_slice() {
        match mode.as_str() {
            sink::MODE => return sink::serve(port.parse().expect("a port")),
            mail_sink::MODE => return mail_sink::serve(port.parse().expect("a port")),
            _ => {}
        }
    }
    let is_state = |name: &String| State::BOTH.iter().any(|state| state.argument() == name);
    let names: Vec<&String> = arguments.iter().filter(|name| !is_state(name)).collect();
    let known: Vec<&str> = MEASURES.iter().flat_map(|(names, _)| *names).copied().collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        panic!("`{unknown}` measures nothing; there are {}, and `sqlite` or `postgresql`", known.join(", "));
    }
    machine::describe();
    let bench = Bench { source: BenchSource::open() };
    for (called, measure) in MEASURES {
        if names.is_empty() || names.iter().any(|name| called.contains(&name.as_str())) {
            println!("\n## {}", called[0]);
            measure(&bench);
        }
    }
}

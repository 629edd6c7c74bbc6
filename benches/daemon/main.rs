//! Measures the daemon against a source of a million customers and five million orders in PostgreSQL, each
//! figure beside what the bare tools need for the same on the same machine in the same run.
//!
//! ```text
//! cargo bench --bench daemon                    # everything
//! cargo bench --bench daemon -- main_job idle   # some of it
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

mod bare;
mod engine;
mod idle;
mod latency;
mod machine;
mod main_job;
mod memory;
mod nudged;
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

use source::BenchSource;

/// Where the bench keeps the source and runs the daemon.
pub struct Bench {
    pub source: BenchSource,
}

type Measure = fn(&Bench);

const MEASURES: [(&str, Measure); 8] = [
    ("main_job", main_job::measure),
    ("witness", witness::measure),
    ("sweeps", sweeps::measure),
    ("latency", latency::measure),
    ("memory", memory::measure),
    ("reload", reload::measure),
    ("idle", idle::measure),
    ("recovery", recovery::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, port] = arguments.as_slice()
        && mode == sink::MODE
    {
        return sink::serve(port.parse().expect("a port"));
    }
    let chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    machine::describe();
    let bench = Bench { source: BenchSource::open() };
    for (name, measure) in MEASURES {
        if chosen(name) {
            println!("\n## {name}");
            measure(&bench);
        }
    }
}

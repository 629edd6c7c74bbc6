//! Runs a target by mutation, on any toolchain:
//! `cargo run --manifest-path fuzz/Cargo.toml --no-default-features --example run -- rule_parser 300`; with `REPLAY=FILE`
//! that input alone.

use nudged_fuzz::mutate::{Dice, corpus, mutated};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longer than this for an input of at most 20 kB is a finding; without optimisation everything takes longer.
const SLOW: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

fn main() {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().expect("a target: rule_parser, conditions_sql or templates");
    let seconds: u64 = arguments.next().map_or(300, |seconds| seconds.parse().expect("seconds"));
    let seed: u64 = arguments.next().map_or(1, |seed| seed.parse().expect("a seed"));
    let (run, corpus): (fn(&[u8]), Vec<String>) = match target.as_str() {
        "rule_parser" => {
            let folders = ["rules", "examples", "tests/fixtures/rules/base", "tests/fixtures/rules/bad", "docs"];
            (nudged_fuzz::rule_parser, corpus(&folders, &[".yaml", ".md"]))
        }
        "conditions_sql" => {
            let own = ["- country: AT", "- any: [{tier: vip}, {score: {above: 0.9}}]", "- orders: {none: {}}"];
            let mut found = corpus(&["docs/rules.md"], &[".md"]);
            found.retain(|block| block.starts_with("# conditions"));
            let lines: Vec<String> = found.iter().flat_map(|block| block.lines()).map(str::to_owned).collect();
            found.extend(lines.into_iter().chain(own.map(str::to_owned)));
            (nudged_fuzz::conditions_sql, found)
        }
        "templates" => {
            let folders = ["rules/templates", "examples", "tests/fixtures/rules/base", "tests/fixtures/rules/bad"];
            (nudged_fuzz::templates, corpus(&folders, &[".md", ".html", ".mjml"]))
        }
        other => panic!("no target {other}"),
    };
    if let Some(file) = std::env::var_os("REPLAY") {
        let input = std::fs::read(file).expect("a file");
        let begun = Instant::now();
        run(&input);
        return println!("{target}: {:?}", begun.elapsed());
    }
    let (mut dice, started) = (Dice::new(seed), Instant::now());
    let (mut runs, mut findings) = (0_u64, 0_u64);
    let mut slowest = Duration::ZERO;
    let folder = format!("fuzz/artifacts/{target}");
    std::fs::create_dir_all(&folder).expect("a folder");
    let last = format!("{folder}/last");
    while started.elapsed() < Duration::from_secs(seconds) {
        let input = mutated(&mut dice, &corpus);
        // What ends the process, such as an overflow of the stack, leaves it there.
        std::fs::write(&last, &input).expect("a file");
        let begun = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| run(input.as_bytes())));
        let took = begun.elapsed();
        slowest = slowest.max(took);
        runs += 1;
        if ended.is_err() || took > SLOW {
            findings += 1;
            std::fs::write(format!("{folder}/{seed}-{runs}"), &input).expect("a file");
            eprintln!("finding {findings}: {folder}/{seed}-{runs} ({took:?})");
            assert!(findings < 50, "enough to look at");
        }
    }
    std::fs::remove_file(&last).expect("the file of the last input");
    println!(
        "{target}: {runs} runs in {} s from {} files, slowest {slowest:?}, {findings} findings",
        started.elapsed().as_secs(),
        corpus.len()
    );
}

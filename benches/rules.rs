//! What rules cost before they run: checking ten thousand files, and calling a script. No database is needed.
//! `cargo bench --bench rules`, or `-- check` or `-- scripts` for one of them.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends by panicking, and prints")]

#[expect(dead_code, reason = "shared with the other benchmark, which needs more of it")]
#[path = "daemon/machine.rs"]
mod machine;
#[expect(dead_code, reason = "shared with the other benchmark, which needs more of it")]
#[path = "daemon/report.rs"]
mod report;

use jiff::{Timestamp, tz::TimeZone};
use nudged::diagnostic::SourceFile;
use nudged::model::Value;
use nudged::rule::Score;
use nudged::rule::compiled::{Facts, Unsaid};
use nudged::rule::generation::{Gateways, Generation, Surroundings, Tree};
use nudged::rule::script::{Library, Script};
use nudged::rule::statement::Dialect;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

const FILES: usize = 10_000;
const CALLS: u32 = 200_000;

const CATALOG: &str = "version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    fields: {country: country_code, tier: class, total: {column: total, type: decimal}}
    relations: {orders: {entity: order, by: customer}}
  order: {table: orders, key: id, at: placed_at, fields: {customer: account_id, placed_at: {column: placed_at, type: instant}}}
";

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runs = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    machine::describe();
    if runs("check") {
        println!("\n## check");
        check();
    }
    if runs("scripts") {
        println!("\n## scripts");
        scripts();
    }
}

fn file(path: String, text: impl Into<String>) -> Arc<SourceFile> {
    Arc::new(SourceFile { path, text: text.into() })
}

/// Each another age and country, some with a branch.
fn rule(number: usize) -> String {
    let country = ["AT", "DE", "CH", "\"NO\"", "FR"][number % 5];
    let days = 5 + number % 900;
    format!(
        "version: 1\nid: rule-{number}\ndescription: The rule of number {number}.\nmode: shadow\npurpose: staff\n\
         for_each: customer\ntrigger:\n  inactivity: {{of: orders, for: {days} days}}\nwhere:\n  \
         - country: {{in: [{country}]}}\n  - tier: vip\n  - any: [{{total: {{at_least: {number}}}}}, {{orders: some}}]\n\
         check_every: 15 minutes\nsteps:\n  - branch:\n      cases:\n        - {{name: large, when: {{total: {{above: 500}}}}, \
         steps: [webhook: {{to: sink}}]}}\n      otherwise:\n        - wait: {{for: 7 days}}\n        - webhook: {{to: sink, id: again}}\n"
    )
}

fn check() {
    let mut files: Vec<_> = (0..FILES).map(|number| file(format!("rule-{number:05}.yaml"), rule(number))).collect();
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    let began = Instant::now();
    for file in &files {
        black_box(serde_yaml::from_str::<serde_json::Value>(&file.text).expect("the rules are YAML"));
    }
    let bare = began.elapsed();
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("catalog.yaml"), CATALOG).expect("a file");
    for file in &files {
        std::fs::write(folder.path().join(&file.path), &file.text).expect("a file");
    }
    files.insert(0, file("catalog.yaml".to_owned(), CATALOG));
    let surroundings = Surroundings {
        dialect: Dialect::Sqlite,
        schema: None,
        destinations: ["sink".to_owned()].into(),
        chats: ["sales".to_owned()].into(),
        gateways: Gateways::default(),
        topics: ["offers".into()].into(),
    };
    let began = Instant::now();
    let built = Generation::build(Arc::new(Tree { files }), &surroundings);
    let took = began.elapsed();
    let generation = built.unwrap_or_else(|findings| panic!("{}", findings[0]));
    assert_eq!(generation.rules.len(), FILES);
    report::figure("rule files", format!("{FILES} of {} bytes on average", bytes / FILES));
    report::time("read, checked and compiled to SQL", took, Some(("parsed as YAML alone", bare)));
    let config = "[source]\nurl = \"sqlite::memory:\"\n[webhooks.sink]\nurl = \"https://sink.example/\"\n";
    let path = folder.path().join("config.toml");
    std::fs::write(&path, config).expect("a file");
    let began = Instant::now();
    report::time("`nudged check`, from exec to exit", run_check(folder.path(), &path, began), None);
}

fn run_check(folder: &Path, config: &Path, began: Instant) -> std::time::Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nudged"));
    command.arg("check").arg("--rules").arg(folder).arg("--config").arg(config);
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    began.elapsed()
}

fn facts() -> Facts {
    let record = [
        ("tier", Value::Text("vip".into())),
        ("total", Value::Decimal("1234.10".parse().expect("a number"))),
        ("last_login", Value::Instant("2026-08-01T22:30:00Z".parse().expect("an instant"))),
        ("comment", Value::Text("I am very disappointed. The support was terrible!".into())),
    ];
    Facts {
        key: "4711".into(),
        conditions: Vec::new(),
        only_at_entry: Vec::new(),
        goal: None,
        goal_ever: None,
        exit_when: Vec::new(),
        cases: BTreeMap::new(),
        score: Score::NotAsked,
        record: record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        days: BTreeMap::new(),
        recipients: BTreeMap::new(),
        zone: TimeZone::UTC,
        unsaid: Unsaid::default(),
    }
}

fn scripts() {
    let bare = bare();
    let module = file("scripts/lib/worth.rhai".to_owned(), "fn of(total) { if total > 1000 { 0.9 } else { 0.2 } }");
    for (what, text) in [
        ("eligible, one comparison", "fn eligible(record, now) { record.tier == \"vip\" }"),
        (
            "eligible, amounts and times",
            "fn eligible(record, now) { record.total > 1000 && now.days_since(record.last_login) > 30 }",
        ),
        (
            "eligible, through a module",
            "import \"lib/worth\" as w;\nfn eligible(record, now) { w::of(record.total) > 0.5 }",
        ),
        ("eligible, sentiment of a comment", "fn eligible(record, now) { sentiment(record.comment) < 0 }"),
    ] {
        let script = file("scripts/a.rhai".to_owned(), text);
        let library = Library::of(&[Arc::clone(&script), Arc::clone(&module)]);
        let script = Script::compile_with(&script, &library, &facts()).unwrap_or_else(|found| panic!("{}", found[0]));
        let (facts, now) = (facts(), Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 365 * 56));
        let began = Instant::now();
        for _ in 0..CALLS {
            black_box(script.eligible(black_box(&facts), now).expect("the script answers"));
        }
        let rate = f64::from(CALLS) / began.elapsed().as_secs_f64();
        report::rate(what, rate, Some(("rhai alone, one comparison", bare)));
    }
}

/// The engine as it comes, with a record made once: no limits, no deadline, no exact amounts.
fn bare() -> f64 {
    let engine = rhai::Engine::new();
    let ast = engine.compile("fn eligible(record) { record.tier == \"vip\" }").expect("it is a script");
    let mut record = rhai::Map::new();
    record.insert("tier".into(), "vip".into());
    let mut scope = rhai::Scope::new();
    let began = Instant::now();
    for _ in 0..CALLS {
        let answer = engine.call_fn::<bool>(&mut scope, &ast, "eligible", (record.clone(),));
        black_box(answer.expect("it answers"));
    }
    f64::from(CALLS) / began.elapsed().as_secs_f64()
}

//! Tests without an end: whoever loads a rule hears of them at once.

use super::{GIVEN, RULE, bench_of, test};
use nudged::diagnostic::render::{Look, render};
use nudged::testbench::Bench;

fn bench(trigger: &str, tests: &str) -> Bench {
    bench_of(&RULE.replace("{inactivity: {of: orders, for: 30 days}}", trigger), tests)
}

async fn told(bench: Bench) -> String {
    match bench.play(&bench.rule_files(), 1, |_| {}).await {
        Ok(reports) => reports[0].failures().map(|failure| format!("{}\n", failure.finding)).collect(),
        Err(findings) => render(&findings, Look::Plain),
    }
}

#[tokio::test]
async fn a_test_of_more_sweeps_than_can_be_played_says_so_at_its_line() {
    let lines = "      - {after: 7 days, expect: nothing}\n      - {after: 100 years, expect: nothing}\n";
    for trigger in [
        "{segment: {when: {born: {older_than: 30 years}}}}",
        "{segment: {when: {orders: {none: {}, within_last: 9 days}}}}",
        "{segment: {when: {country: DE}}}\nkeep_trying: 3 days",
        "{changed: {field: spent}}",
        "{count: {of: orders, at_least: 9, within: 30 days}}",
        "{decline: {of: orders, by: 50, from_at_least: 4, window: 30 days}}",
        "{schedule: {cron: \"*/5 * * * *\"}}",
    ] {
        let tests = test("2026-11-21 10:00", GIVEN, lines);
        let said = told(bench(trigger, &tests)).await;
        let above = RULE.trim_start().lines().count() + trigger.lines().count();
        let line = above + tests.lines().count();
        assert!(said.contains("error[test.too-long]") && said.contains("`after`"), "{trigger}: {said}");
        assert!(said.starts_with(&format!("silence.yaml:{line}:")), "{trigger}: {said}");
    }
}

/// They are asked when something may happen, and the rest of the century is left out.
#[tokio::test]
async fn a_long_test_of_a_rule_that_can_be_foreseen_is_played() {
    let nobody = GIVEN.replace("country: AT", "country: CH");
    let century = test("2026-11-21 10:00", &nobody, "      - {after: 100 years, expect: nothing}\n");
    assert_eq!(told(bench_of(RULE, &century)).await, "");
    for trigger in ["{segment: {when: {country: DE}}}", "{changed: {field: country}}"] {
        assert_eq!(told(bench(trigger, &century)).await, "", "{trigger}");
    }
    let farther = test("2026-11-21 10:00", &nobody, "      - {after: 101 years, expect: nothing}\n");
    let said = told(bench_of(RULE, &farther)).await;
    assert!(said.contains("more than 100 years after the test's `at`"), "{said}");
}

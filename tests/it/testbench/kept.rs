//! Conditions over what earlier steps have kept.

use super::{GIVEN, bench_of, test};
use nudged::diagnostic::render::{Look, render};
use nudged::testbench::Failure;

const KEEPS: &str = r#"
version: 1
id: silence
mode: shadow
purpose: offers
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 30 days}}
exit_when: {saved.ticket.state: closed}
steps:
  - webhook: {to: desk, body: {of: "{{ record.country }}"}, save: ticket}
  - branch:
      cases:
        - name: hot
          when: [{country: AT}, {saved.ticket.number: {at_least: 4000}}]
          steps: [email: {template: hello}]
        - name: known
          when: {any: [{tier: vip}, {not: {saved.ticket.owner.team: [sales, desk]}}]}
          steps: [email: {template: abroad}]
  - wait: {until: {when: {saved.ticket.ready: true}, at_most: 5 days, otherwise: [task: {title: Late, assign_to: owner}]}}
  - email: {template: bye}
"#;

/// Conditions see what a webhook has answered; what it didn't say never matches, also not under `not`.
#[tokio::test]
async fn branches_waits_and_exits_ask_what_was_answered() {
    let at_once = "email: [hello, bye]";
    let told = [
        ("{number: 4711, ready: true, state: open}", at_once),
        ("{number: '4711', ready: true}", at_once),
        ("{number: 3999, ready: true}", "email: [bye]"),
        ("{number: 3999, ready: true, owner: {team: sales}}", "email: [bye]"),
        ("{number: 3999, ready: true, owner: {team: care}}", "email: [abroad, bye]"),
        ("{number: many, ready: true}", "email: [bye]"),
        ("{ready: true}", "email: [bye]"),
        ("{number: 4711, ready: 'true'}", "email: [hello]"),
        ("{number: 4711}", "email: [hello]"),
    ];
    for (answer, expected) in told {
        let given = GIVEN.replace("{number: 4711}", answer);
        let then = format!("      - {{after: 4 days, expect: {{{expected}, webhook: [desk]}}}}\n");
        let bench = bench_of(KEEPS, &test("2026-11-21 10:00", &given, &then));
        let report = bench.play(&bench.rule_files(), 2, |_| {}).await;
        let report = report.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain))).remove(0);
        let failures: Vec<&Failure> = report.failures().collect();
        assert!(failures.is_empty(), "{answer}: {failures:?}");
    }
    let given = GIVEN.replace("{number: 4711}", "{number: 4711, state: closed}");
    let then = "      - {after: 1 day, expect: {webhook: [desk]}, ended: exit}\n";
    let bench = bench_of(KEEPS, &test("2026-11-21 10:00", &given, then));
    let report = bench.play(&bench.rule_files(), 2, |_| {}).await.unwrap().remove(0);
    let failures: Vec<&Failure> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:?}");
    let then = "      - {after: 6 days, expect: {webhook: [desk], email: [hello, bye], task: [{title: Late}]}}\n";
    let bench = bench_of(KEEPS, &test("2026-11-21 10:00", GIVEN, then));
    let report = bench.play(&bench.rule_files(), 2, |_| {}).await.unwrap().remove(0);
    let failures: Vec<&Failure> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:?}");
}

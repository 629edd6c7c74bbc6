//! Results of tests as a table and as JSON.

use crate::cli::Output;
use crate::diagnostic::render::counted;
use crate::testbench::{Coverage, Failure, RuleCover, RuleReport, TestReport};
use serde_json::{Value as Json, json};
use std::fmt::Write;

pub(super) fn table(reports: &[RuleReport], coverage: Option<&Coverage>, output: &mut Output) {
    let row = |report: &RuleReport, test: &TestReport| {
        let result = if test.failures.is_empty() { "ok" } else { "FAILED" };
        vec![report.rule.to_string(), test.name.clone(), result.to_owned()]
    };
    let rows = reports.iter().flat_map(|report| report.tests.iter().map(move |test| row(report, test))).collect();
    output.table(&["rule", "test", "result"], rows, "no rule has tests");
    if let Some(coverage) = coverage {
        output.line("");
        let rows = coverage.rules.iter().map(cover_row).collect();
        output.table(&["rule", "tests", "cases", "templates", "never reached"], rows, "there are no rules");
    }
}

fn cover_row(rule: &RuleCover) -> Vec<String> {
    let share = |seen: usize, all: usize| if all == 0 { "-".to_owned() } else { format!("{seen}/{all}") };
    let taken = rule.branches.iter().filter(|branch| branch.taken).count();
    let sent = rule.templates.iter().filter(|(_, sent)| *sent).count();
    let cases = rule.branches.iter().filter(|branch| !branch.taken).map(|branch| format!("case {}", branch.case));
    let templates = rule.templates.iter().filter(|(_, sent)| !sent).map(|(template, _)| format!("template {template}"));
    vec![
        rule.rule.to_string(),
        rule.tests.to_string(),
        share(taken, rule.branches.len()),
        share(sent, rule.templates.len()),
        cases.chain(templates).collect::<Vec<_>>().join(", "),
    ]
}

/// `3 rules, 7 tests: 6 passed, 1 failed; 1 rule has no test`
pub(super) fn summary(reports: &[RuleReport]) -> String {
    let tests = || reports.iter().flat_map(|report| &report.tests);
    let failed = tests().filter(|test| !test.failures.is_empty()).count();
    let untested = reports.iter().filter(|report| report.tests.is_empty()).count();
    let all = tests().count();
    let mut text = format!(
        "{}, {}: {} passed, {failed} failed",
        counted(reports.len(), "rule"),
        counted(all, "test"),
        all - failed
    );
    match untested {
        0 => {}
        1 => text.push_str("; 1 rule has no test"),
        more => {
            // Writing to a string doesn't fail.
            let _ = write!(text, "; {more} rules have no test");
        }
    }
    text
}

pub(super) fn json(reports: &[RuleReport], coverage: Option<&Coverage>) -> Json {
    let tests = || reports.iter().flat_map(|report| report.tests.iter().map(move |test| (report, test)));
    let mut document = json!({
        "rules": reports.len(),
        "tests": tests().count(),
        "failed": tests().filter(|(_, test)| !test.failures.is_empty()).count(),
        "results": tests().map(|(report, test)| test_json(report, test)).collect::<Vec<_>>(),
    });
    if let Some(coverage) = coverage {
        document["coverage"] = coverage_json(coverage);
    }
    document
}

fn test_json(report: &RuleReport, test: &TestReport) -> Json {
    json!({
        "rule": report.rule,
        "file": report.file,
        "line": test.place.line_column().0,
        "test": test.name,
        "passed": test.failures.is_empty(),
        "took_ms": u64::try_from(test.took.as_millis()).unwrap_or(u64::MAX),
        "failures": test.failures.iter().map(failure_json).collect::<Vec<_>>(),
    })
}

fn failure_json(failure: &Failure) -> Json {
    let place = failure.finding.place.as_ref().map(|place| {
        let (line, column) = place.line_column();
        json!({"line": line, "column": column})
    });
    json!({
        "code": failure.finding.code,
        "message": failure.finding.message,
        "at": place,
        "expected": failure.expected,
        "got": failure.got,
        "reasons": failure.reasons,
    })
}

fn coverage_json(coverage: &Coverage) -> Json {
    let [rules, branches, templates] = coverage.counts();
    let share = |(seen, all): (usize, usize)| json!({"reached": seen, "of": all});
    let rule = |rule: &RuleCover| {
        json!({
            "rule": rule.rule,
            "file": rule.file,
            "tests": rule.tests,
            "cases": rule.branches.iter().map(|branch| json!({
                "step": branch.step, "case": branch.case, "reached": branch.taken,
            })).collect::<Vec<_>>(),
            "templates": rule.templates.iter().map(|(template, sent)| json!({
                "template": template, "reached": sent,
            })).collect::<Vec<_>>(),
        })
    };
    json!({
        "rules": share(rules),
        "cases": share(branches),
        "templates": share(templates),
        "by_rule": coverage.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

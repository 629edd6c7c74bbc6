//! Results of tests as `JUnit` XML, the form that CI systems read: a suite for every rule, a case for every test.

use crate::testbench::{RuleReport, TestReport};
use std::fmt::Write;
use std::time::Duration;

pub(super) fn document(reports: &[RuleReport]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let tests = || reports.iter().flat_map(|report| &report.tests);
    // Writing to a string doesn't fail.
    let _ = writeln!(
        xml,
        "<testsuites name=\"nudged\" tests=\"{}\" failures=\"{}\" time=\"{}\">",
        tests().count(),
        failed(tests()),
        seconds(tests()),
    );
    for report in reports.iter().filter(|report| !report.tests.is_empty()) {
        suite(&mut xml, report);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, report: &RuleReport) {
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" file=\"{}\" tests=\"{}\" failures=\"{}\" time=\"{}\">",
        escaped(report.rule.as_str()),
        escaped(&report.file),
        report.tests.len(),
        failed(report.tests.iter()),
        seconds(report.tests.iter()),
    );
    for test in &report.tests {
        let _ = write!(
            xml,
            "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{}\"",
            escaped(report.rule.as_str()),
            escaped(&test.name),
            escaped(&report.file),
            test.place.line_column().0,
            seconds([test].into_iter()),
        );
        if test.failures.is_empty() {
            xml.push_str("/>\n");
            continue;
        }
        xml.push_str(">\n");
        for failure in &test.failures {
            let finding = &failure.finding;
            let _ = writeln!(
                xml,
                "      <failure type=\"{}\" message=\"{}\">{}</failure>",
                finding.code,
                escaped(&finding.message),
                escaped(&finding.to_string()),
            );
        }
        xml.push_str("    </testcase>\n");
    }
    xml.push_str("  </testsuite>\n");
}

fn failed<'a>(tests: impl Iterator<Item = &'a TestReport>) -> usize {
    tests.filter(|test| !test.failures.is_empty()).count()
}

fn seconds<'a>(tests: impl Iterator<Item = &'a TestReport>) -> String {
    format!("{:.3}", tests.map(|test| test.took).sum::<Duration>().as_secs_f64())
}

/// For text and for attributes. Characters that XML can't hold at all are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

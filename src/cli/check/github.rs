//! Findings as workflow commands of GitHub Actions, which become annotations of the change.

use crate::diagnostic::{Finding, Severity};
use std::fmt::Write;

pub(super) fn lines(findings: &[Finding], root: &str) -> String {
    let mut text = String::new();
    for finding in findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut properties = Vec::new();
        if let Some(place) = &finding.place {
            let ((line, column), (end, _)) = (place.line_column(), place.end_line_column());
            properties.push(format!("file={}", property(&super::path(root, &place.file.path))));
            properties.push(format!("line={line},endLine={end},col={column}"));
        }
        properties.push(format!("title={}", property(finding.code)));
        let help = finding.help.as_ref().map_or_else(String::new, |help| format!("\n{help}"));
        // Writing to a string doesn't fail.
        let _ = writeln!(text, "::{command} {}::{}", properties.join(","), data(&format!("{}{help}", finding.message)));
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

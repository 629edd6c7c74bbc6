//! Findings as SARIF 2.1.0, which code hosts show beside the lines they are about.

use crate::diagnostic::{Finding, Severity};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// `root` is the rules directory as the reader of the report names it.
pub(super) fn document(findings: &[Finding], root: &str) -> Json {
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect::<BTreeSet<_>>().into_iter().collect();
    let results = findings.iter().map(|finding| result(finding, &codes, root)).collect::<Vec<_>>();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "nudged",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| json!({"id": code})).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding, codes: &[&str], root: &str) -> Json {
    let message = match &finding.help {
        Some(help) => format!("{}\n{help}", finding.message),
        None => finding.message.clone(),
    };
    let mut result = json!({
        "ruleId": finding.code,
        "ruleIndex": codes.iter().position(|code| *code == finding.code),
        "level": match finding.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": {"text": message},
    });
    if let Some(place) = &finding.place {
        let (line, column) = place.line_column();
        let (end_line, end_column) = place.end_line_column();
        result["locations"] = json!([{"physicalLocation": {
            "artifactLocation": {"uri": uri(&super::path(root, &place.file.path))},
            "region": {
                "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column,
            },
        }}]);
    }
    result
}

/// A path as a relative reference: what a URI can't hold is written in percents.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

//! Reading a script's text, within bounds: what the engine takes for a `switch` grows with the square of its cases.

use super::engine::ENGINE;
use super::{finding, problem, scan};
use crate::diagnostic::{Finding, SourceFile, defect};
use rhai::{AST, ParseError, ParseErrorType};
use std::sync::Arc;

/// Of one script or module.
const KIB: usize = 64;
/// Of every `switch` of one script or module together.
const CASES: usize = 500;

/// Reads a script or a module.
pub(super) fn parse(file: &Arc<SourceFile>) -> Result<AST, Vec<Finding>> {
    if let Some(what) = too_large(&file.text) {
        let finding = finding(file, 1, 1, "script.too-large", what);
        return Err(vec![
            finding.help("put lists of values into the catalog or the database, and functions into modules"),
        ]);
    }
    let parsed = defect::caught(file, || ENGINE.compile(&file.text)).map_err(|panicked| vec![panicked])?;
    parsed.map_err(|error| vec![syntax(file, &error)])
}

fn too_large(text: &str) -> Option<String> {
    if text.len() > KIB * 1024 {
        return Some(format!("a script has at most {KIB} KiB"));
    }
    let cases = scan::cases(text);
    (cases > CASES).then(|| format!("a script has at most {CASES} cases of `switch`, and this one {cases}"))
}

fn syntax(file: &Arc<SourceFile>, error: &ParseError) -> Finding {
    let (line, column) = problem::place(error.position());
    let finding = finding(file, line, column, "script.syntax", error.err_type().to_string());
    let before = file.text.lines().nth(line.saturating_sub(1)).and_then(|text| text.split_at_checked(column));
    let in_place = before.is_some_and(|(before, _)| before.contains('|'));
    if matches!(error.err_type(), ParseErrorType::VariableUndefined(_)) && in_place {
        return finding.help("a function in place (`|x| …`) sees its own parameters only; hand it more by `curry`");
    }
    finding
}

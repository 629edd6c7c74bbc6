//! Reading a script's text.

use super::engine::ENGINE;
use super::{finding, problem};
use crate::diagnostic::{Finding, SourceFile, defect};
use rhai::{AST, ParseError, ParseErrorType};
use std::sync::Arc;

/// Of one script or module.
const KIB: usize = 64;

/// Reads a script or a module.
pub(super) fn parse(file: &Arc<SourceFile>) -> Result<AST, Vec<Finding>> {
    if file.text.len() > KIB * 1024 {
        let finding = finding(file, 1, 1, "script.too-large", format!("a script has at most {KIB} KiB"));
        return Err(vec![finding.help("lists of values belong into the database, functions into modules")]);
    }
    let parsed = defect::caught(file, || ENGINE.compile(&file.text)).map_err(|panicked| vec![panicked])?;
    parsed.map_err(|error| vec![syntax(file, &error)])
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

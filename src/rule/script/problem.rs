//! The engine's errors in our words. They name properties, functions and types, never a value: values are
//! personal data.

use super::engine::{TOO_LONG, TOO_MANY};
use rhai::{Dynamic, EvalAltResult, Position};

/// Marks errors of our own functions, whose words name no value.
pub(super) const OURS: &str = "nudged";

/// What is wrong and in which line (0: unknown).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The module it lies in; `None`: the script itself.
    pub file: Option<String>,
    pub line: usize,
    pub column: usize,
    pub text: String,
    /// Wrong whatever the record: a finding already at load.
    pub structural: bool,
}

pub(super) fn of(error: &EvalAltResult, fields: &[&str]) -> Problem {
    let mut inner = error;
    let mut position = error.position();
    let mut file = None;
    while let EvalAltResult::ErrorInFunctionCall(_, _, cause, _) | EvalAltResult::ErrorInModule(_, cause, _) = inner {
        if let EvalAltResult::ErrorInFunctionCall(_, source, ..) = inner
            && !source.is_empty()
        {
            file = Some(source.clone());
        }
        inner = cause;
        if !inner.position().is_none() {
            position = inner.position();
        }
    }
    let (structural, text) = describe(inner, fields);
    let (line, column) = place(position);
    Problem { file, line, column, text, structural }
}

pub(super) fn place(position: Position) -> (usize, usize) {
    (position.line().unwrap_or(1), position.position().unwrap_or(1))
}

fn describe(error: &EvalAltResult, fields: &[&str]) -> (bool, String) {
    use EvalAltResult as E;
    match error {
        E::ErrorParsing(problem, _) => (true, problem.to_string()),
        E::ErrorPropertyNotFound(name, _) => (true, unknown_field(name, fields)),
        E::ErrorVariableNotFound(name, _) => (true, format!("there is no variable `{name}`")),
        // With `()` among its arguments a value was missing, or of a type not known yet.
        E::ErrorFunctionNotFound(signature, _) if misses_a_value(signature) => {
            (false, format!("a value is missing: there is no function `{signature}`"))
        }
        E::ErrorFunctionNotFound(signature, _) => (true, format!("there is no function `{signature}`")),
        E::ErrorMismatchDataType(wanted, found, _) | E::ErrorMismatchOutputType(wanted, found, _) => {
            (false, format!("expected {wanted}, found {found}"))
        }
        E::ErrorTerminated(reason, _) if carries(reason, TOO_MANY) => {
            (true, "it takes too many operations; is there an endless loop?".into())
        }
        E::ErrorTerminated(reason, _) if carries(reason, TOO_LONG) => (true, "it takes too long".into()),
        E::ErrorStackOverflow(_) => (true, "its functions call each other too deeply".into()),
        E::ErrorDataTooLarge(what, _) => (true, format!("a value grew too large ({})", what.to_lowercase())),
        E::ErrorTooManyVariables(_) => (true, "it has too many variables".into()),
        E::ErrorArithmetic(..) => (false, "a calculation overflowed or divided by zero".into()),
        E::ErrorArrayBounds(..) | E::ErrorStringBounds(..) | E::ErrorIndexNotFound(..) => {
            (false, "an index is out of range".into())
        }
        E::ErrorIndexingType(types, _) => (false, format!("this can't be indexed: {types}")),
        E::ErrorSystem(topic, message) if topic == OURS => (false, message.to_string()),
        E::ErrorRuntime(..) => (false, "it threw an error".into()),
        E::ErrorModuleNotFound(name, _) => (true, format!("there is no module `{name}`")),
        E::ErrorTooManyModules(_) => (true, "it imports too many modules".into()),
        E::ErrorForbiddenVariable(name, _) => (true, format!("`{name}` is not allowed")),
        E::ErrorAssignmentToConstant(name, _) => (true, format!("`{name}` is a constant")),
        _ => (false, "it failed".into()),
    }
}

fn carries(reason: &Dynamic, token: &str) -> bool {
    reason.clone().into_string().is_ok_and(|reason| reason == token)
}

/// Of `name (type, type)`: `()` is a type, and no list of none.
fn misses_a_value(signature: &str) -> bool {
    signature.split_once(" (").is_some_and(|(_, types)| types.contains("()"))
}

pub(super) fn unknown_field(name: &str, fields: &[&str]) -> String {
    match nearest(name, fields) {
        Some(near) => format!("`record` has no `{name}`; did you mean `{near}`?"),
        None => format!("`record` has no `{name}`"),
    }
}

pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(name, known), *known));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.75).map(|(_, near)| near)
}

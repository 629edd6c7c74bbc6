//! The template engine, set up so that values stay text and errors stay silent about them.

use super::{TemplateError, filters, guard, scan, subject};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use std::borrow::Cow;

/// Instructions one rendering may take: some thousand times what a long mail needs.
const FUEL: u64 = 200_000;
/// How deep includes and macros may call each other.
const DEPTH: usize = 16;
/// How values are printed into Markdown and HTML: see [`guard`].
const GUARDED: AutoEscape = AutoEscape::Custom(Cow::Borrowed("guarded"));
/// Templates whose name carries this print values as they are: subjects, addresses, lines in rules.
pub(super) const UNESCAPED: &str = "#";

pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    // Fuel counts instructions, not bytes: these would let a few of them fill the memory. (What an author
    // concatenates line by line stays possible; the service's memory limit stands behind it.)
    environment.remove_global("namespace");
    // Keeps the range of a failing expression, which errors quote. Its dump of variables is never shown.
    environment.set_debug(true);
    environment.set_auto_escape_callback(|name| if name.contains(UNESCAPED) { AutoEscape::None } else { GUARDED });
    environment.set_formatter(print);
    filters::install(&mut environment);
    environment
}

/// Refuses what no author writes and the engine has no stack for.
pub(in crate::rule) fn bounded(source: &str) -> Result<(), Error> {
    let Some(range) = scan::too_long(source) else { return Ok(()) };
    let line = source[..range.start].matches('\n').count() + 1;
    let detail = format!("an expression in line {line} has more than 600 words and signs");
    Err(Error::new(ErrorKind::SyntaxError, detail))
}

fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let failed = |_| Error::new(ErrorKind::WriteFailure, "the text is too long");
    if value.is_none() {
        return Err(Error::new(ErrorKind::UndefinedError, EMPTY));
    }
    if value.is_undefined() {
        return Ok(());
    }
    if value.is_safe() || *state.auto_escape() == AutoEscape::None {
        return write!(out, "{value}").map_err(failed);
    }
    match value.as_str() {
        Some(text) => guard::write_guarded(out, text).map_err(failed),
        None => guard::write_guarded(out, &value.to_string()).map_err(failed),
    }
}

const EMPTY: &str = "empty";

/// The innermost error with its file and line. Details of the engine's own errors can hold values, so
/// only those that can't are quoted.
pub(super) fn explain(environment: &Environment<'_>, error: &Error, fallback: &str) -> TemplateError {
    let mut inner = error;
    while let Some(cause) = std::error::Error::source(inner).and_then(|cause| cause.downcast_ref::<Error>()) {
        inner = cause;
    }
    let name = inner.name().unwrap_or(fallback);
    let expression = inner.range().and_then(|range| {
        let template = environment.get_template(name).ok();
        let source = template.as_ref().map(minijinja::Template::source).or_else(|| inner.template_source())?;
        Some(subject::of(source, &range).or_else(|| source.get(range))?.to_owned())
    });
    let what = expression.map_or_else(|| "a value".to_owned(), |text| format!("`{}`", text.trim()));
    let detail = inner.detail().unwrap_or_default();
    let problem = match inner.kind() {
        ErrorKind::UndefinedError if detail == EMPTY => {
            format!("{what} is empty for this record; say what to print instead: `| default(\"…\")`")
        }
        ErrorKind::UndefinedError => format!("{what} is not known"),
        ErrorKind::SyntaxError | ErrorKind::BadEscape => format!("syntax error: {detail}"),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => detail.to_owned(),
        ErrorKind::TemplateNotFound | ErrorKind::BadInclude => format!("{what} names a file that is not in templates/"),
        ErrorKind::OutOfFuel => "it runs too long; is there a loop that multiplies itself?".to_owned(),
        ErrorKind::InvalidOperation if detail.starts_with('`') => format!("{what}: {detail}"),
        kind => format!("{what}: {kind}"),
    };
    TemplateError { template: display_name(name), line: inner.line().unwrap_or(1), problem }
}

/// `templates/win-back.md` for `win-back.md` and for `win-back.md#subject`.
fn display_name(name: &str) -> String {
    match name.split_once(UNESCAPED) {
        Some(("", line)) => line.to_owned(),
        Some((file, _)) => format!("templates/{file}"),
        None => format!("templates/{name}"),
    }
}

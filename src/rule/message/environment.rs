//! The template engine, set up so that values stay text and errors stay silent about them.

use super::{LONGEST, TemplateError, filters, guard, inner, measure, measured, subject};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use std::borrow::Cow;
use std::fmt::Write;

/// Instructions one rendering may take: some thousand times what a long mail needs.
const FUEL: u64 = 200_000;
/// How deep templates may be within each other: an include takes ten of it, a macro four, a loop one.
const DEPTH: usize = 64;
/// How values are printed into Markdown and HTML: see [`guard`].
const GUARDED: AutoEscape = AutoEscape::Custom(Cow::Borrowed("guarded"));
/// Templates whose name carries this print values as they are: subjects, addresses, lines in rules.
pub(super) const UNESCAPED: &str = "#";

pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    // The one writes what nobody has named; the other is a place to hide what grows from `measure`.
    for function in ["debug", "namespace"] {
        environment.remove_global(function);
    }
    // Keeps the range of a failing expression, which errors quote. Its dump of variables is never shown.
    environment.set_debug(true);
    environment.set_auto_escape_callback(|name| if name.contains(UNESCAPED) { AutoEscape::None } else { GUARDED });
    environment.set_formatter(print);
    filters::install(&mut environment);
    inner::install(&mut environment);
    measure::install(&mut environment);
    environment
}

fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_none() || inner::is_absent(value) {
        return Err(Error::new(ErrorKind::UndefinedError, EMPTY));
    }
    if value.is_undefined() {
        return Ok(());
    }
    let as_it_is = value.is_safe() || *state.auto_escape() == AutoEscape::None;
    let mut printed = Printed { out, as_it_is, left: LONGEST };
    write!(printed, "{value}").map_err(|_| Error::from(ErrorKind::WriteFailure))?;
    let bytes = LONGEST - printed.left;
    measure::count(state, bytes)
}

/// Where a value is printed to, as long as a message may be: a list shows what is in it as often as it is in it.
struct Printed<'o, 'w> {
    out: &'o mut Output<'w>,
    as_it_is: bool,
    left: usize,
}

impl Write for Printed<'_, '_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(std::fmt::Error)?;
        if self.as_it_is { self.out.write_str(text) } else { guard::write_guarded(self.out, text) }
    }
}

const EMPTY: &str = "empty";
/// Why a message of more than [`LONGEST`] bytes is refused.
pub(super) const TOO_LONG: &str = "it renders to more than 1 MiB";

/// The innermost error with its file and line. Details of the engine's own errors can hold values, so
/// only those that can't are quoted.
pub(super) fn explain(environment: &Environment<'_>, error: &Error, fallback: &str) -> TemplateError {
    let mut inner = error;
    while let Some(cause) = std::error::Error::source(inner).and_then(|cause| cause.downcast_ref::<Error>()) {
        inner = cause;
    }
    let name = inner.name().unwrap_or(fallback);
    let quoted = quoted(environment, inner, name).unwrap_or_default();
    let what = quoted.expression.map_or_else(|| "a value".to_owned(), |text| format!("`{}`", text.trim()));
    let detail = inner.detail().unwrap_or_default();
    let problem = match (inner.kind(), quoted.factor, quoted.filter) {
        (ErrorKind::InvalidOperation, Some(factor), _) => {
            format!("`{factor}` is no number, and `*` multiplies numbers alone")
        }
        (kind, _, Some(filter)) if !names_filter(kind, detail) => format!("{what}: {}", of_filter(kind, &filter)),
        (kind, ..) => problem(kind, detail, &what),
    };
    TemplateError { template: display_name(name), line: inner.line().unwrap_or(1), problem }
}

/// What went wrong with the expression that is quoted.
fn problem(kind: ErrorKind, detail: &str, what: &str) -> String {
    match kind {
        ErrorKind::UndefinedError if detail == EMPTY => {
            format!("{what} is empty for this record; say what to print instead: `| default(\"…\")`")
        }
        ErrorKind::UndefinedError => format!("{what} is not known"),
        ErrorKind::SyntaxError | ErrorKind::BadEscape => format!("syntax error: {detail}"),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => detail.to_owned(),
        ErrorKind::TemplateNotFound | ErrorKind::BadInclude => format!("{what} names a file that is not in templates/"),
        ErrorKind::OutOfFuel => "it runs too long; is there a loop that multiplies itself?".to_owned(),
        ErrorKind::WriteFailure => TOO_LONG.to_owned(),
        ErrorKind::InvalidOperation if measure::told(detail) => detail.to_owned(),
        ErrorKind::InvalidOperation if detail.starts_with('`') => format!("{what}: {detail}"),
        kind => format!("{what}: {kind}"),
    }
}

/// Whether what is said of an error without it already says enough.
fn names_filter(kind: ErrorKind, detail: &str) -> bool {
    match kind {
        ErrorKind::InvalidOperation => measure::told(detail) || detail.starts_with('`'),
        ErrorKind::TooManyArguments | ErrorKind::MissingArgument => false,
        _ => true,
    }
}

/// What a filter can't do. The engine's own words for it may hold values.
pub(super) fn of_filter(kind: ErrorKind, filter: &str) -> String {
    match kind {
        ErrorKind::TooManyArguments => format!("`{filter}` doesn't take these arguments"),
        ErrorKind::MissingArgument => format!("`{filter}` lacks an argument"),
        _ => format!("`{filter}` can't be applied to this, or not with these arguments"),
    }
}

#[derive(Default)]
struct Quoted {
    /// As its author wrote it.
    expression: Option<String>,
    /// The factor of a product, if that is what failed.
    factor: Option<String>,
    /// The filter that failed, if one did.
    filter: Option<String>,
}

/// What failed.
fn quoted(environment: &Environment<'_>, error: &Error, name: &str) -> Option<Quoted> {
    let range = error.range()?;
    let template = environment.get_template(name).ok();
    let source = template.as_ref().map(minijinja::Template::source).or_else(|| error.template_source())?;
    let expression = subject::of(source, &range).or_else(|| subject::whole(source, &range))?;
    Some(Quoted {
        expression: Some(measured::as_written(expression)),
        factor: measured::factor(source, &range).map(str::to_owned),
        filter: subject::filter(source, &range).map(str::to_owned),
    })
}

/// `templates/win-back.md` for `win-back.md` and for `win-back.md#subject`.
fn display_name(name: &str) -> String {
    match name.split_once(UNESCAPED) {
        Some(("", line)) => line.to_owned(),
        Some((file, _)) => format!("templates/{file}"),
        None => format!("templates/{name}"),
    }
}

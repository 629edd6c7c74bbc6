//! What the YAML parser refuses, in the words of somebody who writes rules.

use super::at::bytes;
use crate::diagnostic::{Finding, Place, SourceFile, suggest, widened};
use serde_yaml::{Error, Location};
use std::ops::Range;
use std::sync::Arc;

/// Words the design has and this version doesn't: saying so is kinder than "unknown".
const PLANNED: &[&str] = &["settle_at", "seeds", "percent"];

pub(super) fn finding(error: &Error, file: &Arc<SourceFile>) -> Finding {
    let error = innermost(error);
    let range = error.location().map_or(0..0, |location| place(&location, &file.text));
    let range = bare_stop(&file.text, &range).unwrap_or_else(|| widened(&file.text, range));
    let found = describe(error, &file.text, &range);
    found.at(Place { file: Arc::clone(file), range })
}

/// A key or a word that is misspelt.
pub(super) struct Slip<'e> {
    pub written: &'e str,
    pub meant: &'e str,
}

pub(super) fn slip(error: &Error) -> Option<Slip<'_>> {
    let (written, expected) = match innermost(error) {
        Error::SerdeUnknownField { field, expected, .. } => (field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => (variant, expected),
        _ => return None,
    };
    let meant = suggest::nearest(written, expected.iter().copied())?;
    Some(Slip { written, meant })
}

/// The key that stands twice.
pub(super) fn doubled(error: &Error) -> Option<&str> {
    match innermost(error) {
        Error::DuplicateMappingKey { key, .. } => key.as_deref(),
        _ => None,
    }
}

fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => innermost(error),
        other => other,
    }
}

/// The scanner's own errors carry a line and a column, but no bytes.
fn place(location: &Location, text: &str) -> Range<usize> {
    if location.span().byte_offset().is_some() {
        return bytes(location);
    }
    let line = usize::try_from(location.line()).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(location.column()).unwrap_or(1).saturating_sub(1);
    let start = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
    let within = text[start..].char_indices().nth(column).map_or(text.len() - start, |(offset, _)| offset);
    start + within..start + within
}

/// `- stop` alone is read as a text, and the parser then complains about the line after it.
fn bare_stop(text: &str, range: &Range<usize>) -> Option<Range<usize>> {
    let before = text.get(..range.start)?.trim_end();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before[start..].trim();
    matches!(line, "- stop" | "- stop:").then(|| before.len() - line.len() + 2..before.len())
}

fn describe(error: &Error, text: &str, range: &Range<usize>) -> Finding {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown_word(variant, expected),
        Error::SerdeMissingField { field, .. } => {
            Finding::error("yaml.missing-key", format!("the key `{field}` is missing here"))
        }
        Error::DuplicateMappingKey { key, .. } => duplicate_key(key.as_deref()),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            let finding = Finding::error("yaml.wrong-type", format!("expected {expected}, found {unexpected}"));
            with_hint(finding, text, range)
        }
        Error::InvalidScalar { ty, .. } => Finding::error("yaml.wrong-type", format!("expected {}", plain_type(ty))),
        Error::Unexpected { expected, .. } => {
            let finding = Finding::error("yaml.wrong-type", format!("expected {}", plain_expectation(expected)));
            with_hint(finding, text, range)
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            Finding::error("yaml.one-key", "only one key can stand here").label("a second key beside the first").help(
                "a step or trigger is one key with a mapping below it; indent what belongs to it, or begin a new `- `",
            )
        }
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. } => {
            Finding::error("yaml.limits", "too many nodes, aliases or levels for a file that people write")
                .help("at most 20,000 nodes, 32 levels and 256 aliases are read")
        }
        Error::MultipleDocuments { .. } => Finding::error("yaml.one-document", "a second document begins here")
            .help("one file holds one rule: move what follows `---` into a file of its own"),
        Error::ExternalMessage { msg, .. } => {
            with_hint(Finding::error("yaml.syntax", format!("not YAML: {msg}")), text, range)
        }
        Error::UnknownAnchor { .. } => Finding::error("yaml.syntax", "not YAML: an alias without an anchor")
            .help("a value that begins with `*` needs quotes: \"*/15 * * * *\""),
        other => with_hint(Finding::error("yaml.syntax", bare_message(other)), text, range),
    }
}

fn unknown_key(field: &str, expected: &[&str]) -> Finding {
    let finding = Finding::error("yaml.unknown-key", format!("unknown key `{field}`"));
    match suggest::help(field, expected.iter().copied()) {
        Some(help) if suggest::nearest(field, expected.iter().copied()).is_some() => finding.help(help),
        help if PLANNED.contains(&field) => not_yet(finding, field, expected, help),
        Some(help) => finding.help(help),
        None => finding,
    }
}

fn unknown_word(variant: &str, expected: &[&str]) -> Finding {
    let finding = Finding::error("yaml.unknown-word", format!("unknown word `{variant}`"));
    let help = suggest::help(variant, expected.iter().copied());
    if PLANNED.contains(&variant) {
        return not_yet(finding, variant, expected, help);
    }
    match help {
        Some(help) => finding.help(help),
        None => finding,
    }
}

fn not_yet(mut finding: Finding, word: &str, expected: &[&str], help: Option<String>) -> Finding {
    finding.message = format!("`{word}` is not in this version of nudged");
    let known = expected.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    finding.help(
        help.filter(|help| help.starts_with("known")).unwrap_or_else(|| format!("this version knows only {known}")),
    )
}

fn duplicate_key(key: Option<&str>) -> Finding {
    let message = key.map_or_else(|| "this key stands twice".to_owned(), |key| format!("the key `{key}` stands twice"));
    Finding::error("yaml.duplicate-key", message)
        .label("the second one")
        .help("keep one; YAML would silently drop the other")
}

fn plain_type(ty: &str) -> &'static str {
    match ty {
        "bool" => "`true` or `false`",
        ty if ty.starts_with('f') => "a number",
        _ => "a whole number",
    }
}

fn plain_expectation(expected: &str) -> &str {
    match expected {
        "string scalar" => "a single value (text)",
        "mapping start" => "a mapping (`key: value` lines)",
        "sequence start" => "a list (`- ` lines)",
        other => other,
    }
}

fn bare_message(error: &Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// The usual reason why prose stops being YAML is a missing pair of quotes.
fn with_hint(finding: Finding, text: &str, range: &Range<usize>) -> Finding {
    let start = text[..range.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next().unwrap_or("");
    let value = line.split_once(": ").map_or("", |(_, value)| value.trim_start());
    if text[range.start..].starts_with("{{") || value.starts_with("{{") {
        finding.help("a value that begins with `{{` needs quotes: \"{{ … }}\"")
    } else if value.starts_with('*') {
        finding.help("a value that begins with `*` needs quotes: \"*/15 * * * *\"")
    } else if value.starts_with(['@', '`', '%']) {
        finding.help("a value that begins with `@`, `` ` `` or `%` needs quotes")
    } else if !value.starts_with(['"', '\'', '{', '[']) && value.contains(": ") {
        finding.help("a value with `: ` in it needs quotes: \"…: …\"")
    } else if line.trim_end() == line.trim_end().trim_end_matches('\t') && line.starts_with('\t') {
        finding.help("indent with blanks; YAML forbids tabs")
    } else if text[range.clone()].trim_end_matches(':') == "stop" {
        finding.help("write `stop: {}`")
    } else if finding.message.contains("a list") {
        finding.help("begin each entry with `- `")
    } else if finding.message.contains("quote") {
        finding.help("a quote that was opened above is not closed")
    } else {
        finding
    }
}

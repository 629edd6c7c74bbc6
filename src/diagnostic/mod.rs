//! Findings about the files people write: what is wrong, where, and what to do about it.
//!
//! A [`Finding`] carries a stable code, a message, the place, and where there is one a suggestion. All
//! findings of all files are collected in one pass; nothing stops at the first.

mod bound;
pub mod defect;
pub mod render;
mod report;
pub mod suggest;
pub mod yaml;

pub use bound::bounded;
pub use report::Report;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How bad a [`Finding`] is. Only errors keep a generation from loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Warning,
    Error,
}

/// A file as it was read: findings point into it and quote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the rules directory, with `/`.
    pub path: String,
    pub text: String,
}

/// A byte range in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<SourceFile>,
    pub range: Range<usize>,
}

impl Place {
    /// Line and column, both from 1, the column in characters.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        self.line_column_of(self.range.start)
    }

    /// Of the first character behind the place.
    #[must_use]
    pub fn end_line_column(&self) -> (usize, usize) {
        self.line_column_of(self.range.end.max(self.range.start))
    }

    fn line_column_of(&self, byte: usize) -> (usize, usize) {
        let start = self.file.text.floor_char_boundary(byte.min(self.file.text.len()));
        let before = &self.file.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// An empty range grows to the word at its place, so that there is something to underline.
pub(crate) fn widened(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start.min(text.len()));
    if range.end > start {
        return start..text.ceil_char_boundary(range.end.min(text.len()));
    }
    let word = text[start..].find(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '}' | ']')).unwrap_or(0);
    start..start + word
}

/// One thing wrong, or doubtful, with what somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable and documented: `rule.unknown-key`.
    pub code: &'static str,
    pub severity: Severity,
    /// One sentence, lower case, no full stop: what is wrong.
    pub message: String,
    pub place: Option<Place>,
    /// Written under the caret.
    pub label: Option<String>,
    /// What to do: `did you mean `inactivity`?`
    pub help: Option<String>,
}

impl Finding {
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), place: None, label: None, help: None }
    }

    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// `path:line:column: error[code]: message` on one line, for logs.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.line_column();
            write!(f, "{}:{line}:{column}: ", place.file.path)?;
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

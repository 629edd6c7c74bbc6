//! Findings as people see them: with the source line and a caret, or on one line each for logs and pipes.

use super::{Finding, Place, Severity, SourceFile};
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};
use std::fmt;

/// How findings look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Source line, caret, help.
    Graphical {
        colour: bool,
        /// Columns of the terminal.
        width: usize,
    },
    /// `path:line:column: error[code]: message (help)`
    Plain,
}

/// All findings, in the order given, each ending with a line break.
#[must_use]
pub fn render(findings: &[Finding], look: Look) -> String {
    let mut text = String::new();
    for finding in findings {
        match look {
            Look::Plain => {
                text.push_str(&finding.to_string());
                text.push('\n');
            }
            Look::Graphical { colour, width } => graphical(&mut text, finding, colour, width),
        }
    }
    text
}

/// `2 errors, 1 warning`
#[must_use]
pub fn summary(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    format!("{}, {}", counted(errors, "error"), counted(findings.len() - errors, "warning"))
}

/// `1 rule`, `2 rules`
#[must_use]
pub fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn graphical(text: &mut String, finding: &Finding, colour: bool, width: usize) {
    // The one long line of a generated or hostile file would fill the screen.
    if finding.place.as_ref().is_some_and(|place| longest_line_around(place) > 1_000) {
        text.push_str(&finding.to_string());
        text.push_str("\n\n");
        return;
    }
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false)
        .with_context_lines(1)
        .without_syntax_highlighting();

    // Only a writer that fails makes the handler fail, and a string doesn't.
    if handler.render_report(text, &Shown(finding)).is_err() {
        text.push_str(&finding.to_string());
    }
    text.push('\n');
}

/// Of the line of a place and those beside it, which are drawn as well.
fn longest_line_around(place: &Place) -> usize {
    let text = &place.file.text;
    let start = text.floor_char_boundary(place.range.start.min(text.len()));
    let before = text[..start].rsplit('\n').take(2).map(str::len).sum::<usize>();
    let after = text[start..].split('\n').take(2).map(str::len).sum::<usize>();
    before + after
}

/// A finding in the terms of the crate that draws it.
#[derive(Debug)]
struct Shown<'a>(&'a Finding);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.0.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.place.as_ref().map(|place| place.file.as_ref() as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.0.place.as_ref()?;
        let end = place.file.text.len();
        let (start, stop) = (place.range.start.min(end), place.range.end.min(end));
        // A label keeps to one line: what is wrong is named, not framed.
        let line = place.file.text.get(start..stop).and_then(|text| text.lines().next()).map_or(0, str::len);
        let label = Some(self.0.label.clone().unwrap_or_else(|| "here".to_owned()));
        Some(Box::new(std::iter::once(LabeledSpan::new(label, start, line))))
    }
}

impl SourceCode for SourceFile {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.path.clone(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn finding() -> Finding {
        let text = "id: x\nmode: shadow\nforeach: customer\nto: owner\n".to_owned();
        let file = Arc::new(SourceFile { path: "a/b.yaml".to_owned(), text });
        Finding::error("yaml.unknown-key", "unknown key `foreach`")
            .at(Place { file, range: 19..26 })
            .label("not a key of a rule")
            .help("did you mean `for_each`?")
    }

    #[test]
    fn a_person_sees_the_line_and_a_log_one_line() {
        let drawn = render(&[finding()], Look::Graphical { colour: false, width: 80 });
        assert!(drawn.contains("[a/b.yaml:3:1]") && drawn.contains("not a key of a rule"), "{drawn}");
        assert_eq!(
            render(&[finding()], Look::Plain),
            "a/b.yaml:3:1: error[yaml.unknown-key]: unknown key `foreach` (did you mean `for_each`?)\n"
        );
        assert_eq!(summary(&[finding()]), "1 error, 0 warnings");
    }

    #[test]
    fn colour_only_when_asked() {
        assert!(render(&[finding()], Look::Graphical { colour: true, width: 80 }).contains('\u{1b}'));
        assert!(!render(&[finding()], Look::Graphical { colour: false, width: 80 }).contains('\u{1b}'));
    }

    #[test]
    fn a_place_beyond_the_file_is_drawn_at_its_end() {
        let mut finding = finding();
        if let Some(place) = &mut finding.place {
            place.range = 4_000..5_000;
        }
        assert!(render(&[finding], Look::Graphical { colour: false, width: 80 }).contains("unknown key"));
    }
}

//! The one place that writes to stdout and stderr.

use super::Failure;
use crate::diagnostic::Finding;
use crate::diagnostic::render::{Look, render};
use crate::model::Lane;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use unicode_width::UnicodeWidthStr;

/// The shape of a command's data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// Longer names of rows are broken after all.
const NAME: usize = 40;

/// Words up to this long are not broken: names of records among them.
const WORD: u16 = 24;

/// Blanks around a cell.
const PADDING: u16 = 2;

/// A lane as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LaneName {
    Shadow,
    Live,
}

impl From<LaneName> for Lane {
    fn from(lane: LaneName) -> Self {
        match lane {
            LaneName::Shadow => Self::Shadow,
            LaneName::Live => Self::Live,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// Where it is a terminal and `NO_COLOR` is not set.
    #[default]
    Auto,
    Always,
    Never,
}

/// Data for stdout, talk for stderr. A reader that went away (`| head`) ends the data quietly.
#[expect(clippy::struct_excessive_bools, reason = "each says another thing of where the text goes")]
pub struct Output {
    data: Box<dyn Write + Send>,
    talk: Box<dyn Write + Send>,
    terminal: bool,
    color: bool,
    width: usize,
    /// Rows of tables are not broken into lines.
    unbroken: bool,
    closed: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("color", &self.color).field("width", &self.width).finish_non_exhaustive()
    }
}

impl Output {
    /// This process' stdout and stderr.
    pub fn of_process() -> Self {
        Self {
            data: Box::new(std::io::stdout()),
            talk: Box::new(std::io::stderr()),
            terminal: std::io::stdout().is_terminal(),
            color: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            width: terminal_width().unwrap_or(100),
            unbroken: !std::io::stdout().is_terminal() && std::env::var_os("COLUMNS").is_none(),
            closed: false,
        }
    }

    /// Somewhere else: no colour, 100 columns.
    pub fn to(data: Box<dyn Write + Send>, talk: Box<dyn Write + Send>) -> Self {
        Self { data, talk, terminal: false, color: false, width: 100, unbroken: false, closed: false }
    }

    pub(super) fn set_color(&mut self, choice: ColorChoice) {
        match choice {
            ColorChoice::Auto => {}
            ColorChoice::Always => self.color = true,
            ColorChoice::Never => self.color = false,
        }
    }

    pub const fn colored(&self) -> bool {
        self.color
    }

    pub const fn width(&self) -> usize {
        self.width
    }

    /// Whether stdout is a terminal.
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether the reader of stdout went away; long-running printers stop then.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// What was asked for, as it is.
    pub fn data(&mut self, text: &str) {
        if !self.closed && self.data.write_all(text.as_bytes()).and_then(|()| self.data.flush()).is_err() {
            self.closed = true;
        }
    }

    /// One line of data. What stands in a database never moves the cursor or paints the terminal.
    pub fn line(&mut self, text: &str) {
        self.painted(&harmless(text));
    }

    /// One line, whatever breaks the names in it have.
    pub fn one_line(&mut self, text: &str) {
        self.line(&text.replace("\r\n", "\n").replace(['\n', '\r'], "\\n"));
    }

    /// A line that has its own colours.
    pub fn painted(&mut self, text: &str) {
        self.data(&format!("{text}\n"));
    }

    /// A value as pretty JSON.
    pub fn json(&mut self, value: &impl serde::Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(&text),
            Err(error) => self.talk(&format!("error: can't write JSON: {error}")),
        }
    }

    /// Rows under a header, as wide as the terminal, or as they are where a program reads them. What names the
    /// rows, the first column, is never broken, so that it can be copied. Without rows, `nothing` goes to stderr.
    pub fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
        if rows.is_empty() {
            self.talk(nothing);
            return;
        }
        let widest = rows.iter().filter_map(|row| row.first()).map(|name| name.width()).max().unwrap_or(0);
        let mut table = Table::new();
        let arrangement = if self.unbroken { ContentArrangement::Disabled } else { ContentArrangement::Dynamic };
        table.load_preset(presets::NOTHING).set_content_arrangement(arrangement);
        table.set_header(header.iter().map(|name| name.to_uppercase()));
        // A table that is a little too wide is read more easily than one that breaks dates and names.
        let words: Vec<u16> = longest_words(header, &rows).into_iter().map(|word| word.min(WORD)).collect();
        let least: u16 = words.iter().map(|word| word + PADDING).sum();
        table.set_width(u16::try_from(self.width).unwrap_or(u16::MAX).max(least));
        for (index, word) in words.into_iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(word + PADDING)));
            }
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| harmless(cell).replace('\n', "\\n")));
        }
        if let Some(names) = table.column_mut(0).filter(|_| widest <= NAME) {
            names.set_constraint(ColumnConstraint::ContentWidth);
        }
        for line in table.lines() {
            self.line(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        }
    }

    /// One line for the person at the terminal.
    pub fn talk(&mut self, text: &str) {
        self.talk_raw(&format!("{}\n", harmless(text)));
    }

    /// A question, with the cursor left behind it.
    pub fn prompt(&mut self, text: &str) {
        self.talk_raw(text);
    }

    pub(super) fn talk_raw(&mut self, text: &str) {
        // Nobody is left to be told that stderr is gone.
        let _ = self.talk.write_all(text.as_bytes()).and_then(|()| self.talk.flush());
    }

    /// Findings with the lines they are about and carets below them.
    pub fn findings(&mut self, findings: &[Finding]) {
        let look = Look::Graphical { colour: self.color, width: self.width };
        self.talk_raw(&render(findings, look));
    }

    /// Why the command failed.
    pub fn failure(&mut self, failure: &Failure) {
        let findings = failure.findings();
        self.findings(&findings);
        self.talk(&format!("error: {failure}"));
    }
}

/// Control characters as they are written in code, and those that turn the direction of a text.
fn harmless(text: &str) -> Cow<'_, str> {
    let moves = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let written = |c: char| if moves(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(written).collect())
}

/// What the shell says (`COLUMNS`), else what the terminal says.
fn terminal_width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let measured = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    said.or_else(measured).filter(|width| *width >= 40)
}

/// Of each column, its header among them.
fn longest_words(header: &[&str], rows: &[Vec<String>]) -> Vec<u16> {
    let longest = |text: &str| text.split_whitespace().map(UnicodeWidthStr::width).max().unwrap_or(0);
    let of_column = |(index, name): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| longest(cell));
        let widest = cells.chain([name.width()]).max().unwrap_or(0);
        u16::try_from(widest).unwrap_or(u16::MAX)
    };
    header.iter().enumerate().map(of_column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn what_stands_in_a_database_never_moves_the_cursor() {
        assert_eq!(harmless("Café 7 €\tx\ny"), "Café 7 €\tx\ny");
        let wild = harmless("\u{1b}]0;x\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}").into_owned();
        assert_eq!(wild, "\\u{1b}]0;x\\u{7}\\u{1b}[2J\\r\\u{9b}31m\\u{202e}");
    }

    #[test]
    fn a_line_stays_one_whatever_a_name_breaks_at() {
        let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
        let mut output = Output::to(Box::new(Shared(Arc::clone(&lines))), Box::new(std::io::sink()));
        output.one_line("email to a@b.example: Hello\r\nCafe\nLinz");
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "email to a@b.example: Hello\\nCafe\\nLinz\n");
    }

    #[test]
    fn names_of_records_stay_whole_in_a_narrow_terminal() {
        let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
        let mut output =
            Output { width: 80, ..Output::to(Box::new(Shared(Arc::clone(&lines))), Box::new(std::io::sink())) };
        let record = "customer:c0ffee-117".to_owned();
        let row = vec![
            "4711".to_owned(),
            record.clone(),
            "win-back-by-mail".into(),
            "2026-11-28 07:51:21Z".into(),
            "skipped".into(),
            "no_address and a long reason".into(),
        ];
        output.table(&["id", "record", "rule", "at", "state", "detail"], vec![row], "");
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        for word in [record.as_str(), "win-back-by-mail", "2026-11-28", "07:51:21Z", "skipped", "no_address"] {
            assert!(text.contains(word), "{text}");
        }
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

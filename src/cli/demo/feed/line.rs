//! One fact on one line: when, what kind, who, and the rest.

use jiff::{Timestamp, tz::TimeZone};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What kind of fact a line tells. Its name stands in the second column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// A record newly matched a rule.
    Match,
    /// A mail was written.
    Mail,
    /// A task is in the CRM's table.
    Task,
    /// A webhook call arrived at the receiver.
    Webhook,
    /// A customer ordered.
    Order,
    /// A customer answered a survey.
    Answer,
    /// A customer renewed, a colleague closed a ticket: life goes on.
    Life,
    /// A message that is not sent any more, and why.
    Stopped,
    /// A record that crossed the edge and did not match, or a message left out.
    Skipped,
    /// New rules are running, or were rejected.
    Rules,
    /// Something failed.
    Failed,
}

impl Label {
    const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Mail => "mail",
            Self::Task => "task",
            Self::Webhook => "webhook",
            Self::Order => "order",
            Self::Answer => "answer",
            Self::Life => "life",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
            Self::Rules => "rules",
            Self::Failed => "failed",
        }
    }

    /// SGR parameters: colour carries no meaning that the name doesn't.
    const fn color(self) -> &'static str {
        match self {
            Self::Match => "1;36",
            Self::Mail => "32",
            Self::Task => "33",
            Self::Webhook => "35",
            Self::Order | Self::Answer | Self::Life => "34",
            Self::Stopped => "1;33",
            Self::Skipped => "2",
            Self::Rules => "1",
            Self::Failed => "1;31",
        }
    }
}

/// A fact to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: Timestamp,
    pub label: Label,
    /// A human name.
    pub who: String,
    pub what: String,
    /// Many lines of the same topic at once are told as one.
    pub topic: String,
}

/// How lines are laid out.
#[derive(Debug, Clone)]
pub struct Layout {
    pub width: usize,
    pub color: bool,
    pub zone: TimeZone,
}

const DATE: usize = 12;
const LABEL: usize = 7;
/// What doesn't fit into so many lines is cut.
const LINES: usize = 3;

impl Layout {
    /// The name's column takes what a wide terminal offers, so that the rest keeps most of it.
    fn who_width(&self) -> usize {
        (self.width / 4).clamp(16, 24)
    }

    /// The line, and below it what the width has no place for.
    #[must_use]
    pub fn lines(&self, line: &Line) -> Vec<String> {
        let date = line.at.to_zoned(self.zone.clone()).strftime("%e %b %H:%M").to_string();
        let label = format!("{:<LABEL$}", line.label.name());
        let who =
            if line.who.is_empty() { String::new() } else { format!("{}  ", padded(&line.who, self.who_width())) };
        let before = DATE + LABEL + 4 + who.width();
        let mut facts = wrapped(&line.what, self.width.saturating_sub(before).max(10)).into_iter();
        let first = facts.next().unwrap_or_default();
        let head = format!("{}  {}  {who}{first}", self.paint("2", &date), self.paint(line.label.color(), &label));
        let more = facts.map(|rest| format!("{}{rest}", " ".repeat(before)));
        std::iter::once(head.trim_end().to_owned()).chain(more).collect()
    }

    /// A rule across the page with a title.
    #[must_use]
    pub fn heading(&self, title: &str) -> String {
        let title = cut(title, self.width.saturating_sub(8));
        let rest = self.width.saturating_sub(title.width() + 4);
        format!("\n{}", self.paint("1", &format!("── {title} {}", "─".repeat(rest))))
    }

    #[must_use]
    pub fn paint(&self, sgr: &str, text: &str) -> String {
        if self.color { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Broken at spaces into at most [`LINES`] lines; the last one is cut where there is more.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let text = text.replace(char::is_control, " ");
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while rest.width() > width && lines.len() + 1 < LINES {
        let fits = rest.char_indices().take_while(|(at, c)| rest[..at + c.len_utf8()].width() <= width).last();
        let most = fits.map_or(0, |(at, c)| at + c.len_utf8());
        // A word that fills more than half a line is broken.
        let end = rest[..most].rfind(' ').filter(|space| rest[..*space].width() * 2 >= width).unwrap_or(most);
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    lines.push(cut(rest, width));
    lines
}

/// Cut to a width in terminal cells, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    let text = text.replace(char::is_control, " ");
    if text.width() <= width {
        return text;
    }
    let mut used = 1;
    let mut kept = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(character);
    }
    format!("{}…", kept.trim_end())
}

fn padded(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let missing = width.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(width: usize) -> Layout {
        Layout { width, color: false, zone: TimeZone::UTC }
    }

    fn line(who: &str, what: &str) -> Line {
        let at = "2026-11-03T08:05:00Z".parse().unwrap();
        Line { at, label: Label::Match, who: who.to_owned(), what: what.to_owned(), topic: String::new() }
    }

    #[test]
    fn columns_are_aligned_and_never_wider_than_the_terminal() {
        let long = "win-back-90: no order since 25 July, which is more than ninety days ago, and all conditions hold";
        for width in [60, 80, 120, 200] {
            let names = ["Café Lindner", "Bäckerei Hofer und Söhne am Rathausplatz", "日本の喫茶店"];
            let lines: Vec<Vec<String>> = names.iter().map(|name| layout(width).lines(&line(name, long))).collect();
            let starts = lines.iter().map(|lines| lines[0][..lines[0].find("win-back").unwrap()].width());
            assert!(starts.collect::<Vec<_>>().windows(2).all(|pair| pair[0] == pair[1]), "{lines:?}");
            assert!(lines.iter().flatten().all(|line| line.width() <= width), "{lines:?}");
        }
        assert_eq!(
            layout(80).lines(&line("Café Lindner", "win-back-90: no order since 25 Jul")),
            [" 3 Nov 08:05  match    Café Lindner          win-back-90: no order since 25 Jul"]
        );
        let indent = " ".repeat(45);
        assert_eq!(
            layout(80).lines(&line("Café Lindner", long)),
            [
                " 3 Nov 08:05  match    Café Lindner          win-back-90: no order since 25".to_owned(),
                format!("{indent}July, which is more than ninety"),
                format!("{indent}days ago, and all conditions hold"),
            ]
        );
    }

    #[test]
    fn control_characters_of_records_never_reach_the_terminal() {
        let text = layout(80).lines(&line("Evil\x1b[2J", "a\nb")).concat();
        assert!(!text.contains('\x1b') && !text.contains('\n'), "{text:?}");
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        assert!(!layout(80).heading("Week 1").contains('\x1b'));
        assert!(Layout { color: true, ..layout(80) }.heading("Week 1").contains("\x1b[1m"));
    }
}

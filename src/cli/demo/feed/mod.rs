//! The readable feed: facts in order of their time, a heading for every week, bursts told as one line.

mod line;

pub use line::{Label, Layout, Line};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

/// Up to this many lines of one topic are told one by one.
const BURST: usize = 3;

/// Collects facts for a moment, and tells them in order.
#[derive(Debug)]
pub struct Feed {
    layout: Layout,
    start: Timestamp,
    /// The week whose heading was printed last.
    week: Option<i64>,
    waiting: Vec<Line>,
}

impl Feed {
    /// Weeks count from `start`.
    #[must_use]
    pub fn new(layout: Layout, start: Timestamp) -> Self {
        Self { layout, start, week: None, waiting: Vec::new() }
    }

    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn add(&mut self, line: Line) {
        self.waiting.push(line);
    }

    /// Everything that waited, ready to print.
    pub fn take(&mut self) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.waiting);
        lines.sort_by_key(|line| line.at);
        let mut printed = Vec::new();
        for line in fold(&lines) {
            printed.extend(self.heading_before(line.at));
            printed.extend(self.layout.lines(&line));
        }
        printed
    }

    /// A line may be a little late, so a week that was left is never announced again.
    fn heading_before(&mut self, at: Timestamp) -> Option<String> {
        let week = at.duration_since(self.start).as_secs().div_euclid(7 * 86_400);
        if self.week.is_some_and(|printed| week <= printed) {
            return None;
        }
        self.week = Some(week);
        let first = self.date(self.start.saturating_add(SignedDuration::from_hours(week * 7 * 24)));
        let last = self.date(self.start.saturating_add(SignedDuration::from_hours((week + 1) * 7 * 24 - 1)));
        let title = format!("Week {} · {} to {}", week + 1, first.strftime("%-d %b"), last.strftime("%-d %b %Y"));
        Some(self.layout.heading(&title))
    }

    fn date(&self, at: Result<Timestamp, jiff::Error>) -> Date {
        at.unwrap_or(self.start).to_zoned(self.layout.zone.clone()).date()
    }
}

/// More than [`BURST`] lines of one topic become one that names a few and counts the rest.
fn fold(lines: &[Line]) -> Vec<Line> {
    let mut folded: Vec<Line> = Vec::new();
    let mut done: Vec<(Label, String)> = Vec::new();
    for line in lines {
        let same = |other: &&Line| other.label == line.label && other.topic == line.topic && !line.topic.is_empty();
        let burst: Vec<&Line> = lines.iter().filter(same).collect();
        if burst.len() <= BURST {
            folded.push(line.clone());
            continue;
        }
        let topic = (line.label, line.topic.clone());
        if done.contains(&topic) {
            continue;
        }
        done.push(topic);
        folded.push(told_as_one(line, &burst));
    }
    folded
}

fn told_as_one(first: &Line, burst: &[&Line]) -> Line {
    let names: Vec<&str> = burst.iter().take(BURST).map(|line| line.who.as_str()).collect();
    let what = format!("{}: {} and {} more", first.topic, names.join(", "), burst.len() - names.len());
    Line { who: format!("{} at once", burst.len()), what, ..first.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn feed() -> Feed {
        let layout = Layout { width: 80, color: false, zone: TimeZone::UTC };
        Feed::new(layout, "2026-10-22T10:00:00Z".parse().unwrap())
    }

    fn line(at: &str, who: &str, topic: &str) -> Line {
        let at = at.parse().unwrap();
        Line { at, label: Label::Match, who: who.to_owned(), what: format!("{topic}: why"), topic: topic.to_owned() }
    }

    #[test]
    fn facts_stand_in_order_under_the_heading_of_their_week() {
        let mut feed = feed();
        feed.add(line("2026-10-30T10:00:00Z", "B", ""));
        feed.add(line("2026-10-22T12:00:00Z", "A", ""));
        let text = feed.take().join("\n");
        let places = ["Week 1 · 22 Oct to 29 Oct 2026", "A  ", "Week 2 · 29 Oct to 5 Nov 2026", "B  "];
        let found: Vec<usize> = places.iter().map(|place| text.find(place).expect(place)).collect();
        assert!(found.is_sorted(), "{text}");
        assert!(feed.take().is_empty());
        feed.add(line("2026-10-29T00:00:00Z", "late", ""));
        assert!(!feed.take().join("\n").contains("Week"), "no heading twice");
    }

    #[test]
    fn a_burst_is_one_line_that_counts() {
        let mut feed = feed();
        for name in ["A", "B", "C", "D", "E"] {
            feed.add(line("2026-10-22T12:00:00Z", name, "vip-monday"));
        }
        feed.add(line("2026-10-22T12:00:00Z", "F", "renewal"));
        let lines = feed.take();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].contains("5 at once") && lines[1].contains("vip-monday: A, B, C and 2 more"), "{lines:?}");
        assert!(lines[2].contains("renewal: why"));
    }
}

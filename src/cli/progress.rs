//! A bar on stderr for work that takes a while, where stderr is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use std::io::IsTerminal;

pub struct Progress {
    bar: ProgressBar,
    from: Timestamp,
}

impl Progress {
    /// Over a span of time.
    pub fn start(what: &'static str, from: Timestamp, until: Timestamp) -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let length = u64::try_from(until.duration_since(from).as_secs()).unwrap_or(0);
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {msg} [{bar:30}] {percent} %") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self { bar, from }
    }

    pub fn at(&self, at: Timestamp) {
        self.bar.set_message(at.strftime("%F %H:%MZ").to_string());
        self.bar.set_position(u64::try_from(at.duration_since(self.from).as_secs()).unwrap_or(0));
    }

    /// Takes the bar away.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }
}

//! The demo's time: a month that passes in steps and ends at the present, and then real time.
//!
//! A clock that steps back would make the daemon hold its rules, so the instant at which the next start
//! goes on is written to a file *before* the clock gets there: after a kill the clock jumps forward a little,
//! never back.

use crate::model::Clock;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::sync::watch;

/// The hurry lasts this long in the demo's time.
pub const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a demo remembers of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Where the demo's first day begins.
    pub start: Timestamp,
    /// No earlier run has seen an instant at or after this.
    pub next: Timestamp,
}

impl Reached {
    /// A new demo: its month ends now.
    #[must_use]
    pub fn ending_at(now: Timestamp) -> Self {
        let start = now.saturating_sub(MONTH).unwrap_or(now);
        Self { start, next: start }
    }

    #[must_use]
    pub fn end_of_month(&self) -> Timestamp {
        self.start.checked_add(MONTH).unwrap_or(Timestamp::MAX)
    }

    /// Whether the month is over, so that real time holds.
    #[must_use]
    pub fn month_is_over(&self) -> bool {
        self.next >= self.end_of_month()
    }

    /// The clock of this run. It stands until somebody moves it.
    #[must_use]
    pub fn clock(&self, real_now: Timestamp) -> DemoClock {
        let origin = if self.month_is_over() { self.next.max(real_now) } else { self.next };
        DemoClock { time: watch::Sender::new(Time::Stands(origin)) }
    }
}

/// Stands still, or runs as fast as real time.
#[derive(Debug)]
pub struct DemoClock {
    time: watch::Sender<Time>,
}

#[derive(Debug, Clone, Copy)]
enum Time {
    Stands(Timestamp),
    Runs { from: Timestamp, since: Instant },
}

impl Time {
    fn now(self) -> Timestamp {
        match self {
            Self::Stands(at) => at,
            Self::Runs { from, since } => from.checked_add(since.elapsed()).unwrap_or(Timestamp::MAX),
        }
    }
}

impl DemoClock {
    /// Moves a clock that stands.
    pub fn step_to(&self, at: Timestamp) {
        self.time.send_replace(Time::Stands(at));
    }

    /// From now on a second is a second.
    pub fn run(&self) {
        self.time.send_modify(|time| *time = Time::Runs { from: time.now(), since: Instant::now() });
    }
}

impl Clock for DemoClock {
    fn now(&self) -> Timestamp {
        self.time.borrow().now()
    }

    fn sleep_until(&self, instant: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut time = self.time.subscribe();
            loop {
                let seen = *time.borrow_and_update();
                let left = instant.duration_since(seen.now());
                if left <= SignedDuration::ZERO {
                    return;
                }
                match seen {
                    // The sender lives in `self`, so the channel can't close while we borrow it.
                    Time::Stands(_) => drop(time.changed().await),
                    Time::Runs { .. } => tokio::time::sleep(left.unsigned_abs()).await,
                }
            }
        })
    }
}

/// The file that carries [`Reached`] from one run to the next.
#[derive(Debug, Clone)]
pub struct ClockFile {
    path: PathBuf,
}

impl ClockFile {
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join("clock.json") }
    }

    /// `None`: no demo has run here yet.
    pub fn read(&self) -> io::Result<Option<Reached>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn write(&self, reached: &Reached) -> io::Result<()> {
        let aside = self.path.with_extension("new");
        std::fs::write(&aside, serde_json::to_vec(reached).map_err(io::Error::other)?)?;
        std::fs::rename(&aside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_new_demo_ends_its_month_now_and_goes_on_in_real_time() {
        let now = instant("2026-11-21T10:00:00Z");
        let reached = Reached::ending_at(now);
        assert_eq!(reached.start, instant("2026-10-22T10:00:00Z"));
        assert_eq!(reached.end_of_month(), now);
        assert!(!reached.month_is_over());
        assert!(Reached { next: now, ..reached }.month_is_over());
    }

    #[test]
    fn a_later_start_goes_on_where_the_last_one_was_and_never_before() {
        let reached = Reached { start: instant("2026-10-22T10:00:00Z"), next: instant("2026-11-02T00:00:00Z") };
        let clock = reached.clock(Timestamp::now());
        assert_eq!(clock.now(), reached.next);
        clock.run();
        assert!(clock.now() >= reached.next);
        let over = Reached { next: instant("2026-12-01T00:00:00Z"), ..reached };
        let real = instant("2026-11-25T00:00:00Z");
        assert!(over.clock(real).now() >= over.next, "ahead of real time: wait for it, don't step back");
    }

    #[tokio::test]
    async fn sleepers_wake_when_a_step_or_real_time_takes_the_clock_there() {
        let reached = Reached::ending_at(instant("2026-11-21T10:00:00Z"));
        let clock = reached.clock(Timestamp::now());
        let in_an_hour = reached.start + SignedDuration::from_hours(1);
        let mut sleeping = clock.sleep_until(in_an_hour);
        assert!(futures::poll!(&mut sleeping).is_pending());
        clock.step_to(reached.start + SignedDuration::from_mins(59));
        assert!(futures::poll!(&mut sleeping).is_pending());
        clock.step_to(in_an_hour + SignedDuration::from_mins(1));
        sleeping.await;
        clock.run();
        clock.sleep_until(clock.now() + SignedDuration::from_millis(1)).await;
        assert!(clock.now() > in_an_hour);
    }

    #[test]
    fn the_file_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = ClockFile::in_directory(directory.path());
        assert_eq!(file.read().unwrap(), None);
        let reached = Reached::ending_at(instant("2026-11-21T10:00:00Z"));
        file.write(&reached).unwrap();
        assert_eq!(file.read().unwrap(), Some(reached));
    }
}

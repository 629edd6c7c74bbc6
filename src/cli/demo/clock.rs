//! The demo's time: a month in a hurry that ends at the present, and then real time.
//!
//! A clock that steps back would make the daemon hold its rules, so the instant at which the next start
//! goes on is written to a file *ahead* of time: after a kill the clock jumps forward a little, never back.

use crate::model::{Clock, ScaledClock};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
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

    /// The clock of this run; it stands until it is started.
    #[must_use]
    pub fn clock(&self, days_per_second: f64, real_now: Timestamp) -> DemoClock {
        let over = self.month_is_over();
        let origin = if over { self.next.max(real_now) } else { self.next };
        let speed = if over { 1.0 } else { days_per_second * 86_400.0 };
        let left = self.end_of_month().duration_since(self.next).unsigned_abs();
        let hurry = if over { Duration::ZERO } else { left.div_f64(speed) };
        DemoClock { origin, speed, hurry, running: watch::Sender::new(None) }
    }
}

/// A [`ScaledClock`] that begins to run once everything is in place, so that no day passes unseen while the
/// daemon starts.
#[derive(Debug)]
pub struct DemoClock {
    origin: Timestamp,
    speed: f64,
    hurry: Duration,
    running: watch::Sender<Option<ScaledClock>>,
}

impl DemoClock {
    pub fn start(&self) {
        self.running.send_replace(Some(ScaledClock::new(self.origin, self.speed, self.hurry)));
    }
}

impl Clock for DemoClock {
    fn now(&self) -> Timestamp {
        self.running.borrow().as_ref().map_or(self.origin, Clock::now)
    }

    fn sleep_until(&self, instant: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if instant <= self.now() {
                return;
            }
            let mut started = self.running.subscribe();
            // The sender lives in `self`, so the channel can't close while we borrow it.
            let running = started.wait_for(Option::is_some).await.ok().and_then(|clock| clock.clone());
            if let Some(clock) = running {
                clock.sleep_until(instant).await;
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

    /// Keeps the file ahead of the clock until it is dropped, by what passes in one real second.
    pub async fn keep_ahead(&self, start: Timestamp, clock: &dyn Clock, days_per_second: f64) -> io::Result<()> {
        loop {
            self.keep_ahead_once(start, clock, days_per_second)?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// The next start will not be earlier than what passes in one real second from now.
    pub fn keep_ahead_once(&self, start: Timestamp, clock: &dyn Clock, days_per_second: f64) -> io::Result<()> {
        let now = clock.now();
        let hurries = now < Reached { start, next: start }.end_of_month();
        let ahead = if hurries { (days_per_second * 86_400.0) as i64 } else { 1 };
        self.write(&Reached { start, next: now.checked_add(SignedDuration::from_secs(ahead)).unwrap_or(now) })
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
        let clock = reached.clock(1.0, Timestamp::now());
        assert_eq!(clock.now(), reached.next, "it stands until it is started");
        clock.start();
        assert!(clock.now() >= reached.next);
        let over = Reached { next: instant("2026-12-01T00:00:00Z"), ..reached };
        let real = instant("2026-11-25T00:00:00Z");
        assert!(over.clock(1.0, real).now() >= over.next, "ahead of real time: wait for it, don't step back");
    }

    #[tokio::test]
    async fn sleepers_wake_only_after_the_start() {
        let reached = Reached::ending_at(instant("2026-11-21T10:00:00Z"));
        let clock = reached.clock(100.0, Timestamp::now());
        let in_an_hour = reached.start + SignedDuration::from_hours(1);
        let too_early = tokio::time::timeout(Duration::from_millis(30), clock.sleep_until(in_an_hour)).await;
        assert!(too_early.is_err());
        clock.start();
        clock.sleep_until(in_an_hour).await;
        assert!(clock.now() >= in_an_hour);
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

    #[tokio::test]
    async fn the_file_is_always_ahead_of_the_clock() {
        let directory = tempfile::tempdir().unwrap();
        let file = ClockFile::in_directory(directory.path());
        let start = instant("2026-10-22T10:00:00Z");
        let clock = crate::model::ManualClock::new(start);
        let keeping = file.keep_ahead(start, &clock, 1.0);
        let _ = tokio::time::timeout(Duration::from_millis(50), keeping).await;
        assert_eq!(file.read().unwrap().unwrap().next, instant("2026-10-23T10:00:00Z"));
    }
}

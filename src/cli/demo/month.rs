//! How the month passes: as fast as asked for, and never faster than the daemon can follow. On a slow or busy
//! machine time slows down, so the same things happen in the same order everywhere.

use super::clock::{ClockFile, DemoClock, Reached};
use crate::model::Clock;
use jiff::{SignedDuration, Timestamp};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far the clock may be ahead of what the daemon has done.
const LEAD: SignedDuration = SignedDuration::from_hours(6);
/// A step passes at most what belongs to this much real time, whatever kept us from the last one.
const LONGEST: Duration = Duration::from_millis(100);
/// Something that hangs doesn't stop time for good.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the daemon has yet to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The earliest step or sweep that waits for its time or is late.
    pub next_due: Option<Timestamp>,
    /// Something is being sent.
    pub sending: bool,
}

impl Backlog {
    /// Everything is done that was due by `now`.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        !self.sending && self.next_due.is_none_or(|due| due > now)
    }
}

/// Moves the clock through the first month.
#[derive(Debug)]
pub struct Month {
    clock: Arc<DemoClock>,
    file: ClockFile,
    reached: Reached,
    days_per_second: f64,
    stepped: Instant,
    /// The daemon has been sending without a pause since this instant of the demo.
    sending_since: Option<Timestamp>,
    /// Since when we have waited for the daemon.
    waiting_since: Option<Instant>,
}

impl Month {
    pub fn new(clock: Arc<DemoClock>, file: ClockFile, reached: Reached, days_per_second: f64) -> Self {
        let (sending_since, waiting_since) = (None, None);
        Self { clock, file, reached, days_per_second, stepped: Instant::now(), sending_since, waiting_since }
    }

    pub fn is_over(&self) -> bool {
        self.clock.now() >= self.reached.end_of_month()
    }

    /// Where the clock goes next; `None` while the daemon has to catch up.
    pub fn next_step(&mut self, backlog: Backlog) -> Option<Timestamp> {
        let passed = self.stepped.elapsed().min(LONGEST);
        self.stepped = Instant::now();
        let now = self.clock.now();
        if self.daemon_follows(backlog, now) {
            self.waiting_since = None;
        } else if self.waiting_since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
            return None;
        }
        let step = passed.mul_f64(self.days_per_second * 86_400.0);
        Some(now.checked_add(step).unwrap_or(Timestamp::MAX).min(self.reached.end_of_month()))
    }

    fn daemon_follows(&mut self, backlog: Backlog, now: Timestamp) -> bool {
        self.sending_since = backlog.sending.then(|| self.sending_since.unwrap_or(now));
        let oldest = backlog.next_due.into_iter().chain(self.sending_since).min();
        oldest.is_none_or(|oldest| now.duration_since(oldest) < LEAD)
    }

    /// Takes the step. Its end is on disk before anybody can see it; after the last step time is real.
    pub fn step_to(&mut self, at: Timestamp) -> io::Result<()> {
        if at >= self.reached.next {
            let second = SignedDuration::from_secs((self.days_per_second * 86_400.0) as i64);
            let ahead = at.saturating_add(second).unwrap_or(Timestamp::MAX);
            self.reached.next = ahead.min(self.reached.end_of_month()).max(self.reached.next);
            self.file.write(&self.reached)?;
        }
        self.clock.step_to(at);
        if self.is_over() {
            self.clock.run();
        }
        Ok(())
    }

    /// Remembers where this run ends.
    pub fn end(&mut self) -> io::Result<()> {
        self.reached.next = self.clock.now();
        self.file.write(&self.reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Backlog = Backlog { next_due: None, sending: false };

    fn month(directory: &std::path::Path, days_per_second: f64) -> (Month, ClockFile, Timestamp) {
        let reached = Reached::ending_at("2026-11-21T10:00:00Z".parse().unwrap());
        let file = ClockFile::in_directory(directory);
        let clock = Arc::new(reached.clock(reached.start));
        (Month::new(clock, file.clone(), reached, days_per_second), file, reached.start)
    }

    fn hours(count: i64) -> SignedDuration {
        SignedDuration::from_hours(count)
    }

    #[test]
    fn a_step_is_short_however_long_the_last_one_took() {
        let directory = tempfile::tempdir().unwrap();
        let (mut month, _, start) = month(directory.path(), 1.0);
        month.stepped -= Duration::from_secs(20);
        assert_eq!(month.next_step(IDLE), Some(start + SignedDuration::from_secs(8_640)));
    }

    #[test]
    fn time_waits_for_work_that_is_hours_old_but_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let (mut month, _, start) = month(directory.path(), 1.0);
        month.step_to(start + hours(8)).unwrap();
        let due = |at| Backlog { next_due: Some(at), ..IDLE };
        assert!(month.next_step(due(start + hours(7))).is_some());
        assert!(month.next_step(due(start + hours(1))).is_none());
        let busy = Backlog { sending: true, ..IDLE };
        assert!(month.next_step(busy).is_some(), "it has only begun");
        month.step_to(start + hours(15)).unwrap();
        assert!(month.next_step(busy).is_none());
        assert!(month.next_step(IDLE).is_some());
        assert!(month.next_step(due(start)).is_none());
        month.waiting_since = Instant::now().checked_sub(PATIENCE);
        assert!(month.next_step(due(start)).is_some());
    }

    #[test]
    fn the_file_is_ahead_of_the_clock_and_the_month_ends_in_real_time() {
        let directory = tempfile::tempdir().unwrap();
        let (mut month, file, start) = month(directory.path(), 1.0);
        let end = month.reached.end_of_month();
        for step in 0..31 * 24 {
            let at = (start + hours(step)).min(end);
            month.step_to(at).unwrap();
            let next = file.read().unwrap().unwrap().next;
            assert!(next > at || next == end, "{next} at {at}");
        }
        assert!(month.is_over());
        assert_eq!(file.read().unwrap().unwrap().next, end, "real time is never behind it");
        month.end().unwrap();
        assert!(file.read().unwrap().unwrap().next > end);
    }
}

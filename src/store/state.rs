//! The state over either database.

use super::journal::Journal;
use super::sql::Dialect;
use crate::model::InstanceSecret;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a lease lasts unless its owner renews it.
pub const LEASE: Duration = Duration::from_mins(1);

/// How long the claim floor is believed before it is dropped.
const FLOOR_TRUST: Duration = Duration::from_secs(5);

/// The engine's store, over SQLite or PostgreSQL.
#[derive(Debug)]
pub struct State<D> {
    pub(super) database: D,
    pub(super) secret: InstanceSecret,
    pub(super) lease: Duration,
    pub(super) floor: Floor,
    pub(super) journal: Option<Journal>,
}

impl<D> State<D> {
    pub(super) fn new(database: D, secret: InstanceSecret, dialect: Dialect) -> Self {
        Self { database, secret, lease: LEASE, floor: Floor::new(dialect), journal: None }
    }

    /// What tells this state from others, in the names of the files beside it.
    pub fn name(&self) -> String {
        self.secret.name()
    }

    /// With leases of another length.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    pub(super) fn lease_micros(&self) -> i64 {
        i64::try_from(self.lease.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Where the last claim ended. On PostgreSQL, rows that were claimed leave dead index entries behind; a
/// claim that starts where the last one ended needn't read over them. It is only a hint: dropped every
/// few seconds, so that a row committed late is found, and lowered by every row this node makes due.
#[derive(Debug)]
pub(super) struct Floor {
    used: bool,
    mark: Mutex<Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    due_at: i64,
    /// Counts what lowered it, so that a claim that began before can't raise it over a newer row.
    lowered: u64,
    since: Instant,
}

/// The floor as one claim found it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub due_at: i64,
    lowered: u64,
}

impl Floor {
    fn new(dialect: Dialect) -> Self {
        let mark = Mark { due_at: i64::MIN, lowered: 0, since: Instant::now() };
        Self { used: dialect == Dialect::Postgres, mark: Mutex::new(mark) }
    }

    fn mark(&self) -> std::sync::MutexGuard<'_, Mark> {
        // A poisoned mark is still a mark: nothing panics half-way through changing it.
        self.mark.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Seen {
        let mut mark = self.mark();
        if mark.since.elapsed() > FLOOR_TRUST {
            mark.due_at = i64::MIN;
            mark.since = Instant::now();
        }
        Seen { due_at: mark.due_at, lowered: mark.lowered }
    }

    /// Everything due before this was claimed just now.
    pub(super) fn raise(&self, seen: Seen, to: i64) {
        let mut mark = self.mark();
        if self.used && mark.lowered == seen.lowered {
            mark.due_at = to;
        }
    }

    /// Something became due at this instant.
    pub(super) fn lower(&self, to: i64) {
        let mut mark = self.mark();
        mark.due_at = mark.due_at.min(to);
        mark.lowered += 1;
    }

    /// Something became due, nobody knows when.
    pub(super) fn reset(&self) {
        self.lower(i64::MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_never_raises_the_floor_over_a_row_that_came_meanwhile() {
        let floor = Floor::new(Dialect::Postgres);
        let seen = floor.get();
        floor.raise(seen, 50);
        assert_eq!(floor.get().due_at, 50);
        let seen = floor.get();
        floor.lower(20);
        floor.raise(seen, 90);
        assert_eq!(floor.get().due_at, 20);
    }

    #[test]
    fn sqlite_needs_none() {
        let floor = Floor::new(Dialect::Sqlite);
        floor.raise(floor.get(), 50);
        assert_eq!(floor.get().due_at, i64::MIN);
    }
}

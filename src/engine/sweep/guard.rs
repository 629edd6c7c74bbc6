//! How many people one rule may reach in a day before somebody looks.

use crate::rule::checked::Guard;

/// What a sweep would add to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Matches of the last day.
    pub earlier: u64,
    /// Matches of this sweep.
    pub new: u64,
    /// Days of ordinary sweeps that this one makes up for; an outage raises the limits.
    pub days: f64,
}

impl Load {
    fn total(self) -> u64 {
        self.earlier + self.new
    }
}

/// Whether the percentage can decide at all: counting a large table is not free.
pub fn needs_records(guard: &Guard, load: Load) -> bool {
    guard.percent_per_day.is_some() && load.new > 0 && load.total() > u64::from(guard.floor)
}

/// Why the sweep must be held; `None`: it may go. `records` is asked for by [`needs_records`].
pub fn breach(guard: &Guard, load: Load, records: Option<u64>) -> Option<String> {
    if load.new == 0 {
        return None;
    }
    let total = load.total();
    if let Some(per_day) = guard.per_day {
        let allowed = (f64::from(per_day) * load.days) as u64;
        if total > allowed {
            return Some(format!("{total} matches in a day, more than the {allowed} that `per_day` allows"));
        }
    }
    let (Some(percent), Some(records)) = (guard.percent_per_day, records) else { return None };
    if total <= u64::from(guard.floor) {
        return None;
    }
    let allowed = (records as f64 * percent / 100.0 * load.days) as u64;
    (total > allowed.max(u64::from(guard.floor)))
        .then(|| format!("{total} matches in a day, more than {percent} % of {records} records (`percent_per_day`)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard = Guard { per_day: Some(500), percent_per_day: Some(5.0), floor: 50 };

    fn load(earlier: u64, new: u64, days: f64) -> Load {
        Load { earlier, new, days }
    }

    #[test]
    fn what_matched_earlier_today_counts() {
        assert!(breach(&GUARD, load(0, 500, 1.0), Some(1_000_000)).is_none());
        assert!(breach(&GUARD, load(1, 500, 1.0), Some(1_000_000)).is_some());
        assert!(breach(&GUARD, load(501, 0, 1.0), Some(1_000_000)).is_none(), "nothing new, nothing to hold");
    }

    #[test]
    fn an_outage_raises_the_limit() {
        assert!(breach(&GUARD, load(0, 1_400, 3.0), Some(1_000_000)).is_none());
        assert!(breach(&GUARD, load(0, 1_600, 3.0), Some(1_000_000)).is_some());
    }

    #[test]
    fn the_percentage_counts_only_above_the_floor() {
        assert!(!needs_records(&GUARD, load(0, 50, 1.0)));
        assert!(breach(&GUARD, load(0, 50, 1.0), Some(100)).is_none());
        assert!(needs_records(&GUARD, load(0, 51, 1.0)));
        assert!(breach(&GUARD, load(0, 51, 1.0), Some(100)).is_some());
        assert!(breach(&GUARD, load(0, 51, 1.0), Some(1_020)).is_none());
    }
}

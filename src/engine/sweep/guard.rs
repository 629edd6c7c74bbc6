//! How many people one rule may reach in a day before somebody looks.

use crate::rule::checked::Guard;

/// What a sweep would add to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Matches of the last day, of the tenant that is swept.
    pub earlier: u64,
    /// Those of all other tenants.
    pub elsewhere: u64,
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

/// Whether the rule's own history can decide.
pub fn needs_history(guard: &Guard, load: Load) -> bool {
    guard.growth.is_some() && load.new > 0 && load.total() > u64::from(guard.floor)
}

/// Matches of an ordinary day: of those before the last one, in as many of the last four weeks as the rule
/// has matched. `weeks` are the matches of the last 7, 14, 21 and 28 days. A rule without a match of more than
/// a week ago has no history.
pub fn ordinary_day(today: u64, weeks: [u64; 4]) -> Option<f64> {
    let oldest = (1..4).rev().find(|week| weeks[*week] > weeks[week - 1])?;
    let days = (oldest + 1) as f64 * 7.0 - 1.0;
    Some(weeks[oldest].saturating_sub(today) as f64 / days)
}

/// Why the sweep must be held; `None`: it may go. `records` is asked for by [`needs_records`], the ordinary day
/// by [`needs_history`].
pub fn breach(guard: &Guard, load: Load, records: Option<u64>, ordinary: Option<f64>) -> Option<String> {
    if load.new == 0 {
        return None;
    }
    let total = load.total();
    if let Some(per_day) = guard.per_day {
        // A number of people, whosever customers they are; the other limits are shares of a tenant's own.
        let (allowed, everywhere) = ((f64::from(per_day) * load.days) as u64, total + load.elsewhere);
        if everywhere > allowed {
            let of = if load.elsewhere > 0 { " over all tenants" } else { "" };
            return Some(format!("{everywhere} matches in a day{of}, more than the {allowed} that `per_day` allows"));
        }
    }
    let floor = u64::from(guard.floor);
    if total <= floor {
        return None;
    }
    if let (Some(percent), Some(records)) = (guard.percent_per_day, records) {
        let allowed = (records as f64 * percent / 100.0 * load.days) as u64;
        if total > allowed.max(floor) {
            let of = format!("more than {percent} % of {records} records");
            return Some(format!("{total} matches in a day, {of} (`percent_per_day`)"));
        }
    }
    let (Some(growth), Some(ordinary)) = (guard.growth, ordinary) else { return None };
    let allowed = (ordinary * growth * load.days) as u64;
    (total > allowed.max(floor)).then(|| {
        format!("{total} matches in a day, more than {growth} times the {ordinary:.1} of an ordinary day (`growth`)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard = Guard { per_day: Some(500), percent_per_day: Some(5.0), growth: Some(10.0), floor: 50 };

    fn load(earlier: u64, new: u64, days: f64) -> Load {
        Load { earlier, elsewhere: 0, new, days }
    }

    #[test]
    fn what_matched_earlier_today_counts() {
        assert!(breach(&GUARD, load(0, 500, 1.0), Some(1_000_000), None).is_none());
        assert!(breach(&GUARD, load(1, 500, 1.0), Some(1_000_000), None).is_some());
        assert!(breach(&GUARD, load(501, 0, 1.0), Some(1_000_000), None).is_none(), "nothing new, nothing to hold");
    }

    #[test]
    fn people_of_other_tenants_count_as_people_and_in_no_share() {
        let with = |elsewhere, new| Load { elsewhere, ..load(0, new, 1.0) };
        assert!(breach(&GUARD, with(450, 50), Some(1_000), None).is_none());
        assert!(breach(&GUARD, with(451, 50), Some(1_000), None).unwrap().contains("501 matches in a day over all"));
        let share = Guard { per_day: None, ..GUARD };
        assert!(breach(&share, with(10_000, 50), Some(1_000), None).is_none());
    }

    #[test]
    fn an_outage_raises_the_limit() {
        assert!(breach(&GUARD, load(0, 1_400, 3.0), Some(1_000_000), None).is_none());
        assert!(breach(&GUARD, load(0, 1_600, 3.0), Some(1_000_000), None).is_some());
    }

    #[test]
    fn the_percentage_counts_only_above_the_floor() {
        assert!(!needs_records(&GUARD, load(0, 50, 1.0)));
        assert!(breach(&GUARD, load(0, 50, 1.0), Some(100), None).is_none());
        assert!(needs_records(&GUARD, load(0, 51, 1.0)));
        assert!(breach(&GUARD, load(0, 51, 1.0), Some(100), None).is_some());
        assert!(breach(&GUARD, load(0, 51, 1.0), Some(1_020), None).is_none());
    }

    #[test]
    fn an_ordinary_day_is_one_of_the_weeks_in_which_the_rule_has_matched() {
        assert_eq!(ordinary_day(5, [40, 40, 40, 40]), None, "a week is no history");
        assert_eq!(ordinary_day(5, [40, 83, 83, 83]), Some(6.0), "two weeks but today");
        assert_eq!(ordinary_day(0, [0, 0, 0, 27]), Some(1.0));
    }

    #[test]
    fn growth_is_measured_above_the_floor_and_by_the_days_made_up_for() {
        let grown = |new, days, ordinary| breach(&GUARD, load(0, new, days), Some(1_000_000), ordinary);
        assert!(grown(120, 1.0, Some(12.0)).is_none());
        assert!(grown(121, 1.0, Some(12.0)).unwrap().contains("`growth`"));
        assert!(grown(121, 2.0, Some(12.0)).is_none(), "two days at once");
        assert!(grown(50, 1.0, Some(0.1)).is_none(), "fifty are always let through");
        assert!(grown(400, 1.0, None).is_none(), "without a history there is nothing to grow beyond");
    }
}

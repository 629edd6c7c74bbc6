//! A record's episodes, as they follow from the instants of its rows: pure arithmetic, whenever somebody looks.

use super::{NEVER, is_open};
use crate::engine::port::Episode;
use crate::rule::tide::{Level, Tide, When};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// How the level of one record moves, in order.
pub struct Course<'a> {
    tide: &'a Tide<'a>,
    zone: &'a TimeZone,
    steps: Vec<(Timestamp, Level)>,
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// A record without an episode, or after its last one, is looked at from here on.
    pub since: Timestamp,
    /// Who is inside at this instant has come inside silently.
    pub seed: Option<Timestamp>,
    /// Open episodes are looked at from here on, if not from when they are due: new rows may have ended them earlier.
    pub open_since: Option<Timestamp>,
    pub now: Timestamp,
}

/// What a replay came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The record's latest episode.
    pub last: Option<Episode>,
    /// Episodes that opened on the way, with the level that opened each.
    pub opened: Vec<(Episode, Level)>,
}

impl<'a> Course<'a> {
    /// Rows after `now` are invisible.
    pub fn of(tide: &'a Tide<'a>, rows: &[When], zone: &'a TimeZone, now: Timestamp) -> Self {
        let mut steps = Vec::with_capacity(rows.len() * tide.shifts.len());
        for when in rows.iter().filter(|when| when.after(&[], zone) <= now) {
            steps.extend(tide.shifts.iter().map(|shift| (when.after(&shift.after, zone), shift.level)));
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { tide, zone, steps }
    }

    /// The earliest end of an episode.
    fn least(&self, opened_at: Timestamp) -> Timestamp {
        self.tide.least.map_or(opened_at, |least| least.after(opened_at, self.zone))
    }

    /// How many rows count at this instant.
    pub fn level(&self, at: Timestamp) -> Level {
        let past = self.steps.iter().take_while(|(step, _)| *step <= at);
        past.fold(Level::default(), |level, (_, step)| level.plus(*step))
    }

    pub fn replay(&self, kept: Option<&Episode>, terms: Terms) -> Replayed {
        let mut last = kept.cloned();
        let mut opened: Vec<(Episode, Level)> = Vec::new();
        let mut from = match &last {
            Some(episode) if is_open(episode) => {
                let look = terms.open_since.map_or(episode.due_at, |since| since.min(episode.due_at));
                look.max(self.least(episode.opened_at))
            }
            Some(Episode { closed_at: Some(closed), .. }) => terms.since.max(just_after(*closed)),
            _ => terms.since,
        };
        if let Some(seed) = terms.seed.filter(|_| !last.as_ref().is_some_and(is_open))
            && self.tide.holds(self.level(seed))
        {
            let ordinal = last.as_ref().map_or(1, |episode| episode.ordinal + 1);
            last = Some(Episode {
                ordinal,
                opened_at: seed,
                closed_at: None,
                due_at: NEVER,
                value: None,
                own: Timestamp::MIN,
            });
            from = self.least(seed);
        }
        let mut passed = self.steps.partition_point(|(at, _)| *at <= from);
        let mut level = self.level(from);
        let mut at = from;
        loop {
            let inside = self.tide.holds(level);
            if let Some(episode) = last.as_mut().filter(|episode| is_open(episode)) {
                let over = !inside && at >= self.least(episode.opened_at);
                if over {
                    episode.due_at = at;
                }
                if over && at > terms.now {
                    break;
                }
                if over {
                    episode.closed_at = Some(at);
                    if let Some((fresh, _)) = opened.last_mut() {
                        fresh.closed_at = Some(at);
                    }
                }
            } else if at > terms.now {
                break;
            } else if inside {
                let ordinal = last.as_ref().map_or(1, |episode| episode.ordinal + 1);
                let episode = Episode {
                    ordinal,
                    opened_at: at,
                    closed_at: None,
                    due_at: NEVER,
                    value: None,
                    own: Timestamp::MIN,
                };
                opened.push((episode.clone(), level));
                last = Some(episode);
            }
            // The next instant at which anything can change.
            let open = last.as_ref().filter(|episode| is_open(episode));
            let may_end = open.map(|episode| self.least(episode.opened_at)).filter(|end| *end > at);
            let step = self.steps.get(passed).map(|(next, _)| *next);
            let Some(next) = step.into_iter().chain(may_end).min() else { break };
            while let Some((_, change)) = self.steps.get(passed).filter(|(step, _)| *step <= next) {
                level = level.plus(*change);
                passed += 1;
            }
            at = next;
        }
        Replayed { last, opened }
    }
}

fn just_after(instant: Timestamp) -> Timestamp {
    instant.checked_add(SignedDuration::from_micros(1)).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Period;
    use crate::rule::checked::{Compared, Count, Decline, Trigger};

    fn day(count: i64) -> Timestamp {
        "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * count)
    }

    fn three_in_fourteen_days() -> Trigger {
        let within = Period::days(14);
        Trigger::Count(Count { of: "tickets".into(), only: Vec::new(), at_least: 3, within })
    }

    fn look(trigger: &Trigger, days: &[i64], kept: Option<&Episode>, since: i64, now: i64) -> Replayed {
        let tide = trigger.tide().unwrap();
        let rows: Vec<When> = days.iter().map(|count| When::Instant(day(*count))).collect();
        let zone = TimeZone::UTC;
        let course = Course::of(&tide, &rows, &zone, day(now));
        let open_since = tide.rows_end_it().then_some(day(since));
        course.replay(kept, Terms { since: day(since), seed: None, open_since, now: day(now) })
    }

    fn spans(replayed: &Replayed) -> Vec<(u64, i64, Option<i64>)> {
        let since = |at: Timestamp| at.duration_since(day(0)).as_hours() / 24;
        let span =
            |(episode, _): &(Episode, Level)| (episode.ordinal, since(episode.opened_at), episode.closed_at.map(since));
        replayed.opened.iter().map(span).collect()
    }

    #[test]
    fn an_episode_opens_with_the_row_that_makes_the_count_and_ends_when_the_window_has_passed() {
        let rows = [0, 1, 2, 15];
        let trigger = three_in_fourteen_days();
        assert_eq!(spans(&look(&trigger, &rows, None, -1, 1)), []);
        assert_eq!(spans(&look(&trigger, &rows, None, -1, 2)), [(1, 2, None)]);
        // On day 14 it falls below three, but its window has not passed.
        let open = look(&trigger, &rows, None, -1, 14).last.unwrap();
        assert_eq!((open.closed_at, open.due_at), (None, day(16)));
        assert_eq!(spans(&look(&trigger, &rows, None, -1, 16)), [(1, 2, Some(16))]);
    }

    fn half_of_four_in_thirty_days() -> Trigger {
        Trigger::Decline(Decline {
            of: "orders".into(),
            only: Vec::new(),
            by: 50,
            from_at_least: 4,
            window: Period::days(30),
            compared_with: Compared::Before,
        })
    }

    #[test]
    fn looking_in_two_steps_finds_what_looking_once_finds() {
        let rows = [0, 1, 2, 10, 11, 12, 20, 40, 41, 42, 44, 60, 61, 62];
        looks_once_and_twice(&three_in_fourteen_days(), &rows);
        // On day 45 it is back, and on day 50 it has fallen again: the order of day 20 has left.
        let rows = [0, 3, 6, 9, 20, 25, 45];
        looks_once_and_twice(&half_of_four_in_thirty_days(), &rows);
    }

    fn looks_once_and_twice(trigger: &Trigger, rows: &[i64]) {
        let once = look(trigger, rows, None, -1, 100);
        for first in 0..100 {
            let half = look(trigger, rows, None, -1, first);
            let rest = look(trigger, rows, half.last.as_ref(), first, 100);
            assert_eq!(rest.last, once.last, "after {first} days");
            let count = |replayed: &Replayed| replayed.opened.len();
            assert_eq!(count(&half) + count(&rest), count(&once), "after {first} days");
        }
        assert!(spans(&once).len() > 1, "{:?}", spans(&once));
    }

    #[test]
    fn who_was_inside_before_anybody_looked_is_noted_without_a_match() {
        let trigger = three_in_fourteen_days();
        let tide = trigger.tide().unwrap();
        let rows: Vec<When> = [0, 1, 2, 30, 31, 32].map(|count| When::Instant(day(count))).into();
        let zone = TimeZone::UTC;
        let course = Course::of(&tide, &rows, &zone, day(40));
        let terms = Terms { since: day(3), seed: Some(day(3)), open_since: None, now: day(40) };
        assert_eq!(spans(&course.replay(None, terms)), [(2, 32, None)]);
    }

    #[test]
    fn a_decline_opens_by_time_alone_and_ends_when_activity_is_back() {
        let trigger = half_of_four_in_thirty_days();
        // Four orders in ten days, then one, then two more.
        let rows = [0, 3, 6, 9, 25, 45, 46];
        assert_eq!(spans(&look(&trigger, &rows, None, -1, 38)), []);
        // On day 39 the fourth order has left: one in this window after four before.
        assert_eq!(spans(&look(&trigger, &rows, None, -1, 39)), [(1, 39, None)]);
        let back = look(&trigger, &rows, None, -1, 46);
        assert_eq!(spans(&back), [(1, 39, Some(46))]);
    }

    #[test]
    fn last_year_counts_only_in_its_own_season() {
        let decline = Decline {
            of: "orders".into(),
            only: Vec::new(),
            by: 50,
            from_at_least: 2,
            window: Period::days(30),
            compared_with: Compared::LastYear,
        };
        let trigger = Trigger::Decline(decline);
        let rows = [0, 10];
        assert_eq!(spans(&look(&trigger, &rows, None, -1, 370)), []);
        assert_eq!(spans(&look(&trigger, &rows, None, -1, 400)), [(1, 375, Some(395))]);
    }
}

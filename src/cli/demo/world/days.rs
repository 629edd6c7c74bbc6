//! What customers do on a day. A pure function of seed and day, so that the past which fills the
//! database and the future which unfolds while the daemon watches come from the same habits, and a demo
//! that is stopped goes on as if it had not been.

use super::dice::Dice;
use super::names::{ANGRY, CONTENT, DELIGHTED, PROBLEMS, UNHAPPY};
use super::people::{Account, SILENCE, Story};
use jiff::civil::{Date, DateTime, Time};

/// Something that appears in the CRM at a wall time of its office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    pub at: DateTime,
    pub what: Fact,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Order { id: i64, account: i64, cents: i64, status: &'static str },
    Answer { id: i64, account: i64, kind: &'static str, rating: i64, comment: Option<&'static str> },
    TicketOpened { id: i64, account: i64, subject: &'static str },
    TicketClosed { id: i64 },
}

/// Days are counted from `first`, which is day 0; the past has negative numbers.
#[derive(Debug, Clone)]
pub struct Calendar {
    pub seed: i64,
    pub first: Date,
}

impl Calendar {
    #[must_use]
    pub fn date(&self, day: i32) -> Date {
        self.first.saturating_add(jiff::Span::new().days(day))
    }

    /// The number of a date.
    #[must_use]
    pub fn day(&self, date: Date) -> i32 {
        self.first.until(date).map_or(0, |span| span.get_days())
    }

    /// A moment within opening hours of a day.
    fn moment(&self, dice: &mut Dice, day: i32) -> DateTime {
        let minute = dice.between(7 * 60, 18 * 60 - 1);
        let time = Time::new((minute / 60) as i8, (minute % 60) as i8, dice.between(0, 59) as i8, 0);
        self.date(day).to_datetime(time.unwrap_or(Time::midnight()))
    }

    /// Everything of one day, in order of time.
    #[must_use]
    pub fn happenings(&self, accounts: &[Account], day: i32) -> Vec<Happening> {
        let mut all: Vec<Happening> = accounts.iter().filter_map(|account| self.order(account, day)).collect();
        all.extend(self.answers(accounts, day));
        all.extend(self.tickets(accounts, day));
        all.sort_by_key(|happening| happening.at);
        all
    }

    fn order(&self, account: &Account, day: i32) -> Option<Happening> {
        let last = account.last_order;
        let by_habit = (day + account.phase).rem_euclid(account.rhythm) == 0;
        let orders = last == Some(day) || by_habit && last.is_none_or(|last| day < last);
        if !orders || day < account.since {
            return None;
        }
        let mut dice = Dice::of(&[self.seed, 2, account.id, i64::from(day)]);
        let cents = account.basket * dice.between(70, 130) + dice.between(0, 99);
        // Nobody's last order is cancelled: silence would begin earlier than told.
        let status = if last != Some(day) && dice.chance(4) { "cancelled" } else { "paid" };
        let id = i64::from(day + 10_000) * 1_000 + account.id;
        Some(Happening {
            at: self.moment(&mut dice, day),
            what: Fact::Order { id, account: account.id, cents, status },
        })
    }

    fn answers(&self, accounts: &[Account], day: i32) -> Vec<Happening> {
        let mut dice = Dice::of(&[self.seed, 3, i64::from(day)]);
        let count = dice.between(1, 3);
        let answers = (0..count).filter_map(|place| {
            let account = somebody(&mut dice, accounts, day)?;
            let kind = if place == 1 { "csat" } else { "nps" };
            let (rating, comment) = if kind == "nps" { nps(&mut dice) } else { (dice.between(2, 5), None) };
            let id = i64::from(day + 10_000) * 10 + place;
            let what = Fact::Answer { id, account: account.id, kind, rating, comment };
            Some(Happening { at: self.moment(&mut dice, day), what })
        });
        answers.collect()
    }

    fn tickets(&self, accounts: &[Account], day: i32) -> Vec<Happening> {
        let opened = self.opened(accounts, day).into_iter().map(|(id, account, subject, _)| {
            let at = self.moment(&mut Dice::of(&[self.seed, 4, id]), day);
            Happening { at, what: Fact::TicketOpened { id, account, subject } }
        });
        // What closes today was opened within the last weeks.
        let closed = (day - 40..day).flat_map(|earlier| self.opened(accounts, earlier));
        let closed = closed.filter(|(_, _, _, closes)| *closes == day).map(|(id, ..)| {
            let at = self.moment(&mut Dice::of(&[self.seed, 5, id]), day);
            Happening { at, what: Fact::TicketClosed { id } }
        });
        opened.chain(closed).collect()
    }

    /// Tickets opened on a day: id, account, subject and the day they close.
    fn opened(&self, accounts: &[Account], day: i32) -> Vec<(i64, i64, &'static str, i32)> {
        let mut dice = Dice::of(&[self.seed, 6, i64::from(day)]);
        let mut tickets = Vec::new();
        let mut open = |account: i64, dice: &mut Dice, days: i64| {
            let id = i64::from(day + 10_000) * 1_000 + account;
            tickets.push((id, account, *dice.pick(&PROBLEMS), day + i32::try_from(days).unwrap_or(1)));
        };
        if dice.chance(70)
            && let Some(account) = somebody(&mut dice, accounts, day)
        {
            let days = dice.between(1, 6);
            open(account.id, &mut dice, days);
        }
        for account in accounts {
            // One customer's silence has a reason: a problem that we solve a few days too late.
            let crossing = account.last_order.map(|last| last + SILENCE);
            if account.story == Some(Story::OpenTicket) && crossing == Some(day + 8) {
                open(account.id, &mut dice, 12);
            }
            // And some important ones have two problems that take weeks.
            let troubled = account.story.is_none() && account.active && account.class == "A+" && account.id % 8 == 0;
            if troubled && (day == -9 || day == -4) {
                open(account.id, &mut dice, 25);
            }
        }
        tickets
    }
}

/// A customer who is with us on that day and in nobody's story.
fn somebody<'a>(dice: &mut Dice, accounts: &'a [Account], day: i32) -> Option<&'a Account> {
    let with_us = |account: &&Account| {
        account.active && account.story.is_none() && account.last_order.is_none() && account.since < day
    };
    (0..20).map(|_| dice.pick(accounts)).find(with_us)
}

/// A score from 0 to 10 and what they wrote with it.
fn nps(dice: &mut Dice) -> (i64, Option<&'static str>) {
    let (low, high, comments): (i64, i64, &[&'static str]) = match dice.between(1, 100) {
        1..=14 => (0, 3, &ANGRY),
        15..=34 => (4, 6, &UNHAPPY),
        35..=58 => (7, 8, &CONTENT),
        _ => (9, 10, &DELIGHTED),
    };
    (dice.between(low, high), dice.chance(80).then(|| *dice.pick(comments)))
}

#[cfg(test)]
mod tests {
    use super::super::people::accounts;
    use super::*;

    fn calendar() -> Calendar {
        Calendar { seed: 1, first: "2026-10-23".parse().unwrap() }
    }

    fn orders_of(account: i64, days: std::ops::Range<i32>) -> Vec<i32> {
        let (calendar, people) = (calendar(), accounts(1));
        let mut found = Vec::new();
        for day in days {
            for happening in calendar.happenings(&people, day) {
                if matches!(happening.what, Fact::Order { account: of, .. } if of == account) {
                    found.push(day);
                }
            }
        }
        found
    }

    #[test]
    fn the_silent_order_until_their_last_day_and_never_after() {
        let people = accounts(1);
        let last = people[0].last_order.unwrap();
        let days = orders_of(1, -200..60);
        assert!(days.len() > 3, "a customer with a past: {days:?}");
        assert_eq!(days.last(), Some(&last));
    }

    #[test]
    fn a_day_is_the_same_whenever_it_is_asked_for() {
        let (calendar, people) = (calendar(), accounts(1));
        assert_eq!(calendar.happenings(&people, 12), calendar.happenings(&people, 12));
        assert_eq!(calendar.day(calendar.date(-17)), -17);
    }

    #[test]
    fn the_first_month_has_scores_of_every_band() {
        let (calendar, people) = (calendar(), accounts(1));
        let scores: Vec<i64> = (0..30)
            .flat_map(|day| calendar.happenings(&people, day))
            .filter_map(|happening| match happening.what {
                Fact::Answer { kind: "nps", rating, .. } => Some(rating),
                _ => None,
            })
            .collect();
        for band in [0..=3, 4..=6, 7..=8, 9..=10] {
            assert!(scores.iter().any(|score| band.contains(score)), "{band:?} in {scores:?}");
        }
    }

    #[test]
    fn every_ticket_that_opens_closes_once() {
        let (calendar, people) = (calendar(), accounts(1));
        let mut open = std::collections::HashSet::new();
        for happening in (-30..90).flat_map(|day| calendar.happenings(&people, day)) {
            match happening.what {
                Fact::TicketOpened { id, .. } => assert!(open.insert(id)),
                Fact::TicketClosed { id } => {
                    let _ = open.remove(&id);
                }
                _ => {}
            }
        }
        assert!(open.len() < 12, "only those of the last days are still open: {}", open.len());
    }
}

//! Who the demo's customers are: a few hundred cafés, bakeries, hotels and offices, the people who work
//! there, and our own staff. What they do day by day is in `days`.

use super::dice::Dice;
use super::names::{BAKERIES, CAFES, FIRST_NAMES, HOTELS, LAST_NAMES, OFFICES, TOWNS, Town};

/// How many accounts the world has; the last ones are no customers (closed, or our own test account).
pub const ACCOUNTS: i64 = 260;
/// How many of them fall silent so that they cross 90 days within the first weeks.
pub const SILENT: i64 = 34;
/// How many more fall silent a month later: they cross 60 days while the first ones cross 90.
pub const SILENT_LATER: i64 = 30;
/// Days of silence that the win-back rule waits for.
pub const SILENCE: i32 = 90;

/// A customer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: i64,
    pub name: String,
    pub kind: &'static str,
    pub town: &'static Town,
    pub class: &'static str,
    pub seasonal: bool,
    pub active: bool,
    pub sample: bool,
    /// Day they became a customer; day 0 is the demo's first.
    pub since: i32,
    /// Orders every so many days, on days with this remainder.
    pub rhythm: i32,
    pub phase: i32,
    /// Of a usual order, in euros.
    pub basket: i64,
    pub story: Option<Story>,
    /// The day of the last order of those who fall silent.
    pub last_order: Option<i32>,
    pub owner: i64,
    pub contacts: Vec<Contact>,
    pub plan: Option<Plan>,
}

/// How it goes on with a customer who stopped ordering. Every branch of the win-back rule has somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Story {
    /// Orders a few days after the first mail.
    Returns,
    /// Orders after the second.
    ReturnsLate,
    /// Never comes back.
    Lost,
    /// Important enough for a call.
    Vip,
    /// Never agreed to offers.
    NoConsent,
    /// On the list of addresses not to be written to.
    Blocked,
    /// Has no address on file.
    NoAddress,
    /// Waits for us to solve a problem.
    OpenTicket,
    /// Lives where the rule doesn't apply.
    Abroad,
    /// Has bought too little.
    Small,
    /// A hotel that closes for the season.
    Seasonal,
}

/// The order in which stories cross the edge: one on each of the first days.
const STORIES: [Story; 17] = [
    Story::Returns,
    Story::Lost,
    Story::Vip,
    Story::Returns,
    Story::NoConsent,
    Story::OpenTicket,
    Story::Lost,
    Story::Seasonal,
    Story::Blocked,
    Story::Returns,
    Story::Abroad,
    Story::Small,
    Story::ReturnsLate,
    Story::Vip,
    Story::NoAddress,
    Story::Returns,
    Story::Lost,
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub id: i64,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub email: Option<String>,
    pub phone: String,
    pub role: &'static str,
    pub primary: bool,
    pub consent: Option<bool>,
}

/// A service plan for the espresso machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub id: i64,
    pub name: &'static str,
    pub yearly_price: i64,
    pub auto_renew: bool,
    /// The day it ends.
    pub renews: i32,
    /// They will renew some days after the first reminder.
    pub will_renew: bool,
}

/// One of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub id: i64,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub team: &'static str,
}

pub const USERS: [User; 6] = [
    User { id: 1, first_name: "Clara", last_name: "Finch", team: "management" },
    User { id: 2, first_name: "Jana", last_name: "Wolf", team: "accounts" },
    User { id: 3, first_name: "Pavel", last_name: "Horak", team: "accounts" },
    User { id: 4, first_name: "Mia", last_name: "Sommer", team: "accounts" },
    User { id: 5, first_name: "Ben", last_name: "Adler", team: "service" },
    User { id: 6, first_name: "Ruth", last_name: "Stein", team: "service" },
];

/// Everybody. The same seed makes the same people.
#[must_use]
pub fn accounts(seed: i64) -> Vec<Account> {
    (1..=ACCOUNTS).map(|id| account(seed, id)).collect()
}

fn account(seed: i64, id: i64) -> Account {
    let mut dice = Dice::of(&[seed, 1, id]);
    let story = story_of(id);
    let kind = match story {
        Some(Story::Seasonal) => "hotel",
        _ => dice.pick(&["cafe", "cafe", "cafe", "bakery", "office", "office", "hotel"]),
    };
    let town = match story {
        Some(Story::Abroad) => &TOWNS[14],
        Some(_) => dice.pick(&TOWNS[..14]),
        None => dice.pick(&TOWNS),
    };
    let class = match story {
        Some(Story::Vip) => "A",
        Some(_) => "B",
        None => dice.pick(&["A+", "A", "B", "B", "B", "C", "C", "C"]),
    };
    let family = LAST_NAMES[usize::try_from(id * 7 + id / 40).unwrap_or(0) % LAST_NAMES.len()];
    let since = if story.is_some() { dice.between(-1_600, -420) } else { dice.between(-1_800, -20) };
    let rhythm = if story.is_some() { dice.between(9, 24) } else { dice.between(6, 30) };
    Account {
        id,
        name: business_name(&mut dice, kind, family),
        kind,
        town,
        class,
        seasonal: story == Some(Story::Seasonal),
        active: id <= ACCOUNTS - 8,
        sample: id == ACCOUNTS,
        since: i32::try_from(since).unwrap_or(-400),
        rhythm: i32::try_from(rhythm).unwrap_or(14),
        phase: i32::try_from(dice.between(0, 29)).unwrap_or(0),
        basket: if story == Some(Story::Small) { 12 } else { dice.between(60, 420) },
        last_order: story.map(|_| crossing_day(id) - SILENCE).or_else(|| long_gone(id)),
        story,
        owner: dice.between(2, 4),
        contacts: contacts(&mut dice, id, family, story),
        plan: plan(&mut dice, id, story),
    }
}

/// The first accounts fall silent, one after the other.
fn story_of(id: i64) -> Option<Story> {
    let place = usize::try_from(id - 1).ok().filter(|_| id <= SILENT + SILENT_LATER)?;
    let later = if place % 3 == 0 { Story::Returns } else { Story::Lost };
    Some(if id <= SILENT { STORIES[place % STORIES.len()] } else { later })
}

/// The day on which account `id` has been silent for 90 days: nearly one a day for a month, and one a day
/// in the month after.
fn crossing_day(id: i64) -> i32 {
    let day = if id <= SILENT { (id - 1) * 27 / SILENT } else { 30 + id - SILENT };
    i32::try_from(day).unwrap_or(0)
}

/// Some left long before the demo begins. `backfill: none` leaves them alone.
fn long_gone(id: i64) -> Option<i32> {
    (id > SILENT + SILENT_LATER && id % 9 == 0).then(|| i32::try_from(-120 - id).unwrap_or(-200))
}

fn business_name(dice: &mut Dice, kind: &str, family: &str) -> String {
    let patterns: &[&str] = match kind {
        "bakery" => &BAKERIES,
        "hotel" => &HOTELS,
        "office" => &OFFICES,
        _ => &CAFES,
    };
    dice.pick(patterns).replace("{}", family)
}

fn contacts(dice: &mut Dice, account: i64, family: &'static str, story: Option<Story>) -> Vec<Contact> {
    let consent = match story {
        Some(Story::NoConsent) => None,
        Some(_) => Some(true),
        None => *dice.pick(&[Some(true), Some(true), Some(true), Some(false), None]),
    };
    let first_name = *dice.pick(&FIRST_NAMES);
    let mut contacts = vec![Contact {
        id: account * 10,
        first_name,
        last_name: family,
        email: (story != Some(Story::NoAddress)).then(|| address(first_name, family, account)),
        phone: format!("+43 1 5550{account:03}"),
        role: "manager",
        primary: true,
        consent,
    }];
    if dice.chance(40) {
        let (first_name, last_name) = (*dice.pick(&FIRST_NAMES), *dice.pick(&LAST_NAMES));
        contacts.push(Contact {
            id: account * 10 + 1,
            first_name,
            last_name,
            email: Some(address(first_name, last_name, account)),
            phone: format!("+43 1 5551{account:03}"),
            role: "billing",
            primary: false,
            consent: Some(false),
        });
    }
    contacts
}

fn address(first_name: &str, last_name: &str, account: i64) -> String {
    format!("{}.{}@c{account}.example", first_name.to_lowercase(), last_name.to_lowercase())
}

fn plan(dice: &mut Dice, id: i64, story: Option<Story>) -> Option<Plan> {
    if story.is_some() || id % 3 != 0 {
        return None;
    }
    let (name, yearly_price) = *dice.pick(&[("Basic", 290), ("Comfort", 540), ("Complete", 890)]);
    // Spread over the year, so that every day something comes near.
    let renews = (id / 3 * 13) % 365 + 2;
    Some(Plan {
        id: 5_000 + id,
        name,
        yearly_price,
        auto_renew: dice.chance(25),
        renews: i32::try_from(renews).unwrap_or(60),
        will_renew: dice.chance(60),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_seed_makes_the_same_people_and_another_seed_makes_others() {
        assert_eq!(accounts(1), accounts(1));
        assert_ne!(accounts(1), accounts(2));
    }

    #[test]
    fn every_story_is_told_in_the_first_weeks() {
        let people = accounts(1);
        let told: HashSet<Story> = people.iter().filter_map(|account| account.story).collect();
        assert!(STORIES.iter().all(|story| told.contains(story)));
        let crossings = people.iter().filter(|account| account.story.is_some());
        let crossings: Vec<i32> = crossings.map(|account| account.last_order.unwrap() + SILENCE).collect();
        let (first, later) = crossings.split_at(usize::try_from(SILENT).unwrap());
        assert!(first.iter().all(|day| (0..27).contains(day)), "{first:?}");
        assert!(later.iter().all(|day| (31..=60).contains(day)), "{later:?}");
    }

    #[test]
    fn addresses_are_unique_and_can_never_reach_anybody() {
        let people = accounts(1);
        let addresses: Vec<&String> =
            people.iter().flat_map(|account| &account.contacts).filter_map(|contact| contact.email.as_ref()).collect();
        assert!(addresses.iter().all(|address| address.is_ascii() && address.ends_with(".example")));
        assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), addresses.len());
    }
}

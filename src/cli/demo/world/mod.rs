//! The demo's world: a coffee roastery's CRM in an embedded SQLite database, with customers who have a
//! past and go on living while the daemon watches.

mod crm;
mod days;
mod dice;
mod names;
mod people;

pub use crm::{Crm, CrmError};
pub use days::{Calendar, Fact, Happening};
pub use dice::Dice;
pub use people::{Account, Plan, Story, accounts};

use jiff::tz::TimeZone;

/// The roastery's office, whose wall time the CRM keeps.
pub const OFFICE_ZONE: &str = "Europe/Vienna";

/// The zone of [`OFFICE_ZONE`].
#[must_use]
pub fn office_zone() -> TimeZone {
    TimeZone::get(OFFICE_ZONE).unwrap_or(TimeZone::UTC)
}

/// Everybody and everything that will happen.
#[derive(Debug, Clone)]
pub struct World {
    pub calendar: Calendar,
    pub accounts: Vec<Account>,
}

impl World {
    #[must_use]
    pub fn new(seed: i64, first: jiff::civil::Date) -> Self {
        Self { calendar: Calendar { seed, first }, accounts: accounts(seed) }
    }
}

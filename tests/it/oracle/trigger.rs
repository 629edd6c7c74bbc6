//! What the oracle needs to know of a trigger.

use crate::world::World;
use jiff::{SignedDuration, Timestamp};
use proptest::strategy::BoxedStrategy;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The columns that histories fill; those that tell of changes stand beside them.
pub const ACCOUNTS: &str = "accounts (id, name, country_code, created_at)";
pub const SUBSCRIPTIONS: &str = "subscriptions (id, account_id, contact_id, status, renews_on)";

/// A trigger as its definition has it: the part of the CRM that it reads, kept in memory, and which occasions
/// stand there at an instant. Nothing here may come from the engine.
pub trait Trigger: Sized {
    /// Something that happens in the CRM.
    type Change: Clone + Debug + 'static;
    /// What a rule file can say that matters here; an edit gives another.
    type Rule: Clone + Debug + 'static;

    /// A sweep may find what an earlier one would have found, had it stood there.
    const FINDS_LATE: bool = true;

    fn changes() -> BoxedStrategy<Self::Change>;
    fn rules() -> BoxedStrategy<Self::Rule>;
    /// The file of the rule `watch`.
    fn text(rule: &Self::Rule) -> String;
    /// Whether an edit leaves trigger and `where` as they were, so that the baseline stays.
    fn same_definition(one: &Self::Rule, other: &Self::Rule) -> bool;
    fn promise(rule: &Self::Rule) -> Promise;
    /// Whether the past is taken in where the rule begins.
    fn backfills(_: &Self::Rule) -> bool {
        false
    }

    /// Fills the empty CRM, before the rule is first loaded.
    async fn begin(world: &World) -> Self;
    /// Does it, in the world and in memory.
    async fn apply(&mut self, change: &Self::Change, world: &World, now: Timestamp);
    /// Every occasion that stands in the CRM at `now`, crossed or not.
    fn occasions(&self, rule: &Self::Rule, now: Timestamp) -> Vec<Standing>;
}

/// An occasion at one instant.
#[derive(Debug, Clone)]
pub struct Standing {
    pub record: String,
    pub occasion: String,
    /// When its edge is crossed, perhaps in the future.
    pub crosses: Timestamp,
    /// `where` holds.
    pub holds: bool,
    /// Something later has made it yesterday's news.
    pub overtaken: bool,
    /// What is compared with the greatest one of its record that matched; by how much it must exceed that, if at all.
    pub exceeds: Option<(Timestamp, Option<SignedDuration>)>,
}

/// What is promised about finding it.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// A fact that comes this late is found by the next sweep.
    pub overlap: SignedDuration,
    /// Who crossed and doesn't hold gets another chance each day for so long.
    pub keep_trying: SignedDuration,
    /// Facts that came later are found in the night, for a week.
    pub nightly: bool,
    /// It is read at the first sweep after it crossed and never again.
    pub once: bool,
    /// Where the catalog says when a record changed, the next sweep finds what crossed this long ago.
    pub tracked: SignedDuration,
}

/// Customers 0 and on, so many, all of them in Austria; the country of each.
pub async fn austrians(world: &World, count: usize) -> BTreeMap<usize, &'static str> {
    let mut countries = BTreeMap::new();
    for customer in 0..count {
        world.crm.run(&format!("INSERT INTO {ACCOUNTS} VALUES ({customer}, 'C', 'AT', NULL)")).await;
        countries.insert(customer, "AT");
    }
    countries
}

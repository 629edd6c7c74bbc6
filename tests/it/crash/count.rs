//! What arrived, counted.

use super::daemon::Receivers;
use super::world::World;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A customer and a step of the rule `hooks`.
type Place = (usize, String);

pub struct Counts {
    /// How often each idempotency key arrived, by what it was for.
    webhooks: BTreeMap<Place, HashMap<String, usize>>,
    tasks: BTreeMap<usize, usize>,
    mails: BTreeMap<usize, usize>,
}

impl Counts {
    pub fn take(world: &World, receivers: &Receivers<'_>) -> Self {
        let mut webhooks: BTreeMap<Place, HashMap<String, usize>> = BTreeMap::new();
        for request in receivers.http.received() {
            let body = request.json();
            let key = &body["data"]["record"]["key"];
            let customer = key.as_str().map_or_else(|| key.to_string(), str::to_owned).parse().unwrap();
            let place = (customer, body["type"].as_str().unwrap().to_owned());
            *webhooks.entry(place).or_default().entry(request.key().to_owned()).or_default() += 1;
        }
        let mut mails = BTreeMap::new();
        for mail in receivers.smtp.received() {
            // Written by the sink from the envelope, so that a torn message counts as well.
            if let Some(customer) = between(&mail, "X-Rcpt-Args: <c", "@").and_then(|number| number.parse().ok()) {
                *mails.entry(customer).or_default() += 1;
            }
        }
        Self { webhooks, tasks: world.tasks(), mails }
    }

    /// Everything has arrived, or, of mails, is known to have been under way at a kill.
    pub fn are_complete(&self, unknown: &BTreeSet<usize>) -> bool {
        let mailed = |customer: usize| self.mails.contains_key(&customer) || unknown.contains(&customer);
        self.webhooks.len() == 2 * World::CUSTOMERS
            && self.tasks.len() == World::CUSTOMERS
            && World::customers().all(mailed)
    }

    /// A match that happened twice would come with another delivery id, so with another key.
    pub fn assert_one_match_each(&self) {
        for (place, keys) in &self.webhooks {
            assert_eq!(keys.len(), 1, "{place:?} came from {} matches", keys.len());
            assert!(keys.keys().all(|key| !key.is_empty()), "{place:?} came without a key");
        }
        for (customer, tasks) in &self.tasks {
            assert_eq!(*tasks, 1, "customer {customer} has {tasks} tasks");
        }
    }

    /// Each key again at most as often as a kill took away the outcome of a try with it.
    pub fn assert_repeats_within(&self, in_flight: impl Fn(&str) -> usize) {
        for (key, times) in self.webhooks.values().flatten() {
            assert!(times - 1 <= in_flight(key), "{key} came {times} times, under way at {} kills", in_flight(key));
        }
    }

    pub fn assert_mails_once(&self) {
        for (customer, mails) in &self.mails {
            assert_eq!(*mails, 1, "customer {customer} got {mails} mails");
        }
    }

    fn repeats(&self) -> usize {
        self.webhooks.values().flat_map(HashMap::values).map(|times| times - 1).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { webhooks, tasks, mails } = self;
        write!(f, "{} webhooks, {} repeated with their key; ", webhooks.len(), self.repeats())?;
        write!(f, "{} tasks; {} mails", tasks.len(), mails.len())
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split_once(after)?.0)
}

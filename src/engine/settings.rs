//! The engine's knobs. `config` composes them; nothing here is read from a file.

use super::links::Links;
use super::pruner::Retention;
use crate::model::{AttemptNumber, Country, Limits, Period, Rate, SendWindow, Tracking};
use jiff::{SignedDuration, civil};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Every field has a default that suits two cores and one state database on the same machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Rows of one sweep batch: crossings per facts statement and matches per transaction.
    pub batch: usize,
    /// Outbox rows of one claim.
    pub claim: usize,
    /// Rules swept at the same time.
    pub sweeps_at_once: usize,
    /// How far the source's clock may be from ours before sweeps wait. `None`: the source runs on our
    /// clock, as in the demo and in rehearsals.
    pub max_skew: Option<SignedDuration>,
    /// Facts older than this are asked again before a message is sent.
    pub facts_age: Duration,
    /// The try after which a transient failure is final.
    pub max_attempts: AttemptNumber,
    /// How long a shutdown waits for sends under way.
    pub drain: Duration,
    /// How often leases of work under way are extended.
    pub heartbeat: Duration,
    /// How often the state is asked for work that another process may have put there.
    pub poll: Duration,
    /// How often expired leases are looked for.
    pub rescue_every: Duration,
    /// The local time, in the catalog's zone, after which the nightly reconcile runs.
    pub reconcile_at: civil::Time,
    /// How far back the nightly reconcile looks.
    pub reconcile_reach: SignedDuration,
    /// `sender.*` in templates: name, address, postal address.
    pub sender: Json,
    /// Where the links of mails lead.
    pub links: Links,
    /// What protects people from too much, too late at night or too fast.
    pub sending: Sending,
    /// How long things are kept.
    pub retention: Retention,
}

/// Limits of sending. By default there are none: only a configuration sets them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sending {
    /// When messages on topics may leave, in the reader's zone.
    pub window: Option<SendWindow>,
    /// Caps per person over all rules, and the budget of mails per day.
    pub limits: Arc<Limits>,
    /// Topics stop when a record was last heard of longer ago than this.
    pub sunset: Option<Period>,
    /// Mails of this process.
    pub rate: Option<Rate>,
    /// Mails of this process to one domain.
    pub per_domain: Option<Rate>,
    /// Who gets a copy of the first mail of each version of a template.
    pub seeds: Vec<String>,
    /// The same for text messages.
    pub texts: Texts,
    /// What is noted of how mails on topics are read, by those who agreed to that.
    pub tracks: BTreeSet<Tracking>,
}

/// Limits of text messages, besides those that hold for both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// Caps per person over all rules.
    pub limits: Arc<Limits>,
    /// Within that of [`Sending`].
    pub window: Option<SendWindow>,
    /// Text messages of this process.
    pub rate: Option<Rate>,
    /// Whose numbers are meant that are written without a country.
    pub country: Option<Country>,
    /// Numbers that get a copy of the first message of each version of a text.
    pub seeds: Vec<String>,
}

impl Sending {
    /// How far back anything counts that was sent.
    #[must_use]
    pub fn reach(&self) -> SignedDuration {
        self.limits.reach().max(self.texts.limits.reach())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: 2_000,
            claim: 500,
            sweeps_at_once: 3,
            max_skew: Some(SignedDuration::from_mins(5)),
            facts_age: Duration::from_secs(30),
            max_attempts: 12,
            drain: Duration::from_secs(20),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            rescue_every: Duration::from_secs(20),
            reconcile_at: civil::time(3, 0, 0, 0),
            reconcile_reach: SignedDuration::from_hours(7 * 24),
            sender: json!({"name": "", "postal_address": "", "website": ""}),
            sending: Sending::default(),
            links: Links::Rehearsed,
            retention: Retention::default(),
        }
    }
}

//! Steps that write into the CRM: fields and tags, whose turn it is, codes of pools.
//!
//! All of it can be repeated: an update knows what its first try found, a turn and a code belong to their delivery once
//! they are given.

use super::alert;
use super::event::Event;
use super::once::{Once, UpdateError, Updated};
use super::own_writes::{Hand, WriteError};
use super::port::{Deed, Message, Sender, Sent, Source, SourceError, Store, StoreError, Turn, Write, WriteDraft};
use crate::catalog::{Entity, Pool};
use crate::model::{Clock, Outcome, SkipReason, Value};
use crate::rule::generation::Generation;
use crate::rule::write::{self, Among, Assign, Balance, Claim, Claiming, Member, NewCell, Others, Updating, WhenEmpty};
use futures::TryStreamExt;
use jiff::SignedDuration;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// How long a step waits before it asks an empty pool again.
const EMPTY: SignedDuration = SignedDuration::from_mins(10);

/// Who hears what should be known of pools.
pub(super) struct Alerts {
    /// Takes mails to owners.
    pub mails: Arc<dyn Sender>,
    /// Takes what the log and the metrics say.
    pub announce: Arc<dyn Fn(&Event) + Send + Sync>,
}

/// Writes what a draft says.
pub(super) struct RecordWriter<'a> {
    pub clock: &'a dyn Clock,
    pub source: &'a dyn Source,
    pub store: &'a dyn Store,
    pub generation: &'a Generation,
    /// How owners are told; `None`: in rehearsals, where nobody is.
    pub alerts: Option<&'a Alerts>,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Updated(#[from] UpdateError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the catalog said when the rule was checked holds no more.
    #[error("{0}")]
    Gone(String),
}

impl Failure {
    /// Every write can be repeated, so a cut connection is not a doubt.
    fn outcome(&self) -> Outcome {
        let reason = self.to_string();
        match self {
            Self::Updated(
                UpdateError::Written(
                    WriteError::Source(SourceError::Refused(_)) | WriteError::Store(StoreError::Broken(_)),
                )
                | UpdateError::Unfit(_),
            )
            | Self::Source(SourceError::Refused(_))
            | Self::Store(StoreError::Broken(_))
            | Self::Gone(_) => Outcome::Permanent { reason },
            Self::Updated(_) | Self::Source(_) | Self::Store(_) => Outcome::Transient { reason, retry_after: None },
        }
    }
}

impl RecordWriter<'_> {
    pub async fn send(&self, draft: &WriteDraft) -> Sent {
        let done = match &draft.what {
            Write::Update(update) => self.update(draft, update).await.map(|updated| told(updated, draft)),
            Write::Assign { assign, rotation } => self.assign(draft, assign, rotation).await,
            Write::Claim(claim) => self.claim(draft, claim).await,
        };
        done.unwrap_or_else(|failure| Sent { outcome: failure.outcome(), answer: None })
    }

    fn entity(&self, draft: &WriteDraft) -> Result<&Entity, Failure> {
        let name = &draft.record.entity;
        let gone = || Failure::Gone(format!("the catalog has no entity `{name}` any more"));
        self.generation.catalog.entity(name).ok_or_else(gone)
    }

    async fn update(&self, draft: &WriteDraft, update: &Updating) -> Result<Updated, Failure> {
        let entity = self.entity(draft)?;
        let hand = Hand { source: self.source, store: self.store, generation: self.generation };
        let once = Once { hand, draft, entity, update, now: self.clock.now() };
        Ok(once.write().await?)
    }

    async fn assign(&self, draft: &WriteDraft, assign: &Assign, rotation: &str) -> Result<Sent, Failure> {
        let members = self.members(draft, &assign.among).await?;
        let turn = Turn {
            delivery: draft.delivery,
            enrollment: draft.enrollment,
            rotation: rotation.to_owned(),
            members: members.iter().map(|member| member.id().to_owned()).collect(),
            least_loaded: assign.by == Balance::LeastLoaded,
        };
        let Some(chosen) = self.store.assign(&turn).await? else {
            let reason = "there is nobody to assign it to".to_owned();
            return Ok(Sent { outcome: Outcome::Transient { reason, retry_after: None }, answer: None });
        };
        // Whoever has left since the first try is still the one who was given it.
        let found = members.into_iter().find(|member| member.id() == chosen);
        let member = found.unwrap_or_else(|| match &assign.among {
            Among::Addresses(_) => Member { email: Some(chosen.clone()), ..Member::default() },
            Among::Records { .. } => Member { key: Some(chosen.as_str().into()), ..Member::default() },
        });
        if let Some(field) = &assign.set {
            let cell = match (&member.key, &member.email) {
                (Some(key), _) => NewCell::Key(key.clone()),
                (None, email) => email.clone().map_or(NewCell::Null, NewCell::Text),
            };
            let update = Updating { set: vec![(field.clone(), cell)], ..Updating::default() };
            if self.update(draft, &update).await? == Updated::Left {
                let reply = format!("to {chosen}; somebody has changed `{field}` meanwhile, and it was left as it is");
                return Ok(Sent { outcome: Outcome::Sent { reply }, answer: serde_json::to_value(member).ok() });
            }
        }
        let reply = format!("to {chosen}");
        Ok(Sent { outcome: Outcome::Sent { reply }, answer: serde_json::to_value(member).ok() })
    }

    async fn members(&self, draft: &WriteDraft, among: &Among) -> Result<Vec<Member>, Failure> {
        let (entity, only) = match among {
            Among::Addresses(addresses) => {
                let member = |email: &String| Member { email: Some(email.clone()), ..Member::default() };
                return Ok(addresses.iter().map(member).collect());
            }
            Among::Records { entity, only } => (entity, only),
        };
        let (catalog, now) = (&self.generation.catalog, self.clock.now());
        let statement = write::members(catalog, self.source.dialect(), entity, only, now)
            .ok_or_else(|| Failure::Gone(format!("the catalog has no entity `{entity}` any more")))?;
        let mut rows = self.source.rows(&draft.record.tenant, statement);
        let mut members = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let read = write::read_member(catalog, entity, &row);
            members.push(read.map_err(|error| SourceError::Refused(error.to_string()))?);
        }
        Ok(members)
    }

    async fn claim(&self, draft: &WriteDraft, claim: &Claim) -> Result<Sent, Failure> {
        let (catalog, dialect) = (&self.generation.catalog, self.source.dialect());
        let gone = || Failure::Gone(format!("the catalog has no pool `{}` any more", claim.pool));
        let pool = catalog.pools.get(&claim.pool).ok_or_else(gone)?;
        let reference = draft.delivery.to_string();
        let (record, fields) = (&draft.record, &draft.fields);
        let claiming = Claiming { reference: &reference, record, fields, now: draft.at };
        let mut code = None;
        // Codes that others are taking at the moment may hide those behind them: then they are waited for.
        for others in [Others::Skipped, Others::WaitedFor, Others::WaitedFor] {
            let [take, mine] = write::claim(catalog, dialect, pool, claiming, others);
            let done = self.source.transact(&draft.record.tenant, vec![Deed::Run(take), Deed::Read(mine)]).await?;
            code = done.last().and_then(|done| write::claimed_code(done.rows().first()?));
            if code.is_some() || self.free(draft, pool, 0).await? == 0 {
                break;
            }
        }
        self.watch_level(draft, claim, pool).await?;
        let Some(code) = code else { return self.none_left(draft, claim, pool).await };
        let reply = format!("a code of {}", claim.pool);
        Ok(Sent { outcome: Outcome::Sent { reply }, answer: Some(json!({ "code": code })) })
    }

    async fn none_left(&self, draft: &WriteDraft, claim: &Claim, pool: &Pool) -> Result<Sent, Failure> {
        if self.free(draft, pool, 0).await? == 0 {
            return Ok(self.empty(claim));
        }
        let reason = format!("others were taking what is left of the pool `{}`", claim.pool);
        Ok(Sent { outcome: Outcome::Transient { reason, retry_after: None }, answer: None })
    }

    /// How many codes are free, counted up to one more than `enough`.
    async fn free(&self, draft: &WriteDraft, pool: &Pool, enough: u32) -> Result<i64, Failure> {
        let count = write::count_free(&self.generation.catalog, self.source.dialect(), pool, enough);
        let row = self.source.rows(&draft.record.tenant, count).try_next().await?;
        let free = row.and_then(|row| match row.0.first() {
            Some(Value::Int(free)) => Some(*free),
            _ => None,
        });
        Ok(free.unwrap_or(0))
    }

    fn empty(&self, claim: &Claim) -> Sent {
        let reason = format!("the pool `{}` is empty", claim.pool);
        let outcome = match claim.when_empty {
            WhenEmpty::Hold => {
                let until = self.clock.now().saturating_add(EMPTY).unwrap_or(jiff::Timestamp::MAX);
                Outcome::Postponed { until, reason }
            }
            WhenEmpty::Skip => Outcome::Skipped { reason: SkipReason::PoolEmpty, detail: reason },
        };
        let answer = (claim.when_empty == WhenEmpty::Skip).then(|| json!({ "code": Json::Null }));
        Sent { outcome, answer }
    }

    /// Tells once that a pool is low, and again only after it was filled: the log at once, and the owner of the first rule
    /// from now on that has one.
    async fn watch_level(&self, draft: &WriteDraft, claim: &Claim, pool: &Pool) -> Result<(), Failure> {
        let (Some(low), Some(alerts)) = (pool.low_water, self.alerts) else { return Ok(()) };
        let free = self.free(draft, pool, low).await?;
        let (now, is_low) = (self.clock.now(), free <= i64::from(low));
        let name = if draft.record.tenant.as_str().is_empty() {
            claim.pool.clone()
        } else {
            format!("{} of {}", claim.pool, draft.record.tenant)
        };
        if self.store.note_pool(&logged(&name), is_low, now).await? {
            let (rule, pool) = (draft.rule.clone(), name.clone());
            (alerts.announce)(&Event::PoolLow { rule, pool, free: free.unsigned_abs() });
        }
        let rule = self.generation.rules.get(&draft.rule).filter(|rule| rule.rule.owner.is_some());
        let Some(rule) = rule.filter(|_| is_low) else {
            if !is_low {
                self.store.note_pool(&name, false, now).await?;
            }
            return Ok(());
        };
        if !self.store.note_pool(&name, true, now).await? {
            return Ok(());
        }
        let subject = format!("the pool {name} has {free} codes left");
        let text = format!(
            "The rule {} takes codes from the pool `{name}`, and no more than {free} are left (low_water: {low}).\n\
             When there are none, its step waits or is left out, as its file says.\n",
            rule.rule.id
        );
        if let Err(reason) = alert::tell(&*alerts.mails, &rule.rule, &subject, &text).await {
            (alerts.announce)(&Event::OwnerNotTold { rule: rule.rule.id.clone(), reason });
            // Told at the next claim.
            self.store.note_pool(&name, false, now).await?;
        }
        Ok(())
    }
}

/// Under which name it is kept that the log has told of a pool; under its own that an owner was. No pool's name has a line
/// break.
fn logged(pool: &str) -> String {
    format!("{pool}\nlogged")
}

fn told(updated: Updated, draft: &WriteDraft) -> Sent {
    let reply = match updated {
        Updated::Written => format!("written: {}", draft.what.summary()),
        Updated::WasSo => "was so already".to_owned(),
        Updated::Before => "an earlier try has written it".to_owned(),
        Updated::Left => {
            let detail = format!("somebody has changed it since the first try: {}", draft.what.summary());
            return Sent { outcome: Outcome::Skipped { reason: SkipReason::Changed, detail }, answer: None };
        }
    };
    Sent { outcome: Outcome::Sent { reply }, answer: None }
}

/// What is no write came to the writer.
pub(super) fn misled(message: &Message) -> Sent {
    let reason = format!("a message that is not written came to the writer: {}", message.summary());
    Sent { outcome: Outcome::Permanent { reason }, answer: None }
}

//! An update of a record that is made once, however often its step is tried.
//!
//! After a crash, or when a connection broke, nobody knows whether a write was made. Making it again is harmless as long as
//! nobody else has changed the same fields since: so the first try notes, as a hash, what it found there, before it writes.
//! A later one looks at the record again. If it is as it is to be, the write was made; if it is as it was found, it wasn't;
//! and if it is neither, somebody was there since, and what they wrote stays.
//!
//! The note lies with those of `own_writes`, under a rule without a name.

use super::own_writes::{Hand, WriteError, Written};
use super::port::{OwnWrite, SourceError, Store, StoreError, WriteDraft};
use crate::catalog::{Catalog, Entity};
use crate::model::{DeliveryId, RuleId};
use crate::rule::statement::Statement;
use crate::rule::write::{self, Standing, UnfitValue, Updating};
use futures::TryStreamExt;
use jiff::Timestamp;

/// How often a first try looks again because somebody wrote between its look and its write.
const LOOKS: usize = 5;

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Updated {
    Written,
    /// The record was as it is to be.
    WasSo,
    /// An earlier try has written it, and said so.
    Before,
    /// Somebody has changed it since the first try, and it was left as it is.
    Left,
}

/// Why an update was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpdateError {
    #[error(transparent)]
    Written(#[from] WriteError),
    #[error(transparent)]
    Unfit(#[from] UnfitValue),
    #[error("others kept changing the same fields")]
    Busy,
}

impl From<SourceError> for UpdateError {
    fn from(error: SourceError) -> Self {
        Self::Written(error.into())
    }
}

impl From<StoreError> for UpdateError {
    fn from(error: StoreError) -> Self {
        Self::Written(error.into())
    }
}

/// An update of one record.
pub(super) struct Once<'a> {
    pub hand: Hand<'a>,
    pub draft: &'a WriteDraft,
    pub entity: &'a Entity,
    pub update: &'a Updating,
    pub now: Timestamp,
}

/// What earlier tries have left.
enum Earlier {
    None,
    /// One of them found this, and may have written it. A retry is due later than the first try was, so `now` in its
    /// values is what it was then.
    Doubtful {
        before: [u8; 16],
        at: Timestamp,
    },
    Done,
}

impl Once<'_> {
    pub async fn write(&self) -> Result<Updated, UpdateError> {
        let note = self.note();
        for _ in 0..LOOKS {
            let earlier = self.earlier(note).await?;
            if matches!(earlier, Earlier::Done) {
                return Ok(Updated::Before);
            }
            let at = if let Earlier::Doubtful { at, .. } = earlier { at } else { self.draft.at };
            // A record that is gone, or has no table of its own, is for the database to tell.
            let Some(found) = self.look(at).await? else {
                return self.run(at, None).await.map(|changed| updated(&changed));
            };
            let seen = self.hash(note, &found);
            let is_first = match earlier {
                Earlier::Doubtful { before, .. } if before != seen && (found.fields_differ || found.tags_differ) => {
                    // What was noted of it for rules that watch explains nothing that is there now.
                    self.store().withdraw(self.draft.delivery).await?;
                    return Ok(Updated::Left);
                }
                Earlier::None => {
                    self.store().intend(&[self.noted(note, (seen, None), at)]).await?;
                    true
                }
                Earlier::Doubtful { .. } | Earlier::Done => false,
            };
            let changed = match self.run(at, Some(&found)).await {
                Err(error @ UpdateError::Written(WriteError::Source(SourceError::Refused(_)))) if is_first => {
                    // Rolled back, for certain.
                    self.store().withdraw(note).await?;
                    return Err(error);
                }
                run => run?,
            };
            let missed = |rows: Option<&u64>| rows.is_none_or(|rows| *rows == 0);
            let list_missed = found.list.is_some() && found.tags_differ && missed(changed.last());
            if found.fields_differ && missed(changed.first()) || list_missed {
                // Somebody wrote since it was looked at, so not all of it was set.
                if is_first {
                    self.store().withdraw(note).await?;
                }
                continue;
            }
            let done = self.store().secret().value_hash(&note.0, "done");
            self.store().confirm_writes(note, &[self.noted(note, (seen, Some(done)), at)]).await?;
            return Ok(updated(&changed));
        }
        Err(UpdateError::Busy)
    }

    fn store(&self) -> &dyn Store {
        self.hand.store
    }

    fn catalog(&self) -> &Catalog {
        &self.hand.generation.catalog
    }

    /// Of its own, so that it isn't taken for what rules watch of the same delivery.
    fn note(&self) -> DeliveryId {
        DeliveryId(self.store().secret().value_hash(&self.draft.delivery.0, "update"))
    }

    fn noted(&self, note: DeliveryId, (before, after): ([u8; 16], Option<[u8; 16]>), at: Timestamp) -> OwnWrite {
        let settled_at = after.map(|_| self.now);
        OwnWrite { id: 0, delivery: note, rule: unnamed(), record: note.0, before, after, at, settled_at }
    }

    async fn earlier(&self, note: DeliveryId) -> Result<Earlier, StoreError> {
        let notes = self.store().own_writes(&unnamed(), &[note.0], Timestamp::MIN).await?;
        let notes = notes.into_iter().flatten();
        Ok(notes.fold(Earlier::None, |earlier, note| match (earlier, note.after) {
            (Earlier::Done, _) | (_, Some(_)) => Earlier::Done,
            (doubtful @ Earlier::Doubtful { .. }, None) => doubtful,
            (Earlier::None, None) => Earlier::Doubtful { before: note.before, at: note.at },
        }))
    }

    async fn look(&self, at: Timestamp) -> Result<Option<Standing>, UpdateError> {
        let record = (self.entity, &self.draft.record.key);
        let dialect = self.hand.source.dialect();
        let asked = write::standing(self.catalog(), dialect, record, self.update, at)?;
        let Some(statement) = asked else { return Ok(None) };
        let row = self.hand.source.rows(&self.draft.record.tenant, statement).try_next().await?;
        Ok(row.map(|row| write::read_standing(&row, self.entity, self.update)).transpose()?)
    }

    fn hash(&self, note: DeliveryId, found: &Standing) -> [u8; 16] {
        let values = found.fields.iter().chain(&found.tags).map(|value| value.to_json().to_string());
        self.store().secret().value_hash(&note.0, &values.collect::<Vec<_>>().join(","))
    }

    async fn run(&self, at: Timestamp, seen: Option<&Standing>) -> Result<Vec<u64>, UpdateError> {
        let (record, dialect) = ((self.entity, &self.draft.record.key), self.hand.source.dialect());
        let statements: Vec<Statement> = write::update(self.catalog(), dialect, record, self.update, at, seen)?;
        let (tenant, key, delivery) = (&self.draft.record.tenant, &self.draft.record.key, self.draft.delivery);
        Ok(self.hand.write(Written { tenant, entity: self.entity, key, delivery }, statements).await?)
    }
}

fn unnamed() -> RuleId {
    RuleId::from("")
}

fn updated(changed: &[u64]) -> Updated {
    if changed.iter().any(|rows| *rows > 0) { Updated::Written } else { Updated::WasSo }
}

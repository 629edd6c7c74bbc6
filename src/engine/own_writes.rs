//! Writes into a record, kept apart from what other people change.
//!
//! Rules that watch a field must not fire because nudged wrote it. So before a record is written to, the state notes what
//! is watched of it, and afterwards what became of that; `episode::others` reads the notes. Where nobody watches the
//! record, nothing is noted and nothing is read.

use super::episode::value_hash;
use super::port::{Deed, Done, OwnWrite, Source, SourceError, Store, StoreError};
use crate::catalog::Entity;
use crate::model::{DeliveryId, Key, RecordId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Reach, Window};
use crate::rule::generation::Generation;
use crate::rule::statement::{Row, Statement};
use crate::rule::write;
use futures::TryStreamExt;
use jiff::Timestamp;
use std::sync::Arc;

/// Why a record could not be written to.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes into the source's records.
#[derive(Clone, Copy)]
pub(super) struct Hand<'a> {
    pub source: &'a dyn Source,
    pub store: &'a dyn Store,
    pub generation: &'a Generation,
}

/// A record to be written to.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub tenant: &'a Tenant,
    pub entity: &'a Entity,
    pub key: &'a Key,
    /// What the write is part of; the same for every repeat.
    pub delivery: DeliveryId,
}

/// A rule that watches a value of the record, and how it reads it.
struct Watcher {
    rule: Arc<CompiledRule>,
    record: [u8; 16],
    statement: Statement,
}

impl Hand<'_> {
    /// Runs the statements in one transaction; how many rows each of them changed.
    pub async fn write(&self, of: Written<'_>, statements: Vec<Statement>) -> Result<Vec<u64>, WriteError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let watchers = self.watchers(of);
        if watchers.is_empty() {
            return Ok(self.source.write(of.tenant, statements).await?);
        }
        let (at, count) = (self.source.now().await?, statements.len());
        let before = self.read(of, &watchers).await?;
        let noted = |rows: &[Option<[u8; 16]>]| -> Vec<OwnWrite> {
            let known = watchers.iter().zip(rows);
            known.filter_map(|(watcher, before)| Some(watcher.noted(of.delivery, (*before)?, at))).collect()
        };
        let intended = noted(&before);
        let is_first = self.store.intend(&intended).await? == intended.len() as u64;
        let done = match self.source.transact(of.tenant, self.steps(of, &watchers, statements)).await {
            Ok(done) => done,
            Err(error @ SourceError::Refused(_)) => {
                // Rolled back, for certain; an earlier try, whose end nobody knows, stays in doubt.
                if is_first {
                    self.store.withdraw(of.delivery).await?;
                }
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let settled_at = self.source.now().await?;
        // A lock touches its row, and is no write.
        let (reads, writes): (Vec<&Done>, Vec<&Done>) = done.iter().partition(|done| matches!(done, Done::Rows(_)));
        let skipped = writes.len().saturating_sub(count);
        let changed = writes.iter().skip(skipped).map(|done| done.touched()).collect();
        let (first, last) = reads.split_at(watchers.len().min(reads.len()));
        let written = watchers.iter().zip(first.iter().zip(last)).filter_map(|(watcher, (before, after))| {
            let (before, after) = (self.value(watcher, before.rows())?, self.value(watcher, after.rows())?);
            let settled_at = Some(settled_at);
            Some(OwnWrite { after: Some(after), settled_at, ..watcher.noted(of.delivery, before, at) })
        });
        self.store.confirm_writes(of.delivery, &written.collect::<Vec<_>>()).await?;
        Ok(changed)
    }

    /// Locks the row, reads what is watched, writes, reads again.
    fn steps(&self, of: Written<'_>, watchers: &[Watcher], statements: Vec<Statement>) -> Vec<Deed> {
        let catalog = &self.generation.catalog;
        let lock = write::locks(catalog, self.source.dialect(), of.entity, of.key);
        let reads = || watchers.iter().map(|watcher| Deed::Read(watcher.statement.clone()));
        let writes = statements.into_iter().map(Deed::Run);
        lock.into_iter().map(Deed::Run).chain(reads()).chain(writes).chain(reads()).collect()
    }

    /// Rules that watch a field of the record, under whatever entity its table is known by.
    fn watchers(&self, of: Written<'_>) -> Vec<Watcher> {
        let catalog = &self.generation.catalog;
        let same_rows = |rule: &CompiledRule| {
            catalog.entity(&rule.rule.for_each).is_some_and(|entity| {
                entity.name == of.entity.name
                    || (entity.table().is_some()
                        && entity.table() == of.entity.table()
                        && entity.key.name == of.entity.key.name)
            })
        };
        let watching = |rule: &&Arc<CompiledRule>| matches!(rule.rule.trigger, Trigger::Changed(_)) && same_rows(rule);
        let now = Timestamp::UNIX_EPOCH;
        let window = Window { after: now, until: now, now };
        let watcher = |rule: &Arc<CompiledRule>| {
            let (tenant, entity) = (of.tenant.clone(), rule.rule.for_each.clone());
            let record = RecordId { tenant, entity, key: of.key.clone() };
            let statement = rule.crossings(Reach::Of(window, std::slice::from_ref(of.key))).into_iter().next()?;
            Some(Watcher { rule: Arc::clone(rule), record: self.store.secret().record_hash(&record), statement })
        };
        self.generation.rules.values().filter(watching).filter_map(watcher).collect()
    }

    /// What is watched now; `None`: no record of that rule, or not readable.
    async fn read(&self, of: Written<'_>, watchers: &[Watcher]) -> Result<Vec<Option<[u8; 16]>>, SourceError> {
        let mut found = Vec::with_capacity(watchers.len());
        for watcher in watchers {
            let rows: Vec<Row> = self.source.rows(of.tenant, watcher.statement.clone()).try_collect().await?;
            found.push(self.value(watcher, &rows));
        }
        Ok(found)
    }

    fn value(&self, watcher: &Watcher, rows: &[Row]) -> Option<[u8; 16]> {
        let (_, value) = watcher.rule.read_value(rows.first()?).ok()?;
        Some(value_hash(self.store.secret(), &watcher.record, &value))
    }
}

impl Watcher {
    fn noted(&self, delivery: DeliveryId, before: [u8; 16], at: Timestamp) -> OwnWrite {
        let (rule, record) = (self.rule.rule.id.clone(), self.record);
        OwnWrite { id: 0, delivery, rule, record, before, after: None, at, settled_at: None }
    }
}

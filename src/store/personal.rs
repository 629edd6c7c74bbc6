//! Handing out and erasing what is known of one record, and forgetting what has grown old.

use super::database::Database;
use super::dispatch::cancel;
use super::state::State;
use super::table::{message, miss, personal as table, timeline};
use crate::engine::port::{Aged, Dossier, Forgotten, Personal, StoreError};
use crate::model::{AddressHash, MatchIdentity, RecordId};
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;

/// Enrollments emptied in one transaction.
const CHUNK: usize = 100;

/// Why a sequence of an erased person ended.
const WHY: &str = "the person was erased";

/// More misses than any record has.
const MANY: usize = 100_000;

#[async_trait]
impl<D: Database> Personal for State<D> {
    async fn dossier(&self, record: &RecordId) -> Result<Dossier, StoreError> {
        let of = Arc::new((record.clone(), self.secret.record_hash(record)));
        let found = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move {
                let enrollments = table::enrollments(&mut session, &of.0).await?;
                let ids: Vec<i64> = enrollments.iter().map(|enrolled| enrolled.id).collect();
                Ok(Dossier {
                    enrollments,
                    happenings: timeline::of(&mut session, &ids).await?,
                    messages: message::about(&mut session, &ids).await?,
                    misses: miss::of_record(&mut session, &of.0, MANY).await?,
                    episodes: table::episodes(&mut session, &of.1).await?,
                    tasks: table::tasks(&mut session, &of.0).await?,
                })
            })
        });
        found.await
    }

    async fn forget(&self, record: &RecordId, now: Timestamp) -> Result<Forgotten, StoreError> {
        let mut forgotten = Forgotten::default();
        // A sweep may enter the record while we read: look again until nothing is left.
        loop {
            let of = Arc::new(record.clone());
            let ids = self.database.read(move |mut session| {
                let of = Arc::clone(&of);
                Box::pin(async move { table::enrolled(&mut session, &of).await })
            });
            let ids = ids.await?;
            if ids.is_empty() {
                break;
            }
            for chunk in ids.chunks(CHUNK) {
                let emptied = self.empty(chunk.into(), now).await?;
                let in_flight = forgotten.in_flight + emptied.in_flight;
                forgotten += Forgotten { in_flight, ..emptied };
            }
        }
        let (misses, episodes, tasks) = self.erase_beside(record, now).await?;
        self.floor.reset();
        Ok(Forgotten { misses, episodes, tasks, ..forgotten })
    }

    async fn in_flight(&self, enrollments: &[i64]) -> Result<u64, StoreError> {
        let ids: Arc<[i64]> = enrollments.into();
        let count = self.database.read(move |mut session| {
            let ids = Arc::clone(&ids);
            Box::pin(async move { table::in_flight(&mut session, &ids).await })
        });
        count.await
    }

    async fn empty_events(&self, numbers: &[i64]) -> Result<u64, StoreError> {
        let numbers: Arc<[i64]> = numbers.into();
        let emptied = self.database.write(move |mut session| {
            let numbers = Arc::clone(&numbers);
            Box::pin(async move { table::empty_events(&mut session, &numbers).await })
        });
        emptied.await
    }

    async fn unname(&self, hashes: &[AddressHash]) -> Result<u64, StoreError> {
        let hashes: Arc<[[u8; 16]]> = hashes.iter().map(|hash| hash.0).collect();
        let unnamed = self.database.write(move |mut session| {
            let hashes = Arc::clone(&hashes);
            Box::pin(async move { table::unname(&mut session, &hashes).await })
        });
        unnamed.await
    }

    async fn prune(&self, what: Aged, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        if what == Aged::Misses {
            let at = before.as_microsecond();
            let forgotten = self
                .database
                .write(move |mut session| Box::pin(async move { miss::forget_before(&mut session, at, limit).await }));
            return forgotten.await;
        }
        // Looked for beside the writer, so that this holds it only for the deletion.
        let ids = self
            .database
            .read(move |mut session| Box::pin(async move { table::aged(&mut session, what, before, limit).await }));
        let ids: Arc<[i64]> = ids.await?.into();
        let count = ids.len() as u64;
        if count > 0 {
            let dropped = self.database.write(move |mut session| {
                let ids = Arc::clone(&ids);
                Box::pin(async move { table::drop_aged(&mut session, what, &ids).await })
            });
            dropped.await?;
        }
        Ok(count)
    }
}

impl<D: Database> State<D> {
    /// Cancels and empties these enrollments, in one transaction.
    async fn empty(&self, ids: Arc<[i64]>, now: Timestamp) -> Result<Forgotten, StoreError> {
        let emptied = self.database.write(move |mut session| {
            let ids = Arc::clone(&ids);
            Box::pin(async move {
                let cancelled = cancel(&mut session, &ids, WHY, now).await?;
                let enrollments = table::empty(&mut session, &ids, now.as_microsecond()).await?;
                let (attempts, timeline) = table::silence(&mut session, &ids, WHY).await?;
                let messages = message::forget(&mut session, &ids).await?;
                let in_flight = table::in_flight(&mut session, &ids).await?;
                let emptied =
                    Forgotten { enrollments, cancelled, attempts, timeline, messages, ..Forgotten::default() };
                Ok(Forgotten { in_flight, ..emptied })
            })
        });
        emptied.await
    }

    /// Misses, episodes and tasks: how many of each.
    async fn erase_beside(&self, record: &RecordId, now: Timestamp) -> Result<(u64, u64, u64), StoreError> {
        let of = Arc::new((record.clone(), self.secret.record_hash(record)));
        let reading = Arc::clone(&of);
        let found = self.database.read(move |mut session| {
            let of = Arc::clone(&reading);
            Box::pin(async move {
                let staged = table::staged_episodes(&mut session, &of.1).await?;
                Ok((staged, table::tasks(&mut session, &of.0).await?))
            })
        });
        let (staged, tasks) = found.await?;
        let references: Vec<[u8; 16]> = tasks.iter().map(|task| task.reference.0).collect();
        let with = Arc::new((staged, references, self.secret.clone()));
        let erased = self.database.write(move |mut session| {
            let (of, with) = (Arc::clone(&of), Arc::clone(&with));
            Box::pin(async move {
                let (record, hash) = (&of.0, &of.1);
                let refused = table::refused(&mut session, record).await?;
                let mut entries = Vec::with_capacity(refused.len());
                for (number, rule, lane, occasion, at) in refused {
                    let (rule, lane) = (rule.as_str().into(), super::table::lane(&lane)?);
                    let occasion = occasion.as_str().into();
                    let identity = MatchIdentity { rule, lane, record: record.clone(), occasion };
                    entries.push((with.2.match_id(&identity).0, number, at));
                }
                table::enter(&mut session, &entries).await?;
                let misses = table::delete_misses(&mut session, record).await?;
                let episodes = table::unname_episodes(&mut session, hash, &with.0).await?;
                let tasks = table::empty_tasks(&mut session, &with.1, now.as_microsecond()).await?;
                Ok((misses, episodes, tasks))
            })
        });
        erased.await
    }
}

//! What the state keeps of writes into the CRM.

use super::database::Database;
use super::sql::params;
use super::state::State;
use super::table::{assignment, consent_owed, own_write};
use crate::engine::port::{Owed, OwnWrite, StoreError, Turn, Writes};
use crate::model::{DeliveryId, RecordId, RuleId};
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;

#[async_trait]
impl<D: Database> Writes for State<D> {
    async fn intend(&self, intended: &[OwnWrite]) -> Result<u64, StoreError> {
        let intended: Arc<[OwnWrite]> = intended.into();
        let noted = self.database.write(move |mut session| {
            let intended = Arc::clone(&intended);
            Box::pin(async move { own_write::intend(&mut session, &intended).await })
        });
        noted.await
    }

    async fn confirm_writes(&self, delivery: DeliveryId, written: &[OwnWrite]) -> Result<(), StoreError> {
        let written: Arc<[OwnWrite]> = written.into();
        let noted = self.database.write(move |mut session| {
            let written = Arc::clone(&written);
            Box::pin(async move { own_write::confirm(&mut session, delivery, &written).await })
        });
        noted.await
    }

    async fn withdraw(&self, delivery: DeliveryId) -> Result<(), StoreError> {
        let gone = self
            .database
            .write(move |mut session| Box::pin(async move { own_write::withdraw(&mut session, delivery).await }));
        gone.await
    }

    async fn own_writes(
        &self,
        rule: &RuleId,
        records: &[[u8; 16]],
        since: Timestamp,
    ) -> Result<Vec<Vec<OwnWrite>>, StoreError> {
        let (rule, records): (RuleId, Arc<[[u8; 16]]>) = (rule.clone(), records.into());
        let found = self.database.read(move |mut session| {
            let (rule, records) = (rule.clone(), Arc::clone(&records));
            Box::pin(async move { own_write::of_records(&mut session, &rule, &records, since).await })
        });
        found.await
    }

    async fn assign(&self, turn: &Turn) -> Result<Option<String>, StoreError> {
        let turn = Arc::new(turn.clone());
        let member = self.database.write(move |mut session| {
            let turn = Arc::clone(&turn);
            Box::pin(async move { assignment::next(&mut session, &turn).await })
        });
        member.await
    }

    async fn note_pool(&self, pool: &str, low: bool, now: Timestamp) -> Result<bool, StoreError> {
        let pool: Arc<str> = pool.into();
        let noted = self.database.write(move |mut session| {
            let pool = Arc::clone(&pool);
            Box::pin(async move {
                if low {
                    let sql = "INSERT INTO low_pool (name, since) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
                    return Ok(session.run(sql, params![&*pool, now]).await? > 0);
                }
                session.run("DELETE FROM low_pool WHERE name = $1", params![&*pool]).await?;
                Ok(false)
            })
        });
        noted.await
    }

    async fn take_owed(&self, now: Timestamp, limit: usize) -> Result<Vec<Owed>, StoreError> {
        // Mostly there is nothing, and the writer is left alone.
        let due = self
            .database
            .read(move |mut session| Box::pin(async move { consent_owed::is_any_due(&mut session, now).await }));
        if !due.await? {
            return Ok(Vec::new());
        }
        let until = now.saturating_add(self.lease).unwrap_or(Timestamp::MAX);
        let taken = self.database.write(move |mut session| {
            Box::pin(async move { consent_owed::take(&mut session, (now, until), limit).await })
        });
        taken.await
    }

    async fn mails(&self, deliveries: &[DeliveryId]) -> Result<Vec<Vec<RecordId>>, StoreError> {
        let deliveries: Arc<[DeliveryId]> = deliveries.into();
        let found = self.database.read(move |mut session| {
            let deliveries = Arc::clone(&deliveries);
            Box::pin(async move { consent_owed::mails(&mut session, &deliveries).await })
        });
        found.await
    }

    async fn paid(&self, owed: &[Owed], now: Timestamp) -> Result<(), StoreError> {
        let owed: Arc<[Owed]> = owed.into();
        let dropped = self.database.write(move |mut session| {
            let owed = Arc::clone(&owed);
            Box::pin(async move { consent_owed::drop_paid(&mut session, &owed, now).await })
        });
        dropped.await
    }

    async fn owe_later(&self, owed: &[Owed], now: Timestamp, due_at: Timestamp) -> Result<(), StoreError> {
        let owed: Arc<[Owed]> = owed.into();
        let later = self.database.write(move |mut session| {
            let owed = Arc::clone(&owed);
            Box::pin(async move { consent_owed::put_off(&mut session, &owed, (now, due_at)).await })
        });
        later.await
    }
}

//! The sequence of sends, where the state is at work, and the leases of the dead.

use super::database::Database;
use super::state::State;
use super::table::{ledger, send};
use crate::engine::port::{Bearing, LedgerSize, Objection, Owner, Safety, StoreError, Whereabouts};
use crate::model::RuleId;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

#[async_trait]
impl<D: Database> Safety for State<D> {
    async fn bearing(&self, here: &Whereabouts) -> Result<Bearing, StoreError> {
        let here = here.clone();
        let found = self.database.read(move |mut session| {
            let here = here.clone();
            Box::pin(async move { send::bearing(&mut session, &here).await })
        });
        found.await
    }

    async fn admit(&self, here: &Whereabouts) -> Result<(), StoreError> {
        let here = here.clone();
        let admitted = self.database.write(move |mut session| {
            let here = here.clone();
            Box::pin(async move { send::admit(&mut session, &here).await })
        });
        admitted.await
    }

    async fn object(&self, here: &Whereabouts, objection: &Objection, now: Timestamp) -> Result<(), StoreError> {
        let of = Arc::new((here.clone(), objection.clone()));
        let noted = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { send::object(&mut session, &of.0, &of.1, now).await })
        });
        noted.await
    }

    async fn objections(&self) -> Result<Vec<(Whereabouts, Objection)>, StoreError> {
        self.database.read(|mut session| Box::pin(async move { send::objections(&mut session).await })).await
    }

    async fn confirm_objections(&self, doubtful: Option<Timestamp>) -> Result<(), StoreError> {
        let confirmed = self
            .database
            .write(move |mut session| Box::pin(async move { send::confirm(&mut session, doubtful).await }));
        confirmed.await
    }

    async fn reserve_sends(&self, count: u64) -> Result<Option<u64>, StoreError> {
        self.database.write(move |mut session| Box::pin(async move { send::reserve(&mut session, count).await })).await
    }

    async fn beat(&self, here: &Whereabouts) -> Result<u64, StoreError> {
        let here = here.clone();
        let told = self.database.write(move |mut session| {
            let here = here.clone();
            Box::pin(async move { send::beat(&mut session, &here).await })
        });
        told.await
    }

    async fn bury(&self, dead: &[Owner]) -> Result<(), StoreError> {
        let dead: Arc<[Owner]> = dead.into();
        let buried = self.database.write(move |mut session| {
            let dead = Arc::clone(&dead);
            Box::pin(async move { send::bury(&mut session, &dead).await })
        });
        buried.await
    }

    async fn prune_ledger(
        &self,
        rules: &[(RuleId, SignedDuration)],
        before: Timestamp,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<(u64, Option<[u8; 16]>), StoreError> {
        let rules: Arc<[(RuleId, SignedDuration)]> = rules.into();
        // Looked for beside the writer, so that this holds it only for the deletion.
        let looked = self.database.read(move |mut session| {
            let rules = Arc::clone(&rules);
            Box::pin(async move { ledger::aged(&mut session, &rules, before, after, limit).await })
        });
        let (old, next) = looked.await?;
        let (old, count): (Arc<[[u8; 16]]>, u64) = (old.as_slice().into(), old.len() as u64);
        if count > 0 {
            let dropped = self.database.write(move |mut session| {
                let old = Arc::clone(&old);
                Box::pin(async move { ledger::forget(&mut session, &old).await })
            });
            dropped.await?;
        }
        Ok((count, next))
    }

    async fn recall(&self) -> Result<u64, StoreError> {
        Ok(self.replay().await?.changed)
    }

    async fn ledger_size(&self) -> Result<LedgerSize, StoreError> {
        self.database.read(|mut session| Box::pin(async move { send::ledger_size(&mut session).await })).await
    }
}

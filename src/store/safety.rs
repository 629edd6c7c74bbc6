//! The sequence of sends, where the state is at work, and the leases of the dead.

use super::database::Database;
use super::state::State;
use super::table::send;
use crate::engine::port::{Bearing, LedgerSize, Objection, Owner, Safety, StoreError, Whereabouts};
use async_trait::async_trait;
use jiff::Timestamp;
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

    async fn beat(&self, here: &Whereabouts) -> Result<(), StoreError> {
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

    async fn ledger_size(&self) -> Result<LedgerSize, StoreError> {
        self.database.read(|mut session| Box::pin(async move { send::ledger_size(&mut session).await })).await
    }
}

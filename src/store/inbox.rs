//! Events of other systems, kept until no rule can read them any more.

use super::database::Database;
use super::state::State;
use super::table::inbox;
use crate::engine::port::{Inbound, Inbox, StoreError};
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;

#[async_trait]
impl<D: Database> Inbox for State<D> {
    async fn accept(&self, event: &Inbound) -> Result<bool, StoreError> {
        let event = Arc::new(event.clone());
        let kept = self.database.write(move |mut session| {
            let event = Arc::clone(&event);
            Box::pin(async move { inbox::add(&mut session, &event).await })
        });
        kept.await
    }

    async fn received(
        &self,
        name: &str,
        after: Timestamp,
        until: Timestamp,
        beyond: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Inbound)>, StoreError> {
        let name: Arc<str> = name.into();
        let page = self.database.read(move |mut session| {
            let name = Arc::clone(&name);
            Box::pin(async move { inbox::page(&mut session, &name, (after, until), beyond, limit).await })
        });
        page.await
    }
}

//! How mails were read.

use super::database::Database;
use super::state::State;
use super::table::reaction;
use crate::engine::port::{Reacted, Reaction, Reactions, StoreError};
use crate::model::DeliveryId;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

#[async_trait]
impl<D: Database> Reactions for State<D> {
    async fn sent_mails(&self, mails: &[(i64, DeliveryId)]) -> Result<HashMap<DeliveryId, Timestamp>, StoreError> {
        let mails: Arc<[(i64, DeliveryId)]> = mails.into();
        let found = self.database.read(move |mut session| {
            let mails = Arc::clone(&mails);
            Box::pin(async move { reaction::sent(&mut session, &mails).await })
        });
        found.await
    }

    async fn note_reactions(&self, reactions: &[Reaction]) -> Result<Vec<Reacted>, StoreError> {
        let seen = reactions.iter().map(|reaction| self.secret.seen(reaction.delivery, reaction.number));
        let noted: Arc<[(Reaction, [u8; 16])]> = reactions.iter().cloned().zip(seen).collect();
        let new = self.database.write(move |mut session| {
            let noted = Arc::clone(&noted);
            Box::pin(async move { reaction::note(&mut session, &noted).await })
        });
        new.await
    }
}

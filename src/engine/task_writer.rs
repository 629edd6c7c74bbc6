//! Tasks: rows of the CRM's own tables by the catalog's recipe, or the built-in list where it has none. Other writes into
//! the CRM come the same way: see `record_writer`.

use super::event::Event;
use super::port::{Message, Sender, Sent, Source, SourceError, Store, StoreError, TaskDraft, WriteDraft};
use super::record_writer::{Alerts, RecordWriter, misled};
use crate::catalog::Catalog;
use crate::model::{Clock, Outcome};
use crate::rule::generation::Generation;
use crate::rule::task::{TaskValues, inserts};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;

/// Writing the same task twice leaves one: both ways go by the delivery id.
pub struct TaskWriter {
    clock: Arc<dyn Clock>,
    source: Arc<dyn Source>,
    store: Arc<dyn Store>,
    generation: watch::Receiver<Option<Arc<Generation>>>,
    alerts: Option<Alerts>,
}

impl TaskWriter {
    pub fn new(
        clock: Arc<dyn Clock>,
        source: Arc<dyn Source>,
        store: Arc<dyn Store>,
        generation: watch::Receiver<Option<Arc<Generation>>>,
    ) -> Self {
        Self { clock, source, store, generation, alerts: None }
    }

    /// Tells the owners of rules by this sender what they should know of pools, and whoever keeps the log.
    #[must_use]
    pub fn telling(self, mails: Arc<dyn Sender>, announce: Arc<dyn Fn(&Event) + Send + Sync>) -> Self {
        Self { alerts: Some(Alerts { mails, announce }), ..self }
    }

    async fn write_record(&self, generation: &Generation, draft: &WriteDraft) -> Sent {
        let (clock, source, store) = (&*self.clock, &*self.source, &*self.store);
        let writer = RecordWriter { clock, source, store, generation, alerts: self.alerts.as_ref() };
        writer.send(draft).await
    }

    async fn write_source(&self, catalog: &Catalog, draft: &TaskDraft) -> Outcome {
        let reference = draft.delivery.to_string();
        let values = TaskValues {
            reference: &reference,
            record: &draft.record,
            facts: Some(&draft.fields),
            title: &draft.title,
            body: draft.body.as_deref(),
            due: draft.due,
            assignee_key: draft.assignee_key.as_ref(),
            assignee_email: draft.assignee_email.as_deref(),
            score: None,
            comment: None,
            now: self.clock.now(),
        };
        let write = || self.source.write(&draft.tenant, inserts(catalog, self.source.dialect(), &values));
        let mut touched = write().await;
        if matches!(touched, Err(SourceError::Refused(_))) {
            // An earlier try whose connection was cut may have ended just now, and a unique index on the reference has
            // refused this one: looked at again, the task is there.
            touched = write().await;
        }
        match touched {
            Ok(touched) => written(touched.first().is_some_and(|rows| *rows > 0)),
            // The reference makes a repeat harmless, so a cut connection is not a doubt.
            Err(SourceError::Unavailable(reason)) => Outcome::Transient { reason, retry_after: None },
            Err(SourceError::Refused(reason)) => Outcome::Permanent { reason },
        }
    }

    async fn write_state(&self, draft: &TaskDraft) -> Outcome {
        match self.store.add_task(draft.delivery, draft, self.clock.now()).await {
            Ok(new) => written(new),
            Err(StoreError::Broken(reason)) => Outcome::Permanent { reason },
            Err(error) => Outcome::Transient { reason: error.to_string(), retry_after: None },
        }
    }
}

fn written(new: bool) -> Outcome {
    Outcome::Sent { reply: if new { "written" } else { "was there already" }.to_owned() }
}

#[async_trait]
impl Sender for TaskWriter {
    fn sessions(&self) -> usize {
        4
    }

    async fn send(&self, message: Message) -> Sent {
        let generation = self.generation.borrow().clone();
        let outcome = match (message, generation) {
            (Message::Write(draft), Some(generation)) => return self.write_record(&generation, &draft).await,
            (message @ Message::Write(_), None) => return misled(&message),
            (Message::Task(draft), Some(generation)) if generation.catalog.tasks.is_some() => {
                self.write_source(&generation.catalog, &draft).await
            }
            (Message::Task(draft), _) => self.write_state(&draft).await,
            (Message::Email(_) | Message::Webhook(_) | Message::Chat(_) | Message::Sms(_), _) => {
                Outcome::Permanent { reason: "a message that is not a task came to the task writer".to_owned() }
            }
        };
        Sent { outcome, answer: None }
    }
}

//! Senders that write down what they are given instead of sending it.

use crate::engine::port::{Message, Sender, Sent};
use crate::model::{DeliveryId, Outcome};
use async_trait::async_trait;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// What was sent, by delivery.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<HashMap<DeliveryId, Message>>);

impl Log {
    fn note(&self, message: &Message) {
        let delivery = match message {
            Message::Email(email) => email.delivery,
            Message::Webhook(call) => call.delivery,
            Message::Chat(chat) => chat.delivery,
            Message::Task(task) => task.delivery,
            Message::Write(draft) => draft.delivery,
            Message::Sms(sms) => sms.delivery,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(delivery, message.clone());
    }

    pub fn message(&self, delivery: DeliveryId) -> Option<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&delivery).cloned()
    }
}

/// Takes every message. Tasks are written into the source all the same, where `unless_open` looks for them.
pub(super) struct Witness {
    pub log: Arc<Log>,
    /// What webhook destinations answer.
    pub answers: BTreeMap<String, Json>,
    pub tasks: Option<Arc<dyn Sender>>,
}

#[async_trait]
impl Sender for Witness {
    fn sessions(&self) -> usize {
        1
    }

    async fn send(&self, message: Message) -> Sent {
        self.log.note(&message);
        let answer = match &message {
            Message::Webhook(call) if call.keep_answer => {
                Some(self.answers.get(&call.destination).cloned().unwrap_or_else(|| json!({})))
            }
            _ => None,
        };
        match &self.tasks {
            Some(tasks) => tasks.send(message).await,
            None => Sent { outcome: Outcome::Sent { reply: "written down".to_owned() }, answer },
        }
    }
}

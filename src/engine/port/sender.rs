use crate::model::{AttemptNumber, COPIED_LINK, DeliveryId, Key, Outcome, RecordId, RuleId, Tenant, Value};
use crate::rule::message::InlineImage;
use crate::rule::write::{Among, Assign, Claim, NewCell, Updating};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Carries a finished message out of the house.
#[async_trait]
pub trait Sender: Send + Sync {
    /// How many messages may be under way at once: one per open session.
    fn sessions(&self) -> usize;

    /// One try. Never panics, never retries by itself, and always comes to an [`Outcome`] within its
    /// own I/O deadline.
    async fn send(&self, message: Message) -> Sent;

    /// The message as [`Sender::send`] would let it leave: from whom, and to whom where it is redirected. `None`: it
    /// would stay here.
    fn departing(&self, message: &Message) -> Option<Message> {
        Some(message.clone())
    }
}

/// A message with everything decided and rendered.
#[derive(Debug, Clone)]
pub enum Message {
    Email(Email),
    Webhook(WebhookCall),
    Chat(ChatMessage),
    Task(TaskDraft),
    Write(Box<WriteDraft>),
    Sms(SmsMessage),
}

impl Message {
    /// What it is, and to whom, where its kind doesn't say that already.
    #[must_use]
    pub fn addressed(&self) -> String {
        match self {
            Self::Email(email) => format!("to {}: {}", email.to_address, email.subject),
            Self::Sms(sms) => format!("to {}: {}", sms.to, self.summary()),
            Self::Webhook(_) | Self::Chat(_) | Self::Task(_) | Self::Write(_) => self.summary(),
        }
    }

    /// What it is in a few words, without whom it goes to.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Email(email) => email.subject.clone(),
            Self::Webhook(call) => format!("to {}", call.destination),
            Self::Chat(chat) => format!("to {}", chat.to),
            Self::Task(task) => task.title.clone(),
            Self::Write(draft) => draft.what.summary(),
            Self::Sms(sms) => shortened(&sms.text),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Email {
    pub delivery: DeliveryId,
    pub to_address: String,
    pub to_name: Option<String>,
    pub subject: String,
    pub html: String,
    /// In its place for the one it is meant for, where it is noted how they read it. Copies for others go without.
    pub tracked_html: Option<String>,
    pub text: String,
    /// The rule's own sender, by a name of the configuration.
    pub sender: Option<String>,
    /// From the template's front matter; `None`: the configured sender.
    pub from: Option<String>,
    pub reply_to: Option<String>,
    /// Pictures that the HTML shows by `cid:NAME`.
    pub images: Vec<InlineImage>,
    /// Names the address in the return path, so that a bounce is known to be one of ours.
    pub return_tag: Option<String>,
    /// Rendered headers such as List-Unsubscribe.
    pub headers: Vec<(String, String)>,
    /// What is signed in those of its links that act for its reader.
    pub signed: Vec<String>,
}

impl Email {
    /// The same mail for eyes that it isn't meant for. Whoever has a signed link acts for the reader, so all of them lead to
    /// a page that says whose they are and does nothing; nor is anything left by which a mail program or server would.
    #[must_use]
    pub fn copied_to(mut self, address: &str) -> Self {
        let dead =
            |text: &str| self.signed.iter().fold(text.to_owned(), |text, signed| text.replace(signed, COPIED_LINK));
        self.html = dead(&self.html);
        self.text = dead(&self.text);
        self.subject = dead(&self.subject);
        self.signed = Vec::new();
        address.clone_into(&mut self.to_address);
        self.to_name = None;
        // What is done with it is not what the reader did, and it isn't the reader's address that bounces.
        self.tracked_html = None;
        self.return_tag = None;
        // One click on it would take the real reader off the list.
        self.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("list-unsubscribe"));
        self
    }
}

#[derive(Debug, Clone)]
pub struct WebhookCall {
    pub delivery: DeliveryId,
    pub attempt: AttemptNumber,
    /// Named in the configuration.
    pub destination: String,
    pub body: serde_json::Value,
    /// Keep the answer's JSON.
    pub keep_answer: bool,
}

/// For colleagues; how it is put for their chat is the sender's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    pub delivery: DeliveryId,
    /// Named in the configuration.
    pub to: String,
    /// Plain: nothing in it is markup.
    pub text: String,
}

/// A text message to a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsMessage {
    pub delivery: DeliveryId,
    /// In E.164.
    pub to: String,
    /// A gateway named in the configuration; `None`: the only one.
    pub via: Option<String>,
    pub text: String,
}

/// The beginning of a text, on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct TaskDraft {
    pub delivery: DeliveryId,
    pub tenant: Tenant,
    pub record: RecordId,
    /// The record's own fields, for the catalog's `$record.…`.
    pub fields: BTreeMap<String, Value>,
    pub title: String,
    pub body: Option<String>,
    /// In the catalog's zone.
    pub due: Option<jiff::civil::Date>,
    pub assignee_key: Option<Key>,
    pub assignee_email: Option<String>,
}

/// Something to be written into the CRM, about one record.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteDraft {
    pub delivery: DeliveryId,
    pub enrollment: i64,
    pub rule: RuleId,
    pub record: RecordId,
    /// When the step was first due to run: a repeat writes the same time.
    pub at: Timestamp,
    /// The record's own fields, for the catalog's `$record.…`.
    pub fields: BTreeMap<String, Value>,
    pub what: Write,
}

/// What is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    Update(Updating),
    /// `rotation`: by its full name.
    Assign {
        assign: Assign,
        rotation: String,
    },
    Claim(Claim),
}

impl Write {
    /// In a few words, without values: they may be about a person.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Update(update) => {
                let mut parts: Vec<String> = update.set.iter().map(|(field, _)| field.to_string()).collect();
                parts.extend(update.add_tags.iter().map(|tag| format!("+{tag}")));
                parts.extend(update.remove_tags.iter().map(|tag| format!("-{tag}")));
                parts.join(", ")
            }
            Self::Assign { assign, .. } => match &assign.among {
                Among::Addresses(addresses) => format!("one of {}", addresses.len()),
                Among::Records { entity, .. } => format!("one {entity}"),
            },
            Self::Claim(claim) => format!("a code of {}", claim.pool),
        }
    }

    /// What it is about, by a name of the files.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Update(_) => None,
            Self::Assign { rotation, .. } => Some(rotation),
            Self::Claim(claim) => Some(&claim.pool),
        }
    }

    /// With the values: for whoever may see the record itself.
    #[must_use]
    pub fn told(&self) -> String {
        let Self::Update(update) = self else { return self.summary() };
        let cell = |cell: &NewCell| match cell {
            NewCell::Null => "null".to_owned(),
            NewCell::Now => "now".to_owned(),
            NewCell::Value(value) => value.as_text().map_or_else(|| value.to_json().to_string(), str::to_owned),
            NewCell::Text(text) => text.clone(),
            NewCell::Key(key) => key.to_string(),
        };
        let mut parts: Vec<String> =
            update.set.iter().map(|(field, value)| format!("{field} = {}", cell(value))).collect();
        parts.extend(update.add_tags.iter().map(|tag| format!("+{tag}")));
        parts.extend(update.remove_tags.iter().map(|tag| format!("-{tag}")));
        parts.join(", ")
    }
}

/// What came of one try.
#[derive(Debug, Clone)]
pub struct Sent {
    pub outcome: Outcome,
    pub answer: Option<serde_json::Value>,
}

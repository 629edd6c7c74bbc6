//! From a decision to send to the finished message.

use super::decide::address;
use crate::engine::links::{LinkedMail, Links};
use crate::engine::port::{ChatMessage, Claimed, Email, Message, TaskDraft, WebhookCall};
use crate::model::{Channel, DeliveryId, InstanceSecret, Topic};
use crate::rule::CompiledRule;
use crate::rule::checked::{self, Action, Chat, CheckedRule, Purpose, Task, Webhook};
use crate::rule::compiled::{Facts, PersonFacts};
use crate::rule::message::{MessageContext, MessageLinks, TemplateError, Templates};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

/// What a message is rendered from.
pub struct Draft<'a> {
    pub rule: &'a CompiledRule,
    pub node: usize,
    pub claimed: &'a Claimed,
    pub delivery: DeliveryId,
    pub facts: &'a Facts,
    pub to: Option<&'a PersonFacts>,
    pub templates: &'a Templates,
    pub sender: &'a Json,
    /// Who the mails of the rule are from, as its file says now.
    pub written_by: Option<&'a str>,
    pub links: &'a Links,
    pub secret: &'a InstanceSecret,
    pub enriched: Option<&'a Json>,
    pub now: Timestamp,
}

/// A way out by one click of the mail program (RFC 8058), without opening the mail.
fn list_unsubscribe(links: &MessageLinks) -> Vec<(String, String)> {
    let Some(url) = &links.unsubscribe else { return Vec::new() };
    let header = |name: &str, value: String| (name.to_owned(), value);
    vec![
        header("List-Unsubscribe", format!("<{url}>")),
        header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
    ]
}

/// The text part is made of the body alone; who reads it must find the way out and the sender there as well.
fn with_way_out(mut text: String, links: &MessageLinks, sender: &Json) -> String {
    let Some(url) = links.unsubscribe.as_deref().filter(|url| !text.contains(*url)) else { return text };
    text.truncate(text.trim_end().len());
    text.push_str("\n\n-- \n");
    for part in ["name", "postal_address"] {
        if let Some(line) = sender[part].as_str().filter(|line| !line.is_empty() && !text.contains(*line)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("Unsubscribe: ");
    text.push_str(url);
    text.push('\n');
    text
}

/// The name of an action's kind in the attempt log.
pub const fn kind(action: &Action) -> &'static str {
    match action {
        Action::Email(_) => "email",
        Action::Webhook(_) => "webhook",
        Action::Chat(_) => "chat",
        Action::Task(_) => "task",
    }
}

/// To be repeated with the same key where nobody knows whether it left. Mailboxes and chats mind no key: they would show
/// it twice, so there the rule decides.
pub const fn repeatable(action: &Action, rule: &CheckedRule) -> bool {
    match action {
        Action::Webhook(_) | Action::Task(_) => true,
        Action::Email(_) | Action::Chat(_) => rule.resends_unknown,
    }
}

impl Draft<'_> {
    pub fn render(&self, action: &Action) -> Result<Message, TemplateError> {
        match action {
            Action::Email(email) => self.email(email).map(Message::Email),
            Action::Webhook(webhook) => self.webhook(webhook).map(Message::Webhook),
            Action::Chat(chat) => self.chat(chat).map(Message::Chat),
            Action::Task(task) => self.task(task).map(Message::Task),
        }
    }

    fn context(&self) -> MessageContext<'_> {
        MessageContext {
            facts: self.facts,
            to: self.to,
            occasion: &self.claimed.occasion_data,
            saved: &self.claimed.saved,
            sender: self.sender,
            enriched: self.enriched,
            regional: &self.rule.regional,
            links: None,
        }
    }

    fn email(&self, email: &checked::Email) -> Result<Email, TemplateError> {
        let to_address = self.to.and_then(address).unwrap_or_default().to_owned();
        let hash = self.secret.address_hash(Channel::Email, &to_address);
        let links = self.links.of(
            self.secret,
            LinkedMail {
                address: hash,
                delivery: self.delivery,
                topic: self.topic(),
                confirms: email.confirms.as_ref(),
                now: self.now,
            },
        );
        let context = MessageContext { links: Some(&links), ..self.context() };
        let rendered = self.templates.email(&email.template, &context)?;
        let names = |person: &PersonFacts| {
            let parts = [person.first_name.as_deref(), person.last_name.as_deref()];
            let full = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
            (!full.trim().is_empty()).then_some(full)
        };
        Ok(Email {
            delivery: self.delivery,
            to_address,
            to_name: self.to.and_then(names),
            subject: rendered.subject,
            html: rendered.html,
            text: with_way_out(rendered.text, &links, self.sender),
            sender: self.written_by.map(str::to_owned),
            from: rendered.from,
            reply_to: rendered.reply_to,
            images: rendered.images,
            return_tag: Some(self.secret.return_tag(hash)),
            headers: list_unsubscribe(&links),
        })
    }

    /// What its reader may say no to: only marketing, and not to colleagues.
    fn topic(&self) -> Option<&Topic> {
        match &self.rule.rule.purpose {
            Purpose::Topic(topic) if !self.to.is_some_and(|person| person.staff) => Some(topic),
            _ => None,
        }
    }

    /// `type`, `timestamp` and `data`, as Standard Webhooks asks. The timestamp is that of the match, at every retry;
    /// the rest is as current as at a first try, so whoever compares must compare the key. `data` names the record and holds what the rule's `body` adds.
    fn webhook(&self, webhook: &Webhook) -> Result<WebhookCall, TemplateError> {
        let Claimed { rule, record, occasion_data, entered_at, lane, .. } = self.claimed;
        let mut data = json!({
            "rule": rule,
            "lane": lane,
            "delivery": self.delivery.to_string(),
            "record": {"tenant": record.tenant, "entity": record.entity, "key": record.key},
            "occasion": occasion_data,
        });
        if let (Some(Json::Object(extra)), Some(data)) = (&webhook.body, data.as_object_mut()) {
            for (name, value) in extra {
                data.insert(name.clone(), self.fill(value)?);
            }
        }
        let step = self.rule.rule.nodes.get(self.node).map_or("", |node| node.id.as_str());
        Ok(WebhookCall {
            delivery: self.delivery,
            attempt: self.claimed.attempts + 1,
            destination: webhook.to.clone(),
            body: json!({"type": format!("{rule}.{step}"), "timestamp": entered_at.to_string(), "data": data}),
            keep_answer: webhook.save.is_some(),
        })
    }

    /// Renders every text in a JSON value.
    fn fill(&self, value: &Json) -> Result<Json, TemplateError> {
        Ok(match value {
            Json::String(text) => Json::String(self.templates.line(text, &self.context())?),
            Json::Array(items) => Json::Array(items.iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?),
            Json::Object(fields) => {
                let mut filled = Map::new();
                for (name, value) in fields {
                    filled.insert(name.clone(), self.fill(value)?);
                }
                Json::Object(filled)
            }
            plain => plain.clone(),
        })
    }

    fn chat(&self, chat: &Chat) -> Result<ChatMessage, TemplateError> {
        let text = self.templates.line(&chat.text, &self.context())?;
        Ok(ChatMessage { delivery: self.delivery, to: chat.to.clone(), text: text.trim().to_owned() })
    }

    fn task(&self, task: &Task) -> Result<TaskDraft, TemplateError> {
        let context = self.context();
        let assignee = task.assign_to.as_ref().and_then(|role| self.facts.recipients.get(role));
        let today = self.now.to_zoned(self.facts.zone.clone()).date();
        Ok(TaskDraft {
            delivery: self.delivery,
            tenant: self.claimed.record.tenant.clone(),
            record: self.claimed.record.clone(),
            fields: self.facts.record.clone(),
            title: self.templates.line(&task.title, &context)?,
            body: task.body.as_ref().map(|body| self.templates.line(body, &context)).transpose()?,
            due: task.due.map(|due| self.rule.rule.calendar.after_date(due, today)),
            assignee_key: assignee.and_then(|person| person.key.clone()),
            assignee_email: assignee.and_then(|person| person.email.clone()),
        })
    }
}

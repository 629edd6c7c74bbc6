//! From a decision to send to the finished message.

use super::decide::{address, number};
use crate::catalog::Catalog;
use crate::engine::links::{LinkedMail, Links};
use crate::engine::port::{
    ChatMessage, Claimed, Email, Message, SmsMessage, TaskDraft, WebhookCall, Write, WriteDraft,
};
use crate::engine::tracked_mail::{TrackedMail, tracked};
use crate::model::{AskedAbout, Channel, Country, DeliveryId, InstanceSecret, Topic, Tracking};
use crate::rule::CompiledRule;
use crate::rule::checked::{self, Action, Assign, Chat, CheckedRule, Purpose, Sms, Task, Update, Webhook};
use crate::rule::compiled::{Facts, PersonFacts};
use crate::rule::message::{MessageContext, MessageLinks, MessageRow, TemplateError, Templates};
use crate::rule::write::{NewCell, NewValue, Updating};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;

/// What a message is rendered from.
pub struct Draft<'a> {
    pub rule: &'a CompiledRule,
    pub node: usize,
    pub claimed: &'a Claimed,
    pub delivery: DeliveryId,
    pub facts: &'a Facts,
    pub to: Option<&'a PersonFacts>,
    pub templates: &'a Templates,
    pub catalog: &'a Catalog,
    pub sender: &'a Json,
    /// Who the mails of the rule are from, as its file says now.
    pub written_by: Option<&'a str>,
    pub links: &'a Links,
    /// What is noted of how its mail is read.
    pub tracks: BTreeSet<Tracking>,
    pub secret: &'a InstanceSecret,
    pub enriched: Option<&'a Json>,
    pub now: Timestamp,
    /// Whose phone numbers are meant that are written without a country.
    pub country: Option<Country>,
    /// The matches that it tells of, where they are several, and how many more there are.
    pub rows: &'a [MessageRow<'a>],
    pub more: usize,
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
        Action::Update(_) => "update",
        Action::Assign(_) => "assign",
        Action::Claim(_) => "claim",
        Action::Sms(_) => "sms",
        Action::Preferred(_) => "message",
    }
}

/// To be repeated with the same key where nobody knows whether it left. Mailboxes, chats and phones mind no key: they would show
/// it twice, so there the rule decides.
pub const fn repeatable(action: &Action, rule: &CheckedRule) -> bool {
    match action {
        Action::Webhook(_) | Action::Task(_) | Action::Update(_) | Action::Assign(_) | Action::Claim(_) => true,
        Action::Email(_) | Action::Chat(_) | Action::Sms(_) | Action::Preferred(_) => rule.resends_unknown,
    }
}

impl Draft<'_> {
    pub fn render(&self, action: &Action) -> Result<Message, TemplateError> {
        match action {
            Action::Email(email) => self.email(email).map(Message::Email),
            Action::Webhook(webhook) => self.webhook(webhook).map(Message::Webhook),
            Action::Chat(chat) => self.chat(chat).map(Message::Chat),
            Action::Task(task) => self.task(task).map(Message::Task),
            Action::Update(update) => {
                let what = Write::Update(self.update(update)?);
                Ok(self.write(what))
            }
            Action::Assign(assign) => Ok(self.write(self.assign(assign))),
            Action::Claim(claim) => Ok(self.write(Write::Claim(claim.clone()))),
            Action::Sms(sms) => self.sms(sms).map(Message::Sms),
            Action::Preferred(_) => Err(TemplateError {
                template: "message".to_owned(),
                line: 1,
                problem: "no channel was chosen for it".to_owned(),
            }),
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
            rows: self.rows,
            more: self.more,
        }
    }

    fn email(&self, email: &checked::Email) -> Result<Email, TemplateError> {
        let to_address = self.to.and_then(address).unwrap_or_default().to_owned();
        let hash = self.secret.address_hash(Channel::Email, &to_address);
        let asks = email.asks.as_deref().map(|survey| self.asks(survey)).transpose()?;
        let links = self.links.of(
            self.secret,
            LinkedMail {
                address: hash,
                delivery: self.delivery,
                topic: self.topic(),
                confirms: email.confirms.as_ref(),
                asks: asks.as_ref(),
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
        let reader = self.secret.address_hash(Channel::Email, &to_address);
        let (delivery, enrollment) = (self.delivery, self.claimed.token.id);
        let mail = TrackedMail { delivery, enrollment, reader, tracks: &self.tracks };
        Ok(Email {
            delivery: self.delivery,
            tracked_html: tracked(&rendered.html, self.links, self.secret, mail),
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
            signed: self.links.signed_in(&links),
        })
    }

    /// What the links to answer a survey say.
    fn asks(&self, survey: &str) -> Result<AskedAbout, TemplateError> {
        let Some(question) = self.catalog.surveys.get(survey) else {
            let problem = format!("the catalog has no survey `{survey}` any more");
            return Err(TemplateError { template: "answer_url".to_owned(), line: 1, problem });
        };
        Ok(AskedAbout {
            survey: survey.to_owned(),
            enrollment: self.claimed.token.id,
            lowest: question.lowest,
            highest: question.highest,
            change_within: question.change_within.max_seconds(),
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

    fn write(&self, what: Write) -> Message {
        Message::Write(Box::new(WriteDraft {
            delivery: self.delivery,
            enrollment: self.claimed.token.id,
            rule: self.claimed.rule.clone(),
            record: self.claimed.record.clone(),
            at: self.claimed.due_at,
            fields: self.facts.record.clone(),
            what,
        }))
    }

    fn update(&self, update: &Update) -> Result<Updating, TemplateError> {
        let context = self.context();
        let line = |text: &String| self.templates.line(text, &context).map(|text| text.trim().to_owned());
        let cell = |value: &NewValue| {
            Ok(match value {
                NewValue::Null => NewCell::Null,
                NewValue::Now => NewCell::Now,
                NewValue::Constant(value) => NewCell::Value(value.clone()),
                NewValue::Template(text) => NewCell::Text(line(text)?),
            })
        };
        let set = update.set.iter().map(|(field, value)| Ok((field.clone(), cell(value)?)));
        Ok(Updating {
            set: set.collect::<Result<_, TemplateError>>()?,
            add_tags: update.add_tags.iter().map(line).collect::<Result<_, _>>()?,
            remove_tags: update.remove_tags.iter().map(line).collect::<Result<_, _>>()?,
        })
    }

    /// A rotation of its own is named by rule and step, so that no other step takes part in it by chance.
    fn assign(&self, assign: &Assign) -> Write {
        let step = self.rule.rule.nodes.get(self.node).map_or("", |node| node.id.as_str());
        let own = || format!("step {}/{step}", self.claimed.rule);
        let rotation = assign.rotation.as_ref().map_or_else(own, |name| format!("rotation {name}"));
        Write::Assign { assign: assign.clone(), rotation }
    }

    fn sms(&self, sms: &Sms) -> Result<SmsMessage, TemplateError> {
        let text = self.templates.line(&sms.text, &self.context())?;
        let to = self.to.and_then(|person| number(person, self.country)).unwrap_or_default();
        Ok(SmsMessage { delivery: self.delivery, to, via: sms.via.clone(), text: text.trim().to_owned() })
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

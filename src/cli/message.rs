//! Messages of a rehearsal as people look at them: a line, JSON, or files.

use super::Failure;
use crate::action::email::Composer;
use crate::engine::PreviewMessage;
use crate::engine::port::{Content, KeptMessage, Message};
use crate::model::Segments;
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// One line.
pub fn headline(message: &PreviewMessage) -> String {
    match &message.content {
        Ok(Message::Email(email)) => format!("email to {}: {}", email.to_address, email.subject),
        Ok(Message::Webhook(call)) => format!("webhook to {}: {}", call.destination, call.body),
        Ok(Message::Chat(chat)) => format!("chat to {}: {}", chat.to, chat.text),
        Ok(Message::Task(task)) => format!("task: {}", task.title),
        Ok(Message::Write(draft)) => format!("{}: {}", message.kind, draft.what.told()),
        Ok(Message::Sms(sms)) => format!("sms to {} ({}): {}", sms.to, Segments::of(&sms.text), sms.text),
        Err(why) => format!("{}: nothing: {why}", message.kind),
    }
}

/// One short line, without bodies.
pub fn in_short(message: &PreviewMessage) -> String {
    match &message.content {
        Ok(Message::Email(email)) => format!("email to {}: {}", email.to_address, email.subject),
        Ok(Message::Sms(sms)) => format!("sms to {}: {}", sms.to, sms.text),
        Ok(content) => format!("{} {}", message.kind, content.summary()),
        Err(why) => format!("nothing: {why}"),
    }
}

pub fn as_json(message: &PreviewMessage) -> Json {
    let mut shown = json!({"step": message.step, "kind": message.kind, "due_at": message.due_at});
    match &message.content {
        Ok(Message::Email(email)) => {
            shown["to"] = json!(email.to_address);
            shown["subject"] = json!(email.subject);
            shown["text"] = json!(email.text);
            shown["html"] = json!(email.html);
            shown["from"] = json!(email.from);
            shown["reply_to"] = json!(email.reply_to);
            shown["images"] = email.images.iter().map(|image| json!(image.file_name)).collect();
        }
        Ok(Message::Webhook(call)) => {
            shown["destination"] = json!(call.destination);
            shown["body"] = call.body.clone();
        }
        Ok(Message::Chat(chat)) => {
            shown["to"] = json!(chat.to);
            shown["text"] = json!(chat.text);
        }
        Ok(Message::Task(task)) => {
            shown["title"] = json!(task.title);
            shown["body"] = json!(task.body);
            shown["due"] = json!(task.due);
        }
        Ok(Message::Write(draft)) => shown["what"] = json!(draft.what.told()),
        Ok(Message::Sms(sms)) => {
            let segments = Segments::of(&sms.text);
            shown["to"] = json!(sms.to);
            shown["text"] = json!(sms.text);
            shown["segments"] = json!(segments.count);
            shown["unicode"] = json!(segments.unicode);
        }
        Err(why) => shown["nothing"] = json!(why),
    }
    shown
}

/// The same of one that was kept as it left.
pub fn kept_as_json(kept: &KeptMessage) -> Json {
    let KeptMessage { delivery, kind, sent_at, content: Content { to, body } } = kept;
    let mut shown = json!({"delivery": delivery.to_string(), "kind": kind, "sent_at": sent_at});
    match body {
        Json::Object(parts) if kind != "webhook" => {
            shown["to"] = json!(to);
            parts.iter().for_each(|(name, part)| shown[name] = part.clone());
        }
        body => {
            shown["destination"] = json!(to);
            shown["body"] = body.clone();
        }
    }
    shown
}

/// A message as people read it, from what [`as_json`] or [`kept_as_json`] says of it. The HTML is left out: it says
/// what the text does.
pub fn lines(shown: &Json) -> Vec<String> {
    const HEAD: [&str; 7] = ["from", "to", "destination", "subject", "title", "due", "what"];
    let head = HEAD.into_iter().filter_map(|name| Some(format!("{name:12}{}", shown[name].as_str()?)));
    let body = match (&shown["text"], &shown["body"]) {
        (Json::String(text), _) | (Json::Null, Json::String(text)) => text.trim_end().to_owned(),
        (_, Json::Null) => String::new(),
        (_, body) => format!("{body:#}"),
    };
    head.chain(body.lines().map(|line| format!("| {line}"))).collect()
}

/// Writes messages into a folder, one folder a record.
pub struct Files<'a> {
    pub folder: &'a Path,
    /// `None`: no sender is configured, so no mail can be composed; its text and HTML are written all the same.
    pub composer: Option<&'a Composer>,
}

impl Files<'_> {
    /// How many messages were written.
    pub fn write(&self, record: &str, messages: &[PreviewMessage]) -> Result<usize, Failure> {
        let place = self.folder.join(file_name(record));
        std::fs::create_dir_all(&place)?;
        let mut written = 0;
        for (index, message) in messages.iter().enumerate() {
            let stem = format!("{:02}-{}", index + 1, file_name(message.step.as_str()));
            written += self.write_one(&place.join(stem), message)?;
        }
        Ok(written)
    }

    fn write_one(&self, stem: &Path, message: &PreviewMessage) -> Result<usize, Failure> {
        let file = |ending: &str| PathBuf::from(format!("{}.{ending}", stem.display()));
        match &message.content {
            Ok(Message::Email(email)) => {
                std::fs::write(file("html"), &email.html)?;
                match self.composer.map(|composer| composer.compose(email, message.due_at)) {
                    Some(Ok(composed)) => std::fs::write(file("eml"), composed.bytes)?,
                    Some(Err(error)) => std::fs::write(file("error.txt"), format!("{error}\n"))?,
                    None => {
                        let head = format!("To: {}\nSubject: {}\n\n", email.to_address, email.subject);
                        std::fs::write(file("txt"), format!("{head}{}", email.text))?;
                    }
                }
            }
            Ok(Message::Webhook(call)) => std::fs::write(file("json"), format!("{:#}\n", call.body))?,
            Ok(Message::Chat(chat)) => std::fs::write(file("txt"), format!("To: {}\n\n{}\n", chat.to, chat.text))?,
            Ok(Message::Task(task)) => {
                let body = task.body.as_deref().unwrap_or("");
                std::fs::write(file("txt"), format!("{}\n\n{body}\n", task.title))?;
            }
            Ok(Message::Write(draft)) => std::fs::write(file("txt"), format!("{}\n", draft.what.told()))?,
            Ok(Message::Sms(sms)) => {
                let segments = Segments::of(&sms.text);
                std::fs::write(file("txt"), format!("To: {}\nLength: {segments}\n\n{}\n", sms.to, sms.text))?;
            }
            Err(_) => return Ok(0),
        }
        Ok(1)
    }
}

/// A name that stays one file below the folder, whatever keys look like.
fn file_name(text: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    text.chars().map(safe).collect::<String>().trim_start_matches('.').to_owned()
}

//! Messages of a rehearsal as people look at them: a line, JSON, or files.

use super::{Exit, Failure};
use crate::action::email::Composer;
use crate::engine::PreviewMessage;
use crate::engine::port::{Content, KeptMessage, Message};
use crate::model::{RecordId, Segments};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
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

/// Messages as files below a folder: a folder a record, numbered through.
pub struct Files<'a> {
    folder: &'a Path,
    /// `None`: no sender is configured, so no mail can be composed; its text and HTML are written all the same.
    composer: Option<&'a Composer>,
    /// Messages of each record so far: one may match more than once.
    numbers: BTreeMap<PathBuf, usize>,
}

impl<'a> Files<'a> {
    pub const fn new(folder: &'a Path, composer: Option<&'a Composer>) -> Self {
        Self { folder, composer, numbers: BTreeMap::new() }
    }

    /// How many messages were written.
    pub fn write(&mut self, record: &RecordId, messages: &[PreviewMessage]) -> Result<usize, Failure> {
        let mut place = self.folder.to_path_buf();
        if !record.tenant.as_str().is_empty() {
            place.push(file_name(record.tenant.as_str()));
        }
        place.push(format!("{}_{}", file_name(record.entity.as_str()), file_name(record.key.as_str())));
        std::fs::create_dir_all(&place).map_err(|error| unwritten(&place, &error))?;
        let mut number = self.numbers.get(&place).copied().unwrap_or(0);
        let mut written = 0;
        for message in messages {
            number += 1;
            let stem = place.join(format!("{number:02}-{}", file_name(message.step.as_str())));
            written += self.write_one(&stem, message)?;
        }
        self.numbers.insert(place, number);
        Ok(written)
    }

    fn write_one(&self, stem: &Path, message: &PreviewMessage) -> Result<usize, Failure> {
        let write = |ending: &str, content: &[u8]| {
            let mut file = stem.as_os_str().to_owned();
            file.push(".");
            file.push(ending);
            std::fs::write(&file, content).map_err(|error| unwritten(Path::new(&file), &error))
        };
        match &message.content {
            Ok(Message::Email(email)) => {
                write("html", email.html.as_bytes())?;
                match self.composer.map(|composer| composer.compose(email, message.due_at)) {
                    Some(Ok(composed)) => write("eml", &composed.bytes)?,
                    Some(Err(error)) => write("error.txt", format!("{error}\n").as_bytes())?,
                    None => {
                        let head = format!("To: {}\nSubject: {}\n\n", email.to_address, email.subject);
                        write("txt", format!("{head}{}", email.text).as_bytes())?;
                    }
                }
            }
            Ok(Message::Webhook(call)) => write("json", format!("{:#}\n", call.body).as_bytes())?,
            Ok(Message::Chat(chat)) => write("txt", format!("To: {}\n\n{}\n", chat.to, chat.text).as_bytes())?,
            Ok(Message::Task(task)) => {
                let body = task.body.as_deref().unwrap_or("");
                write("txt", format!("{}\n\n{body}\n", task.title).as_bytes())?;
            }
            Ok(Message::Write(draft)) => write("txt", format!("{}\n", draft.what.told()).as_bytes())?,
            Ok(Message::Sms(sms)) => {
                let segments = Segments::of(&sms.text);
                write("txt", format!("To: {}\nLength: {segments}\n\n{}\n", sms.to, sms.text).as_bytes())?;
            }
            Err(_) => return Ok(0),
        }
        Ok(1)
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(Exit::Failure, format!("{} can't be written: {error}", path.display()))
}

/// Longer names are cut.
const LONGEST: usize = 100;

/// A name that stays one file below the folder, whatever keys look like, and another one for every other key: where it isn't
/// the text itself, a part of its hash tells it apart.
fn file_name(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if !text.starts_with('.') && text.chars().all(safe) && (1..=LONGEST).contains(&text.len()) {
        return text.to_owned();
    }
    let kept: String = text.chars().map(|c| if safe(c) { c } else { '_' }).skip_while(|c| *c == '.').collect();
    let mut end = kept.len().min(LONGEST);
    while !kept.is_char_boundary(end) {
        end -= 1;
    }
    let hash = Sha256::digest(text.as_bytes());
    let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    format!("{}~{hash:08x}", &kept[..end])
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_of_files_are_as_many_as_the_keys_and_stay_in_their_folder() {
        assert_eq!(file_name("4711"), "4711");
        let names = ["a/b", "a_b", "a:b", "..", ".a", "", "../../etc/passwd"].map(file_name);
        assert!(
            names.iter().all(|name| !name.contains('/') && !name.starts_with('.') && !name.is_empty()),
            "{names:?}"
        );
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert!(file_name(&"ä".repeat(300)).len() < 120);
    }
}

//! Emails as `.eml` files in a folder, for trying things out: any mail program opens them.
//!
//! A file is named after its delivery, so a repeated delivery replaces its file instead of adding one. It
//! appears whole or not at all: written beside, synced, renamed.

use super::{Composer, EmailOptions};
use crate::action::{SetupError, came_to, permanent, transient};
use crate::engine::port::{Message, Sender, Sent};
use crate::model::{Clock, Outcome};
use async_trait::async_trait;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct FolderSender {
    composer: Composer,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl FolderSender {
    /// Creates the folder.
    pub fn new(options: &EmailOptions, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let folder = options.folder.clone();
        let unusable = |error| SetupError::File { what: "the mail folder", path: folder.clone(), error };
        std::fs::create_dir_all(&folder).map_err(unusable)?;
        Ok(Self { composer: Composer::new(options)?, folder, clock })
    }
}

#[async_trait]
impl Sender for FolderSender {
    /// Writing waits for the disk; more at once only queue there.
    fn sessions(&self) -> usize {
        4
    }

    fn departing(&self, message: &Message) -> Option<Message> {
        self.composer.departing(message)
    }

    async fn send(&self, message: Message) -> Sent {
        let Message::Email(email) = message else { return permanent("the mail folder takes emails only") };
        let composed = match self.composer.compose(&email, self.clock.now()) {
            Ok(composed) => composed,
            Err(error) => return permanent(error.to_string()),
        };
        let (folder, name) = (self.folder.clone(), email.delivery.to_string());
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, &composed.bytes)).await;
        match written {
            Ok(Ok(())) => came_to(Outcome::Sent { reply: format!("written to {}.eml", email.delivery) }),
            Ok(Err(error)) => transient(format!("the mail folder: {error}")),
            Err(_) => transient("the mail folder: writing was cut short"),
        }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    // A dot in front: programs that list the folder don't see unfinished files.
    let unfinished = folder.join(format!(".{name}.part"));
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, folder.join(format!("{name}.eml")))?;
    // The rename itself lasts only once the folder is synced.
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::port::Email;
    use crate::model::{DeliveryId, ManualClock};

    #[tokio::test]
    async fn a_repeated_delivery_leaves_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let options = EmailOptions {
            from: "hi@acme.example".into(),
            folder: folder.path().join("mail"),
            ..EmailOptions::default()
        };
        let clock = Arc::new(ManualClock::new("2026-11-21T10:00:00Z".parse().unwrap()));
        let sender = FolderSender::new(&options, clock).unwrap();
        let email = Email {
            tracked_html: None,
            delivery: DeliveryId([1; 16]),
            to_address: "ada@x.example".into(),
            to_name: None,
            subject: "one".into(),
            html: "<p>one</p>".into(),
            text: "one".into(),
            sender: None,
            from: None,
            reply_to: None,
            images: Vec::new(),
            return_tag: None,
            signed: Vec::new(),
            headers: vec![],
        };
        sender.send(Message::Email(email.clone())).await;
        let sent = sender.send(Message::Email(Email { subject: "two".into(), ..email })).await;
        assert!(matches!(sent.outcome, Outcome::Sent { .. }), "{:?}", sent.outcome);
        let files: Vec<_> =
            std::fs::read_dir(&options.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, [format!("{}.eml", "01".repeat(16)).as_str()]);
        let bytes = std::fs::read(options.folder.join(&files[0])).unwrap();
        assert_eq!(mail_parser::MessageParser::default().parse(&bytes).unwrap().subject(), Some("two"));
    }
}

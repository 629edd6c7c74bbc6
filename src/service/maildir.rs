//! Reads the Maildir that bounces are delivered to. A mail that was read is marked as seen and stays, so that somebody
//! can look at it; deleting is the mail server's business.

use crate::action::email::mailed_out::{self, MailedOut};
use crate::action::email::returned::{self, NoReport, Returned};
use crate::model::Channel;
use crate::web::{Intake, Report};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at an empty folder.
const PAUSE: Duration = Duration::from_secs(5);
/// Mails of one look.
const AT_ONCE: usize = 500;
/// Reports quote the mail they are about, perhaps with its pictures; what is needed stands before those.
const LONGEST: u64 = 1 << 20;

/// Until it is dropped.
pub(super) async fn watch(maildir: PathBuf, intake: Intake) {
    let mut failing = false;
    loop {
        let found = look(&maildir, &intake).await;
        if let Err(error) = &found
            && !failing
        {
            tracing::error!(%error, maildir = %maildir.display(), "bounces can't be read");
        }
        failing = found.is_err();
        if found.is_ok_and(|read| read == AT_ONCE) {
            continue;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a mail says.
enum Said {
    Returned(Returned),
    MailedOut(MailedOut),
    Nothing(NoReport),
}

/// Reads what is new; how many mails that was.
async fn look(maildir: &Path, intake: &Intake) -> io::Result<usize> {
    let (folder, secret, now) = (maildir.to_owned(), intake.secret().clone(), intake.now());
    let mails = tokio::task::spawn_blocking(move || {
        let files = new_mails(&folder)?;
        // One that can't be read stays, and doesn't stand in the way of the others.
        let read = files.into_iter().filter_map(|file| {
            let bytes = head_of(&file).ok()?;
            let read = match returned::read(&bytes, &secret) {
                Ok(returned) => Said::Returned(returned),
                Err(why) => mailed_out::read(&bytes, &secret, now).map_or(Said::Nothing(why), Said::MailedOut),
            };
            Some((file, read))
        });
        Ok::<_, io::Error>(read.collect::<Vec<_>>())
    });
    let mails = mails.await.map_err(io::Error::other)??;
    let (mut reports, mut out) = (Vec::new(), Vec::new());
    for (file, read) in &mails {
        match read {
            Said::MailedOut(reader) => out.push(reader.clone()),
            Said::Returned(returned) => {
                let known =
                    |address: &String| intake.secret().address_hash(Channel::Email, address) == returned.address;
                let address = returned.recipient.clone().filter(known);
                reports.push(Report { hash: returned.address, address, verdict: returned.verdict });
            }
            Said::Nothing(why) => {
                let why = match why {
                    NoReport::Other => "other",
                    NoReport::NotOurs => "not_ours",
                };
                metrics::counter!("nudged_bounces_unread_total", "why" => why).increment(1);
                tracing::debug!(file = %file.display(), why, "a mail among the bounces says nothing");
            }
        }
    }
    // First kept, then marked: a crash in between reads them again, which changes nothing.
    intake.take("maildir", &reports).await.map_err(io::Error::other)?;
    intake.unsubscribe(&out).await.map_err(io::Error::other)?;
    for (file, _) in &mails {
        mark_seen(maildir, file)?;
    }
    Ok(mails.len())
}

fn new_mails(maildir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(maildir.join("new"))? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
        if files.len() == AT_ONCE {
            break;
        }
    }
    Ok(files)
}

fn head_of(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn mark_seen(maildir: &Path, file: &Path) -> io::Result<()> {
    let cur = maildir.join("cur");
    fs::create_dir_all(&cur)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split(':').next().unwrap_or_default();
    fs::rename(file, cur.join(format!("{name}:2,S")))
}

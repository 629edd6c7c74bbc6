//! The suppression journal: who must not be written to, and what people said about topics, once more in a file beside
//! the state. A state that was restored from a copy learns from it who unsubscribed since; without it, those would be
//! written to again.
//!
//! A no goes into the journal before the state, so that nobody is told of one that a restore could forget. Only the end
//! of the journal that the state doesn't know is read at a start.

mod entry;
mod file;
mod rewriting;

use super::database::Database;
use super::state::State;
use super::table::suppression::Removal;
use super::table::{journal as read, preference, suppression};
use crate::engine::port::StoreError;
use crate::model::{AddressHash, Channel, Preference, Suppression};
use entry::Entry;
use file::{Appended, Head, JournalFile};
use jiff::Timestamp;
use rewriting::Rewriting;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries that are read or written at once.
const PAGE: usize = 1_000;
/// Lines that say nothing new are borne with up to so many.
const SLACK: u64 = 1_000;

/// The journal of a state that is open.
#[derive(Debug)]
pub struct Journal {
    file: Arc<JournalFile>,
    own: bool,
}

/// What a start found in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries that the state did not know.
    pub entries: u64,
    /// Of these, how many changed it.
    pub changed: u64,
    /// A crash had cut the last line off: nobody was told that it holds.
    pub torn: bool,
    /// Lines that could not be read: perhaps people who unsubscribed.
    pub damaged: u64,
    /// A file that can't be used as it is was kept there.
    pub kept: Option<PathBuf>,
    /// It was another state's.
    pub foreign: bool,
}

/// How often a start begins anew because another process has rewritten the journal meanwhile.
const TURNS: usize = 5;

/// Which of the files is a state's journal.
#[derive(Debug, Clone)]
pub struct JournalPlace {
    pub path: PathBuf,
    /// Its name is of the state's own: one of another state that lies there was left by a state that is gone. Otherwise
    /// that state may be at work, and its journal is left alone.
    pub own: bool,
}

/// Whether the file is a journal of the state that has this name.
pub fn is_journal_of(path: &Path, state: &str) -> bool {
    matches!(JournalFile::new(path, state).head(), Ok(Head::Ours { .. }))
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!(
        "the suppression journal {} failed: {error}; state.journal says where it is kept",
        path.display()
    ))
}

fn foreign(path: &Path) -> StoreError {
    StoreError::ForeignJournal { place: path.display().to_string() }
}

impl Journal {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&JournalFile) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        let done = tokio::task::spawn_blocking(move || work(&file)).await.map_err(io::Error::other).flatten();
        done.map_err(|error| failed(self.file.path(), &error))
    }

    async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        match self.blocking(move |file| file.append(&entries)).await? {
            Appended::Added | Appended::Nowhere => Ok(()),
            Appended::Foreign => Err(foreign(self.file.path())),
        }
    }

    async fn add(&self, mut anew: Rewriting, entries: Vec<Entry>) -> Result<Rewriting, StoreError> {
        self.blocking(move |_| anew.add(&entries).map(|()| anew)).await
    }

    pub(super) async fn suppressed(&self, entries: Vec<Suppression>) -> Result<(), StoreError> {
        self.append(entries.into_iter().map(Entry::Suppressed).collect()).await
    }

    pub(super) async fn removed(&self, entries: &[(Channel, AddressHash)], at: Timestamp) -> Result<(), StoreError> {
        let entry = |(channel, hash): &(Channel, AddressHash)| Entry::Removed { hash: *hash, channel: *channel, at };
        self.append(entries.iter().map(entry).collect()).await
    }

    pub(super) async fn said(&self, entries: &[Preference]) -> Result<(), StoreError> {
        self.append(entries.iter().cloned().map(Entry::Said).collect()).await
    }
}

impl<D: Database> State<D> {
    /// From now on what is suppressed goes into the journal as well, if there is one.
    #[must_use]
    pub fn journaled(mut self, place: &JournalPlace) -> Self {
        let file = Arc::new(JournalFile::new(&place.path, &self.secret.name()));
        self.journal = Some(Journal { file, own: place.own });
        self
    }

    /// Brings state and journal in line: what the state has forgotten is taken from the journal, and a journal that is
    /// new to the state, or much longer than what it says, is written anew.
    pub async fn replay(&self) -> Result<Replayed, StoreError> {
        let Some(journal) = &self.journal else { return Ok(Replayed::default()) };
        let mut replayed = Replayed::default();
        // Others may be starting, too, and write theirs first.
        for _ in 0..TURNS {
            if self.agree(journal, &mut replayed).await? {
                break;
            }
        }
        Ok(replayed)
    }

    /// False: another process has put another journal there meanwhile.
    async fn agree(&self, journal: &Journal, replayed: &mut Replayed) -> Result<bool, StoreError> {
        let head = journal.blocking(JournalFile::head).await?;
        match &head {
            Head::Absent => {
                // First of all, so that what others say while the state is read isn't lost.
                journal.blocking(JournalFile::begin).await?;
                Ok(false)
            }
            Head::Foreign if !journal.own => Err(foreign(journal.file.path())),
            Head::Foreign => {
                replayed.foreign = true;
                replayed.kept = Some(journal.blocking(|file| file.keep_as("foreign")).await?);
                self.rewrite(journal, &head, 0).await
            }
            Head::Damaged => {
                let read = self.learn(journal, 0, None, replayed).await?;
                replayed.kept = Some(journal.blocking(|file| file.keep_as("damaged")).await?);
                self.rewrite(journal, &head, read).await
            }
            Head::Ours { id, begins } => {
                let known = self.position(id).await?.filter(|at| at >= begins);
                let damaged = replayed.damaged;
                let read = self.learn(journal, known.unwrap_or(*begins), Some(id), replayed).await?;
                if replayed.damaged > damaged {
                    replayed.kept = Some(journal.blocking(|file| file.keep_as("damaged")).await?);
                // One that the state has never read was begun while nobody knew what it had to say.
                } else if known.is_some() && !self.is_long(journal, *begins).await? {
                    return Ok(true);
                }
                self.rewrite(journal, &head, read).await
            }
        }
    }

    /// Reads the journal from a position on, page by page, each with the new position in one transaction. Returns up to where.
    async fn learn(
        &self,
        journal: &Journal,
        from: u64,
        id: Option<&str>,
        replayed: &mut Replayed,
    ) -> Result<u64, StoreError> {
        let mut from = from;
        loop {
            let page = journal.blocking(move |file| file.page(from, PAGE)).await?;
            replayed.entries += page.entries.len() as u64;
            replayed.damaged += page.damaged;
            replayed.torn |= page.torn;
            let (next, is_last) = (page.next, page.is_last);
            if next != from {
                let lease = self.lease_micros();
                let of = Arc::new((page.entries, id.map(str::to_owned)));
                let learnt = self.database.write(move |mut session| {
                    let of = Arc::clone(&of);
                    Box::pin(async move {
                        let changed = take_in(&mut session, &of.0, lease).await?;
                        if let Some(id) = &of.1 {
                            read::note(&mut session, id, next).await?;
                        }
                        Ok(changed)
                    })
                });
                replayed.changed += learnt.await?;
            }
            if is_last {
                return Ok(next);
            }
            from = next;
        }
    }

    async fn position(&self, id: &str) -> Result<Option<u64>, StoreError> {
        let id = id.to_owned();
        let found = self.database.read(move |mut session| {
            let id = id.clone();
            Box::pin(async move { read::position(&mut session, &id).await })
        });
        found.await
    }

    /// Whether most of its lines say nothing that others don't.
    async fn is_long(&self, journal: &Journal, begins: u64) -> Result<bool, StoreError> {
        let lines = journal.blocking(move |file| {
            let (mut lines, mut from) = (0, begins);
            loop {
                let page = file.page(from, PAGE)?;
                lines += page.entries.len() as u64;
                if page.is_last {
                    return Ok(lines);
                }
                from = page.next;
            }
        });
        let known = self.database.read(|mut session| {
            Box::pin(
                async move { Ok(suppression::count(&mut session).await? + preference::count(&mut session).await?) },
            )
        });
        Ok(lines.await? > known.await? * 2 + SLACK)
    }

    /// Writes the journal anew, with all that the state knows, and takes over what others add meanwhile to the one that
    /// has this head and was read up to `read`. False: somebody else was faster.
    async fn rewrite(&self, journal: &Journal, old: &Head, read: u64) -> Result<bool, StoreError> {
        let mut anew = journal.blocking(Rewriting::begin).await?;
        let mut after = None;
        loop {
            let page = self
                .database
                .read(move |mut session| Box::pin(async move { suppression::page(&mut session, after, PAGE).await }));
            let page = page.await?;
            let Some(last) = page.last().map(|entry| entry.hash) else { break };
            after = Some(last);
            let entries = page.into_iter().map(|entry| Entry::Suppressed(Suppression { address: None, ..entry }));
            anew = journal.add(anew, entries.collect()).await?;
        }
        let mut after = None;
        loop {
            let asked = after.clone();
            let page = self.database.read(move |mut session| {
                let asked = asked.clone();
                Box::pin(async move { preference::page(&mut session, asked, PAGE).await })
            });
            let page = page.await?;
            let Some(last) = page.last() else { break };
            after = Some((last.hash, last.topic.clone()));
            anew = journal.add(anew, page.into_iter().map(Entry::Said).collect()).await?;
        }
        let head = old.clone();
        let Some((id, length)) = journal.blocking(move |_| anew.place(&head, read)).await? else { return Ok(false) };
        let forgotten = match old {
            Head::Ours { id, .. } => Some(id.clone()),
            Head::Absent | Head::Foreign | Head::Damaged => None,
        };
        let of = Arc::new((id, forgotten));
        let noted = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move {
                if let Some(old) = &of.1 {
                    read::forget(&mut session, old).await?;
                }
                read::note(&mut session, &of.0, length).await
            })
        });
        noted.await.map(|()| true)
    }
}

async fn take_in(session: &mut super::sql::Session<'_>, entries: &[Entry], lease: i64) -> Result<u64, StoreError> {
    let (removed, suppressed) = outcome(entries);
    let mut changed = suppression::remove_older(session, &removed).await?;
    changed += suppression::add(session, &suppressed).await?;
    // One after the other where somebody changed their mind: of one address and topic, a batch reads the first.
    let mut said: Vec<Preference> = Vec::new();
    for entry in entries {
        let Entry::Said(entry) = entry else { continue };
        if said.iter().any(|earlier| earlier.hash == entry.hash && earlier.topic == entry.topic) {
            changed += preference::put(session, &said, lease).await?;
            said.clear();
        }
        said.push(entry.clone());
    }
    Ok(changed + preference::put(session, &said, lease).await?)
}

/// What the list looks like after some entries: who was taken off it, and who stands on it since. Played one by one,
/// a state that has forgotten nothing would lose the clear address of whoever was taken off and added again.
fn outcome(entries: &[Entry]) -> (Vec<Removal>, Vec<Suppression>) {
    let (mut removed, mut suppressed) = (BTreeMap::new(), BTreeMap::new());
    for entry in entries {
        match entry {
            Entry::Suppressed(entry) => {
                let known = suppressed.entry(entry.hash).or_insert_with(|| entry.clone());
                if known.reason.weight() < entry.reason.weight() {
                    *known = entry.clone();
                }
            }
            Entry::Removed { hash, at, .. } => {
                suppressed.remove(hash);
                removed.insert(*hash, *at);
            }
            Entry::Said(_) => {}
        }
    }
    let removal = |(hash, at)| Removal { hash, at, again: suppressed.get(&hash).map(|entry| entry.since) };
    (removed.into_iter().map(removal).collect(), suppressed.values().cloned().collect())
}

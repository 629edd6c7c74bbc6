//! Counting from the outside.

use crate::cli::demo::home::Home;
use crate::cli::demo::mailbox;
use crate::cli::demo::receiver::Receiver;
use crate::cli::demo::world::Crm;
use crate::cli::{Exit, Failure, Output};
use crate::engine::port::{DeliveryFilter, EnrollmentFilter, View};
use crate::store::sqlite::SqliteStore;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What has arrived so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    pub webhooks: usize,
    pub tasks: usize,
    pub mails: usize,
}

impl Arrived {
    pub async fn now(crm: &Crm, receiver: &Receiver, mailbox: &Path) -> Result<Self, Failure> {
        Ok(Self {
            webhooks: receiver.times_by_key().len(),
            tasks: crm.task_references().await.map_err(failed)?.len(),
            mails: mailbox::count(mailbox)?,
        })
    }

    pub const fn sum(&self) -> usize {
        self.webhooks + self.tasks + self.mails
    }
}

/// Mails that one life of the daemon wrote and a later one wrote again: each replaced its own file.
#[derive(Debug, Default)]
pub struct Rewritten {
    seen: BTreeMap<PathBuf, u64>,
    times: usize,
}

impl Rewritten {
    /// Looks while no daemon runs.
    pub fn look(&mut self, folder: &Path) -> Result<(), Failure> {
        for (file, number) in mailbox::written(folder)? {
            let before = self.seen.insert(file, number);
            self.times += usize::from(before.is_some_and(|before| before != number));
        }
        Ok(())
    }
}

/// One line of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub what: &'static str,
    pub expected: usize,
    pub found: usize,
    /// Held for a person, who decides whether it is sent again: it isn't known to have arrived.
    pub held: usize,
    pub lost: usize,
    pub repeated: usize,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub rows: Vec<Row>,
    /// Calls that came again with the same key: under way at a kill.
    pub same_key: usize,
    /// Mails whose outcome the daemon does not know and therefore holds.
    pub unknown: usize,
    /// Of those, the ones that had in fact been written.
    pub unknown_written: usize,
}

/// Counts everything. The daemon has ended.
pub async fn count(
    home: &Home,
    crm: &Crm,
    receiver: &Receiver,
    again: &Rewritten,
    expected: usize,
) -> Result<Count, Failure> {
    let store = SqliteStore::open(&home.state(), Timestamp::now()).await?;
    let limit = expected * 4;
    let enrollments = store.enrollments(&EnrollmentFilter { limit, ..EnrollmentFilter::default() }).await?;
    let occasions: BTreeSet<String> =
        enrollments.iter().map(|found| format!("{:?}{:?}", found.record, found.occasion)).collect();
    let filter = DeliveryFilter { state: Some("unknown".to_owned()), limit, ..DeliveryFilter::default() };
    let unknown = store.deliveries(&filter).await?;
    let written: BTreeSet<String> = mailbox::mails(&home.mailbox())?.into_iter().map(|mail| mail.message_id).collect();
    let unknown: Vec<String> = unknown.iter().filter_map(|held| held.delivery).map(|id| id.to_string()).collect();
    let unknown_written = unknown.iter().filter(|id| written.iter().any(|message| message.contains(*id))).count();
    let mails = (written.len(), unknown.len() - unknown_written);
    let calls = receiver.times_by_key();
    let tasks = occurrences(crm.task_references().await.map_err(failed)?);
    let rows = vec![
        row("matches", expected, (occasions.len(), 0), enrollments.len() - occasions.len()),
        row("webhooks", expected, (calls.len(), 0), calls.len().saturating_sub(receiver.texts().len())),
        row("tasks", expected, (tasks.len(), 0), tasks.values().filter(|times| **times > 1).count()),
        row("mails", expected, mails, mails_sent_again(&store).await?.max(again.times)),
    ];
    let same_key = calls.values().map(|times| times - 1).sum();
    Ok(Count { rows, same_key, unknown: unknown.len(), unknown_written })
}

/// Within one life of the daemon: a mail sent twice would have replaced its own file, so these are counted in the attempt
/// log.
async fn mails_sent_again(store: &SqliteStore) -> Result<usize, Failure> {
    let (mut after, mut sent) = (0, Vec::new());
    loop {
        let page = store.attempts(after, 2_000).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let mails = page.iter().filter(|attempt| attempt.kind == "email" && attempt.outcome == "sent");
        sent.extend(mails.map(|attempt| attempt.delivery.to_string()));
    }
    Ok(occurrences(sent).values().filter(|times| **times > 1).count())
}

fn row(what: &'static str, expected: usize, (found, held): (usize, usize), repeated: usize) -> Row {
    Row { what, expected, found, held, lost: expected.saturating_sub(found + held), repeated }
}

fn occurrences(references: Vec<String>) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for reference in references {
        *times.entry(reference).or_insert(0) += 1;
    }
    times
}

impl Count {
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.lost == 0 && row.repeated == 0 && row.found + row.held == row.expected)
    }

    pub fn print(&self, output: &mut Output) {
        output.line("");
        let cells = |row: &Row| {
            [
                row.what.to_owned(),
                row.expected.to_string(),
                row.found.to_string(),
                row.held.to_string(),
                row.lost.to_string(),
                row.repeated.to_string(),
            ]
            .to_vec()
        };
        let rows = self.rows.iter().map(cells).collect();
        output.table(&["what", "expected", "found", "held", "lost", "repeated"], rows, "");
        output.line("");
        output.line("How this is counted: matches in the state's ledger, by record and occasion; webhooks at the");
        output
            .line("receiver, by Idempotency-Key; tasks in the CRM's own table, by reference; mails in the folder and,");
        output.line("for repetitions, by files that were written anew after a kill, and in the attempt log.");
        if self.same_key > 0 {
            output.line(&format!(
                "{} calls were under way at a kill and came again with the same key, which the receiver knows.",
                self.same_key
            ));
        }
        if self.unknown > 0 {
            output.line(&format!(
                "{} mails were being written at a kill. Whether they went out can't be known from inside, so they are held",
                self.unknown
            ));
            output.line(&format!(
                "for a person to decide (`nudged deliveries list --state unknown`). From outside: {} were written.",
                self.unknown_written
            ));
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::other(Exit::Failure, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_missing_or_twice_is_not_clean() {
        let of = |rows| Count { rows, same_key: 3, unknown: 1, unknown_written: 1 };
        assert!(of(vec![row("tasks", 5, (5, 0), 0)]).is_clean());
        assert!(of(vec![row("mails", 5, (4, 1), 0)]).is_clean());
        assert!(!of(vec![row("tasks", 5, (4, 0), 0)]).is_clean());
        assert!(!of(vec![row("tasks", 5, (5, 0), 1)]).is_clean());
        assert!(!of(vec![row("tasks", 5, (6, 0), 0)]).is_clean());
    }
}

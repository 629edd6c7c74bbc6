//! The outbox: leases, marks and completions.

use super::database::Database;
use super::ledger::enroll;
use super::places;
use super::sql::Session;
use super::state::State;
use super::table::attempt::{self, Line};
use super::table::{
    contact, delivery_code, enrollment, gathering, message, outbox, outbox_state as state, rule_state, rule_version,
    suppression, task, timeline,
};
use super::unwanted;
use crate::engine::port::{
    Claimed, Coming, Completion, ContactStanding, Enrolling, Gathered, Gathering, Mark, Note, Noted, Outbox,
    OutboxToken, Owner, Rescued, RuleVersion, Settled, Settlement, Spent, StoreError, TaskDraft, Then, Waiting,
};
use crate::model::{
    AddressHash, Channel, ContactId, DeliveryId, DeliveryState, EndReason, EntityName, Key, RuleId, Suppression,
    TemplateName, Tenant, VersionHash,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Rows that one transaction of a rescue takes back.
const RESCUE_CHUNK: usize = 1_000;

#[async_trait]
impl<D: Database> Outbox for State<D> {
    async fn claim(&self, owner: &Owner, now: Timestamp, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        let (owner, length, seen) = (owner.clone(), self.lease_micros(), self.floor.get());
        let claimed = self.database.write(move |mut session| {
            let owner = owner.clone();
            Box::pin(async move {
                let due = outbox::due(&mut session, now.as_microsecond(), seen.due_at, limit).await?;
                let ids: Vec<i64> = due.iter().map(|claimed| claimed.token.id).collect();
                outbox::lease(&mut session, &ids, &owner, length).await?;
                Ok(due)
            })
        });
        let claimed = claimed.await?;
        if let Some(last) = claimed.last() {
            self.floor.raise(seen, last.due_at.as_microsecond());
        }
        Ok(claimed)
    }

    async fn gather(&self, of: &Gathering, now: Timestamp, limit: usize) -> Result<Gathered, StoreError> {
        let (of, length) = (Arc::new(of.clone()), self.lease_micros());
        let gathered = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { gather(&mut session, &of, now.as_microsecond(), limit, length).await })
        });
        gathered.await
    }

    async fn settle(&self, settlement: &Settlement) -> Result<Settled, StoreError> {
        let (settlement, length) = (Arc::new(settlement.clone()), self.lease_micros());
        let settled = self.database.write(move |mut session| {
            let settlement = Arc::clone(&settlement);
            Box::pin(async move { settle(&mut session, &settlement, length).await })
        });
        let (settled, earliest) = settled.await?;
        if let Some(earliest) = earliest {
            self.floor.lower(earliest);
        }
        Ok(settled)
    }

    async fn release(&self, tokens: &[OutboxToken]) -> Result<(), StoreError> {
        let tokens: Arc<[OutboxToken]> = sorted(tokens);
        let released = self.database.write(move |mut session| {
            let tokens = Arc::clone(&tokens);
            Box::pin(async move { outbox::release(&mut session, &tokens).await })
        });
        released.await?;
        self.floor.reset();
        Ok(())
    }

    async fn heartbeat(&self, tokens: &[OutboxToken]) -> Result<(), StoreError> {
        let (tokens, length) = (sorted(tokens), self.lease_micros());
        let renewed = self.database.write(move |mut session| {
            let tokens = Arc::clone(&tokens);
            Box::pin(async move { outbox::renew(&mut session, &tokens, length).await })
        });
        renewed.await
    }

    async fn rescue(&self, owner: &Owner, now: Timestamp) -> Result<Rescued, StoreError> {
        let mut total = Rescued::default();
        loop {
            let owner = owner.clone();
            let rescued = self.database.write(move |mut session| {
                let owner = owner.clone();
                Box::pin(async move { rescue(&mut session, &owner, now).await })
            });
            let (some, found) = rescued.await?;
            total.requeued += some.requeued;
            total.repeated += some.repeated;
            total.unknown += some.unknown;
            if found > 0 {
                self.floor.reset();
            }
            if found < RESCUE_CHUNK {
                return Ok(total);
            }
        }
    }

    async fn lease_ends(&self) -> Result<Option<Duration>, StoreError> {
        let ends = self.database.peek(|mut session| Box::pin(async move { outbox::lease_ends(&mut session).await }));
        Ok(ends.await?.map(|left| Duration::from_micros(u64::try_from(left).unwrap_or(0))))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let due = self.database.peek(|mut session| Box::pin(async move { outbox::next_due(&mut session).await }));
        Ok(due.await?.map(|at| Timestamp::from_microsecond(at).unwrap_or(Timestamp::MIN)))
    }

    async fn suppressed(&self, hashes: &[AddressHash]) -> Result<Vec<Suppression>, StoreError> {
        let hashes: Arc<[AddressHash]> = hashes.into();
        let found = self.database.read(move |mut session| {
            let hashes = Arc::clone(&hashes);
            Box::pin(async move { suppression::find(&mut session, &hashes).await })
        });
        found.await
    }

    async fn suppress(&self, entries: &[Suppression]) -> Result<u64, StoreError> {
        let journaled = match &self.journal {
            // Also what the state knows already: it may have learned it when the journal could not be written.
            Some(journal) => journal.suppressed(entries.to_vec()).await,
            None => Ok(()),
        };
        // Where the journal can't be written it holds all the same, and whoever asked hears that a restore may forget it.
        let entries: Arc<[Suppression]> = entries.into();
        let added = self.database.write(move |mut session| {
            let entries = Arc::clone(&entries);
            Box::pin(async move { suppression::add(&mut session, &entries).await })
        });
        let added = added.await?;
        journaled?;
        Ok(added)
    }

    async fn unsuppress(&self, entries: &[(Channel, AddressHash)], now: Timestamp) -> Result<u64, StoreError> {
        let hashes: Arc<[AddressHash]> = entries.iter().map(|(_, hash)| *hash).collect();
        let removed = self.database.write(move |mut session| {
            let hashes = Arc::clone(&hashes);
            Box::pin(async move { suppression::remove(&mut session, &hashes).await })
        });
        let removed = removed.await?;
        // After the state: what a crash in between leaves in the journal is a no, which is the safe way to be wrong.
        if let Some(journal) = &self.journal {
            journal.removed(entries, now).await?;
        }
        Ok(removed)
    }

    async fn suppressions_after(
        &self,
        after: Option<AddressHash>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        let page = self
            .database
            .read(move |mut session| Box::pin(async move { suppression::page(&mut session, after, limit).await }));
        page.await
    }

    async fn suppressions(&self, limit: usize) -> Result<Vec<Suppression>, StoreError> {
        let newest = self
            .database
            .read(move |mut session| Box::pin(async move { suppression::newest(&mut session, limit).await }));
        newest.await
    }

    async fn standings_of(
        &self,
        contacts: &[ContactId],
        since: Timestamp,
        due_by: Timestamp,
    ) -> Result<Vec<ContactStanding>, StoreError> {
        let contacts: Arc<[[u8; 16]]> = contacts.iter().map(|contact| contact.0).collect();
        let found = self.database.read(move |mut session| {
            let contacts = Arc::clone(&contacts);
            Box::pin(async move { standings(&mut session, &contacts, since, due_by).await })
        });
        found.await
    }

    async fn coming(&self, tracks: &[[u8; 16]], by: Timestamp) -> Result<Vec<Coming>, StoreError> {
        let (tracks, by): (Arc<[[u8; 16]]>, _) = (tracks.into(), by.as_microsecond());
        let found = self.database.read(move |mut session| {
            let tracks = Arc::clone(&tracks);
            Box::pin(async move { outbox::coming(&mut session, &tracks, by).await })
        });
        found.await
    }

    async fn spent_on(&self, day: i64) -> Result<Spent, StoreError> {
        self.database.read(move |mut session| Box::pin(async move { contact::spent(&mut session, day).await })).await
    }

    async fn forget_sends(&self, before: Timestamp) -> Result<u64, StoreError> {
        let before = before.as_microsecond();
        let forgotten = self
            .database
            .write(move |mut session| Box::pin(async move { contact::forget(&mut session, before).await }));
        forgotten.await
    }

    async fn is_first_copy(&self, template: &TemplateName, version: &str, now: Timestamp) -> Result<bool, StoreError> {
        let of = Arc::new((template.clone(), version.to_owned()));
        let first = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(
                async move { contact::note_template(&mut session, of.0.as_str(), &of.1, now.as_microsecond()).await },
            )
        });
        first.await
    }

    async fn retry(&self, ids: &[DeliveryId], now: Timestamp) -> Result<u64, StoreError> {
        self.decide(ids, now, false).await
    }

    async fn discard(&self, ids: &[DeliveryId], now: Timestamp) -> Result<u64, StoreError> {
        self.decide(ids, now, true).await
    }

    async fn add_task(&self, reference: DeliveryId, draft: &TaskDraft, now: Timestamp) -> Result<bool, StoreError> {
        let draft = Arc::new(draft.clone());
        let added = self.database.write(move |mut session| {
            let draft = Arc::clone(&draft);
            Box::pin(async move { task::add(&mut session, reference, &draft, now).await })
        });
        added.await
    }

    async fn open_tasks(
        &self,
        tenant: &Tenant,
        entity: &EntityName,
        keys: &[Key],
    ) -> Result<Vec<(Key, DeliveryId)>, StoreError> {
        let of = Arc::new((tenant.clone(), entity.clone(), keys.to_vec()));
        let open = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { task::open(&mut session, &of.0, &of.1, &of.2).await })
        });
        open.await
    }

    async fn deliveries_of(&self, rule: &RuleId, ids: &[DeliveryId]) -> Result<HashSet<DeliveryId>, StoreError> {
        let of = Arc::new((rule.clone(), ids.to_vec()));
        let found = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { attempt::tasks_of(&mut session, &of.0, &of.1).await })
        });
        Ok(found.await?.into_iter().collect())
    }

    async fn cancel_enrollments(&self, ids: &[i64], why: &str, now: Timestamp) -> Result<u64, StoreError> {
        let of: Arc<(Vec<i64>, String)> = Arc::new((ids.to_vec(), why.to_owned()));
        let cancelled = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { cancel(&mut session, &of.0, &of.1, now).await })
        });
        let count = cancelled.await?;
        self.floor.reset();
        Ok(count)
    }

    async fn move_enrollments(
        &self,
        to: &RuleVersion,
        moves: &[(i64, usize)],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let of = Arc::new((to.clone(), moves.iter().map(|(id, node)| (*id, *node as i64)).collect::<Vec<_>>()));
        let done = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { put(&mut session, &of.0, &of.1, now).await })
        });
        done.await
    }

    async fn pinned_versions(
        &self,
        known: &HashSet<(RuleId, VersionHash)>,
    ) -> Result<Vec<(RuleId, VersionHash, String)>, StoreError> {
        let pinned =
            self.database.read(|mut session| Box::pin(async move { rule_version::pinned(&mut session).await }));
        Ok(pinned
            .await?
            .into_iter()
            .filter(|(rule, version, _)| !known.contains(&(rule.clone(), version.clone())))
            .collect())
    }
}

impl<D: Database> State<D> {
    async fn decide(&self, ids: &[DeliveryId], now: Timestamp, discarded: bool) -> Result<u64, StoreError> {
        let ids: Arc<[[u8; 16]]> = ids.iter().map(|id| id.0).collect();
        let decided = self.database.write(move |mut session| {
            let ids = Arc::clone(&ids);
            Box::pin(async move {
                let decided = outbox::decide(&mut session, &ids, now.as_microsecond(), discarded).await?;
                let what = if discarded { Noted::Discarded } else { Noted::Retried };
                let line = |(id, step): &(i64, Option<String>)| {
                    (*id, Note { at: now, step: step.as_deref().map(Into::into), what: what.clone() })
                };
                note(&mut session, &decided.iter().map(line).collect::<Vec<_>>()).await?;
                Ok(decided.len() as u64)
            })
        });
        let count = decided.await?;
        self.floor.reset();
        Ok(count)
    }
}

/// One after the other: of two nodes that ask at once, the second sees what the first has leased.
async fn gather(
    session: &mut Session<'_>,
    of: &Gathering,
    now: i64,
    limit: usize,
    length: i64,
) -> Result<Gathered, StoreError> {
    let Some(numbers) = gathering::numbers(session, of).await? else { return Ok(Gathered::default()) };
    rule_state::lock(session, numbers.0).await?;
    let there = gathering::due(session, numbers, &[of.node], now, limit).await?;
    let coming = gathering::due(session, numbers, &of.before, now, limit).await?;
    let leased: Vec<i64> = there.iter().chain(&coming).map(|claimed| claimed.token.id).collect();
    outbox::lease(session, &leased, &of.owner, length).await?;
    let elsewhere = gathering::is_elsewhere(session, numbers, of, &leased).await?;
    Ok(Gathered { there, coming, elsewhere })
}

async fn standings(
    session: &mut Session<'_>,
    contacts: &[[u8; 16]],
    since: Timestamp,
    due_by: Timestamp,
) -> Result<Vec<ContactStanding>, StoreError> {
    let instant = |at| Timestamp::from_microsecond(at).unwrap_or(Timestamp::MIN);
    let empty = |id: &[u8; 16]| ContactStanding { contact: ContactId(*id), sends: Vec::new(), waiting: Vec::new() };
    let mut found: HashMap<[u8; 16], ContactStanding> = contacts.iter().map(|id| (*id, empty(id))).collect();
    for (of, delivery, at) in contact::sends(session, contacts, since.as_microsecond()).await? {
        if let Some(standing) = found.get_mut(&of) {
            standing.sends.push((DeliveryId(delivery), instant(at)));
        }
    }
    for (of, id, priority, due_at) in contact::waiting(session, contacts, due_by.as_microsecond()).await? {
        if let Some(standing) = found.get_mut(&of) {
            let priority = u8::try_from(priority).unwrap_or(u8::MAX);
            standing.waiting.push(Waiting { id, priority, due_at: instant(due_at) });
        }
    }
    Ok(found.into_values().collect())
}

fn sorted(tokens: &[OutboxToken]) -> Arc<[OutboxToken]> {
    let mut tokens = tokens.to_vec();
    tokens.sort_by_key(|token| token.id);
    tokens.into()
}

async fn note(session: &mut Session<'_>, notes: &[(i64, Note)]) -> Result<(), StoreError> {
    let lines: Vec<_> = notes.iter().map(|(id, note)| timeline::Line::of(*id, note)).collect();
    timeline::append(session, &lines).await
}

/// Ends what is under way; whatever waited for it to end begins.
pub(super) async fn cancel(
    session: &mut Session<'_>,
    ids: &[i64],
    why: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let rows = outbox::under_way(session, ids).await?;
    let at = now.as_microsecond();
    let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
    outbox::cancel(session, &ids).await?;
    let ends: Vec<_> = ids.iter().map(|id| (*id, EndReason::Cancelled, at)).collect();
    enrollment::end(session, &ends).await?;
    let what = Noted::Cancelled(why.to_owned());
    let notes: Vec<_> = ids.iter().map(|id| (*id, Note { at: now, step: None, what: what.clone() })).collect();
    note(session, &notes).await?;
    let freed: Vec<_> = rows.iter().map(|row| (row.1, at)).collect();
    if !freed.is_empty() {
        outbox::start_queued(session, &freed).await?;
    }
    Ok(ids.len() as u64)
}

/// Puts enrollments to another version, where they stand.
async fn put(
    session: &mut Session<'_>,
    to: &RuleVersion,
    moves: &[(i64, i64)],
    now: Timestamp,
) -> Result<u64, StoreError> {
    rule_version::keep(session, std::iter::once(to)).await?;
    let numbers = rule_version::numbers(session, &to.rule).await?;
    let missing = || StoreError::Broken(format!("version {} of rule {} was not kept", to.hash, to.rule));
    let version = *numbers.get(to.hash.as_str()).ok_or_else(missing)?;
    let ids = outbox::put(session, version, moves).await?;
    enrollment::put(session, version, &ids).await?;
    let what = Noted::Migrated(to.hash.clone());
    let notes: Vec<_> = ids.iter().map(|id| (*id, Note { at: now, step: None, what: what.clone() })).collect();
    note(session, &notes).await?;
    Ok(ids.len() as u64)
}

/// What a settlement does to rows, by kind, so that each kind is one statement.
#[derive(Default)]
struct Writes<'a> {
    lines: Vec<Line>,
    kept: Vec<message::Line<'a>>,
    /// Messages that tell of somebody who was erased meanwhile.
    silenced: HashSet<DeliveryId>,
    notes: Vec<(i64, Note)>,
    moves: Vec<(i64, i64, i64, i64)>,
    waits: Vec<(i64, i64, i64, i64, i64)>,
    enrolls: Vec<&'a Enrolling>,
    leaves: Vec<outbox::Leave>,
    done: Vec<&'a Completion>,
    gone: Vec<i64>,
    ends: Vec<(i64, EndReason, i64)>,
    freed: Vec<([u8; 16], i64)>,
    holds: Vec<(i64, &'a str)>,
    saved: Vec<(i64, String)>,
    migrated: Vec<(i64, &'a RuleVersion)>,
}

/// Returns what was lost, and the earliest instant at which something became due.
async fn settle(
    session: &mut Session<'_>,
    settlement: &Settlement,
    length: i64,
) -> Result<(Settled, Option<i64>), StoreError> {
    let mut settled = mark(session, &settlement.marks, length).await?;
    let ids: BTreeSet<i64> = settlement.completions.iter().map(|completion| completion.token.id).collect();
    let rows = outbox::lock(session, ids.into_iter()).await?;
    let rows: HashMap<i64, &outbox::Standing> = rows.iter().map(|row| (row.id, row)).collect();
    let writes = sort_out(&settlement.completions, &rows, &mut settled)?;
    attempt::append(session, &writes.lines).await?;
    message::append(session, &writes.kept).await?;
    places::give_back(session, &writes.done).await?;
    enrollment::save(session, &writes.saved).await?;
    outbox::advance(session, &writes.moves).await?;
    outbox::wait(session, &writes.waits).await?;
    if !writes.migrated.is_empty() {
        rule_version::keep(session, writes.migrated.iter().map(|(_, version)| *version)).await?;
        outbox::migrate(session, &writes.migrated).await?;
        enrollment::migrate(session, &writes.migrated).await?;
    }
    outbox::leave(session, &writes.leaves).await?;
    outbox::delete(session, &writes.gone).await?;
    enrollment::end(session, &writes.ends).await?;
    enrollment::hold(session, &writes.holds).await?;
    note(session, &writes.notes).await?;
    let dues = writes.moves.iter().map(|m| m.2).chain(writes.waits.iter().map(|w| w.2));
    let mut earliest = dues.chain(writes.leaves.iter().filter_map(|l| l.due_at)).min();
    if !writes.enrolls.is_empty() {
        enroll(session, &writes.enrolls).await?;
        earliest = Some(i64::MIN);
    }
    if !writes.freed.is_empty() && outbox::start_queued(session, &writes.freed).await? {
        earliest = Some(i64::MIN);
    }
    Ok((settled, earliest))
}

/// In the order of their keys, so that two nodes never wait for each other.
async fn mark(session: &mut Session<'_>, marks: &[Mark], length: i64) -> Result<Settled, StoreError> {
    let mut sorted: Vec<&Mark> = marks.iter().collect();
    sorted.sort_by_key(|mark| mark.token.id);
    let marked = outbox::mark(session, &sorted, length).await?;
    let (ours, lost): (Vec<&Mark>, Vec<&Mark>) = marks.iter().partition(|mark| marked.contains(&mark.token.id));
    let refused_by = unwanted::by_readers(session, &ours).await?;
    let (unwanted, wanted): (Vec<&Mark>, Vec<&Mark>) =
        ours.into_iter().partition(|mark| refused_by.contains(&mark.token.id));
    let refused = places::take(session, &wanted).await?;
    let back = refused.iter().map(|refusal| refusal.token).chain(unwanted.iter().map(|mark| mark.token));
    outbox::unmark(session, &back.map(|token| token.id).collect::<Vec<_>>()).await?;
    // On fresh facts the unwanted ones are left out, and their sequences go on.
    Ok(Settled { lost: lost.iter().chain(&unwanted).map(|mark| mark.token).collect(), refused })
}

fn sort_out<'a>(
    completions: &'a [Completion],
    rows: &HashMap<i64, &outbox::Standing>,
    settled: &mut Settled,
) -> Result<Writes<'a>, StoreError> {
    let mut writes = Writes::default();
    for completion in completions {
        let row = rows.get(&completion.token.id).filter(|row| row.epoch == completion.token.epoch);
        match row {
            Some(row) if [state::CLAIMED, state::SENDING, state::UNKNOWN].contains(&row.state) => {
                writes.complete(row, completion)?;
            }
            _ => settled.lost.push(completion.token),
        }
    }
    let Writes { kept, silenced, .. } = &mut writes;
    kept.retain(|line| !silenced.contains(&line.keeping.delivery));
    Ok(writes)
}

impl<'a> Writes<'a> {
    fn complete(&mut self, row: &outbox::Standing, completion: &'a Completion) -> Result<(), StoreError> {
        let id = row.id;
        self.done.push(completion);
        self.lines.extend(completion.attempt.iter().map(|attempt| Line::of(id, attempt)));
        self.keep(row, completion);
        if row.erased {
            if completion.attempt.is_some() {
                self.lines.iter_mut().last().into_iter().for_each(|line| line.detail.clear());
            }
        } else if let Some((name, value)) = &completion.saved {
            self.saved.push((id, with(row.saved.as_deref(), name, value)?));
        }
        // A record that was cancelled while its message was on the way goes no further.
        if row.ended {
            self.gone.push(id);
            return Ok(());
        }
        self.notes.extend(completion.notes.iter().map(|note| (id, note.clone())));
        self.enrolls.extend(completion.enrolls.as_deref());
        let tried = completion.attempt.is_some();
        match &completion.then {
            Then::Advance { node, due_at, planned_at } => {
                self.moves.push((id, *node as i64, due_at.as_microsecond(), planned_at.as_microsecond()));
                self.migrate(id, completion);
            }
            Then::Wait { node, due_at, planned_at, since } => {
                let [due, planned, since] = [due_at, planned_at, since].map(|at| at.as_microsecond());
                self.waits.push((id, *node as i64, due, planned, since));
                self.migrate(id, completion);
            }
            Then::End { reason, at } => {
                self.gone.push(id);
                self.ends.push((id, *reason, at.as_microsecond()));
                self.freed.push((row.track, at.as_microsecond()));
            }
            Then::Again { due_at, counts } => {
                let (due_at, contender) = (Some(due_at.as_microsecond()), completion.contender);
                self.leaves.push(outbox::Leave { id, state: state::DUE, due_at, counts: *counts, contender });
            }
            Then::Park { state } => {
                self.leaves.push(outbox::Leave::at(id, delivery_code(*state), tried));
                // Who waits behind it need not wait for an operator as well.
                self.freed.push((row.track, completion.attempt.as_ref().map_or(0, |a| a.finished_at.as_microsecond())));
            }
            Then::Hold { reason } => {
                self.leaves.push(outbox::Leave::at(id, state::HELD, false));
                self.holds.push((id, reason));
            }
        }
        Ok(())
    }

    fn keep(&mut self, row: &outbox::Standing, completion: &'a Completion) {
        let (Some(keeping), Some(attempt)) = (&completion.keeping, &completion.attempt) else { return };
        if row.erased {
            self.silenced.insert(keeping.delivery);
        } else {
            let sent_at = attempt.finished_at.as_microsecond();
            self.kept.push(message::Line { enrollment: row.id, kind: attempt.kind, sent_at, keeping });
        }
    }

    fn migrate(&mut self, id: i64, completion: &'a Completion) {
        self.migrated.extend(completion.migrated.as_ref().map(|version| (id, version)));
    }
}

fn with(saved: Option<&str>, name: &str, value: &serde_json::Value) -> Result<String, StoreError> {
    let mut all: serde_json::Map<String, serde_json::Value> = saved
        .map_or_else(|| Ok(serde_json::Map::new()), serde_json::from_str)
        .map_err(|error| StoreError::Broken(format!("the answers kept for an enrollment can't be read: {error}")))?;
    all.insert(name.to_owned(), value.clone());
    Ok(serde_json::Value::Object(all).to_string())
}

/// A message that was begun this often and never came to an end may be what kills the process: an operator decides.
const MOST_BEGUN: i64 = 5;

async fn rescue(session: &mut Session<'_>, owner: &Owner, now: Timestamp) -> Result<(Rescued, usize), StoreError> {
    let orphans = outbox::orphans(session, owner, RESCUE_CHUNK).await?;
    let (mut rescued, mut gone, mut leaves) = (Rescued::default(), Vec::new(), Vec::new());
    for orphan in &orphans {
        let next = match orphan {
            outbox::Orphan { ended: true, .. } => {
                gone.push(orphan.id);
                continue;
            }
            outbox::Orphan { sending: false, .. } => {
                rescued.requeued += 1;
                DeliveryState::Due
            }
            outbox::Orphan { repeatable: true, attempts, .. } if *attempts < MOST_BEGUN => {
                rescued.repeated += 1;
                DeliveryState::Due
            }
            _ => {
                rescued.unknown += 1;
                DeliveryState::Unknown
            }
        };
        // A try that was begun counts, so that a message which kills its process is not sent for ever.
        leaves.push(outbox::Leave::at(orphan.id, delivery_code(next), orphan.sending));
    }
    let begun = orphans.iter().filter(|orphan| orphan.sending);
    let lines: Vec<_> = begun.filter_map(|orphan| Line::cut_short(orphan, now)).collect();
    attempt::append(session, &lines).await?;
    outbox::leave(session, &leaves).await?;
    outbox::delete(session, &gone).await?;
    Ok((rescued, orphans.len()))
}

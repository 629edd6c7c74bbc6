//! A state that its process can die on: at some call that writes everything stops, before or after the commit, and
//! whatever the process still wanted of the state is never answered.

use super::lives::{Fate, SETTLE, Side};
use crate::world::World;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use nudged::engine::port::{
    Adopted, Adoption, Aged, AnswerId, Answered, Answers, Asked, AttemptView, Bearing, Candidate, Claimed, Coming,
    Consents, ContactStanding, Counted, Deliveries, DeliveryFilter, DeliveryStory, DeliveryView, Dossier, DueAnswer,
    EnrollmentFilter, EnrollmentView, Episode, EpisodePage, Forgotten, Found, Gathered, Gathering, Happening,
    HeldMatch, Inbound, Inbox, Lease, Ledger, LedgerSize, MissView, NewAnswer, Objection, OpenEpisode, Outbox,
    OutboxToken, Overview, Owed, OwnWrite, Owner, Personal, Progress, Reacted, Reaction, Reactions, Register, Rescued,
    RuleState, RuleVersion, Running, Safety, Settled, Settlement, Spent, Standing, StillHeld, Store, StoreError,
    StoredGeneration, SweepCommit, SweepCount, SweepId, SweepView, TaskDraft, Then, Turn, Verdict, View, Whereabouts,
    Writes,
};
use nudged::model::{
    AddressHash, Channel, ContactId, DeliveryId, EntityName, InstanceSecret, Key, Lane, Preference, RecordId, RuleId,
    Suppression, TemplateName, Tenant, VersionHash,
};
use nudged::model::{Clock, ManualClock};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Mortal {
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    fate: Arc<Fate>,
    dead: watch::Sender<bool>,
}

impl Mortal {
    pub fn new(world: &World, fate: &Arc<Fate>) -> Arc<Self> {
        let (store, clock) = (world.store.clone(), world.clock.clone());
        Arc::new(Self { store, clock, fate: fate.clone(), dead: watch::Sender::new(false) })
    }

    async fn write<T>(&self, call: &'static str, work: impl Future<Output = T> + Send) -> T {
        let what = format!("{call} at {}", self.clock.now());
        self.write_all(call, &[what], work).await
    }

    /// What concerns one delivery is written for the first time for each of them.
    async fn write_for<T>(&self, call: &'static str, delivery: DeliveryId, work: impl Future<Output = T> + Send) -> T {
        self.write_all(call, &[format!("{call} of {delivery}")], work).await
    }

    /// Does what `work` is lazy about, unless it dies before it, and answers unless it dies after it.
    async fn write_all<T>(&self, call: &'static str, what: &[String], work: impl Future<Output = T> + Send) -> T {
        self.alive().await;
        if !self.fate.counts(call) {
            return work.await;
        }
        if self.fate.strikes(Side::Before, what) {
            self.die().await;
        }
        let done = work.await;
        self.fate.note(call);
        if self.fate.strikes(Side::After, what) {
            self.die().await;
        }
        done
    }

    /// Resolves when it has died.
    pub async fn died(&self) {
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    async fn die(&self) {
        self.dead.send_replace(true);
        std::future::pending::<()>().await;
    }

    /// The store, for as long as the process lives.
    async fn alive(&self) -> &dyn Store {
        if *self.dead.borrow() {
            std::future::pending::<()>().await;
        }
        &*self.store
    }
}

/// Each part of a settlement, by its row.
fn parts(settlement: &Settlement) -> Vec<String> {
    let marks = settlement.marks.iter().map(|mark| format!("{} is marked at {}", mark.token.id, mark.step.as_str()));
    let done = settlement.completions.iter().map(|done| {
        let then = match &done.then {
            Then::Advance { node, .. } => format!("goes on to {node}"),
            Then::Wait { node, .. } => format!("waits at {node}"),
            other => format!("{other:?}"),
        };
        format!("{} {then}", done.token.id)
    });
    marks.chain(done).collect()
}

#[async_trait]
impl Ledger for Mortal {
    async fn begin_sweep(
        &self,
        rule: &RuleId,
        lane: Lane,
        tenant: &Tenant,
        owner: &Owner,
    ) -> Result<Option<Lease>, StoreError> {
        self.write("begin_sweep", self.store.begin_sweep(rule, lane, tenant, owner)).await
    }
    async fn keep_sweep(&self, lease: &Lease) -> Result<(), StoreError> {
        self.alive().await.keep_sweep(lease).await
    }
    async fn give_up_sweeps(&self, owner: &Owner) -> Result<(), StoreError> {
        self.write("give_up_sweeps", self.store.give_up_sweeps(owner)).await
    }
    async fn note_populated(&self, lease: &Lease) -> Result<(), StoreError> {
        self.write("note_populated", self.store.note_populated(lease)).await
    }
    async fn standings(&self, lease: &Lease, candidates: &[Candidate]) -> Result<Vec<Standing>, StoreError> {
        self.alive().await.standings(lease, candidates).await
    }
    async fn under_way(&self, tracks: &[[u8; 16]]) -> Result<Vec<Running>, StoreError> {
        self.alive().await.under_way(tracks).await
    }
    async fn commit_sweep(&self, lease: &Lease, commit: &SweepCommit) -> Result<SweepCount, StoreError> {
        self.write("commit_sweep", self.store.commit_sweep(lease, commit)).await
    }
    async fn trip(&self, lease: &Lease, reason: &str) -> Result<(), StoreError> {
        self.alive().await.trip(lease, reason).await
    }
    async fn stage(&self, lease: &Lease, sweep: &SweepId, found: &Found) -> Result<SweepCount, StoreError> {
        self.write("stage", self.store.stage(lease, sweep, found)).await
    }
    async fn episodes(&self, lease: &Lease, records: &[[u8; 16]]) -> Result<Vec<Option<Episode>>, StoreError> {
        self.alive().await.episodes(lease, records).await
    }
    async fn open_episodes(&self, lease: &Lease, page: &EpisodePage) -> Result<Vec<OpenEpisode>, StoreError> {
        self.alive().await.open_episodes(lease, page).await
    }
    async fn close_sweep(
        &self,
        lease: &Lease,
        sweep: &SweepId,
        verdict: &Verdict,
        progress: &Progress,
        counted: Option<Counted>,
    ) -> Result<(), StoreError> {
        self.write("close_sweep", self.store.close_sweep(lease, sweep, verdict, progress, counted)).await
    }
    async fn expand(&self, limit: usize) -> Result<usize, StoreError> {
        self.write("expand", self.store.expand(limit)).await
    }
    async fn decide_held(&self, sweep: &SweepId, release: bool, now: Timestamp) -> Result<u64, StoreError> {
        self.alive().await.decide_held(sweep, release, now).await
    }
    async fn matched_since(
        &self,
        rule: &RuleId,
        lane: Lane,
        tenant: &Tenant,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        self.alive().await.matched_since(rule, lane, tenant, since).await
    }
    async fn matched_everywhere(&self, rule: &RuleId, lane: Lane, since: Timestamp) -> Result<u64, StoreError> {
        self.alive().await.matched_everywhere(rule, lane, since).await
    }
}

#[async_trait]
impl Consents for Mortal {
    async fn preferences(&self, hashes: &[AddressHash]) -> Result<Vec<Preference>, StoreError> {
        self.alive().await.preferences(hashes).await
    }
    async fn prefer(&self, entries: &[Preference]) -> Result<u64, StoreError> {
        self.alive().await.prefer(entries).await
    }
    async fn confirm(&self, entry: &Preference, issued: Timestamp) -> Result<bool, StoreError> {
        self.alive().await.confirm(entry, issued).await
    }
    async fn newest_preferences(&self, limit: usize) -> Result<Vec<Preference>, StoreError> {
        self.alive().await.newest_preferences(limit).await
    }
}

#[async_trait]
impl Reactions for Mortal {
    async fn sent_mails(&self, mails: &[(i64, DeliveryId)]) -> Result<HashMap<DeliveryId, Timestamp>, StoreError> {
        self.alive().await.sent_mails(mails).await
    }
    async fn note_reactions(&self, reactions: &[Reaction]) -> Result<Vec<Reacted>, StoreError> {
        self.alive().await.note_reactions(reactions).await
    }
}

#[async_trait]
impl Answers for Mortal {
    async fn asked(&self, enrollment: i64, delivery: DeliveryId) -> Result<Option<Asked>, StoreError> {
        self.alive().await.asked(enrollment, delivery).await
    }
    async fn answer(&self, answer: &NewAnswer) -> Result<Answered, StoreError> {
        self.alive().await.answer(answer).await
    }
    async fn take_answers(&self, now: Timestamp, limit: usize) -> Result<Vec<DueAnswer>, StoreError> {
        self.alive().await.take_answers(now, limit).await
    }
    async fn answers_told(&self, told: &[AnswerId], now: Timestamp) -> Result<(), StoreError> {
        self.alive().await.answers_told(told, now).await
    }
    async fn put_off_answers(&self, left: &[AnswerId], now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        self.alive().await.put_off_answers(left, now, until).await
    }
}

#[async_trait]
impl Outbox for Mortal {
    async fn standings_of(
        &self,
        contacts: &[ContactId],
        since: Timestamp,
        due_by: Timestamp,
    ) -> Result<Vec<ContactStanding>, StoreError> {
        self.alive().await.standings_of(contacts, since, due_by).await
    }
    async fn spent_on(&self, day: i64) -> Result<Spent, StoreError> {
        self.alive().await.spent_on(day).await
    }
    async fn forget_sends(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.alive().await.forget_sends(before).await
    }
    async fn is_first_copy(&self, template: &TemplateName, version: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.write("is_first_copy", self.store.is_first_copy(template, version, now)).await
    }
    async fn claim(&self, owner: &Owner, now: Timestamp, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        self.write("claim", self.store.claim(owner, now, limit)).await
    }
    async fn gather(&self, of: &Gathering, now: Timestamp, limit: usize) -> Result<Gathered, StoreError> {
        self.write("gather", self.store.gather(of, now, limit)).await
    }
    async fn settle(&self, settlement: &Settlement) -> Result<Settled, StoreError> {
        self.write_all(SETTLE, &parts(settlement), self.store.settle(settlement)).await
    }
    async fn release(&self, tokens: &[OutboxToken]) -> Result<(), StoreError> {
        self.write("release", self.store.release(tokens)).await
    }
    async fn heartbeat(&self, tokens: &[OutboxToken]) -> Result<(), StoreError> {
        self.alive().await.heartbeat(tokens).await
    }
    async fn rescue(&self, owner: &Owner, now: Timestamp) -> Result<Rescued, StoreError> {
        self.write("rescue", self.store.rescue(owner, now)).await
    }
    async fn coming(&self, tracks: &[[u8; 16]], by: Timestamp) -> Result<Vec<Coming>, StoreError> {
        self.alive().await.coming(tracks, by).await
    }
    async fn lease_ends(&self) -> Result<Option<std::time::Duration>, StoreError> {
        self.alive().await.lease_ends().await
    }
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.alive().await.next_due().await
    }
    async fn suppressed(&self, hashes: &[AddressHash]) -> Result<Vec<Suppression>, StoreError> {
        self.alive().await.suppressed(hashes).await
    }
    async fn suppress(&self, entries: &[Suppression]) -> Result<u64, StoreError> {
        self.alive().await.suppress(entries).await
    }
    async fn unsuppress(&self, entries: &[(Channel, AddressHash)], now: Timestamp) -> Result<u64, StoreError> {
        self.alive().await.unsuppress(entries, now).await
    }
    async fn suppressions_after(
        &self,
        after: Option<AddressHash>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        self.alive().await.suppressions_after(after, limit).await
    }
    async fn suppressions(&self, limit: usize) -> Result<Vec<Suppression>, StoreError> {
        self.alive().await.suppressions(limit).await
    }
    async fn retry(&self, ids: &[DeliveryId], now: Timestamp) -> Result<u64, StoreError> {
        self.write("retry", self.store.retry(ids, now)).await
    }
    async fn discard(&self, ids: &[DeliveryId], now: Timestamp) -> Result<u64, StoreError> {
        self.alive().await.discard(ids, now).await
    }
    async fn add_task(&self, reference: DeliveryId, task: &TaskDraft, now: Timestamp) -> Result<bool, StoreError> {
        self.write_for("add_task", reference, self.store.add_task(reference, task, now)).await
    }
    async fn open_tasks(
        &self,
        tenant: &Tenant,
        entity: &EntityName,
        keys: &[Key],
    ) -> Result<Vec<(Key, DeliveryId)>, StoreError> {
        self.alive().await.open_tasks(tenant, entity, keys).await
    }
    async fn deliveries_of(&self, rule: &RuleId, ids: &[DeliveryId]) -> Result<HashSet<DeliveryId>, StoreError> {
        self.alive().await.deliveries_of(rule, ids).await
    }
    async fn cancel_enrollments(&self, ids: &[i64], why: &str, now: Timestamp) -> Result<u64, StoreError> {
        self.alive().await.cancel_enrollments(ids, why, now).await
    }
    async fn move_enrollments(
        &self,
        to: &RuleVersion,
        moves: &[(i64, usize)],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.alive().await.move_enrollments(to, moves, now).await
    }
    async fn pinned_versions(
        &self,
        known: &HashSet<(RuleId, VersionHash)>,
    ) -> Result<Vec<(RuleId, VersionHash, String)>, StoreError> {
        self.alive().await.pinned_versions(known).await
    }
}

#[async_trait]
impl View for Mortal {
    async fn overview(&self, now: Timestamp) -> Result<Overview, StoreError> {
        self.alive().await.overview(now).await
    }
    async fn enrollments(&self, filter: &EnrollmentFilter) -> Result<Vec<EnrollmentView>, StoreError> {
        self.alive().await.enrollments(filter).await
    }
    async fn count_enrollments(&self, filter: &EnrollmentFilter) -> Result<u64, StoreError> {
        self.alive().await.count_enrollments(filter).await
    }
    async fn timelines(&self, ids: &[i64]) -> Result<Vec<Happening>, StoreError> {
        self.alive().await.timelines(ids).await
    }
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryView>, StoreError> {
        self.alive().await.deliveries(filter).await
    }
    async fn attempts(&self, after_id: i64, limit: usize) -> Result<Vec<AttemptView>, StoreError> {
        self.alive().await.attempts(after_id, limit).await
    }
    async fn misses(&self, record: &RecordId) -> Result<Vec<MissView>, StoreError> {
        self.alive().await.misses(record).await
    }
    async fn held_sweeps(&self) -> Result<Vec<SweepView>, StoreError> {
        self.alive().await.held_sweeps().await
    }
    async fn held_matches(&self, sweep: &SweepId, after: i64, limit: usize) -> Result<Vec<HeldMatch>, StoreError> {
        self.alive().await.held_matches(sweep, after, limit).await
    }
}

#[async_trait]
impl Deliveries for Mortal {
    async fn deliveries_between(
        &self,
        first: DeliveryId,
        last: DeliveryId,
        limit: usize,
    ) -> Result<Vec<(i64, DeliveryId)>, StoreError> {
        self.alive().await.deliveries_between(first, last, limit).await
    }
    async fn place(&self, enrollment: i64) -> Result<Option<Claimed>, StoreError> {
        self.alive().await.place(enrollment).await
    }
    async fn delivery(&self, enrollment: i64, id: DeliveryId) -> Result<Option<DeliveryStory>, StoreError> {
        self.alive().await.delivery(enrollment, id).await
    }
}

#[async_trait]
impl Register for Mortal {
    fn secret(&self) -> &InstanceSecret {
        self.store.secret()
    }
    async fn adopt(&self, rules: &[Adoption], now: Timestamp) -> Result<Adopted, StoreError> {
        self.write("adopt", self.store.adopt(rules, now)).await
    }
    async fn free_held(&self, still: &[StillHeld]) -> Result<u64, StoreError> {
        self.write("free_held", self.store.free_held(still)).await
    }
    async fn rule_states(&self) -> Result<Vec<RuleState>, StoreError> {
        self.alive().await.rule_states().await
    }
    async fn set_paused(&self, rule: &RuleId, paused: bool) -> Result<bool, StoreError> {
        self.alive().await.set_paused(rule, paused).await
    }
    async fn set_left_out(&self, rule: &RuleId, lane: Lane, tenant: &Tenant, count: u64) -> Result<bool, StoreError> {
        self.write("set_left_out", self.store.set_left_out(rule, lane, tenant, count)).await
    }
    async fn save_generation(&self, generation: &StoredGeneration) -> Result<(), StoreError> {
        self.alive().await.save_generation(generation).await
    }
    async fn last_generation(&self) -> Result<Option<StoredGeneration>, StoreError> {
        self.alive().await.last_generation().await
    }
}

#[async_trait]
impl Inbox for Mortal {
    async fn accept(&self, event: &Inbound) -> Result<bool, StoreError> {
        self.alive().await.accept(event).await
    }
    async fn received(
        &self,
        name: &str,
        after: Timestamp,
        until: Timestamp,
        beyond: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Inbound)>, StoreError> {
        self.alive().await.received(name, after, until, beyond, limit).await
    }
}

#[async_trait]
impl Safety for Mortal {
    async fn bearing(&self, here: &Whereabouts) -> Result<Bearing, StoreError> {
        self.alive().await.bearing(here).await
    }
    async fn admit(&self, here: &Whereabouts) -> Result<(), StoreError> {
        self.alive().await.admit(here).await
    }
    async fn object(&self, here: &Whereabouts, objection: &Objection, now: Timestamp) -> Result<(), StoreError> {
        self.alive().await.object(here, objection, now).await
    }
    async fn objections(&self) -> Result<Vec<(Whereabouts, Objection)>, StoreError> {
        self.alive().await.objections().await
    }
    async fn confirm_objections(&self, doubtful: Option<Timestamp>) -> Result<(), StoreError> {
        self.alive().await.confirm_objections(doubtful).await
    }
    async fn reserve_sends(&self, count: u64) -> Result<Option<u64>, StoreError> {
        self.write("reserve_sends", self.store.reserve_sends(count)).await
    }
    async fn beat(&self, here: &Whereabouts) -> Result<u64, StoreError> {
        self.alive().await.beat(here).await
    }
    async fn bury(&self, dead: &[Owner]) -> Result<(), StoreError> {
        self.alive().await.bury(dead).await
    }
    async fn prune_ledger(
        &self,
        rules: &[(RuleId, SignedDuration)],
        before: Timestamp,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<(u64, Option<[u8; 16]>), StoreError> {
        self.alive().await.prune_ledger(rules, before, after, limit).await
    }
    async fn recall(&self) -> Result<u64, StoreError> {
        self.alive().await.recall().await
    }
    async fn ledger_size(&self) -> Result<LedgerSize, StoreError> {
        self.alive().await.ledger_size().await
    }
}

#[async_trait]
impl Personal for Mortal {
    async fn dossier(&self, record: &RecordId) -> Result<Dossier, StoreError> {
        self.alive().await.dossier(record).await
    }
    async fn forget(&self, record: &RecordId, now: Timestamp) -> Result<Forgotten, StoreError> {
        self.alive().await.forget(record, now).await
    }
    async fn in_flight(&self, enrollments: &[i64]) -> Result<u64, StoreError> {
        self.alive().await.in_flight(enrollments).await
    }
    async fn empty_events(&self, numbers: &[i64]) -> Result<u64, StoreError> {
        self.alive().await.empty_events(numbers).await
    }
    async fn unname(&self, hashes: &[AddressHash]) -> Result<u64, StoreError> {
        self.alive().await.unname(hashes).await
    }
    async fn prune(&self, what: Aged, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.alive().await.prune(what, before, limit).await
    }
}

#[async_trait]
impl Writes for Mortal {
    async fn intend(&self, intended: &[OwnWrite]) -> Result<u64, StoreError> {
        let delivery = intended.first().expect("something is written").delivery;
        self.write_for("intend", delivery, self.store.intend(intended)).await
    }
    async fn confirm_writes(&self, delivery: DeliveryId, written: &[OwnWrite]) -> Result<(), StoreError> {
        self.write_for("confirm_writes", delivery, self.store.confirm_writes(delivery, written)).await
    }
    async fn withdraw(&self, delivery: DeliveryId) -> Result<(), StoreError> {
        self.write_for("withdraw", delivery, self.store.withdraw(delivery)).await
    }
    async fn own_writes(
        &self,
        rule: &RuleId,
        records: &[[u8; 16]],
        since: Timestamp,
    ) -> Result<Vec<Vec<OwnWrite>>, StoreError> {
        self.alive().await.own_writes(rule, records, since).await
    }
    async fn assign(&self, turn: &Turn) -> Result<Option<String>, StoreError> {
        self.write_for("assign", turn.delivery, self.store.assign(turn)).await
    }
    async fn note_pool(&self, pool: &str, low: bool, now: Timestamp) -> Result<bool, StoreError> {
        self.write("note_pool", self.store.note_pool(pool, low, now)).await
    }
    async fn take_owed(&self, now: Timestamp, limit: usize) -> Result<Vec<Owed>, StoreError> {
        self.alive().await.take_owed(now, limit).await
    }
    async fn mails(&self, deliveries: &[DeliveryId]) -> Result<Vec<Vec<RecordId>>, StoreError> {
        self.alive().await.mails(deliveries).await
    }
    async fn paid(&self, owed: &[Owed], now: Timestamp) -> Result<(), StoreError> {
        self.alive().await.paid(owed, now).await
    }
    async fn owe_later(&self, owed: &[Owed], now: Timestamp, due_at: Timestamp) -> Result<(), StoreError> {
        self.alive().await.owe_later(owed, now, due_at).await
    }
}

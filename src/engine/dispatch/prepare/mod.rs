//! From claimed rows to decisions and messages: one facts statement per rule version and tenant.

mod deliver;

use self::deliver::Meeting;
pub(in crate::engine) use self::deliver::{reader, way_of};
use super::addressed::Addressed;
use super::assigned::with_assigned;
use super::decide::{Decision, Line, Situation, decide, number};
use super::gather::{self, Met, Together};
use super::moment::Moment;
use super::pipeline::Pipeline;
use super::places::{self, Places};
use super::render::kind;
use super::seeds;
use super::walk::Walked;
use super::work::{Boarded, Verdict, Work, settle_unread};
use super::{Dispatcher, enrolling};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::evaluate::{self, Answer};
use crate::engine::event::Event;
use crate::engine::held;
use crate::engine::port::{Claimed, Noted, OutboxToken, Source, SourceError, Store, Then};
use crate::engine::versions::{Standing, successor};
use crate::model::{
    AddressHash, Channel, ContactId, DeliveryId, EndReason, EntityName, Key, Lane, Outcome, Preference, RuleId,
    SkipReason, StepId, SuppressionReason, TRACKING, Tenant, Topic, VersionHash, preferences_for,
};
use crate::rule::checked::{Action, Purpose, Step, UnlessOpen};
use crate::rule::compiled::{Facts, Subject};
use crate::rule::generation::Generation;
use crate::rule::task;
use crate::rule::{CheckedRule, CompiledRule, Score};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rand::RngExt;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long rows are put off whose records all seem to be gone at once.
const EMPTIED: SignedDuration = SignedDuration::from_mins(10);
/// How long rows are put off whose facts the source refuses to tell.
const REFUSED: SignedDuration = SignedDuration::from_mins(1);

/// Rows that share a facts statement.
type Group = (RuleId, VersionHash, Tenant);

impl Dispatcher {
    /// Claims once and takes every row as far as it goes without waiting for I/O. Returns how many it claimed.
    pub(super) async fn pass(&self, pipeline: &Pipeline, patience: Option<Duration>) -> Result<usize, EngineError> {
        let generation = self.context.generation()?;
        if !self.context.gate.is_open(&self.context).await? {
            return Ok(0);
        }
        let now = self.context.clock.now();
        let limit = self.context.settings.claim;
        let claimed = self.context.store.claim(&self.context.owner, now, limit).await?;
        let count = claimed.len();
        let mut groups: HashMap<Group, Vec<Boarded>> = HashMap::new();
        for claimed in claimed {
            let group = (claimed.rule.clone(), claimed.version.clone(), claimed.record.tenant.clone());
            let ticket = self.context.flight.board(claimed.token);
            groups.entry(group).or_default().push(Boarded { claimed, ticket });
        }
        let mut batch = Batch {
            context: &self.context,
            generation: &generation,
            pipeline,
            patience,
            clogged: Vec::new(),
            versions: seeds::Versions::new(),
        };
        // What matters most takes its places first.
        let priority = |rule: &RuleId| generation.rules.get(rule).map_or(0, |rule| rule.rule.priority);
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|((rule, ..), _)| std::cmp::Reverse(priority(rule)));
        let mut groups = groups.into_iter();
        while let Some((group, rows)) = groups.next() {
            let tokens: Vec<OutboxToken> = rows.iter().map(|row| row.claimed.token).collect();
            if let Err(error) = batch.run(&group, rows).await {
                // What fails here fails before anything was sent, and so do the groups that would follow.
                let rest = groups.flat_map(|(_, rows)| rows).map(|row| row.claimed.token);
                give_back(&self.context, tokens.into_iter().chain(rest).collect()).await;
                return Err(error);
            }
        }
        Ok(count)
    }
}

/// Releases rows, with some patience: a row that isn't given back rests until its lease ends.
pub(super) async fn give_back(context: &Context, tokens: Vec<OutboxToken>) {
    if tokens.is_empty() {
        return;
    }
    let mut pause = Duration::from_millis(50);
    for _ in 0..8 {
        match context.store.release(&tokens).await {
            Ok(()) => return,
            Err(error) => context.announce(|| Event::StateFailed { reason: error.to_string() }),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// What the rate said of each message that tells of several matches.
type Slots = Mutex<HashMap<(Channel, Option<AddressHash>), Option<(Timestamp, String)>>>;

struct Batch<'a> {
    context: &'a Arc<Context>,
    generation: &'a Arc<Generation>,
    pipeline: &'a Pipeline,
    patience: Option<Duration>,
    /// Kinds whose channel was full a moment ago.
    clogged: Vec<&'static str>,
    /// Of templates, where copies go to seed addresses.
    versions: seeds::Versions,
}

/// What was asked for one group, all at once.
struct Asked {
    at: Instant,
    now: Timestamp,
    answers: Vec<Answer>,
    suppressed: HashMap<AddressHash, SuppressionReason>,
    said: Box<Said>,
    open: HashSet<Key>,
    places: Places,
    /// Of each row, whom it may write to.
    addressed: Vec<Addressed>,
}

impl Batch<'_> {
    async fn run(&mut self, (rule, version, tenant): &Group, rows: Vec<Boarded>) -> Result<(), EngineError> {
        // What is decided by rules that have just been replaced would not be looked at again by their successors.
        if !Arc::ptr_eq(self.generation, &self.context.generation()?) {
            let due_at = self.context.clock.now();
            self.finish_rows(rows, &Then::Again { due_at, counts: false }, "the rules have just changed").await;
            return Ok(());
        }
        let store = self.context.store.as_ref();
        let standing = self.context.versions.standing(store, self.generation, rule, version).await?;
        let (compiled, from) = match standing {
            Standing::Run(compiled) => (compiled, None),
            Standing::Migrate { from, to } => (to, Some(from)),
            Standing::Cancel(why) => {
                self.cancel(rows, why).await;
                return Ok(());
            }
            Standing::Hold(reason) => {
                self.hold(rows, &reason).await;
                return Ok(());
            }
        };
        let mode = successor(self.generation, rule).unwrap_or(&compiled).rule.mode;
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            match held::by_mode(mode, row.claimed.lane) {
                Some(reason) => self.hold(vec![row], reason).await,
                None => runs.push(row),
            }
        }
        let works = self.board(runs, &compiled, from.as_deref()).await;
        // Rows of an older version that another took over meet at no step of theirs.
        let whole = (rule.clone(), version.clone(), tenant.clone());
        let works = if from.is_none() { self.gathered(&whole, &compiled, works).await? } else { works };
        if works.is_empty() {
            return Ok(());
        }
        match self.ask(&compiled, tenant, &works).await {
            Ok(asked) => self.decide_all(works, &asked).await,
            Err(EngineError::Source(SourceError::Unavailable(reason))) => {
                self.source_away(works, SourceError::Unavailable(reason)).await;
            }
            Err(EngineError::Source(error @ SourceError::Refused(_))) => {
                self.refused(rule, tenant, works, &error).await;
            }
            Err(error) => {
                // Those that were claimed to meet others are known here alone.
                give_back(self.context, works.iter().map(|work| work.claimed.token).collect()).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Finds each row's node, in the newer rule by the step's id where one took over.
    async fn board(&self, rows: Vec<Boarded>, rule: &Arc<CompiledRule>, from: Option<&CompiledRule>) -> Vec<Work> {
        let mut works = Vec::with_capacity(rows.len());
        for Boarded { claimed, ticket } in rows {
            let node = match from {
                None => Some(claimed.node),
                Some(from) => same_step(from, rule, claimed.node),
            };
            let (rule, migrates) = (Arc::clone(rule), from.is_some());
            let work = Work { node: node.unwrap_or(claimed.node), claimed, rule, migrates, contender: None, ticket };
            if node.is_some() {
                works.push(work);
                continue;
            }
            let then = Then::End { reason: EndReason::Completed, at: self.context.clock.now() };
            let notes = from.and_then(|from| step_gone(from, work.claimed.node)).into_iter().collect();
            self.go_on(work, None, Walked { then, notes }).await;
        }
        works
    }

    /// With everything else that is due at steps where messages are sent together, or without those if not all have
    /// come there yet.
    async fn gathered(
        &self,
        group: &Group,
        rule: &Arc<CompiledRule>,
        mut works: Vec<Work>,
    ) -> Result<Vec<Work>, EngineError> {
        let places: BTreeSet<(Lane, usize)> = works
            .iter()
            .filter(|work| gather::meets(&rule.rule, work.node))
            .map(|work| (work.claimed.lane, work.node))
            .collect();
        for (lane, node) in places {
            let is_here = |work: &Work| work.claimed.lane == lane && work.node == node;
            let (here, mut others): (Vec<Work>, Vec<Work>) = works.into_iter().partition(is_here);
            let place = gather::Place {
                rule: &rule.rule,
                group,
                lane,
                node,
                held: here.iter().map(|work| work.claimed.token).collect(),
                others: others.iter().filter(|work| work.claimed.lane == lane).map(|work| work.node).collect(),
            };
            match gather::gather(self.context, place).await? {
                Met::All(more) => {
                    others.extend(here);
                    others.extend(self.board(more, rule, None).await);
                }
                Met::Coming(coming) => {
                    give_back(self.context, here.iter().map(|work| work.claimed.token).collect()).await;
                    others.extend(self.board(coming, rule, None).await);
                }
                Met::Elsewhere => {
                    // Of two that look at each other, one comes back first.
                    let wait = rand::rng().random_range(500..1_500);
                    let due_at = self.later(SignedDuration::from_millis(wait));
                    for work in here {
                        self.finish(work, None, Then::Again { due_at, counts: false }).await;
                    }
                }
            }
            works = others;
        }
        Ok(works)
    }

    async fn ask(&self, rule: &CompiledRule, tenant: &Tenant, works: &[Work]) -> Result<Asked, EngineError> {
        let (at, now) = (Instant::now(), self.context.clock.now());
        let subjects: Vec<Subject> = works.iter().map(|work| subject(rule, &work.claimed)).collect();
        let source = self.context.source.as_ref();
        let answers = evaluate::ask(source, rule, tenant, &subjects, now).await?;
        let saved = works.iter().map(|work| &work.claimed.saved);
        let answers: Vec<Answer> =
            answers.into_iter().zip(saved).map(|(answer, saved)| with_assigned(answer, saved)).collect();
        if let Some(event) = self.context.health.answered() {
            self.context.announce(|| event);
        }
        let gone = answers.iter().any(|answer| matches!(answer, Answer::Gone));
        if gone && evaluate::is_emptied(source, rule, tenant).await? {
            // Not the end of every customer.
            let entity = &rule.rule.for_each;
            return Err(SourceError::Unavailable(format!("there are no {entity} records any more")).into());
        }
        let addressed: Vec<Addressed> =
            works.iter().zip(&answers).map(|(work, answer)| self.addressed(work, answer)).collect();
        let hashes: HashSet<AddressHash> = addressed.iter().flat_map(Addressed::hashes).collect();
        let hashes: Vec<AddressHash> = hashes.into_iter().collect();
        let suppressed = self.suppressed(&hashes).await?;
        let said = said(self.context.store.as_ref(), &rule.rule, &hashes).await?;
        let open = self.open_tasks(rule, tenant, works, &answers).await?;
        let places = Places::ask(self.context, self.generation, works, &addressed, now).await?;
        Ok(Asked { at, now, answers, suppressed, said, open, places, addressed })
    }

    /// The catalog's.
    fn zone(&self) -> &'_ TimeZone {
        &self.generation.catalog.time_zone
    }

    async fn suppressed(&self, hashes: &[AddressHash]) -> Result<HashMap<AddressHash, SuppressionReason>, EngineError> {
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.context.store.suppressed(hashes).await?;
        Ok(found.into_iter().map(|entry| (entry.hash, entry.reason)).collect())
    }

    fn addressed(&self, work: &Work, answer: &Answer) -> Addressed {
        let (Answer::Facts(facts), Some(Step::Act(action))) = (answer, step_of(work)) else {
            return Addressed::default();
        };
        let (sending, secret) = (&self.context.settings.sending, self.context.store.secret());
        Addressed::of(&work.rule.rule, action, (facts, &work.claimed.record.tenant), sending, secret)
    }

    /// Records of this group with an open task, for `unless_open`.
    async fn open_tasks(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        works: &[Work],
        answers: &[Answer],
    ) -> Result<HashSet<Key>, EngineError> {
        let mut open = HashSet::new();
        for which in [UnlessOpen::Any, UnlessOpen::Same] {
            let asks = |work: &Work| {
                let task = step_of(work).and_then(Step::action).and_then(Action::task);
                task.is_some_and(|task| task.unless_open == Some(which))
            };
            let facts: Vec<&Facts> = works
                .iter()
                .zip(answers)
                .filter_map(|(work, answer)| match answer {
                    Answer::Facts(facts) if asks(work) => Some(facts.as_ref()),
                    _ => None,
                })
                .collect();
            let (source, store) = (self.context.source.as_ref(), self.context.store.as_ref());
            open.extend(open_tasks(source, store, self.generation, rule, tenant, &facts, which).await?);
        }
        Ok(open)
    }

    async fn decide_all(&mut self, works: Vec<Work>, asked: &Asked) {
        let context: &Context = self.context;
        let mut groups: gather::Groups<Meeting<'_>> = gather::Groups::new();
        // One message takes one slot of the rate, however many matches it tells of.
        let slots: Slots = Slots::default();
        for ((mut work, answer), addressed) in works.into_iter().zip(&asked.answers).zip(&asked.addressed) {
            let facts = match answer {
                Answer::Facts(facts) => Some(facts.as_ref()),
                Answer::Gone => None,
                Answer::Unreadable(error) => {
                    let reason = format!("unreadable: {}.{}: {}", error.entity, error.field, error.problem);
                    self.finish(work, None, Then::Hold { reason }).await;
                    continue;
                }
            };
            match facts.map(|facts| &facts.score) {
                Some(Score::Is(_)) => self.note_script(&work, Ok(())),
                Some(Score::Failed(error)) => self.note_script(&work, Err(error.clone())),
                Some(Score::NotAsked) | None => {}
            }
            let rule = Arc::clone(&work.rule);
            let hash = addressed.email;
            work.contender = places::contender(&work, addressed.contacts().next());
            let (sending, delivery) = (&context.settings.sending, self.delivery(&work));
            let live = work.claimed.lane == Lane::Live;
            let meets = gather::meets(&rule.rule, work.node);
            let slots = &slots;
            let pace = move |by: Channel, domain: &str| {
                if !live {
                    // What is only rehearsed takes nobody's turn.
                    return None;
                }
                let ask = || match by {
                    Channel::Sms => context.pace.ask_text(sending, delivery, asked.now),
                    Channel::Email => {
                        asked.places.spent.clone().or_else(|| context.pace.ask(sending, delivery, domain, asked.now))
                    }
                };
                if !meets {
                    return ask();
                }
                let address = if by == Channel::Sms { addressed.sms } else { addressed.email };
                let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
                slots.entry((by, address)).or_insert_with(ask).clone()
            };
            let standing =
                |contact: Option<ContactId>| contact.and_then(|contact| asked.places.standings.get(&contact));
            let suppressed = |hash: Option<AddressHash>| hash.and_then(|hash| asked.suppressed.get(&hash).copied());
            let said = |hash: Option<AddressHash>| hash.and_then(|hash| asked.said.of_topic.get(&hash));
            let phone = Line {
                suppressed: suppressed(addressed.sms),
                said: said(addressed.sms),
                contact: standing(addressed.text_contact),
            };
            let situation = Situation {
                rule: &rule.rule,
                claimed: &work.claimed,
                node: work.node,
                facts,
                now: asked.now,
                suppressed: suppressed(hash),
                said: said(hash),
                task_open: asked.open.contains(&work.claimed.record.key),
                number: phone,
                moment: Moment { sending, delivery, contact: standing(addressed.mail_contact), pace: &pace },
            };
            match decide(&situation) {
                Decision::Move { then, notes } => self.go_on(work, None, Walked { then, notes }).await,
                Decision::Refuse { outcome, then, notes } => {
                    self.note_late(&work, &outcome);
                    let verdict = self.verdict(&work, outcome);
                    self.go_on(work, Some(verdict), Walked { then, notes }).await;
                }
                Decision::Enroll { rule, walked } => self.enroll(work, rule, walked).await,
                Decision::Broken(reason) => self.finish(work, None, Then::Hold { reason }).await,
                Decision::Act { action, to, fell_back } => {
                    let Some(facts) = facts else { continue };
                    let notes = fell_back.map(|why| (work.step(), Noted::FellBack(why))).into_iter().collect();
                    let number = to.and_then(|person| number(person, sending.texts.country));
                    let together = Together::of(&rule.rule, (work.node, work.claimed.lane), action, to, number);
                    let way = way_of(&rule.rule, action);
                    let meeting = Meeting { work, way, facts, addressed: *addressed, notes };
                    match together {
                        Some(together) => groups.entry(together).or_default().push(meeting),
                        None => self.deliver(vec![meeting], asked).await,
                    }
                }
            }
        }
        for meetings in groups.into_values() {
            self.deliver(meetings, asked).await;
        }
    }

    fn note_late(&self, work: &Work, outcome: &Outcome) {
        let late = matches!(
            outcome,
            Outcome::Skipped { reason: SkipReason::Late, .. } | Outcome::Ended { reason: EndReason::Late, .. }
        );
        if late && work.claimed.lane == Lane::Live {
            self.context.lates.add(&work.claimed.rule, 1);
        }
    }

    /// Against the rule's error budget; a rule that is gone has none.
    fn note_script(&self, work: &Work, said: Result<(), String>) {
        let Claimed { rule, lane, record, match_id, .. } = &work.claimed;
        if said.is_err() {
            self.context.announce(|| Event::ScriptFailed { rule: rule.clone() });
        }
        if self.generation.rules.contains_key(rule) {
            self.context.budgets.note((rule, *lane, &record.tenant), *match_id, said, self.context.clock.now());
        }
    }

    /// A template or script that fails can be repaired by a reload, which frees the enrollment.
    async fn broken(&self, work: Work, reason: String) {
        let verdict = self.verdict(&work, Outcome::Permanent { reason: reason.clone() });
        self.finish(work, Some(verdict), Then::Hold { reason }).await;
    }

    /// Starts the record in the other rule's steps, in the transaction that completes this step.
    async fn enroll(&self, work: Work, rule: &RuleId, mut walked: Walked) {
        let (now, secret) = (self.context.clock.now(), self.context.store.secret());
        let target = self.generation.rules.get(rule).filter(|_| !self.generation.resting.contains_key(rule));
        let Some(target) = target else {
            let reason = format!("it enrolls into `{rule}`, which is not among the running rules");
            return self.finish(work, None, Then::Hold { reason }).await;
        };
        let (noted, enrolls) = enrolling::enrolling(&work, target, secret, now);
        walked.notes.insert(0, (work.step(), noted));
        let mut finished = work.conclude(self.context, None, walked);
        finished.completion.enrolls = enrolls;
        self.pipeline.finish(finished).await;
    }

    async fn source_away(&self, works: Vec<Work>, error: SourceError) {
        if let Some(event) = self.context.health.failed(&error) {
            self.context.announce(|| event);
        }
        let pause = SignedDuration::try_from(self.context.health.pause()).unwrap_or(EMPTIED);
        let due_at = self.later(pause);
        for work in works {
            self.finish(work, None, Then::Again { due_at, counts: false }).await;
        }
    }

    /// A missing column or a lost permission is repaired in the database, where no reload tells of it.
    async fn refused(&self, rule: &RuleId, tenant: &Tenant, works: Vec<Work>, error: &SourceError) {
        let (steps, reason) = (works.len(), error.to_string());
        self.context.announce(|| Event::SourceRefused { rule: rule.clone(), reason: reason.clone() });
        self.context.announce(|| Event::StepsPostponed { rule: rule.clone(), tenant: tenant.clone(), steps, reason });
        let due_at = self.later(REFUSED);
        for work in works {
            self.finish(work, None, Then::Again { due_at, counts: false }).await;
        }
    }

    async fn hold(&self, rows: Vec<Boarded>, reason: &str) {
        self.finish_rows(rows, &Then::Hold { reason: reason.to_owned() }, reason).await;
    }

    async fn cancel(&self, rows: Vec<Boarded>, why: &str) {
        let at = self.context.clock.now();
        self.finish_rows(rows, &Then::End { reason: EndReason::Cancelled, at }, why).await;
    }

    /// Settles rows whose rule isn't at hand.
    async fn finish_rows(&self, rows: Vec<Boarded>, then: &Then, detail: &str) {
        for boarded in rows {
            let finished = settle_unread(self.context, boarded, then, detail);
            self.pipeline.finish(finished).await;
        }
    }

    async fn finish(&self, work: Work, verdict: Option<Verdict>, then: Then) {
        self.go_on(work, verdict, Walked { then, notes: Vec::new() }).await;
    }

    async fn go_on(&self, work: Work, verdict: Option<Verdict>, walked: Walked) {
        self.pipeline.finish(work.conclude(self.context, verdict, walked)).await;
    }

    fn verdict(&self, work: &Work, outcome: Outcome) -> Verdict {
        let at = self.context.clock.now();
        let kind = match step_of(work) {
            Some(Step::Act(action)) => kind(action),
            _ => "step",
        };
        Verdict { delivery: self.delivery(work), kind, outcome, started_at: at, finished_at: at, took: Duration::ZERO }
    }

    fn delivery(&self, work: &Work) -> DeliveryId {
        self.context.store.secret().delivery_id(work.claimed.match_id, &work.step(), work.claimed.iteration)
    }

    fn later(&self, by: SignedDuration) -> Timestamp {
        self.context.clock.now().saturating_add(by).unwrap_or(Timestamp::MAX)
    }
}

/// What addressees said about the rule's topic, and about being tracked; only marketing has either.
#[derive(Default)]
pub(in crate::engine) struct Said {
    pub of_topic: HashMap<AddressHash, Preference>,
    pub of_tracking: HashMap<AddressHash, Preference>,
}

/// Boxed, since what is awaited with it is large.
pub(in crate::engine) async fn said(
    store: &dyn Store,
    rule: &CheckedRule,
    hashes: &[AddressHash],
) -> Result<Box<Said>, EngineError> {
    match &rule.purpose {
        Purpose::Topic(topic) if !hashes.is_empty() => {
            let said = store.preferences(hashes).await?;
            let of_topic = preferences_for(topic, said.iter().cloned());
            Ok(Box::new(Said { of_topic, of_tracking: preferences_for(&Topic::from(TRACKING), said) }))
        }
        _ => Ok(Box::default()),
    }
}

fn step_of(work: &Work) -> Option<&Step> {
    work.rule.rule.nodes.get(work.node).map(|node| &node.step)
}

fn same_step(from: &CompiledRule, to: &CompiledRule, node: usize) -> Option<usize> {
    let id = &from.rule.nodes.get(node)?.id;
    to.rule.nodes.iter().position(|node| node.id == *id)
}

pub(in crate::engine) fn subject(rule: &CompiledRule, claimed: &Claimed) -> Subject {
    let since = evaluate::since_entry(rule, claimed.occasion_at, claimed.entered_at);
    Subject { key: claimed.record.key.clone(), since: Some(since), entered: Some(claimed.entered_at) }
}

/// Which of these records have an open task: any, or one that the rule made.
pub(in crate::engine) async fn open_tasks(
    source: &dyn Source,
    store: &dyn Store,
    generation: &Generation,
    rule: &CompiledRule,
    tenant: &Tenant,
    facts: &[&Facts],
    which: UnlessOpen,
) -> Result<HashSet<Key>, EngineError> {
    if facts.is_empty() {
        return Ok(HashSet::new());
    }
    let (catalog, entity) = (&generation.catalog, &rule.rule.for_each);
    let keys: Vec<Key> = facts.iter().map(|facts| facts.key.clone()).collect();
    let Some(statement) = task::open_tasks(catalog, source.dialect(), entity, &keys) else {
        return built_in_tasks(store, rule, tenant, entity, &keys, which).await;
    };
    let mut open = Vec::new();
    let mut rows = source.rows(tenant, statement);
    while let Some(row) = rows.try_next().await? {
        let read = task::read_open_task(catalog, entity, &row);
        open.push(read.map_err(|error| SourceError::Refused(error.to_string()))?);
    }
    drop(rows);
    if which == UnlessOpen::Any {
        return Ok(open.into_iter().map(|task| task.record).collect());
    }
    let made = open.into_iter().filter_map(|task| Some((task.record, task.reference?.parse().ok()?)));
    ours(store, rule, made.collect()).await
}

async fn built_in_tasks(
    store: &dyn Store,
    rule: &CompiledRule,
    tenant: &Tenant,
    entity: &EntityName,
    keys: &[Key],
    which: UnlessOpen,
) -> Result<HashSet<Key>, EngineError> {
    let open = store.open_tasks(tenant, entity, keys).await?;
    if which == UnlessOpen::Any {
        return Ok(open.into_iter().map(|(key, _)| key).collect());
    }
    ours(store, rule, open).await
}

async fn ours(
    store: &dyn Store,
    rule: &CompiledRule,
    open: Vec<(Key, DeliveryId)>,
) -> Result<HashSet<Key>, EngineError> {
    let ids: Vec<_> = open.iter().map(|(_, id)| *id).collect();
    let ours = store.deliveries_of(&rule.rule.id, &ids).await?;
    Ok(open.into_iter().filter(|(_, id)| ours.contains(id)).map(|(key, _)| key).collect())
}

/// That the newer rule has no step of this one's id, for those who ask why a sequence has ended there.
fn step_gone(from: &CompiledRule, node: usize) -> Option<(StepId, Noted)> {
    let step = from.rule.nodes.get(node)?.id.clone();
    let told = format!(
        "its rule changed, `on_change` is `migrate`, and the newer version has no step `{step}`: that and what came after \
         it was not done"
    );
    Some((step, Noted::StepGone(told)))
}

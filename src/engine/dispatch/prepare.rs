//! From claimed rows to decisions and messages: one facts statement per rule version and tenant.

use super::assigned::with_assigned;
use super::decide::{Decision, Situation, address, addressee, decide};
use super::moment::Moment;
use super::pipeline::Pipeline;
use super::places::{self, Places};
use super::render::{Draft, kind, repeatable};
use super::seeds;
use super::walk::{Walked, Way};
use super::work::{Boarded, Parcel, Verdict, Work, settle_unread};
use super::{Dispatcher, enrolling};
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::evaluate::{self, Answer};
use crate::engine::event::Event;
use crate::engine::late_notice;
use crate::engine::port::{Claimed, OutboxToken, Source, SourceError, Store, Then};
use crate::engine::versions::Standing;
use crate::model::{
    AddressHash, Channel, ContactId, EndReason, EntityName, Key, Lane, Outcome, Preference, RuleId, SkipReason,
    SuppressionReason, TemplateName, Tenant, VersionHash, preferences_for,
};
use crate::rule::checked::{Action, Mode, Purpose, Step, Task, UnlessOpen};
use crate::rule::compiled::{Facts, PersonFacts, Subject};
use crate::rule::generation::Generation;
use crate::rule::task;
use crate::rule::{CheckedRule, CompiledRule};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long rows are put off whose records all seem to be gone at once.
const EMPTIED: SignedDuration = SignedDuration::from_mins(10);
/// How long rows are put off whose facts the source refuses to tell.
const REFUSED: SignedDuration = SignedDuration::from_mins(1);
/// How long messages are put off whose channel is full.
const FULL: SignedDuration = SignedDuration::from_secs(5);

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

struct Batch<'a> {
    context: &'a Arc<Context>,
    generation: &'a Generation,
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
    /// What the addressees said about the rule's topic.
    said: HashMap<AddressHash, Preference>,
    open: HashSet<Key>,
    places: Places,
}

impl Batch<'_> {
    async fn run(&mut self, (rule, version, tenant): &Group, rows: Vec<Boarded>) -> Result<(), EngineError> {
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
        let rows = match self.generation.rules.get(rule).map_or(&compiled, |current| current).rule.mode {
            Mode::Live => rows,
            Mode::Paused => {
                self.hold(rows, "its file says `mode: paused`").await;
                return Ok(());
            }
            // What matched in shadow reached nobody and goes on; what is live may reach somebody.
            Mode::Shadow => {
                let (live, shadow): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.claimed.lane == Lane::Live);
                self.hold(live, "its file says `mode: shadow`").await;
                shadow
            }
        };
        let works = self.board(rows, &compiled, from.as_deref()).await;
        match self.ask(&compiled, tenant, &works).await {
            Ok(asked) => self.decide_all(works, &asked).await,
            Err(EngineError::Source(SourceError::Unavailable(reason))) => {
                self.source_away(works, SourceError::Unavailable(reason)).await;
            }
            Err(EngineError::Source(error @ SourceError::Refused(_))) => {
                self.refused(rule, tenant, works, &error).await;
            }
            Err(error) => return Err(error),
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
            self.finish(work, None, then).await;
        }
        works
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
        if gone && source.rows(tenant, rule.chunk_end(None, 1)).try_next().await?.is_none() {
            // A restore, a truncated table or a lost permission: not the end of every customer.
            let entity = &rule.rule.for_each;
            return Err(SourceError::Unavailable(format!("there are no {entity} records any more")).into());
        }
        let hashes = self.address_hashes(works, &answers);
        let suppressed = self.suppressed(&hashes).await?;
        let said = said(self.context.store.as_ref(), &rule.rule, &hashes).await?;
        let open = self.open_tasks(rule, tenant, works, &answers).await?;
        let places = Places::ask(self.context, self.zone(), works, &answers, now).await?;
        Ok(Asked { at, now, answers, suppressed, said, open, places })
    }

    /// The catalog's.
    fn zone(&self) -> &'_ TimeZone {
        &self.generation.catalog.time_zone
    }

    /// Of everybody who is to get a mail.
    fn address_hashes(&self, works: &[Work], answers: &[Answer]) -> Vec<AddressHash> {
        let hashes = works.iter().zip(answers).filter_map(|(work, answer)| self.address_hash(work, answer));
        hashes.collect::<HashSet<_>>().into_iter().collect()
    }

    async fn suppressed(&self, hashes: &[AddressHash]) -> Result<HashMap<AddressHash, SuppressionReason>, EngineError> {
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.context.store.suppressed(hashes).await?;
        Ok(found.into_iter().map(|entry| (entry.hash, entry.reason)).collect())
    }

    fn address_hash(&self, work: &Work, answer: &Answer) -> Option<AddressHash> {
        let (Answer::Facts(facts), Some(Step::Act(Action::Email(email)))) = (answer, step_of(work)) else {
            return None;
        };
        let address = address(addressee(&work.rule.rule, email, facts)?)?;
        Some(self.context.store.secret().address_hash(Channel::Email, address))
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
            let asks = |work: &Work| matches!(step_of(work), Some(Step::Act(Action::Task(Task { unless_open: Some(found), .. }))) if *found == which);
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
        for (mut work, answer) in works.into_iter().zip(&asked.answers) {
            let facts = match answer {
                Answer::Facts(facts) => Some(facts.as_ref()),
                Answer::Gone => None,
                Answer::Unreadable(error) => {
                    let reason = format!("unreadable: {}.{}: {}", error.entity, error.field, error.problem);
                    self.finish(work, None, Then::Hold { reason }).await;
                    continue;
                }
            };
            let rule = Arc::clone(&work.rule);
            let hash = self.address_hash(&work, answer);
            let contact = places::contact(context, &work, answer);
            work.contender = places::contender(&work, contact);
            let (sending, delivery) = (&context.settings.sending, self.delivery(&work));
            let live = work.claimed.lane == Lane::Live;
            let pace = move |domain: &str| {
                if !live {
                    // What is only rehearsed takes nobody's turn.
                    return None;
                }
                asked.places.spent.clone().or_else(|| context.pace.ask(sending, delivery, domain, asked.now))
            };
            let standing = contact.and_then(|contact| asked.places.standings.get(&contact));
            let situation = Situation {
                rule: &rule.rule,
                claimed: &work.claimed,
                node: work.node,
                facts,
                now: asked.now,
                suppressed: hash.and_then(|hash| asked.suppressed.get(&hash).copied()),
                said: hash.and_then(|hash| asked.said.get(&hash)),
                task_open: asked.open.contains(&work.claimed.record.key),
                moment: Moment { sending, delivery, contact: standing, pace: &pace },
            };
            match decide(&situation) {
                Decision::Move { then, notes } => self.go_on(work, None, Walked { then, notes }).await,
                Decision::Refuse { outcome, then, notes } => {
                    self.tell_late(&work, &outcome);
                    let verdict = self.verdict(&work, outcome);
                    self.go_on(work, Some(verdict), Walked { then, notes }).await;
                }
                Decision::Enroll { rule, walked } => self.enroll(work, rule, walked).await,
                Decision::Broken(reason) => self.finish(work, None, Then::Hold { reason }).await,
                Decision::Act { action, to } => {
                    let Some(facts) = facts else { continue };
                    self.deliver(work, (action, to, contact), facts, asked).await;
                }
            }
        }
    }

    /// A mail to the owner must not keep the others waiting.
    fn tell_late(&self, work: &Work, outcome: &Outcome) {
        let late = matches!(
            outcome,
            Outcome::Skipped { reason: SkipReason::Late, .. } | Outcome::Ended { reason: EndReason::Late, .. }
        );
        if late && work.claimed.lane == Lane::Live {
            let (context, rule) = (Arc::clone(self.context), Arc::clone(&work.rule));
            tokio::spawn(async move { late_notice::note(&context, &rule.rule, 1).await });
        }
    }

    async fn deliver(
        &mut self,
        work: Work,
        (action, to, contact): (&Action, Option<&PersonFacts>, Option<ContactId>),
        facts: &Facts,
        asked: &Asked,
    ) {
        let delivery = self.delivery(&work);
        if work.claimed.lane == Lane::Live && needs_links(&work, action) && !self.context.settings.links.work() {
            let reason = "its mail needs a link to unsubscribe or confirm, and `web.public_url` is not set";
            return self.broken(work, reason.to_owned()).await;
        }
        let enriched = match work.rule.script.as_ref().map(|script| script.enrich(facts, asked.now)).transpose() {
            Ok(enriched) => enriched.flatten(),
            Err(error) => return self.broken(work, error.to_string()).await,
        };
        // Who writes is not pinned: a sender that changed is the one of every mail from now on.
        let current = self.generation.rules.get(&work.claimed.rule).unwrap_or(&work.rule);
        let draft = Draft {
            rule: &work.rule,
            node: work.node,
            claimed: &work.claimed,
            delivery,
            facts,
            to,
            templates: &self.generation.templates,
            sender: &self.context.settings.sender,
            written_by: current.rule.sender.as_deref(),
            links: &self.context.settings.links,
            secret: self.context.store.secret(),
            enriched: enriched.as_ref(),
            now: asked.now,
        };
        let message = match draft.render(action) {
            Ok(message) => message,
            Err(error) => return self.broken(work, error.to_string()).await,
        };
        if work.claimed.lane == Lane::Shadow {
            let verdict = self.verdict(&work, Outcome::Recorded { what: message.summary() });
            let next = work.rule.rule.nodes.get(work.node).and_then(|node| node.next);
            let walked = Way::of(&work.rule.rule, &work.claimed, &facts.zone).walk(next, asked.now);
            return self.go_on(work, Some(verdict), walked).await;
        }
        let save = action.saves().map(str::to_owned);
        let (place, template) = match action {
            Action::Email(email) => {
                let staff = work.rule.rule.purpose == Purpose::Staff || to.is_some_and(|person| person.staff);
                let sending = &self.context.settings.sending;
                (places::place(sending, contact, staff, asked.now, self.zone()), self.version_of(&email.template))
            }
            _ => (None, None),
        };
        let (kind, repeatable, zone) = (kind(action), repeatable(action, &work.rule.rule), facts.zone.clone());
        let asked = asked.at;
        self.queue(Parcel { work, delivery, kind, repeatable, place, message, template, save, zone, asked }).await;
    }

    /// `None`: nobody gets copies.
    fn version_of(&mut self, template: &TemplateName) -> Option<(TemplateName, Arc<str>)> {
        if self.context.settings.sending.seeds.is_empty() {
            return None;
        }
        let generation = self.generation;
        let version = self.versions.entry(template.clone()).or_insert_with(|| seeds::version(generation, template));
        Some((template.clone(), Arc::clone(version)))
    }

    async fn queue(&mut self, parcel: Parcel) {
        let kind = parcel.kind;
        let clogged = self.clogged.contains(&kind);
        let patience = self.patience.map(|patience| if clogged { Duration::ZERO } else { patience });
        if let Err(parcel) = self.pipeline.send(parcel, patience).await {
            if !clogged {
                self.clogged.push(kind);
            }
            let due_at = self.later(FULL);
            self.finish(parcel.work, None, Then::Again { due_at, counts: false }).await;
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

    fn delivery(&self, work: &Work) -> crate::model::DeliveryId {
        self.context.store.secret().delivery_id(work.claimed.match_id, &work.step(), work.claimed.iteration)
    }

    fn later(&self, by: SignedDuration) -> Timestamp {
        self.context.clock.now().saturating_add(by).unwrap_or(Timestamp::MAX)
    }
}

/// What people said about the rule's topic; only marketing has one.
pub(in crate::engine) async fn said(
    store: &dyn Store,
    rule: &CheckedRule,
    hashes: &[AddressHash],
) -> Result<HashMap<AddressHash, Preference>, EngineError> {
    match &rule.purpose {
        Purpose::Topic(topic) if !hashes.is_empty() => Ok(preferences_for(topic, store.preferences(hashes).await?)),
        _ => Ok(HashMap::new()),
    }
}

/// Whether a mail can't go without a page behind it.
fn needs_links(work: &Work, action: &Action) -> bool {
    let Action::Email(email) = action else { return false };
    email.confirms.is_some() || matches!(work.rule.rule.purpose, Purpose::Topic(_))
}

fn step_of(work: &Work) -> Option<&Step> {
    work.rule.rule.nodes.get(work.node).map(|node| &node.step)
}

fn same_step(from: &CompiledRule, to: &CompiledRule, node: usize) -> Option<usize> {
    let id = &from.rule.nodes.get(node)?.id;
    to.rule.nodes.iter().position(|node| node.id == *id)
}

fn subject(rule: &CompiledRule, claimed: &Claimed) -> Subject {
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
    let Some(statement) = task::open_tasks(catalog, source.dialect(), entity, facts) else {
        return built_in_tasks(store, rule, tenant, entity, facts, which).await;
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
    facts: &[&Facts],
    which: UnlessOpen,
) -> Result<HashSet<Key>, EngineError> {
    let keys: Vec<Key> = facts.iter().map(|facts| facts.key.clone()).collect();
    let open = store.open_tasks(tenant, entity, &keys).await?;
    if which == UnlessOpen::Any {
        return Ok(open.into_iter().map(|(key, _)| key).collect());
    }
    ours(store, rule, open).await
}

async fn ours(
    store: &dyn Store,
    rule: &CompiledRule,
    open: Vec<(Key, crate::model::DeliveryId)>,
) -> Result<HashSet<Key>, EngineError> {
    let ids: Vec<_> = open.iter().map(|(_, id)| *id).collect();
    let ours = store.deliveries_of(&rule.rule.id, &ids).await?;
    Ok(open.into_iter().filter(|(_, id)| ours.contains(id)).map(|(key, _)| key).collect())
}

//! One record under one rule: when it crosses, what each term came to, what the ledger knows, which steps it
//! would take, and what would keep a message from it. For a match and for a non-match alike.

use super::edge::EdgeAnswers;
use super::horizon;
use super::ruling::Case;
use super::stuck::Stuck;
use super::term::{self, TermAnswer};
use super::verdict::Verdict;
use crate::engine::EngineError;
use crate::engine::context::{lane_of, tenants_of};
use crate::engine::cooldown::{Cooldown, too_close};
use crate::engine::dispatch::{address, number};
use crate::engine::evaluate::{self, Answer, Eligibility};
use crate::engine::held::by_mode;
use crate::engine::placing::Place;
use crate::engine::port::{
    DeliveryFilter, DeliveryView, EnrollmentFilter, EnrollmentView, Episode, Happening, RuleState, Standing, SweepView,
};
use crate::engine::preview::{Entry, Found, Preview, PreviewMessage, PreviewScope, Previewer, newest_first};
use crate::engine::sweep::{had_its_chance, occasion_data};
use crate::engine::time_order;
use crate::model::{
    Channel, EnrollmentState, Key, Lane, Occasion, RecordId, RoleName, RuleId, SuppressionReason, said,
};
use crate::rule::checked::{Backfill, Mode, Purpose, Trigger};
use crate::rule::compiled::{Crossing, Facts, PersonFacts, Subject};
use crate::rule::tide::Level;
use crate::rule::{CompiledRule, Score};
use jiff::Timestamp;
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a person is kept waiting for what time alone will bring.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that can be said.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub rule: RuleId,
    pub record: RecordId,
    pub now: Timestamp,
    pub mode: Mode,
    pub lane: Lane,
    pub purpose: Purpose,
    pub backfill: Backfill,
    /// How an occasion stands to the one it is too close to: `within the cooldown of`.
    pub closeness: &'static str,
    /// How the rule stands in that lane; `None`: it has not run yet.
    pub state: Option<RuleState>,
    pub record_state: RecordState,
    /// What crossed, newest first.
    pub crossings: Vec<Crossed>,
    /// What crosses next if nothing changes but the time.
    pub ahead: Option<Crossed>,
    /// What the trigger itself looks at.
    pub trigger: Vec<TermAnswer>,
    /// The entity's `only`, where it leaves the record out.
    pub base: Vec<TermAnswer>,
    pub terms: Vec<TermAnswer>,
    /// What the script's `eligible` says.
    pub script: Option<Result<bool, String>>,
    /// What the script's `score` says.
    pub score: Option<Result<Decimal, String>>,
    pub recipients: Vec<Reached>,
    /// The steps that lie before it, with what would be sent or why not.
    pub steps: Vec<PreviewMessage>,
    pub steps_of: StepsOf,
    /// Its enrollments in this rule and lane, newest first.
    pub enrollments: Vec<EnrollmentView>,
    /// What became of their deliveries, by the last try of each, oldest first.
    pub deliveries: Vec<Delivered>,
    /// Where the newest of them stands still until somebody decides.
    pub stuck: Option<Stuck>,
    /// Sweeps of the rule that the guard holds.
    pub held: Vec<SweepView>,
    pub verdict: Verdict,
}

/// Whose steps are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepsOf {
    /// It has not matched yet, and would get them if it did.
    Match,
    /// It has, and this is for another match.
    NewMatch,
    /// Still to come in the sequence under way.
    UnderWay,
}

/// What became of a delivery of an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub enrollment: i64,
    pub last: DeliveryView,
}

impl Explanation {
    /// The newest crossing that isn't too close to another: what decides.
    #[must_use]
    pub fn deciding(&self) -> Option<&Crossed> {
        deciding(&self.crossings)
    }
}

fn deciding(crossings: &[Crossed]) -> Option<&Crossed> {
    crossings.iter().find(|crossed| !matches!(crossed.standing, Standing::TooClose { .. }))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordState {
    Present,
    Gone,
    /// There, and the entity's `only` leaves it out.
    LeftOut,
    Unreadable(String),
}

/// One crossing and what the ledger says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossed {
    pub occasion: Occasion,
    pub crossed_at: Timestamp,
    /// `60 days before`.
    pub offset: Option<String>,
    pub value: serde_json::Value,
    pub standing: Standing,
}

/// Where a role leads, and what stands between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub role: RoleName,
    pub channel: Channel,
    pub address: Option<String>,
    /// Who is there, with or without an address; `None`: nobody.
    pub person: Option<Key>,
    pub staff: bool,
    /// On the rule's topic; `None`: the catalog maps none, which counts as no.
    pub consent: Option<bool>,
    /// By the state's list or the source's tables.
    pub suppressed: Option<String>,
}

/// Explains one record under one rule.
pub async fn explain(previewer: &Previewer<'_>, rule: &RuleId, record: &RecordId) -> Result<Explanation, EngineError> {
    explain_within(previewer, rule, record, PATIENCE).await
}

/// The same, looking for what time alone will bring no longer than this.
pub async fn explain_within(
    previewer: &Previewer<'_>,
    rule: &RuleId,
    record: &RecordId,
    patience: Duration,
) -> Result<Explanation, EngineError> {
    let explainer = Explainer::new(previewer, rule, record)?;
    explainer.known_tenant()?;
    Explainer { looks_ahead: true, patience, ..explainer }.explain().await
}

/// The same without asking when a term that only waits for time becomes true, which takes many questions: for those
/// who ask about many rules at once.
pub(super) async fn explain_now(
    previewer: &Previewer<'_>,
    rule: &RuleId,
    record: &RecordId,
) -> Result<Explanation, EngineError> {
    Explainer::new(previewer, rule, record)?.explain().await
}

pub(super) struct Explainer<'a> {
    pub previewer: &'a Previewer<'a>,
    pub rule: &'a CompiledRule,
    pub record: &'a RecordId,
    /// Whether it asks when the terms come to hold.
    pub looks_ahead: bool,
    /// How long it looks for what time alone will bring.
    pub patience: Duration,
}

/// What was read of the source.
pub(super) struct Seen {
    /// Newest first.
    pub behind: Vec<Crossing>,
    pub ahead: Option<Crossing>,
    /// Its latest, by a look now; for rules whose occasions are episodes.
    pub episode: Option<Episode>,
    /// How many rows count now, for rules that count them.
    pub level: Option<Level>,
    pub answer: Answer,
    /// Why the last event that names the record says nothing of it, where one can't be read.
    pub unread: Option<String>,
    subject: Subject,
}

impl<'a> Explainer<'a> {
    pub fn new(previewer: &'a Previewer<'a>, rule: &RuleId, record: &'a RecordId) -> Result<Self, EngineError> {
        let found = previewer.generation.rules.get(rule).ok_or_else(|| EngineError::NoSuchRule(rule.clone()))?;
        if found.rule.for_each != record.entity {
            let (for_each, entity) = (found.rule.for_each.clone(), record.entity.clone());
            return Err(EngineError::OtherEntity { rule: rule.clone(), for_each, entity });
        }
        Ok(Self { looks_ahead: false, patience: PATIENCE, previewer, rule: found, record })
    }

    /// Where there are tenants, a record is one of theirs.
    pub fn known_tenant(&self) -> Result<(), EngineError> {
        let tenants = tenants_of(&self.previewer.generation.catalog);
        if tenants.contains(&self.record.tenant) {
            return Ok(());
        }
        let with = |tenant| RecordId { tenant, ..self.record.clone() }.to_string();
        let names = tenants.into_iter().map(with).collect::<Vec<_>>().join(" or ");
        Err(EngineError::OtherTenant { record: self.record.clone(), names })
    }

    async fn explain(&self) -> Result<Explanation, EngineError> {
        let (previewer, rule, now) = (self.previewer, self.rule, self.previewer.now);
        let lane = lane_of(rule).unwrap_or(Lane::Live);
        let seen = self.look().await?;
        let state = self.state(lane).await?;
        let facts = match &seen.answer {
            Answer::Facts(facts) => Some(Arc::clone(facts)),
            Answer::Gone | Answer::Unreadable(_) => None,
        };
        let eligibility = facts.as_deref().map(|facts| evaluate::eligibility(rule, facts, now));
        let (ahead, crossings) = self.standing(lane, &seen, (state.as_ref(), eligibility.as_ref())).await?;
        let enrollments = self.enrollments(lane).await?;
        let stuck = self.stuck(lane, enrollments.first()).await?;
        let held = self.held(lane).await?;
        let deliveries = self.deliveries(&enrollments).await?;
        let (source, generation) = (previewer.source, previewer.generation);
        let operands = term::operands(source, generation, rule, &self.record.tenant, &seen.subject, now).await?;
        let (judged, mut operands) = self.since_entry((facts.clone(), operands), &enrollments).await?;
        let terms = term::answers(generation, rule, judged.as_deref(), &operands);
        let about = deciding(&crossings).or(crossings.first()).or(ahead.as_ref()).map(|crossed| &crossed.occasion);
        let EdgeAnswers { trigger, mut base } = self.edge(&seen, about).await?;
        let left_out = matches!(seen.answer, Answer::Gone) && base.iter().any(|term| term.holds != Some(true));
        if !left_out {
            base.clear();
        }
        // Times of the trigger's fields are points at which its conditions may come to hold.
        operands.extend(trigger.iter().flat_map(|term| term.operands.iter().cloned()));
        let script = facts.as_deref().zip(rule.script.as_ref().filter(|script| script.has_eligible()));
        let script = script.map(|(facts, script)| script.eligible(facts, now).map_err(|error| error.to_string()));
        let scored = facts.as_deref().zip(rule.script.as_ref().filter(|script| script.has_score()));
        let score = scored.map(|(facts, script)| match &facts.score {
            Score::Is(number) => Ok(*number),
            Score::Failed(error) => Err(error.clone()),
            Score::NotAsked => script.score(facts, now).map_err(|error| error.to_string()),
        });
        let recipients = match facts.as_deref() {
            Some(facts) => self.recipients(facts).await?,
            None => Vec::new(),
        };
        let record_state = match &seen.answer {
            Answer::Facts(_) => RecordState::Present,
            Answer::Gone if left_out => RecordState::LeftOut,
            Answer::Gone => RecordState::Gone,
            Answer::Unreadable(error) => RecordState::Unreadable(error.to_string()),
        };
        let mut explanation = Explanation {
            rule: rule.rule.id.clone(),
            record: self.record.clone(),
            now,
            mode: rule.rule.mode,
            lane,
            purpose: rule.rule.purpose.clone(),
            backfill: rule.rule.backfill,
            closeness: too_close(&rule.rule),
            state,
            record_state,
            crossings,
            ahead,
            trigger,
            base,
            terms,
            script,
            score,
            recipients,
            steps: Vec::new(),
            steps_of: StepsOf::Match,
            enrollments,
            deliveries,
            stuck,
            held,
            verdict: Verdict::NeverCrossed { because: None },
        };
        if let Some(facts) = facts.as_deref() {
            (explanation.steps_of, explanation.steps) = self.before_it(&explanation, &seen, facts).await?;
        }
        let case = Case { told: &explanation, seen: &seen, eligibility, operands: &operands };
        explanation.verdict = self.verdict(&case).await?;
        Ok(explanation)
    }

    pub async fn look(&self) -> Result<Seen, EngineError> {
        let (previewer, rule, now) = (self.previewer, self.rule, self.previewer.now);
        let zone = &previewer.generation.catalog.time_zone;
        let lane = lane_of(rule).unwrap_or(Lane::Live);
        let scope = PreviewScope::Records(vec![self.record.key.clone()]);
        // What can't be read is told by the record's facts, but for events.
        let mut unread = Preview::default();
        let mut behind = previewer.crossings(rule, (&self.record.tenant, lane), &scope, &mut unread).await?;
        behind.sort_by(|a, b| newest_first(b, a));
        time_order::arrange(&rule.rule, &mut behind);
        behind.reverse();
        let outlook = previewer.outlook(rule, (&self.record.tenant, lane), &self.record.key).await?.unwrap_or_default();
        let ahead = match horizon::ahead(&rule.rule, zone, now) {
            Some(window) => self.foretold(window).await?,
            None => outlook.ahead.clone(),
        };
        let crossing = behind.first().or(ahead.as_ref());
        let subject = crossing.map_or_else(
            || Subject { key: self.record.key.clone(), since: Some(now), entered: None },
            |crossing| evaluate::subject(rule, crossing, now),
        );
        let asked = std::slice::from_ref(&subject);
        let answers = evaluate::ask_all(previewer.source, rule, &self.record.tenant, asked, now).await?;
        let answer = answers.into_iter().next().unwrap_or(Answer::Gone);
        let (episode, level) = (outlook.episode, outlook.level);
        let events = matches!(rule.rule.trigger, Trigger::Event(_));
        let unread = unread.misses.pop().filter(|_| events).map(|(_, _, problem)| problem);
        Ok(Seen { behind, ahead, episode, level, answer, unread, subject })
    }

    /// What lies ahead and what crossed, each with what the ledger says of it; and of those that the next sweep would
    /// enter, which are within the cooldown of another.
    async fn standing(
        &self,
        lane: Lane,
        seen: &Seen,
        (state, eligibility): (Option<&RuleState>, Option<&Eligibility>),
    ) -> Result<(Option<Crossed>, Vec<Crossed>), EngineError> {
        let newest_first: Vec<Crossing> = seen.ahead.iter().chain(&seen.behind).cloned().collect();
        let mut standings = self.previewer.standings(self.rule, &self.record.tenant, lane, &newest_first).await?;
        let mut cooldown = Cooldown::of(&self.rule.rule);
        for (crossing, standing) in newest_first.iter().zip(&mut standings).rev() {
            let enters = eligibility == Some(&Eligibility::Match) && self.is_open(crossing, standing, state);
            *standing = cooldown.beside(crossing, standing.clone(), enters);
        }
        let mut told = newest_first.iter().zip(standings).map(|(crossing, standing)| self.crossed(crossing, standing));
        let ahead = seen.ahead.as_ref().and_then(|_| told.next());
        Ok((ahead, told.collect()))
    }

    /// Whether a sweep still asks about it.
    fn is_open(&self, crossing: &Crossing, standing: &Standing, state: Option<&RuleState>) -> bool {
        let (rule, now, at) = (&self.rule.rule, self.previewer.now, crossing.crossed_at);
        let over = match standing {
            Standing::Known | Standing::TooClose { .. } => true,
            Standing::Missed { kind, .. } => had_its_chance(rule, *kind, at, now),
            Standing::New => false,
        };
        !over && at > self.begins(state) && !horizon::is_passed(rule, state, at, now)
    }

    fn crossed(&self, crossing: &Crossing, standing: Standing) -> Crossed {
        let data = occasion_data(&self.rule.rule, crossing);
        Crossed {
            occasion: crossing.occasion.clone(),
            crossed_at: crossing.crossed_at,
            offset: data["offset"].as_str().map(str::to_owned),
            value: crossing.value.to_json(),
            standing,
        }
    }

    async fn state(&self, lane: Lane) -> Result<Option<RuleState>, EngineError> {
        let (id, tenant) = (&self.rule.rule.id, &self.record.tenant);
        let mut states = self.previewer.store.rule_states().await?.into_iter();
        Ok(states.find(|state| state.rule == *id && state.lane == lane && state.tenant == *tenant))
    }

    async fn enrollments(&self, lane: Lane) -> Result<Vec<EnrollmentView>, EngineError> {
        let filter = EnrollmentFilter {
            rule: Some(self.rule.rule.id.clone()),
            record: Some(self.record.clone()),
            ..EnrollmentFilter::default()
        };
        let found = self.previewer.store.enrollments(&filter).await?;
        Ok(found.into_iter().filter(|enrollment| enrollment.lane == lane).collect())
    }

    async fn deliveries(&self, enrollments: &[EnrollmentView]) -> Result<Vec<Delivered>, EngineError> {
        let ids: Vec<i64> = enrollments.iter().map(|enrollment| enrollment.id).collect();
        let mut delivered: Vec<Delivered> = Vec::new();
        for happening in self.previewer.store.timelines(&ids).await? {
            let Some(tried) = self.tried(happening, enrollments) else { continue };
            delivered.retain(|known| known.last.delivery != tried.last.delivery);
            delivered.push(tried);
        }
        Ok(delivered)
    }

    /// `None`: it is no attempt.
    fn tried(&self, happening: Happening, enrollments: &[EnrollmentView]) -> Option<Delivered> {
        let Happening { enrollment, at, step, what: state, detail, attempt, .. } = happening;
        let (kind, attempts, delivery) = attempt?;
        let lane = enrollments.iter().find(|of| of.id == enrollment)?.lane;
        let (rule, record, delivery) = (self.rule.rule.id.clone(), Some(self.record.clone()), Some(delivery));
        let step = step.unwrap_or_default();
        let last = DeliveryView { delivery, rule, lane, record, step, kind, state, attempts, at, detail };
        Some(Delivered { enrollment, last })
    }

    async fn stuck(&self, lane: Lane, newest: Option<&EnrollmentView>) -> Result<Option<Stuck>, EngineError> {
        let Some(newest) = newest else { return Ok(None) };
        let Some(state) = Stuck::state_of(newest) else { return Ok(Stuck::of(newest, &[])) };
        let filter = DeliveryFilter {
            rule: Some(self.rule.rule.id.clone()),
            lane: Some(lane),
            record: Some(self.record.clone()),
            state: Some(state.to_owned()),
            limit: 1,
        };
        Ok(Stuck::of(newest, &self.previewer.store.deliveries(&filter).await?))
    }

    async fn held(&self, lane: Lane) -> Result<Vec<SweepView>, EngineError> {
        let held = self.previewer.store.held_sweeps().await?;
        Ok(held.into_iter().filter(|sweep| sweep.rule == self.rule.rule.id && sweep.lane == lane).collect())
    }

    async fn recipients(&self, facts: &Facts) -> Result<Vec<Reached>, EngineError> {
        let rule = &self.rule.rule;
        let named = rule.nodes.iter().filter_map(|node| node.step.action()?.email()?.to.as_ref());
        let roles: BTreeSet<&RoleName> = rule.to.iter().chain(named).collect();
        let mut reached = Vec::new();
        for role in roles {
            let nobody = PersonFacts::default();
            let person = facts.recipients.get(role).unwrap_or(&nobody);
            let address = address(person).map(str::to_owned);
            reached.push(self.reached(role, person, Channel::Email, address, person.suppressed.as_deref()).await?);
        }
        let texts = rule.nodes.iter().filter_map(|node| node.step.action()?.sms());
        let roles: BTreeSet<&RoleName> = texts.filter_map(|sms| sms.to.as_ref().or(rule.to.as_ref())).collect();
        let country = self.previewer.sending.and_then(|sending| sending.texts.country);
        for role in roles {
            let nobody = PersonFacts::default();
            let person = facts.recipients.get(role).unwrap_or(&nobody);
            let theirs = person.number_suppressed(country);
            reached.push(self.reached(role, person, Channel::Sms, number(person, country), theirs).await?);
        }
        Ok(reached)
    }

    async fn reached(
        &self,
        role: &RoleName,
        person: &PersonFacts,
        channel: Channel,
        address: Option<String>,
        theirs: Option<&str>,
    ) -> Result<Reached, EngineError> {
        let listed = self.listed(channel, address.as_deref()).await?.map(|reason| reason.as_str().to_owned());
        let consent = match channel {
            Channel::Email => person.email_consent,
            Channel::Sms => person.phone_consent,
        };
        let suppressed = listed.or_else(|| Some(format!("{} (in the source)", said(theirs?))));
        let (role, key, staff) = (role.clone(), person.key.clone(), person.staff);
        Ok(Reached { role, channel, address, person: key, staff, consent, suppressed })
    }

    async fn listed(&self, channel: Channel, address: Option<&str>) -> Result<Option<SuppressionReason>, EngineError> {
        let Some(address) = address else { return Ok(None) };
        let hash = self.previewer.store.secret().address_hash(channel, address);
        Ok(self.previewer.store.suppressed(&[hash]).await?.first().map(|entry| entry.reason))
    }

    /// Of the sequences under way what is still to come; else what a match would get that may still be.
    async fn before_it(
        &self,
        told: &Explanation,
        seen: &Seen,
        facts: &Facts,
    ) -> Result<(StepsOf, Vec<PreviewMessage>), EngineError> {
        let under_way = || told.enrollments.iter().filter(|enrollment| enrollment.state != EnrollmentState::Ended);
        if under_way().next().is_some() {
            let mut steps = Vec::new();
            // What comes after where one stands still isn't on its way, nor is what waits for another to end.
            let moves = |enrollment: &&EnrollmentView| {
                let stands = Stuck::of(enrollment, &[]).is_some() || by_mode(told.mode, told.lane).is_some();
                !stands && !enrollment.is_queued()
            };
            for enrollment in under_way().filter(moves) {
                steps.extend(self.still_to_come(enrollment.id).await?);
            }
            steps.sort_by_key(|step| step.due_at);
            return Ok((StepsOf::UnderWay, steps));
        }
        let of = if told.enrollments.is_empty() { StepsOf::Match } else { StepsOf::NewMatch };
        let fresh = |crossed: &&Crossed| !crossed.standing.is_spent();
        let behind = self.begins_of(told, seen).await?;
        let ahead = told.ahead.as_ref().filter(fresh).and(seen.ahead.as_ref());
        match behind.or(ahead) {
            Some(crossing) => Ok((of, self.steps(crossing, facts).await?)),
            None => Ok((of, Vec::new())),
        }
    }

    /// Of those that the next sweep takes the one whose steps begin: by `on_rematch` that need not be the newest.
    async fn begins_of<'s>(&self, told: &Explanation, seen: &'s Seen) -> Result<Option<&'s Crossing>, EngineError> {
        let (state, behind) = (told.state.as_ref(), seen.behind.iter().rev());
        let open = behind.filter(|crossing| {
            let known = told.crossings.iter().find(|known| known.occasion == crossing.occasion);
            known.is_some_and(|known| !known.standing.is_spent() && self.is_open(crossing, &known.standing, state))
        });
        let entries: Vec<(&Crossing, Entry)> = open.map(|crossing| (crossing, Entry::NextSweep)).collect();
        let places = self.previewer.places(self.rule, &self.record.tenant, &entries).await?;
        let mut newest_first = entries.into_iter().zip(places).rev();
        Ok(newest_first.find(|(_, place)| *place == Some(Place::Running)).map(|((crossing, _), _)| crossing))
    }

    /// From the crossing on, or from now if that is over. A record that doesn't match is walked as if it did,
    /// so that what stands in the way of its messages is told as well.
    async fn steps(&self, crossing: &Crossing, facts: &Facts) -> Result<Vec<PreviewMessage>, EngineError> {
        let start = crossing.crossed_at.max(self.previewer.now);
        let previewer = Previewer { now: start, ..*self.previewer };
        let matching = Facts {
            conditions: vec![Some(true); facts.conditions.len()],
            only_at_entry: vec![Some(true); facts.only_at_entry.len()],
            ..facts.clone()
        };
        let found =
            Found { record: self.record.clone(), crossing, facts: Arc::new(matching), known: true, place: None };
        Ok(previewer.messages(self.rule, &[found]).await?.pop().unwrap_or_default())
    }
}

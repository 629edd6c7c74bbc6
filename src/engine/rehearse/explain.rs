//! One record under one rule: when it crosses, what each term came to, what the ledger knows, which steps it
//! would take, and what would keep a message from it. For a match and for a non-match alike.

use super::edge::EdgeAnswers;
use super::horizon;
use super::ruling::Case;
use super::stuck::Stuck;
use super::term::{self, TermAnswer};
use super::verdict::Verdict;
use crate::engine::EngineError;
use crate::engine::context::lane_of;
use crate::engine::dispatch::{address, number};
use crate::engine::evaluate::{self, Answer};
use crate::engine::port::{DeliveryFilter, EnrollmentFilter, EnrollmentView, Episode, RuleState, Standing, SweepView};
use crate::engine::preview::{Found, Preview, PreviewMessage, PreviewScope, Previewer};
use crate::engine::sweep::occasion_data;
use crate::model::{Channel, Lane, Occasion, RecordId, RoleName, RuleId, SuppressionReason, said};
use crate::rule::checked::{Backfill, Mode, Purpose};
use crate::rule::compiled::{Crossing, Facts, PersonFacts, Reach, Subject, Window};
use crate::rule::tide::Level;
use crate::rule::{CompiledRule, Score};
use futures::TryStreamExt;
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
    /// The steps from here, were it to match; with what would be sent or why not.
    pub steps: Vec<PreviewMessage>,
    /// Its enrollments in this rule and lane, newest first.
    pub enrollments: Vec<EnrollmentView>,
    /// Where the newest of them stands still until somebody decides.
    pub stuck: Option<Stuck>,
    /// Sweeps of the rule that the guard holds.
    pub held: Vec<SweepView>,
    pub verdict: Verdict,
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

    async fn explain(&self) -> Result<Explanation, EngineError> {
        let (previewer, rule, now) = (self.previewer, self.rule, self.previewer.now);
        let lane = lane_of(rule).unwrap_or(Lane::Live);
        let seen = self.look().await?;
        let standings = previewer.standings(rule, &self.record.tenant, lane, &seen.behind).await?;
        let crossings: Vec<Crossed> =
            seen.behind.iter().zip(standings).map(|(crossing, standing)| self.crossed(crossing, standing)).collect();
        let ahead = seen.ahead.as_ref().map(|crossing| self.crossed(crossing, Standing::New));
        let state = self.state(lane).await?;
        let enrollments = self.enrollments(lane).await?;
        let stuck = self.stuck(lane, enrollments.first()).await?;
        let held = self.held(lane).await?;
        let facts = match &seen.answer {
            Answer::Facts(facts) => Some(Arc::clone(facts)),
            Answer::Gone | Answer::Unreadable(_) => None,
        };
        let (source, generation) = (previewer.source, previewer.generation);
        let mut operands = term::operands(source, generation, rule, &self.record.tenant, &seen.subject, now).await?;
        let terms = term::answers(generation, rule, facts.as_deref(), &operands);
        let EdgeAnswers { trigger, mut base } = self.edge(&seen).await?;
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
        let mut recipients = Vec::new();
        let mut steps = Vec::new();
        if let Some(facts) = facts.as_deref() {
            recipients = self.recipients(facts).await?;
            // What comes after it isn't on its way.
            if stuck.is_none()
                && let Some(crossing) = seen.behind.first().or(seen.ahead.as_ref())
            {
                steps = self.steps(crossing, facts).await?;
            }
        }
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
            steps,
            enrollments,
            stuck,
            held,
            verdict: Verdict::NeverCrossed { because: None },
        };
        let eligibility = facts.as_deref().map(|facts| evaluate::eligibility(rule, facts, now));
        let case = Case { told: &explanation, seen: &seen, eligibility, operands: &operands };
        explanation.verdict = self.verdict(&case).await?;
        Ok(explanation)
    }

    pub async fn look(&self) -> Result<Seen, EngineError> {
        let (previewer, rule, now) = (self.previewer, self.rule, self.previewer.now);
        let zone = &previewer.generation.catalog.time_zone;
        let lane = lane_of(rule).unwrap_or(Lane::Live);
        let scope = PreviewScope::Records(vec![self.record.key.clone()]);
        // What can't be read is told by the record's facts.
        let mut unread = Preview::default();
        let mut behind = previewer.crossings(rule, (&self.record.tenant, lane), &scope, &mut unread).await?;
        behind.sort_by_key(|crossing| std::cmp::Reverse(crossing.crossed_at));
        let outlook = previewer.outlook(rule, (&self.record.tenant, lane), &self.record.key).await?.unwrap_or_default();
        let ahead = match horizon::ahead(&rule.rule, zone, now) {
            Some(window) => self.crossings_in(window).await?.into_iter().min_by_key(|crossing| crossing.crossed_at),
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
        Ok(Seen { behind, ahead, episode, level, answer, subject })
    }

    async fn crossings_in(&self, window: Window) -> Result<Vec<Crossing>, EngineError> {
        let keys = std::slice::from_ref(&self.record.key);
        let mut found = Vec::new();
        for (index, statement) in self.rule.crossings(Reach::Of(window, keys)).into_iter().enumerate() {
            let mut rows = self.previewer.source.rows(&self.record.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                // What can't be read is told by the record's facts.
                found.extend(self.rule.read_crossing(index, &row, window).ok().flatten());
            }
        }
        Ok(found)
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
            reached.push(self.reached(role, person, Channel::Email, address).await?);
        }
        let texts = rule.nodes.iter().filter_map(|node| node.step.action()?.sms());
        let roles: BTreeSet<&RoleName> = texts.filter_map(|sms| sms.to.as_ref().or(rule.to.as_ref())).collect();
        let country = self.previewer.sending.and_then(|sending| sending.texts.country);
        for role in roles {
            let nobody = PersonFacts::default();
            let person = facts.recipients.get(role).unwrap_or(&nobody);
            reached.push(self.reached(role, person, Channel::Sms, number(person, country)).await?);
        }
        Ok(reached)
    }

    async fn reached(
        &self,
        role: &RoleName,
        person: &PersonFacts,
        channel: Channel,
        address: Option<String>,
    ) -> Result<Reached, EngineError> {
        let listed = self.listed(channel, address.as_deref()).await?.map(|reason| reason.as_str().to_owned());
        let (consent, theirs) = match channel {
            Channel::Email => (person.email_consent, &person.suppressed),
            Channel::Sms => (person.phone_consent, &person.phone_suppressed),
        };
        let suppressed = listed.or_else(|| Some(format!("{} (in the source)", said(theirs.as_ref()?))));
        Ok(Reached { role: role.clone(), channel, address, staff: person.staff, consent, suppressed })
    }

    async fn listed(&self, channel: Channel, address: Option<&str>) -> Result<Option<SuppressionReason>, EngineError> {
        let Some(address) = address else { return Ok(None) };
        let hash = self.previewer.store.secret().address_hash(channel, address);
        Ok(self.previewer.store.suppressed(&[hash]).await?.first().map(|entry| entry.reason))
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
        let found = Found { record: self.record.clone(), crossing, facts: Arc::new(matching), known: true };
        Ok(previewer.messages(self.rule, &[found]).await?.pop().unwrap_or_default())
    }
}

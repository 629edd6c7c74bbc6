//! The steps that matches would take, were nothing to change in between. All of a preview go together, in the order
//! of time, since those who share an address share its caps.

use super::met::{self, Sends, Shared};
use super::{PreviewMessage, Previewer};
use crate::engine::dispatch::{
    Addressed, Decision, Line, Moment, Situation, Together, Way, decide, joined, kind, meets, number, open_tasks,
    reader, said, since, way_of,
};
use crate::engine::error::EngineError;
use crate::engine::placing::Place;
use crate::engine::port::{Claimed, ContactStanding, Message, Then};
use crate::engine::settings::Sending;
use crate::engine::sweep::spread;
use crate::model::{
    AddressHash, Channel, ContactId, DeliveryId, EndReason, Outcome, Preference, RecordId, SuppressionReason,
};
use crate::rule::checked::{Action, Purpose, Step, UnlessOpen};
use crate::rule::compiled::{Crossing, Facts, PersonFacts};
use crate::rule::message::MessageRow;
use crate::rule::{CheckedRule, CompiledRule};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How often a message is looked at again that the window or a cap puts off.
const PUT_OFF: usize = 4;

/// One that matches.
pub(in crate::engine) struct Found<'c> {
    pub record: RecordId,
    pub crossing: &'c Crossing,
    pub facts: Arc<Facts>,
    /// In the ledger already, or too close to what is: what it would be sent is in nobody's way.
    pub known: bool,
    /// Where it enters; `None`: it stands by itself.
    pub place: Option<Place>,
}

/// One match on its way.
pub(super) struct Walker<'w> {
    previewer: &'w Previewer<'w>,
    pub rule: &'w CompiledRule,
    sending: &'w Sending,
    pub claimed: Claimed,
    pub facts: Arc<Facts>,
    then: Then,
    /// Looks that are left to it.
    left: usize,
    pub messages: Vec<PreviewMessage>,
    /// Those of them that it shares with other matches.
    pub shared: Vec<Shared>,
    /// By the steps so far.
    prospect: Option<Prospect>,
}

/// What a sequence comes to: whether it does anything at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prospect {
    /// It does something, now or later.
    Acts,
    /// It ends, or leaves out all that it would do: why, as attempts name it, and more.
    Nothing { reason: &'static str, detail: String },
    /// It stands still, for now or until somebody repairs it.
    Waits(String),
    /// It can't be told, and why not.
    Unknown(String),
}

impl Prospect {
    pub(in crate::engine) fn ends(reason: EndReason, detail: &str) -> Self {
        Self::Nothing { reason: reason.as_str(), detail: detail.to_owned() }
    }

    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing { .. })
    }

    /// Of a step; `None`: it is up to the next.
    fn of(decision: &Decision<'_>) -> Option<Self> {
        match decision {
            Decision::Act { .. } | Decision::Enroll { .. } => Some(Self::Acts),
            Decision::Broken(reason) => Some(Self::Waits(reason.clone())),
            Decision::Refuse { outcome: Outcome::Skipped { reason, detail }, .. } => {
                Some(Self::Nothing { reason: reason.as_str(), detail: detail.clone() })
            }
            Decision::Refuse { outcome: Outcome::Ended { reason, detail }, .. } => Some(Self::ends(*reason, detail)),
            Decision::Move { then: Then::End { reason, .. }, .. } => Some(Self::ends(*reason, "")),
            Decision::Move { .. } | Decision::Refuse { .. } => None,
        }
    }
}

/// Whom a step writes to, and what is known of them.
struct Person {
    addressed: Addressed,
    said: HashMap<AddressHash, Preference>,
    mail: Option<ContactStanding>,
    text: Option<ContactStanding>,
}

impl Previewer<'_> {
    /// Every step on the way of each.
    pub(in crate::engine) async fn messages(
        &self,
        rule: &CompiledRule,
        found: &[Found<'_>],
    ) -> Result<Vec<Vec<PreviewMessage>>, EngineError> {
        let neutral = Sending::default();
        let sending = self.sending.unwrap_or(&neutral);
        let mut walkers: Vec<Walker<'_>> = found.iter().map(|found| Walker::new(self, rule, sending, found)).collect();
        let (known, new): (Vec<usize>, Vec<usize>) = (0..found.len()).partition(|index| found[*index].known);
        let mut shared = Sends::default();
        // Those who wait for the same place come to it one after the other.
        for index in &new {
            walkers[*index].left += new.len();
        }
        let Begins { now, after } = Begins::of(found, &new);
        // Of two that are due at once, who matched first goes first.
        let mut waiting: BTreeSet<(Timestamp, usize)> =
            now.into_iter().filter_map(|index| next(&mut walkers, index, &after)).collect();
        while let Some((_, index)) = waiting.pop_first() {
            walkers[index].step(&mut shared).await?;
            waiting.extend(next(&mut walkers, index, &after));
        }
        for index in &known {
            let mut own = Sends::default();
            while walkers[*index].due().is_some() {
                walkers[*index].step(&mut own).await?;
            }
        }
        met::combine(&mut walkers, &new);
        met::combine(&mut walkers, &known);
        Ok(walkers.into_iter().map(|walker| walker.messages).collect())
    }
}

impl Previewer<'_> {
    /// Every step that is left to one under way.
    pub(in crate::engine) async fn rest_of(
        &self,
        rule: &CompiledRule,
        place: Claimed,
        facts: &Arc<Facts>,
    ) -> Result<Vec<PreviewMessage>, EngineError> {
        let neutral = Sending::default();
        let mut walker = Walker::at(self, rule, self.sending.unwrap_or(&neutral), (place, facts));
        let mut sends = Sends::default();
        while walker.due().is_some() {
            walker.step(&mut sends).await?;
        }
        Ok(walker.messages)
    }

    /// What one comes to that stands there.
    pub(in crate::engine) async fn prospect(
        &self,
        rule: &CompiledRule,
        place: Claimed,
        facts: &Arc<Facts>,
    ) -> Result<Prospect, EngineError> {
        let neutral = Sending::default();
        let mut walker = Walker::at(self, rule, self.sending.unwrap_or(&neutral), (place, facts));
        let mut sends = Sends::default();
        // What it leaves out may be followed by what it does.
        while walker.due().is_some() && !matches!(walker.prospect, Some(Prospect::Acts | Prospect::Waits(_))) {
            walker.step(&mut sends).await?;
        }
        Ok(walker.prospect.unwrap_or_else(|| Prospect::ends(EndReason::Completed, "")))
    }
}

/// Who begins the steps, and when.
#[derive(Default)]
struct Begins {
    now: Vec<usize>,
    /// By whom each waits for.
    after: HashMap<usize, usize>,
}

impl Begins {
    /// Of those that are new. Nobody knows when what waits for a sequence under way begins.
    fn of(found: &[Found<'_>], new: &[usize]) -> Self {
        let mut begins = Self::default();
        let mut last: HashMap<&RecordId, usize> = HashMap::new();
        for index in new.iter().copied() {
            let Found { record, place, .. } = &found[index];
            match place {
                None | Some(Place::Running) => begins.now.push(index),
                Some(Place::Queued) => match last.get(record) {
                    Some(before) => drop(begins.after.insert(*before, index)),
                    None => continue,
                },
                Some(Place::Nothing | Place::Replaced | Place::Ended(_)) => continue,
            }
            last.insert(record, index);
        }
        begins
    }
}

/// When this one is looked at next; or, where it is through, the one that waits for it.
fn next(walkers: &mut [Walker<'_>], mut index: usize, after: &HashMap<usize, usize>) -> Option<(Timestamp, usize)> {
    loop {
        if let Some(due) = walkers[index].due() {
            return Some((due, index));
        }
        let (at, follows) = walkers[index].ended().zip(after.get(&index).copied())?;
        walkers[follows].begin(at);
        index = follows;
    }
}

impl<'w> Walker<'w> {
    /// Where it stands.
    fn at(
        previewer: &'w Previewer<'w>,
        rule: &'w CompiledRule,
        sending: &'w Sending,
        (claimed, facts): (Claimed, &Arc<Facts>),
    ) -> Self {
        let facts = joined(Arc::clone(facts), &claimed.saved);
        let Claimed { node, due_at, planned_at, .. } = claimed;
        let then = match claimed.since {
            Some(since) => Then::Wait { node, due_at, planned_at, since },
            None => Then::Advance { node, due_at, planned_at },
        };
        let left = looks(rule);
        Self {
            previewer,
            rule,
            sending,
            claimed,
            facts,
            then,
            left,
            messages: Vec::new(),
            shared: Vec::new(),
            prospect: None,
        }
    }

    fn new(previewer: &'w Previewer<'w>, rule: &'w CompiledRule, sending: &'w Sending, found: &Found<'_>) -> Self {
        let claimed = previewer.claimed(rule, &found.record, found.crossing, 0);
        let facts = joined(Arc::clone(&found.facts), &claimed.saved);
        let (left, then) = (looks(rule), Then::End { reason: EndReason::Completed, at: previewer.now });
        let (messages, shared, prospect) = (Vec::new(), Vec::new(), None);
        let mut walker = Self { previewer, rule, sending, claimed, facts, then, left, messages, shared, prospect };
        let delay = spread(&rule.rule, found.crossing, walker.claimed.match_id);
        walker.begin(previewer.now.saturating_add(delay).unwrap_or(Timestamp::MAX));
        walker
    }

    /// Takes the first step then.
    fn begin(&mut self, at: Timestamp) {
        let first = self.rule.rule.entries.get(self.claimed.entry).and_then(|entry| entry.first);
        self.then = Way::of(&self.rule.rule, &self.claimed, &self.facts.zone).walk(first, at).then;
    }

    /// When its sequence was over; `None`: it is not, as far as anybody can tell.
    const fn ended(&self) -> Option<Timestamp> {
        if let Then::End { at, .. } = self.then { Some(at) } else { None }
    }

    /// When it is looked at next; `None`: it is through.
    fn due(&self) -> Option<Timestamp> {
        match self.then {
            Then::Advance { due_at, .. } if self.left > 0 => Some(due_at),
            // What is true now stays so, as far as anybody can tell: on to its end.
            Then::Wait { due_at, planned_at, .. } if self.left > 0 => Some(planned_at.max(due_at)),
            _ => None,
        }
    }

    /// Takes one step, or finds out until when it must wait.
    async fn step(&mut self, sends: &mut Sends) -> Result<(), EngineError> {
        let (node, due_at, planned_at, since) = match self.then {
            Then::Advance { node, due_at, planned_at } => (node, due_at, planned_at, None),
            Then::Wait { node, due_at, planned_at, since } => (node, planned_at.max(due_at), planned_at, Some(since)),
            _ => return Ok(()),
        };
        self.left = self.left.saturating_sub(1);
        self.claimed = Claimed { node, due_at, planned_at, since, ..self.claimed.clone() };
        let Some(place) = self.rule.rule.nodes.get(node) else {
            self.left = 0;
            return Ok(());
        };
        let person = self.person(sends).await?;
        let after =
            Way::of(&self.rule.rule, &self.claimed, &self.facts.zone).walk_on(place.next, planned_at, due_at).then;
        // Until somebody repairs it, nothing that follows is on its way.
        let mut stands = false;
        let mut shared = None;
        let decision = self.decide(&person).await?;
        let prospect = Prospect::of(&decision);
        let (then, shown) = match decision {
            Decision::Move { then, .. } => (then, None),
            Decision::Enroll { walked, .. } => (walked.then, None),
            Decision::Refuse { outcome, then, .. } => {
                let then = match &outcome {
                    Outcome::Postponed { until, .. } => {
                        Then::Advance { node, due_at: (*until).max(due_at), planned_at }
                    }
                    _ => then,
                };
                (then, Some((kind_of(&place.step), Err(refusal(&outcome)))))
            }
            Decision::Broken(reason) => {
                stands = true;
                (after, Some((kind_of(&place.step), Err(reason))))
            }
            Decision::Act { action, to, .. } => {
                let standing = if matches!(action, Action::Sms(_)) { &person.text } else { &person.mail };
                if let Some(standing) = standing.as_ref().filter(|_| counts(&self.rule.rule, to)) {
                    sends.count((standing.contact, node, due_at), meets(&self.rule.rule, node), self.delivery());
                }
                shared = self.shares(node, action, to);
                let rendered = self.rendered(node, action, (&[], 0));
                stands = rendered.is_err();
                (after, Some((kind(action), rendered)))
            }
        };
        self.then = then;
        if stands {
            self.left = 0;
        }
        // The first reason for doing nothing is the one to tell.
        if self.prospect.is_none() || prospect.as_ref().is_some_and(|prospect| !prospect.is_nothing()) {
            self.prospect = prospect;
        }
        self.shared.extend(shared);
        let step = place.id.clone();
        self.messages.extend(shown.map(|(kind, content)| PreviewMessage { step, kind, due_at, content }));
        Ok(())
    }

    /// What a step sends to other matches' reader as well.
    fn shares(&self, node: usize, action: &Action, to: Option<&PersonFacts>) -> Option<Shared> {
        let number = to.and_then(|person| number(person, self.sending.texts.country));
        let together = Together::of(&self.rule.rule, (node, self.claimed.lane), action, to, number)?;
        let way = way_of(&self.rule.rule, action);
        Some(Shared { together, message: self.messages.len(), way, node, due_at: self.claimed.due_at })
    }

    /// The message of a step, about these rows.
    pub fn rendered(&self, node: usize, action: &Action, rows: (&[MessageRow<'_>], usize)) -> Result<Message, String> {
        let claimed = Claimed { node, ..self.claimed.clone() };
        let to = reader(&self.rule.rule, action, &self.facts);
        self.previewer.render(self.rule, &claimed, &self.facts, action, to, rows)
    }

    async fn decide<'a>(&'a self, person: &'a Person) -> Result<Decision<'a>, EngineError> {
        let (rule, claimed) = (&self.rule.rule, &self.claimed);
        let Addressed { email, sms, .. } = person.addressed;
        let said = |hash: AddressHash| person.said.get(&hash);
        let unhurried = |_: Channel, _: &str| None;
        Ok(decide(&Situation {
            rule,
            claimed,
            node: claimed.node,
            facts: Some(&self.facts),
            now: claimed.due_at,
            suppressed: self.suppressed(email).await?,
            said: email.and_then(said),
            task_open: self.task_open().await?,
            number: Line {
                suppressed: self.suppressed(sms).await?,
                said: sms.and_then(said),
                contact: person.text.as_ref(),
            },
            moment: Moment {
                sending: self.sending,
                delivery: self.delivery(),
                contact: person.mail.as_ref(),
                pace: &unhurried,
            },
        }))
    }

    fn delivery(&self) -> DeliveryId {
        self.previewer.delivery(self.rule, &self.claimed)
    }

    /// Of who gets the message of this step, if it is one.
    async fn person(&self, sends: &Sends) -> Result<Person, EngineError> {
        let action = self.rule.rule.nodes.get(self.claimed.node).and_then(|node| node.step.action());
        let (secret, tenant) = (self.previewer.store.secret(), &self.claimed.record.tenant);
        let of = |action| Addressed::of(&self.rule.rule, action, (&*self.facts, tenant), self.sending, secret);
        let addressed = action.map_or_else(Addressed::default, of);
        let hashes: Vec<AddressHash> = addressed.hashes().collect();
        let said = said(self.previewer.store, &self.rule.rule, &hashes).await?.of_topic;
        let mail = self.contact(addressed.mail_contact, sends).await?;
        let text = self.contact(addressed.text_contact, sends).await?;
        Ok(Person { addressed, said, mail, text })
    }

    /// What the caps count for a person on a channel.
    async fn contact(&self, contact: Option<ContactId>, sends: &Sends) -> Result<Option<ContactStanding>, EngineError> {
        let (Some(contact), now) = (contact, self.claimed.due_at) else { return Ok(None) };
        let mut found = self.previewer.store.standings_of(&[contact], since(self.sending, now), now).await?.pop();
        if let Some(standing) = &mut found {
            // Nobody goes first in what is only looked at.
            standing.waiting.clear();
            standing.sends.extend(sends.before((contact, self.claimed.node, now)));
        }
        Ok(found)
    }

    async fn suppressed(&self, hash: Option<AddressHash>) -> Result<Option<SuppressionReason>, EngineError> {
        let Some(hash) = hash else { return Ok(None) };
        Ok(self.previewer.store.suppressed(&[hash]).await?.first().map(|entry| entry.reason))
    }

    async fn task_open(&self) -> Result<bool, EngineError> {
        let (previewer, rule, record) = (self.previewer, self.rule, &self.claimed.record);
        let action = rule.rule.nodes.get(self.claimed.node).and_then(|node| node.step.action());
        let which: Option<UnlessOpen> = action.and_then(Action::task).and_then(|task| task.unless_open);
        let Some(which) = which else { return Ok(false) };
        let (source, store, generation) = (previewer.source, previewer.store, previewer.generation);
        let open = open_tasks(source, store, generation, rule, &record.tenant, &[&self.facts], which).await?;
        Ok(open.contains(&record.key))
    }
}

/// Rules have no way back, so this many steps are all there can be; a wait is looked at up to three times, and a message
/// may be put off by the window, and again by the caps.
fn looks(rule: &CompiledRule) -> usize {
    PUT_OFF * rule.rule.nodes.len() + 1
}

/// Whether a mail of the rule to that person counts under the caps.
fn counts(rule: &CheckedRule, to: Option<&PersonFacts>) -> bool {
    matches!(rule.purpose, Purpose::Topic(_)) && to.is_some_and(|person| !person.staff)
}

fn kind_of(step: &Step) -> &'static str {
    match step {
        Step::Act(action) => kind(action),
        Step::Wait(_) | Step::Branch { .. } | Step::Split(_) | Step::Enroll(_) | Step::Stop => "step",
    }
}

fn refusal(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Skipped { reason, detail } => format!("skipped ({}): {detail}", reason.as_str()),
        Outcome::Ended { reason, detail } => format!("ended ({}): {detail}", reason.as_str()),
        Outcome::Postponed { until, reason } => format!("postponed until {}: {reason}", until.strftime("%F %H:%MZ")),
        other => other.as_str().to_owned(),
    }
}

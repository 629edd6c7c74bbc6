//! What a due step comes to, on facts just read. Pure: no I/O, no clock, so every rule of eligibility at
//! send can be tested by itself.
//!
//! The order is that of the design: record gone, goal, exit, `where`, a moved date end the enrollment; then
//! lateness, recipient, what the person said, consent, suppression and sunset leave out this message and let the
//! sequence go on; then window, rate and caps put it off. `docs/sending.md` has it as a table.

use super::addressed::is_staff;
use super::moment::{Moment, address_domain};
use super::overtaken::overtaken_by;
use super::render::kind;
use super::waiting;
use super::walk::{Walked, Way};
use crate::engine::evaluate::{Failing, first_failing};
use crate::engine::lateness;
use crate::engine::port::{Claimed, ContactStanding, Noted, Then};
use crate::model::{
    Channel, Country, EndReason, Outcome, Preference, RoleName, RuleId, SkipReason, StepId, SuppressionReason, e164,
    is_address, said, zone_or_default,
};
use crate::rule::checked::{Action, Email, Node, Preferred, Purpose, Sms, Step, Task, Trigger};
use crate::rule::compiled::{Facts, PersonFacts};
use crate::rule::condition::Condition;
use crate::rule::{CheckedRule, Score};
use jiff::{SignedDuration, Timestamp};

/// Everything a decision depends on.
pub struct Situation<'a, 'c> {
    pub rule: &'a CheckedRule,
    pub claimed: &'c Claimed,
    /// The claimed node; another one only where a newer rule took over.
    pub node: usize,
    /// `None`: the record is gone.
    pub facts: Option<&'a Facts>,
    pub now: Timestamp,
    /// The state's suppression list, asked for this step's address.
    pub suppressed: Option<SuppressionReason>,
    /// What the person said about the rule's topic, by a link in a mail.
    pub said: Option<&'a Preference>,
    /// `unless_open` found one.
    pub task_open: bool,
    /// The same of the number that a text message would go to.
    pub number: Line<'a>,
    /// When it may leave.
    pub moment: Moment<'c>,
}

/// What is known of an address.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line<'a> {
    pub suppressed: Option<SuppressionReason>,
    pub said: Option<&'a Preference>,
    pub contact: Option<&'a ContactStanding>,
}

#[derive(Debug, PartialEq)]
pub enum Decision<'a> {
    /// A step that sends nothing.
    Move { then: Then, notes: Vec<(StepId, Noted)> },
    /// A message that is not sent, and why; recorded as an attempt.
    Refuse { outcome: Outcome, then: Then, notes: Vec<(StepId, Noted)> },
    /// Start it in another rule's steps, and go on.
    Enroll { rule: &'a RuleId, walked: Walked },
    /// Send it. `fell_back`: why not by the channel that its reader prefers.
    Act { action: &'a Action, to: Option<&'a PersonFacts>, fell_back: Option<String> },
    /// It can't run until somebody repairs it.
    Broken(String),
}

pub fn decide<'a>(situation: &Situation<'a, '_>) -> Decision<'a> {
    let rule = situation.rule;
    let Some(node) = rule.nodes.get(situation.node) else {
        return Decision::Broken(format!("its rule version has no step {}", situation.node));
    };
    let Some(facts) = situation.facts else {
        return situation.end(EndReason::RecordGone, "the record is no longer there");
    };
    let planned = situation.claimed.planned_at;
    match &node.step {
        Step::Stop | Step::Split(_) => situation.reached(facts).unwrap_or_else(|| {
            Decision::from(situation.way(facts).walk_on(Some(situation.node), planned, situation.claimed.due_at))
        }),
        Step::Wait(wait) => waiting::decide(situation, node, wait, facts),
        Step::Branch { cases, otherwise } => {
            if let Some(error) = script_failed(facts, cases.iter().map(|case| &case.when)) {
                return Decision::Broken(error);
            }
            let holds = |case: &usize| facts.cases.get(&(situation.node, *case)).copied().flatten() == Some(true);
            let taken = (0..cases.len()).find(holds);
            let (name, first) = match taken {
                Some(case) => (cases[case].name.clone(), cases[case].first),
                None => ("otherwise".to_owned(), *otherwise),
            };
            let walked = situation.way(facts).walk_on(first.or(node.next), planned, situation.now);
            Decision::from(walked).after(node, Noted::Branch(name))
        }
        Step::Enroll(rule) => match situation.over(facts) {
            Some(Over::Ended(reason, detail)) => situation.end(reason, &detail),
            Some(Over::Unknown(error)) => Decision::Broken(error),
            None => Decision::Enroll { rule, walked: situation.way(facts).walk_on(node.next, planned, situation.now) },
        },
        Step::Act(action) => situation.act(action, facts),
    }
}

impl From<Walked> for Decision<'_> {
    fn from(Walked { then, notes }: Walked) -> Self {
        Self::Move { then, notes }
    }
}

impl Decision<'_> {
    /// With a note before those of the walk.
    pub(super) fn after(mut self, node: &Node, noted: Noted) -> Self {
        if let Self::Move { notes, .. } = &mut self {
            notes.insert(0, (node.id.clone(), noted));
        }
        self
    }
}

/// The person a message goes to, by a role of its own or the rule's.
pub fn addressee<'a>(rule: &CheckedRule, own: Option<&RoleName>, facts: &'a Facts) -> Option<&'a PersonFacts> {
    facts.recipients.get(own.or(rule.to.as_ref())?)
}

/// The phone number in its international form, if there is one that can exist.
pub fn number(person: &PersonFacts, country: Option<Country>) -> Option<String> {
    e164(person.phone.as_deref()?, country)
}

/// The address, if there is one: empty is none.
pub fn address(person: &PersonFacts) -> Option<&str> {
    person.email.as_deref().map(str::trim).filter(|address| !address.is_empty())
}

/// What another channel may help with.
const fn is_about_address(reason: SkipReason) -> bool {
    matches!(reason, SkipReason::NoAddress | SkipReason::NoConsent | SkipReason::Unsubscribed | SkipReason::Suppressed)
}

/// What ends an enrollment before a message.
enum Over {
    Ended(EndReason, String),
    /// A script failed, with its error.
    Unknown(String),
}

/// The script's error, where it failed and one of these conditions tests its score.
fn script_failed<'c>(facts: &Facts, mut conditions: impl Iterator<Item = &'c Condition>) -> Option<String> {
    let Score::Failed(error) = &facts.score else { return None };
    conditions.any(Condition::asks_score).then(|| error.clone())
}

/// Why a match that begins with a message is over before it, since that is too late by now. For those who can't ask for
/// facts, without which nothing else can be told.
pub fn begins_late(rule: &CheckedRule, claimed: &Claimed, now: Timestamp) -> Option<String> {
    let action = rule.nodes.get(claimed.node)?.step.action()?;
    overdue(rule, claimed, action, now).filter(|_| is_beginning(rule, claimed.entry, claimed.node))
}

/// Work of our own people is never too late; a code for a message that is too late would be lost.
fn overdue(rule: &CheckedRule, claimed: &Claimed, action: &Action, now: Timestamp) -> Option<String> {
    if action.is_ours() && !matches!(action, Action::Claim(_)) {
        return None;
    }
    let is_late = lateness::is_over(limit(rule, claimed), claimed.planned_at, now);
    let hours = || now.duration_since(claimed.planned_at).as_hours();
    is_late.then(|| format!("planned for {}, {} h ago", claimed.planned_at, hours()))
}

/// How late a step may be.
fn limit(rule: &CheckedRule, claimed: &Claimed) -> SignedDuration {
    let date = matches!(rule.trigger, Trigger::Date(_)).then(|| occasion_day(claimed)).flatten();
    lateness::limit(rule, claimed.entry, date)
}

/// Whether what is too late here is the whole sequence.
fn is_beginning(rule: &CheckedRule, entry: usize, node: usize) -> bool {
    lateness::is_first(rule, entry, node) && !lateness::reaches_task(rule, entry)
}

/// The day in an occasion such as `2026-12-01/-60 days`.
fn occasion_day(claimed: &Claimed) -> Option<jiff::civil::Date> {
    claimed.occasion.as_str().split('/').next()?.parse().ok()
}

impl<'a> Situation<'a, '_> {
    fn act(&self, action: &'a Action, facts: &'a Facts) -> Decision<'a> {
        if self.claimed.discarded {
            return self.skip(SkipReason::Discarded, "an operator discarded it", facts);
        }
        match self.over(facts) {
            Some(Over::Ended(reason, detail)) => return self.end(reason, &detail),
            Some(Over::Unknown(error)) => return Decision::Broken(error),
            None => {}
        }
        if let Some(later) = (!self.is_for_staff(action, facts)).then(|| overtaken_by(self, facts)).flatten() {
            return self.skip(
                SkipReason::Late,
                &format!("`{later}` is due as well, and came later in the plan"),
                facts,
            );
        }
        match action {
            Action::Preferred(preferred) => self.preferred(preferred, facts),
            one => self.one(one, facts),
        }
    }

    fn one(&self, action: &'a Action, facts: &'a Facts) -> Decision<'a> {
        if let Some(refusal) = self.too_late(action, facts) {
            return refusal;
        }
        match action {
            Action::Email(email) => self.email(action, email, facts),
            Action::Sms(sms) => self.sms(action, sms, facts),
            Action::Task(Task { unless_open: Some(_), .. }) if self.task_open => {
                self.skip(SkipReason::TaskOpen, "an open task is there already", facts)
            }
            Action::Webhook(_)
            | Action::Chat(_)
            | Action::Task(_)
            | Action::Preferred(_)
            | Action::Update(_)
            | Action::Assign(_)
            | Action::Claim(_) => Decision::Act { action, to: self.main_recipient(facts), fell_back: None },
        }
    }

    /// The channel that the reader prefers, or the next that they can be reached by.
    fn preferred(&self, preferred: &'a Preferred, facts: &'a Facts) -> Decision<'a> {
        let role = preferred.ways.iter().filter(|way| !matches!(way, Action::Task(_))).find_map(Action::role);
        let person = addressee(self.rule, role, facts);
        let wanted =
            person.and_then(|person| person.channel.as_deref()).map(str::trim).filter(|wanted| !wanted.is_empty());
        let mut ways: Vec<&'a Action> = preferred.ways.iter().collect();
        ways.sort_by_key(|way| Some(kind(way)) != wanted);
        let mut passed: Vec<String> = Vec::new();
        if let Some(other) = wanted.filter(|wanted| ways.iter().all(|way| kind(way) != *wanted)) {
            passed.push(format!("{other}: nothing is sent that way"));
        }
        let mut first = SkipReason::NoAddress;
        for (index, way) in ways.into_iter().enumerate() {
            let call = person.filter(|_| matches!(way, Action::Task(_)));
            if let Some((reason, detail)) = call.and_then(|person| self.refuses_calls(person)) {
                passed.push(format!("task: {detail}"));
                if index == 0 {
                    first = reason;
                }
                continue;
            }
            match self.one(way, facts) {
                Decision::Refuse { outcome: Outcome::Skipped { reason, detail }, .. } if is_about_address(reason) => {
                    passed.push(format!("{}: {detail}", kind(way)));
                    if index == 0 {
                        first = reason;
                    }
                }
                Decision::Act { action, to, .. } => {
                    let fell_back = (!passed.is_empty()).then(|| passed.join("; "));
                    return Decision::Act { action, to, fell_back };
                }
                other => return other,
            }
        }
        self.skip(first, &passed.join("; "), facts)
    }

    /// A task in place of a message is a call. Who said no to calls, or is on a list, gets none; where nobody knows, a
    /// colleague is asked to.
    fn refuses_calls(&self, person: &PersonFacts) -> Option<(SkipReason, String)> {
        let staff = is_staff(self.rule, Some(person));
        if let Purpose::Topic(topic) = &self.rule.purpose
            && !staff
            && person.phone_consent == Some(false)
        {
            return Some((SkipReason::NoConsent, format!("no consent to {topic} by phone")));
        }
        self.suppression(Channel::Sms, person, staff).map(|why| (SkipReason::Suppressed, why))
    }

    fn main_recipient(&self, facts: &'a Facts) -> Option<&'a PersonFacts> {
        facts.recipients.get(self.rule.to.as_ref()?)
    }

    /// Why the enrollment is over, or why that can't be told. A script that fails says nothing, so nobody is written
    /// to; once it is repaired the enrollment goes on.
    fn over(&self, facts: &Facts) -> Option<Over> {
        let rule = self.rule;
        if let Some(goal) = rule.goal.as_ref().filter(|_| facts.goal == Some(true)) {
            return Some(Over::Ended(EndReason::Goal, goal.name.clone()));
        }
        if let Some(goal) = rule.goal.as_ref().filter(|_| facts.goal_ever == Some(true)) {
            let within = goal.within.map_or_else(String::new, |within| format!(", later than {within}"));
            return Some(Over::Ended(EndReason::Exit, format!("{}{within}", goal.name)));
        }
        let exit = rule.exit_when.iter().zip(&facts.exit_when).find(|(_, holds)| **holds == Some(true));
        if let Some((term, _)) = exit {
            return Some(Over::Ended(EndReason::Exit, term.text.clone()));
        }
        match first_failing(&rule.conditions, &facts.conditions, &facts.score) {
            Some(Failing::Term(term)) => return Some(Over::Ended(EndReason::WhereFalse, term)),
            Some(Failing::Script(error)) => return Some(Over::Unknown(error)),
            None => {}
        }
        if self.date_moved(facts) {
            return Some(Over::Ended(EndReason::OccasionGone, "the date it was about has changed".to_owned()));
        }
        let ends = rule.goal.iter().map(|goal| &goal.when).chain(rule.exit_when.iter().map(|term| &term.condition));
        script_failed(facts, ends).map(Over::Unknown)
    }

    /// Its end by the goal or an exit, where it waited for nothing else.
    pub(super) fn reached(&self, facts: &Facts) -> Option<Decision<'a>> {
        match self.over(facts)? {
            Over::Ended(reason @ (EndReason::Goal | EndReason::Exit), detail) => Some(self.end(reason, &detail)),
            Over::Ended(..) | Over::Unknown(_) => None,
        }
    }

    fn date_moved(&self, facts: &Facts) -> bool {
        let Trigger::Date(date) = &self.rule.trigger else { return false };
        facts.days.get(&date.field).copied() != occasion_day(self.claimed)
    }

    /// What a message to our own people says is never yesterday's news.
    fn is_for_staff(&self, action: &Action, facts: &Facts) -> bool {
        let role = action.ways().iter().find_map(Action::role);
        is_staff(self.rule, addressee(self.rule, role, facts))
    }

    /// How late a step may be.
    pub(super) fn late(&self) -> SignedDuration {
        limit(self.rule, self.claimed)
    }

    /// A sequence whose first message is too late doesn't begin at all.
    fn too_late(&self, action: &Action, facts: &Facts) -> Option<Decision<'a>> {
        let detail = overdue(self.rule, self.claimed, action, self.now)?;
        Some(if is_beginning(self.rule, self.claimed.entry, self.node) {
            self.end(EndReason::Late, &detail)
        } else {
            self.skip(SkipReason::Late, &detail, facts)
        })
    }

    fn email(&self, action: &'a Action, email: &Email, facts: &'a Facts) -> Decision<'a> {
        let Some((person, _)) =
            addressee(self.rule, email.to.as_ref(), facts).and_then(|person| Some((person, address(person)?)))
        else {
            return self.skip(SkipReason::NoAddress, "the recipient has no address", facts);
        };
        if !address(person).is_some_and(is_address) {
            return self.skip(SkipReason::NoAddress, "the recipient's address is none that can exist", facts);
        }
        self.written(action, Channel::Email, person, facts)
    }

    fn sms(&self, action: &'a Action, sms: &Sms, facts: &'a Facts) -> Decision<'a> {
        let person = addressee(self.rule, sms.to.as_ref(), facts);
        let Some(person) = person.filter(|person| person.phone.as_deref().is_some_and(|text| !text.trim().is_empty()))
        else {
            return self.skip(SkipReason::NoAddress, "the recipient has no phone number", facts);
        };
        if number(person, self.moment.sending.texts.country).is_none() {
            return self.skip(SkipReason::NoAddress, "the recipient's phone number is none that can exist", facts);
        }
        self.written(action, Channel::Sms, person, facts)
    }

    fn line(&self, by: Channel) -> Line<'a> {
        match by {
            Channel::Email => Line { suppressed: self.suppressed, said: self.said, contact: None },
            Channel::Sms => self.number,
        }
    }

    /// Whether a message may go to a person who can be reached.
    fn written(&self, action: &'a Action, by: Channel, person: &'a PersonFacts, facts: &'a Facts) -> Decision<'a> {
        let line = self.line(by);
        let (consent, way) = match by {
            Channel::Email => (person.email_consent, "email"),
            Channel::Sms => (person.phone_consent, "phone"),
        };
        let staff = is_staff(self.rule, Some(person));
        if let Purpose::Topic(topic) = &self.rule.purpose
            && !staff
        {
            // A no said here holds, whatever the CRM says. A yes said here counts where the CRM says nothing.
            if let Some(no) = line.said.filter(|said| !said.allowed) {
                let detail = format!("unsubscribed from {topic} on {}", no.since.strftime("%F"));
                return self.skip(SkipReason::Unsubscribed, &detail, facts);
            }
            if !consent.unwrap_or(line.said.is_some()) {
                return self.skip(SkipReason::NoConsent, &format!("no consent to {topic} by {way}"), facts);
            }
        }
        if let Some(reason) = self.suppression(by, person, staff) {
            return self.skip(SkipReason::Suppressed, &reason, facts);
        }
        let counted = !staff && matches!(self.rule.purpose, Purpose::Topic(_));
        if let Some(detail) = self.moment.sunset(self.rule, facts, self.now).filter(|_| counted) {
            return self.skip(SkipReason::Sunset, &detail, facts);
        }
        if let Some((until, reason)) = self.not_yet(by, person, facts, (staff, counted)) {
            let then = Then::Again { due_at: until, counts: false };
            return Decision::Refuse { outcome: Outcome::Postponed { until, reason }, then, notes: Vec::new() };
        }
        Decision::Act { action, to: Some(person), fell_back: None }
    }

    /// Until when it has to wait, and what for. The window and the caps protect readers of topics, the rate our name
    /// with mail servers; for our own people neither matters.
    fn not_yet(
        &self,
        by: Channel,
        person: &PersonFacts,
        facts: &Facts,
        (staff, counted): (bool, bool),
    ) -> Option<(Timestamp, String)> {
        // The reader's own zone, else that of the record's main recipient or the catalog.
        let zone = || zone_or_default(person.zone.as_deref(), &facts.zone).0;
        let closed = || counted.then(|| self.moment.closed(by, self.rule, &zone(), self.now)).flatten();
        let paced = || {
            let domain = match by {
                Channel::Email => address(person).map(address_domain)?,
                Channel::Sms => "",
            };
            (!staff).then(|| (self.moment.pace)(by, domain)).flatten()
        };
        let capped = || {
            let own = self.claimed.token.id;
            let contact = if by == Channel::Sms { self.number.contact } else { self.moment.contact };
            counted.then(|| self.moment.capped((by, contact), self.rule.priority, own, self.now)).flatten()
        };
        // Asking for a slot of the rate takes it, so whoever can't go anyway doesn't ask.
        closed().or_else(capped).or_else(paced)
    }

    /// Staff only minds bounces: an address that doesn't work helps nobody.
    fn suppression(&self, by: Channel, person: &PersonFacts, staff: bool) -> Option<String> {
        let listed = match by {
            Channel::Sms => person.number_suppressed(self.moment.sending.texts.country),
            Channel::Email => person.suppressed.as_deref(),
        };
        let ours = self.line(by).suppressed.filter(|reason| reason.stops(staff));
        let theirs = || {
            let reason = listed?;
            (!staff || reason.to_ascii_lowercase().contains("bounce"))
                .then(|| format!("{} (in the source)", said(reason)))
        };
        ours.map(|reason| reason.as_str().to_owned()).or_else(theirs)
    }

    fn end(&self, reason: EndReason, detail: &str) -> Decision<'a> {
        let outcome = Outcome::Ended { reason, detail: detail.to_owned() };
        Decision::Refuse { outcome, then: Then::End { reason, at: self.now }, notes: Vec::new() }
    }

    fn skip(&self, reason: SkipReason, detail: &str, facts: &Facts) -> Decision<'a> {
        let next = self.rule.nodes.get(self.node).and_then(|node| node.next);
        let Walked { then, notes } = self.way(facts).walk_on(next, self.claimed.planned_at, self.now);
        let outcome = Outcome::Skipped { reason, detail: detail.to_owned() };
        Decision::Refuse { outcome, then, notes }
    }

    pub(super) fn way<'w>(&'w self, facts: &'w Facts) -> Way<'w> {
        Way::of(self.rule, self.claimed, &facts.zone)
    }
}

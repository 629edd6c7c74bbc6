//! From decisions to messages: each is rendered, about one match or several, and goes to its channel.

use super::{Asked, Batch};
use crate::engine::dispatch::addressed::{Addressed, is_staff};
use crate::engine::dispatch::assigned::stand_in;
use crate::engine::dispatch::decide::addressee;
use crate::engine::dispatch::moment::windows;
use crate::engine::dispatch::render::{Draft, kind, repeatable};
use crate::engine::dispatch::walk::Way;
use crate::engine::dispatch::work::{Follower, Hours, Parcel, Work};
use crate::engine::dispatch::{gather, places, seeds};
use crate::engine::port::{Message, Noted, Then};
use crate::model::{Channel, DeliveryId, Lane, Outcome, StepId, TemplateName, Tracking, zone_or_default};
use crate::rule::answer::kept_fields;
use crate::rule::checked::{Action, Purpose};
use crate::rule::compiled::{Facts, PersonFacts};
use crate::rule::message::MessageRow;
use crate::rule::{CheckedRule, CompiledRule};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long messages are put off whose channel is full.
const FULL: SignedDuration = SignedDuration::from_secs(5);

/// What a rehearsed step leaves behind: lines of the timeline, and what it keeps under which name.
type Remembered = (Vec<(StepId, Noted)>, Option<(String, Json)>);

/// A row that is to send something, perhaps with others.
pub(super) struct Meeting<'a> {
    pub(super) work: Work,
    /// Which of the ways of its step.
    pub(super) way: usize,
    pub(super) facts: &'a Facts,
    pub(super) addressed: Addressed,
    /// For the timeline, once it is sent.
    pub(super) notes: Vec<(StepId, Noted)>,
}

/// Where an action stands among the ways of the step that it is of.
pub(in crate::engine) fn way_of(rule: &CheckedRule, action: &Action) -> usize {
    let mut ways = rule.nodes.iter().filter_map(|node| node.step.action());
    ways.find_map(|step| step.ways().iter().position(|way| std::ptr::eq(way, action))).unwrap_or(0)
}

/// Whom a message is written to; of a task and what goes to other systems, whom the rule is about.
pub(in crate::engine) fn reader<'f>(rule: &CheckedRule, action: &Action, facts: &'f Facts) -> Option<&'f PersonFacts> {
    let own = match action {
        Action::Email(email) => email.to.as_ref(),
        Action::Sms(sms) => sms.to.as_ref(),
        _ => None,
    };
    addressee(rule, own, facts)
}

fn chosen(rule: &CheckedRule, node: usize, way: usize) -> Option<&Action> {
    rule.nodes.get(node)?.step.action()?.ways().get(way)
}

impl Batch<'_> {
    /// Sends one message: of the first, about all of them.
    pub(super) async fn deliver(&mut self, mut meetings: Vec<Meeting<'_>>, asked: &Asked) {
        meetings.sort_by_cached_key(|meeting| gather::turn(&meeting.work.claimed));
        let enriched = self.enriched(&mut meetings, asked.now).await;
        if meetings.is_empty() {
            return;
        }
        let rule = Arc::clone(&meetings[0].work.rule);
        let Some(action) = chosen(&rule.rule, meetings[0].work.node, meetings[0].way) else { return };
        let listed = gather::listed(action, meetings.iter().map(|meeting| meeting.facts));
        let rows: Vec<MessageRow<'_>> = listed
            .iter()
            .map(|index| MessageRow {
                facts: meetings[*index].facts,
                occasion: &meetings[*index].work.claimed.occasion_data,
                saved: &meetings[*index].work.claimed.saved,
                enriched: enriched[*index].as_ref(),
            })
            .collect();
        let more = meetings.len() - rows.len();
        let rendered = self.rendered(&meetings[0], action, (&rows, more), enriched[0].as_ref(), asked);
        let mut meetings = meetings.into_iter();
        let Some(Meeting { work, facts, addressed, notes, .. }) = meetings.next() else { return };
        let to = reader(&rule.rule, action, facts);
        let follower = |meeting: Meeting<'_>| Follower {
            delivery: self.delivery(&meeting.work),
            zone: meeting.facts.zone.clone(),
            work: meeting.work,
        };
        let followers: Vec<Follower> = meetings.map(follower).collect();
        let delivery = self.delivery(&work);
        let message = match rendered {
            Ok(message) => message,
            Err(reason) => {
                for follower in followers {
                    self.broken(follower.work, reason.clone()).await;
                }
                return self.broken(work, reason).await;
            }
        };
        if work.claimed.lane == Lane::Shadow {
            for Follower { work, zone, .. } in followers {
                self.record(work, &zone, format!("combined into {delivery}"), (Vec::new(), None), asked).await;
            }
            // Later steps find what they would, or they could not be rehearsed.
            let saved = stand_in(action, &rule, &self.generation.templates);
            return self.record(work, &facts.zone, message.addressed(), (notes, saved), asked).await;
        }
        let save = action.saves().map(str::to_owned);
        let sending = &self.context.settings.sending;
        let (place, template) = match action {
            Action::Email(email) => {
                let staff = is_staff(&rule.rule, to);
                let place = places::place(sending, addressed.mail_contact, staff, asked.now, self.zone());
                (place, self.version_of(&email.template))
            }
            Action::Sms(sms) => {
                let place = places::text_place(sending, addressed.text_contact, asked.now, self.zone());
                let copied = !sending.texts.seeds.is_empty();
                (place, copied.then(|| seeds::version_of_text(&work.rule.rule.id, &work.step(), &sms.text)))
            }
            _ => (None, None),
        };
        let hours = self.hours(action, &rule.rule, to, facts);
        let reader = addressed.reader(action, &rule.rule, to);
        let keep = self.asked(action, delivery, facts);
        let (kind, repeatable, zone) = (kind(action), repeatable(action, &work.rule.rule), facts.zone.clone());
        let asked = asked.at;
        let parcel = Parcel {
            work,
            delivery,
            kind,
            repeatable,
            reader,
            place,
            message,
            template,
            save,
            keep,
            zone,
            hours,
            asked,
            decided_by: Arc::clone(self.generation),
            notes,
            followers,
        };
        self.queue(parcel).await;
    }

    /// As they were asked for the decision: a message that waits a little may come to the end of them.
    fn hours(&self, action: &Action, rule: &CheckedRule, to: Option<&PersonFacts>, facts: &Facts) -> Option<Hours> {
        let by = match action {
            Action::Email(_) => Channel::Email,
            Action::Sms(_) => Channel::Sms,
            _ => return None,
        };
        let person = to.filter(|person| matches!(rule.purpose, Purpose::Topic(_)) && !person.staff)?;
        let windows: Vec<_> = windows(&self.context.settings.sending, by, rule).into_iter().cloned().collect();
        let zone = zone_or_default(person.zone.as_deref(), &facts.zone).0;
        (!windows.is_empty()).then_some(Hours { windows, zone })
    }

    /// What is kept of a mail that asks a survey, so that an answer can be written down without asking the source.
    fn asked(&self, action: &Action, delivery: DeliveryId, facts: &Facts) -> Option<(String, Json)> {
        let survey = action.email()?.asks.as_ref()?;
        let question = self.generation.catalog.surveys.get(survey)?;
        let fields = kept_fields(question, &facts.record);
        Some((format!("@{delivery}"), json!({"survey": survey, "fields": fields})))
    }

    /// What scripts add to each; those whose script fails are held, and the others go on.
    async fn enriched(&self, meetings: &mut Vec<Meeting<'_>>, now: Timestamp) -> Vec<Option<Json>> {
        let mut enriched = Vec::with_capacity(meetings.len());
        let mut kept = Vec::with_capacity(meetings.len());
        for meeting in meetings.drain(..) {
            let script = meeting.work.rule.script.as_ref();
            let Some(script) = script.filter(|script| script.has_enrich()) else {
                enriched.push(None);
                kept.push(meeting);
                continue;
            };
            match script.enrich(meeting.facts, now) {
                Ok(more) => {
                    self.note_script(&meeting.work, Ok(()));
                    enriched.push(more);
                    kept.push(meeting);
                }
                Err(error) => {
                    self.note_script(&meeting.work, Err(error.to_string()));
                    self.broken(meeting.work, error.to_string()).await;
                }
            }
        }
        *meetings = kept;
        enriched
    }

    fn rendered(
        &self,
        meeting: &Meeting<'_>,
        action: &Action,
        (rows, more): (&[MessageRow<'_>], usize),
        enriched: Option<&Json>,
        asked: &Asked,
    ) -> Result<Message, String> {
        let work = &meeting.work;
        if work.claimed.lane == Lane::Live && needs_links(work, action) && !self.context.settings.links.work() {
            return Err(
                "its mail needs a link to unsubscribe, confirm or answer, and `web.public_url` is not set".to_owned()
            );
        }
        // Who writes is not pinned: a sender that changed is the one of every mail from now on.
        let current = self.generation.rules.get(&work.claimed.rule).unwrap_or(&work.rule);
        let to = reader(&work.rule.rule, action, meeting.facts);
        let draft = Draft {
            rule: &work.rule,
            node: work.node,
            claimed: &work.claimed,
            delivery: self.delivery(work),
            facts: meeting.facts,
            to,
            templates: &self.generation.templates,
            catalog: &self.generation.catalog,
            sender: &self.context.settings.sender,
            written_by: current.rule.sender.as_deref(),
            links: &self.context.settings.links,
            tracks: self.tracks(meeting, current, to, asked),
            secret: self.context.store.secret(),
            enriched,
            now: asked.now,
            country: self.context.settings.sending.texts.country,
            rows,
            more,
        };
        draft.render(action).map_err(|error| error.to_string())
    }

    /// What is noted of how its mail is read: what the configuration says and the rule doesn't leave out, of marketing to
    /// somebody who agreed to that. What the person said here holds before the CRM, as it does for topics.
    fn tracks(
        &self,
        meeting: &Meeting<'_>,
        current: &CompiledRule,
        to: Option<&PersonFacts>,
        asked: &Asked,
    ) -> BTreeSet<Tracking> {
        let (work, configured) = (&meeting.work, &self.context.settings.sending.tracks);
        let Some(person) = to.filter(|person| !person.staff && !configured.is_empty()) else { return BTreeSet::new() };
        let said = meeting.addressed.email.and_then(|hash| asked.said.of_tracking.get(&hash)).map(|said| said.allowed);
        let agrees = said != Some(false) && person.tracking_consent.unwrap_or(said == Some(true));
        let marketing = matches!(work.rule.rule.purpose, Purpose::Topic(_)) && work.claimed.lane == Lane::Live;
        if !agrees || !marketing {
            return BTreeSet::new();
        }
        let wanted = |what: &&Tracking| current.rule.track.as_ref().is_none_or(|track| track.contains(what));
        configured.iter().filter(wanted).copied().collect()
    }

    /// The shadow lane's note of what would have been sent.
    async fn record(&self, work: Work, zone: &TimeZone, what: String, (notes, saved): Remembered, asked: &Asked) {
        let verdict = self.verdict(&work, Outcome::Recorded { what });
        let next = work.rule.rule.nodes.get(work.node).and_then(|node| node.next);
        let mut walked =
            Way::of(&work.rule.rule, &work.claimed, zone).walk_on(next, work.claimed.planned_at, asked.now);
        walked.notes.splice(0..0, notes);
        let mut finished = work.conclude(self.context, Some(verdict), walked);
        finished.completion.saved = saved;
        self.pipeline.finish(finished).await;
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
            for follower in parcel.followers {
                self.finish(follower.work, None, Then::Again { due_at, counts: false }).await;
            }
            self.finish(parcel.work, None, Then::Again { due_at, counts: false }).await;
        }
    }
}

/// Whether a mail can't go without a page behind it.
fn needs_links(work: &Work, action: &Action) -> bool {
    let Action::Email(email) = action else { return false };
    email.confirms.is_some() || email.asks.is_some() || matches!(work.rule.rule.purpose, Purpose::Topic(_))
}

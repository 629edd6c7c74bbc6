//! What a batch needs to know of the people it writes to, and the places its messages will need.

use super::addressed::Addressed;
use super::moment::AHEAD;
use super::rivals;
use super::work::Work;
use crate::engine::EngineError;
use crate::engine::context::Context;
use crate::engine::port::{BudgetDay, ContactStanding, Contender, Place, Spent};
use crate::engine::settings::Sending;
use crate::model::{ContactId, Lane, at_local};
use crate::rule::checked::Action;
use crate::rule::generation::Generation;
use jiff::civil::{Date, Time};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What was asked about the people of a batch.
#[derive(Default)]
pub struct Places {
    pub standings: HashMap<ContactId, ContactStanding>,
    /// The day's budget, where it is used up: until when, and why.
    pub spent: Option<(Timestamp, String)>,
}

impl Places {
    /// One question for everybody, and one for the day; none where nothing is limited.
    pub async fn ask(
        context: &Context,
        generation: &Generation,
        works: &[Work],
        addressed: &[Addressed],
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        let sending = &context.settings.sending;
        let mut places = Self::default();
        let mails = works.iter().any(|work| action(work).is_some_and(|action| action.email().is_some()));
        if mails && sending.limits.budget.is_limited() {
            let day = day_of(now, &generation.catalog.time_zone);
            places.spent = used_up(sending, context.store.spent_on(day.number).await?, day);
        }
        let contacts: HashSet<ContactId> = addressed.iter().flat_map(Addressed::contacts).collect();
        let contacts: Vec<ContactId> = contacts.into_iter().collect();
        if contacts.is_empty() {
            return Ok(places);
        }
        let due_by = now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        let found = context.store.standings_of(&contacts, since(sending, now), due_by).await?;
        places.standings = found.into_iter().map(|standing| (standing.contact, standing)).collect();
        let rows = (works, addressed);
        let coming = rivals::coming(context, generation, rows, &places.standings, (now, due_by)).await?;
        for (contact, waiting) in coming {
            places.standings.entry(contact).and_modify(|standing| standing.waiting.push(waiting));
        }
        Ok(places)
    }
}

/// How far back sends still count.
pub fn since(sending: &Sending, now: Timestamp) -> Timestamp {
    now.saturating_sub(sending.reach()).unwrap_or(Timestamp::MIN)
}

/// What others for the same person may know of this message. What is only rehearsed is in nobody's way.
pub fn contender(work: &Work, contact: Option<ContactId>) -> Option<Contender> {
    let contact = contact.filter(|_| work.claimed.lane == Lane::Live)?;
    Some(Contender { contact, priority: work.rule.rule.priority })
}

/// The place a mail needs; `None`: nothing counts it.
pub fn place(
    sending: &Sending,
    contact: Option<ContactId>,
    staff: bool,
    at: Timestamp,
    zone: &TimeZone,
) -> Option<Place> {
    let budget = sending.limits.budget.is_limited() && !staff;
    (budget || contact.is_some()).then(|| Place {
        contact,
        at,
        day: day_of(at, zone),
        limits: Arc::clone(&sending.limits),
    })
}

/// The place a text message needs: budgets are of mails.
pub fn text_place(sending: &Sending, contact: Option<ContactId>, at: Timestamp, zone: &TimeZone) -> Option<Place> {
    let contact = Some(contact?);
    Some(Place { contact, at, day: day_of(at, zone), limits: Arc::clone(&sending.texts.limits) })
}

/// The day of the budget that an instant lies in.
pub fn day_of(at: Timestamp, zone: &TimeZone) -> BudgetDay {
    let today = at.to_zoned(zone.clone()).date();
    let since = today.since(Date::constant(1970, 1, 1)).unwrap_or_default();
    let next = today.tomorrow().map_or(Timestamp::MAX, |day| at_local(day.to_datetime(Time::midnight()), zone));
    BudgetDay { number: since.get_days().into(), next }
}

fn used_up(sending: &Sending, spent: Spent, day: BudgetDay) -> Option<(Timestamp, String)> {
    let since = spent.first.map_or(0, |first| day.number - first);
    let allowed = sending.limits.budget.on_day(u64::try_from(since).unwrap_or(0));
    (spent.used >= allowed).then(|| (day.next, format!("the day's budget of {allowed} mails is used up")))
}

fn action(work: &Work) -> Option<&Action> {
    work.rule.rule.nodes.get(work.node)?.step.action()
}

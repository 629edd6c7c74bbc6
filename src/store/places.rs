//! Places under the caps and in the daily budget, taken in the transaction that marks their messages `sending`.
//!
//! Contacts are locked first, in the order of their keys, then days, in theirs: so two nodes never wait for each
//! other, and each sees what the other took.

use super::sql::Session;
use super::table::contact::{self, Send};
use crate::engine::port::{Completion, Mark, Place, Refusal, Spent, StoreError};
use crate::model::{Budget, DeliveryId, Outcome};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What was taken before, and by the marks that have been looked at.
struct Taken {
    /// By contact: each delivery with its instant.
    sends: HashMap<[u8; 16], Vec<([u8; 16], Timestamp)>>,
    /// Deliveries that hold a place already, and the day it counts on.
    held: HashMap<[u8; 16], Option<i64>>,
    days: BTreeMap<i64, Spent>,
}

/// Takes a place for each mark that needs one, in their order; those that found none come back.
pub async fn take(session: &mut Session<'_>, marks: &[&Mark]) -> Result<Vec<Refusal>, StoreError> {
    let wanted: Vec<(&Mark, &Place)> = marks.iter().filter_map(|mark| Some((*mark, mark.place.as_ref()?))).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut taken = Taken::look(session, &wanted).await?;
    let (mut refused, mut sends, mut more) = (Vec::new(), Vec::new(), BTreeMap::<i64, i64>::new());
    for (mark, place) in wanted {
        if let Err((until, reason)) = taken.place(mark, place) {
            refused.push(Refusal { token: mark.token, until, reason });
            continue;
        }
        let (delivery, counts) = (mark.delivery.0, place.limits.budget.is_limited());
        let before = taken.held.get(&delivery).copied().flatten();
        if counts && before.is_none() {
            *more.entry(place.day.number).or_default() += 1;
        }
        let day = before.or(counts.then_some(place.day.number));
        let contact = place.contact.map(|contact| contact.0);
        sends.push(Send { delivery, contact, at: place.at.as_microsecond(), day });
    }
    contact::take(session, &sends).await?;
    contact::spend(session, &more.into_iter().collect::<Vec<_>>()).await?;
    Ok(refused)
}

/// Gives back what messages had taken that definitely did not arrive, at no try of theirs.
pub async fn give_back(session: &mut Session<'_>, completions: &[&Completion]) -> Result<(), StoreError> {
    let given: Vec<([u8; 16], i64)> =
        completions.iter().filter_map(|completion| Some((undelivered(completion)?.0, completion.token.id))).collect();
    contact::give_back(session, &given).await
}

/// The message that this try did not bring to anybody.
fn undelivered(completion: &Completion) -> Option<DeliveryId> {
    let failed = completion.attempt.as_ref().filter(|attempt| {
        matches!(attempt.kind, "email" | "sms")
            && matches!(attempt.outcome, Outcome::Transient { .. } | Outcome::Permanent { .. })
    });
    failed.map(|attempt| attempt.delivery).or(completion.unsent)
}

impl Taken {
    async fn look(session: &mut Session<'_>, wanted: &[(&Mark, &Place)]) -> Result<Self, StoreError> {
        let contacts: BTreeSet<[u8; 16]> =
            wanted.iter().filter_map(|(_, place)| place.contact).map(|contact| contact.0).collect();
        let contacts: Vec<[u8; 16]> = contacts.into_iter().collect();
        contact::lock(session, &contacts).await?;
        let counted = wanted.iter().filter(|(_, place)| place.limits.budget.is_limited());
        let numbers: BTreeSet<i64> = counted.map(|(_, place)| place.day.number).collect();
        let mut days = BTreeMap::new();
        for number in numbers {
            days.insert(number, contact::lock_day(session, number).await?);
        }
        let since =
            wanted.iter().map(|(_, place)| place.at.saturating_sub(place.limits.reach())).filter_map(Result::ok);
        let since = since.min().unwrap_or(Timestamp::MIN).as_microsecond();
        let mut sends: HashMap<[u8; 16], Vec<_>> = HashMap::new();
        for (of, delivery, at) in contact::sends(session, &contacts, since).await? {
            sends.entry(of).or_default().push((delivery, instant(at)));
        }
        let deliveries: Vec<[u8; 16]> = wanted.iter().map(|(mark, _)| mark.delivery.0).collect();
        let held = contact::held(session, &deliveries).await?.into_iter().collect();
        Ok(Self { sends, held, days })
    }

    /// Counts one message in, or says until when there is no place for it.
    fn place(&mut self, mark: &Mark, place: &Place) -> Result<(), (Timestamp, String)> {
        let delivery = mark.delivery.0;
        let limits = &place.limits;
        let in_budget = self.held.get(&delivery).is_some_and(Option::is_some);
        if let Some(spent) = self.days.get(&place.day.number).filter(|_| limits.budget.is_limited() && !in_budget) {
            let allowed = allowed(&limits.budget, spent, place.day.number);
            if spent.used >= allowed {
                return Err((place.day.next, budget_reason(allowed)));
            }
        }
        if let Some(contact) = place.contact {
            let sends = self.sends.entry(contact.0).or_default();
            let others: Vec<Timestamp> = sends.iter().filter(|(of, _)| *of != delivery).map(|(_, at)| *at).collect();
            if let Some((until, cap)) = limits.capped(&others, place.at) {
                return Err((until, format!("the cap of {cap} is reached")));
            }
            sends.retain(|(of, _)| *of != delivery);
            sends.push((delivery, place.at));
        }
        if let Some(spent) = self.days.get_mut(&place.day.number).filter(|_| !in_budget) {
            spent.used += 1;
        }
        Ok(())
    }
}

/// How many may leave on a day, counted from the first on which anything did.
fn allowed(budget: &Budget, spent: &Spent, day: i64) -> u64 {
    let since = spent.first.map_or(0, |first| day - first);
    budget.on_day(u64::try_from(since).unwrap_or(0))
}

fn budget_reason(allowed: u64) -> String {
    format!("the day's budget of {allowed} mails is used up")
}

pub(super) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MIN)
}

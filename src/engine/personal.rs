//! Whose an event is, and which addresses were named: what the state alone can't tell of a record.

use super::dispatch::{address, number};
use super::evaluate::{self, Answer};
use super::port::{Dossier, Inbound, Inbox, Source, SourceError, StoreError};
use crate::model::{Country, RecordId, RoleName};
use crate::rule::checked::Trigger;
use crate::rule::compiled::Subject;
use crate::rule::generation::Generation;
use crate::rule::inbound::Told;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Events read at a time.
const PAGE: usize = 1_000;

/// The kept events that name a record, as the running rules read them, by their numbers.
pub async fn events_about<S: Inbox + ?Sized>(
    store: &S,
    generation: &Generation,
    record: &RecordId,
) -> Result<BTreeMap<i64, Inbound>, StoreError> {
    let mut about = BTreeMap::new();
    for rule in generation.rules.values() {
        let Trigger::Event(event) = &rule.rule.trigger else { continue };
        if rule.rule.for_each != record.entity {
            continue;
        }
        let mut beyond = 0;
        loop {
            let page = store.received(&event.name, Timestamp::MIN, Timestamp::MAX, beyond, PAGE).await?;
            let (last, full) = (page.last().map(|(number, _)| *number), page.len() >= PAGE);
            let names = |inbound: &Inbound| {
                let told = Told { id: &inbound.id, received_at: inbound.received_at, body: &inbound.body };
                event.concerns(&inbound.body, &record.tenant)
                    && rule.read_event(event, told).is_ok_and(|crossing| crossing.key == record.key)
            };
            about.extend(page.into_iter().filter(|(_, inbound)| names(inbound)));
            match last {
                Some(last) if full => beyond = last,
                _ => break,
            }
        }
    }
    Ok(about)
}

/// By which addresses the rules reach the people of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// Email addresses, and phone numbers in their international form; none of colleagues.
    By(BTreeSet<String>),
    /// The source has the record no more, or never had it.
    Gone,
    /// No rule is about such records, so none of them leads to anybody.
    NoRule,
}

/// Asks the source whom a record's rules write to. Most rules share their roles, so one question is enough; another is asked
/// only for a role that the ones before didn't lead to.
pub async fn reached(
    source: &dyn Source,
    generation: &Generation,
    record: &RecordId,
    country: Option<Country>,
    now: Timestamp,
) -> Result<Reached, SourceError> {
    let about = generation.rules.values().filter(|rule| rule.rule.for_each == record.entity);
    let mut rules: Vec<_> = about.map(|rule| (rule.roles(), rule)).collect();
    rules.sort_by_key(|(roles, _)| Reverse(roles.len()));
    let subject = [Subject { key: record.key.clone(), since: None, entered: None }];
    let (mut asked, mut there) = (BTreeSet::<RoleName>::new(), None);
    let mut found = BTreeSet::new();
    for (roles, rule) in rules {
        if there == Some(false) || (there == Some(true) && roles.is_subset(&asked)) {
            continue;
        }
        asked.extend(roles);
        let answer = evaluate::ask(source, rule, &record.tenant, &subject, now).await?.pop();
        there = Some(match answer {
            Some(Answer::Facts(facts)) => {
                for person in facts.recipients.values().filter(|person| !person.staff) {
                    found.extend(address(person).map(str::to_lowercase));
                    found.extend(number(person, country));
                }
                true
            }
            Some(Answer::Unreadable(error)) => return Err(SourceError::Refused(error.to_string())),
            Some(Answer::Gone) | None => false,
        });
    }
    Ok(match there {
        Some(true) => Reached::By(found),
        Some(false) => Reached::Gone,
        None => Reached::NoRule,
    })
}

/// Email addresses in what the state holds about a record: in replies of mail servers and in answers that were kept.
#[must_use]
pub fn addresses_in(dossier: &Dossier) -> BTreeSet<String> {
    let said = dossier.happenings.iter().map(|happening| happening.detail.clone());
    let kept = dossier.enrollments.iter().flat_map(|of| [of.occasion_data.to_string(), of.saved.to_string()]);
    said.chain(kept).flat_map(|text| addresses(&text).collect::<Vec<_>>()).collect()
}

fn addresses(text: &str) -> impl Iterator<Item = String> {
    let part = |c: char| c.is_alphanumeric() || "@.+-_!#$%&'*/=?^`{|}~".contains(c);
    let words = text.split(move |c| !part(c)).map(|word| word.trim_matches(['.', '\'', '`']));
    let whole = |word: &&str| {
        word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'))
    };
    words.filter(whole).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_replies() {
        let said =
            "550 5.1.1 <Anna@Cafe.example>: no such user (see bob@x.example). a@b @c.d {\"to\":\"eva@e.example\"}";
        let found: Vec<String> = addresses(said).collect();
        assert_eq!(found, ["anna@cafe.example", "bob@x.example", "eva@e.example"]);
    }
}

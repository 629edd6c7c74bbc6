//! Messages of more important rules that come due for the same records within the hour. Nobody has asked yet whom they
//! are for, so they are found by their records, and taken for messages to the same person where the role is the same.

use super::addressed::Addressed;
use super::work::Work;
use crate::engine::EngineError;
use crate::engine::context::Context;
use crate::engine::port::{Coming, Waiting};
use crate::engine::versions::Standing;
use crate::model::{Channel, ContactId, Lane, RoleName};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Mode, Purpose, Step};
use crate::rule::generation::Generation;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A message's channel, and the role it is for.
type Way = (Channel, RoleName);

/// What comes by that instant, before these rows in importance, for the contacts that they write to.
pub async fn coming(
    context: &Context,
    generation: &Generation,
    works: &[Work],
    addressed: &[Addressed],
    by: Timestamp,
) -> Result<Vec<(ContactId, Waiting)>, EngineError> {
    let mut asked: HashMap<[u8; 16], (usize, &CheckedRule)> = HashMap::new();
    for (index, work) in works.iter().enumerate() {
        if work.claimed.lane != Lane::Live || addressed[index].contacts().next().is_none() {
            continue;
        }
        for rival in rivals(generation, &work.rule.rule) {
            for name in std::iter::once(&rival.id).chain(&rival.was) {
                let track = context.store.secret().track(name, Lane::Live, &work.claimed.record);
                asked.insert(track, (index, rival));
            }
        }
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let tracks: Vec<[u8; 16]> = asked.keys().copied().collect();
    let mut found = Vec::new();
    for coming in context.store.coming(&tracks, by).await? {
        let Some((index, rival)) = asked.get(&coming.track) else { continue };
        let ahead = ways_ahead(context, generation, rival, &coming).await?;
        let ours = ways(&works[*index]);
        let contacts = addressed[*index]
            .by_channel()
            .filter(|(channel, _)| ours.iter().any(|way| way.0 == *channel && ahead.contains(way)));
        let waiting = Waiting { id: coming.id, priority: rival.priority, due_at: coming.due_at };
        found.extend(contacts.map(|(_, contact)| (contact, waiting)));
    }
    Ok(found)
}

/// The live rules for the same entity that go before this one and that caps count.
fn rivals<'g>(generation: &'g Generation, ours: &CheckedRule) -> impl Iterator<Item = &'g CheckedRule> {
    let (entity, priority) = (ours.for_each.clone(), ours.priority);
    generation.rules.values().map(|rule| &*rule.rule).filter(move |rule| {
        rule.priority > priority
            && rule.for_each == entity
            && rule.mode == Mode::Live
            && matches!(rule.purpose, Purpose::Topic(_))
    })
}

/// How a row writes, and to whom.
fn ways(work: &Work) -> Vec<Way> {
    let action = work.rule.rule.nodes.get(work.node).and_then(|node| node.step.action());
    action.map(|action| ways_of(&work.rule.rule, action)).unwrap_or_default()
}

fn ways_of(rule: &CheckedRule, action: &Action) -> Vec<Way> {
    let mail = action.email().map(|email| (Channel::Email, email.to.as_ref()));
    let text = action.sms().map(|sms| (Channel::Sms, sms.to.as_ref()));
    let named = mail.into_iter().chain(text);
    named.filter_map(|(channel, role)| Some((channel, role.or(rule.to.as_ref())?.clone()))).collect()
}

/// The messages that may follow once the row is due, up to the next wait, by whatever branch.
async fn ways_ahead(
    context: &Context,
    generation: &Generation,
    rival: &CheckedRule,
    coming: &Coming,
) -> Result<HashSet<Way>, EngineError> {
    let standing = context.versions.standing(&*context.store, generation, &rival.id, &coming.version).await?;
    let (Standing::Run(rule) | Standing::Migrate { from: rule, .. }) = standing else { return Ok(HashSet::new()) };
    let (mut ahead, mut seen, mut found) = (vec![coming.node], BTreeSet::new(), HashSet::new());
    while let Some(place) = ahead.pop() {
        let Some(node) = rule.rule.nodes.get(place).filter(|_| seen.insert(place)) else { continue };
        if matches!(node.step, Step::Wait(_)) && place != coming.node {
            continue;
        }
        found.extend(node.step.action().into_iter().flat_map(|action| ways_of(&rule.rule, action)));
        ahead.extend(node.next);
        ahead.extend(node.step.inner());
    }
    Ok(found)
}
